"""GET /features/lineage: where a run or a model comes from, down to the sequences, and what was made from it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from gapless.features.lineage_graph import LineageGraph, LineageNode, lineage_graph
from gapless.serve.http.asking import Asking
from gapless.serve.http.names import PathName
from gapless.serve.rights import Right
from gapless.serve.visible import looked_at

router = APIRouter(tags=["features"])
_MOST_SEQUENCES = 1000


class Node(BaseModel):
    """A feature run or a model. ``status`` is a model's; ``is_focus`` marks the one that was asked about."""

    model_config = ConfigDict(extra="forbid")
    id: int
    kind: Literal["run", "model"]
    name: str
    run_id: str
    status: str | None
    is_focus: bool


class Source(BaseModel):
    """A sequence at the beginning; its digest is null where it is gone or not sealed."""

    model_config = ConfigDict(extra="forbid")
    sequence: str
    group: str | None
    content_digest: str | None


class Lineage(BaseModel):
    """The graph around one run or model."""

    model_config = ConfigDict(extra="forbid")
    nodes: list[Node]
    edges: list[tuple[int, int]] = Field(description="ids: from what was read to who read it")
    is_cut: bool = Field(description="there are more nodes than are told")
    sequences: list[Source] = Field(description="the first of those that all of it was computed from")
    sequences_total: int


@router.get("/features/lineage/{feature}/{run_id}")
def feature_lineage(
    call: Asking,
    feature: PathName,
    run_id: PathName,
    kind: Literal["run", "model"] = "run",
    sequences: Annotated[int, Query(ge=0, le=_MOST_SEQUENCES, description="how many are named")] = 100,
) -> Lineage:
    """Return the lineage of a feature run, by the name of its storage, or of a model."""
    call.require(Right.READ)
    focus = LineageNode(kind, feature, run_id)
    graph = lineage_graph(
        looked_at(call.served).database,
        call.served.root,
        focus,
        groups=call.access.groups,
        most_sequences=sequences,
    )
    return _told(graph)


def _told(graph: LineageGraph) -> Lineage:
    nodes = sorted(graph.nodes)
    ids = {node: number for number, node in enumerate(nodes)}
    return Lineage(
        nodes=[
            Node(
                id=ids[node],
                kind=node.kind,
                name=node.name,
                run_id=node.run_id,
                status=graph.statuses.get(node),
                is_focus=node == graph.focus,
            )
            for node in nodes
        ],
        edges=sorted((ids[source], ids[target]) for source, target in graph.edges),
        is_cut=graph.cut,
        sequences=[
            Source(sequence=one.name, group=one.group, content_digest=one.content_digest)
            for one in graph.sequences
        ],
        sequences_total=graph.sequences_total,
    )
