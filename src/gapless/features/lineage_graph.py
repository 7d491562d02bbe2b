"""The runs and models around one of them, as a graph: up to what it was made from, down to what reads it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gapless.catalog.feature_rows import RunTables
from gapless.errors import NotFound
from gapless.features.lineage import predictors
from gapless.features.run_list import Groups, seen_runs, seen_sequences
from gapless.features.trained_models import TrainedModel, trained_models

MOST_NODES = 400
_READ = "SELECT upstream_feature, upstream_run_id FROM dependencies WHERE feature=? AND run_id=?"
_READERS = "SELECT feature, run_id FROM dependencies WHERE upstream_feature=? AND upstream_run_id=?"
Kind = Literal["run", "model"]


@dataclass(frozen=True, slots=True, order=True)
class LineageNode:
    """A feature run, by its storage name, or a model run."""

    kind: Kind
    name: str
    run_id: str


@dataclass(frozen=True, slots=True)
class LineageSequence:
    """A recording that the runs above were computed from; the digest is None where it is gone."""

    name: str
    group: str | None
    content_digest: str | None


@dataclass(slots=True)
class LineageGraph:
    """``edges`` lead from what was read to who read it. ``sequences`` are the first of ``sequences_total``.

    ``cut``: there are more nodes than are told. ``statuses``: of the models among the nodes.
    """

    focus: LineageNode
    nodes: set[LineageNode] = field(default_factory=set)
    edges: set[tuple[LineageNode, LineageNode]] = field(default_factory=set)
    statuses: dict[LineageNode, str] = field(default_factory=dict)
    sequences: list[LineageSequence] = field(default_factory=list)
    sequences_total: int = 0
    cut: bool = False


def lineage_graph(
    database: RunTables, root: Path, focus: LineageNode, *, groups: Groups = None, most_sequences: int = 200
) -> LineageGraph:
    """Return the graph around a run or a model, as far as the reader sees it.

    Raises NotFound for one that there is not, IntegrityError for a model whose manifest cannot be read.
    """
    known = trained_models(root)
    models = {LineageNode("model", model.name, model.run_id): model for model in known}
    graph = LineageGraph(focus)
    _check_known(database, models, focus)
    _Walk(database, models, graph).go()
    _hide(database, models, graph, groups)
    if focus not in graph.nodes:
        raise _nothing(focus)
    graph.statuses = {node: models[node].status for node in graph.nodes if node.kind == "model"}
    _add_sequences(database, models, graph, groups, most_sequences)
    return graph


def _check_known(database: RunTables, models: dict[LineageNode, TrainedModel], focus: LineageNode) -> None:
    pair = (focus.name, focus.run_id)
    if focus.kind == "model":
        there = focus in models
    else:
        there = bool(database.rows("SELECT 1 FROM feature_runs WHERE feature=? AND run_id=?", pair))
    if not there:
        raise _nothing(focus)


def _nothing(focus: LineageNode) -> NotFound:
    what = "model" if focus.kind == "model" else "feature run"
    return NotFound(
        f"there is no such {what}", found=f"{focus.name} {focus.run_id}",
        next_step="`gapless features list` lists the runs",
    )  # fmt: skip


class _Walk:
    """Goes from the focus up to all that it was made from, then down to all that was made from it."""

    def __init__(
        self, database: RunTables, models: dict[LineageNode, TrainedModel], graph: LineageGraph
    ) -> None:
        self._database = database
        self._models = models
        self._graph = graph

    def go(self) -> None:
        graph = self._graph
        graph.nodes.add(graph.focus)
        self._follow(graph.focus, up=True)
        self._follow(graph.focus, up=False)

    def _follow(self, start: LineageNode, *, up: bool) -> None:
        """Add everything on one side of a node; each node is looked at once."""
        waiting, seen = [start], {start}
        while waiting:
            node = waiting.pop()
            found = self._above(node) if up else self._below(node)
            for other in sorted(found):
                if other not in self._graph.nodes and len(self._graph.nodes) >= MOST_NODES:
                    self._graph.cut = True
                    continue
                self._graph.nodes.add(other)
                self._graph.edges.add((other, node) if up else (node, other))
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)

    def _above(self, node: LineageNode) -> set[LineageNode]:
        if node.kind == "model":
            return set(_run_nodes(self._models[node].inputs)) if node in self._models else set()
        pair = (node.name, node.run_id)
        found = set(_run_nodes(self._database.rows(_READ, pair)))
        found |= {_model_node(model) for model in predictors(self._database, pair, self._models.values())}
        return found

    def _below(self, node: LineageNode) -> set[LineageNode]:
        if node.kind == "model":
            return self._predicting(node)
        pair = (node.name, node.run_id)
        found = set(_run_nodes(self._database.rows(_READERS, pair)))
        return found | {other for other, model in self._models.items() if pair in model.inputs}

    def _predicting(self, node: LineageNode) -> set[LineageNode]:
        """Return the runs that predict with a model: their parameters name it, and their entries prove it."""
        rows = self._database.rows(
            "SELECT feature, run_id FROM feature_runs WHERE instr(params_json, ?) > 0", (node.run_id,)
        )
        return {
            LineageNode("run", feature, run_id)
            for feature, run_id in rows
            if node in map(_model_node, predictors(self._database, (feature, run_id), self._models.values()))
        }


def _run_nodes(pairs: Iterable[tuple[str, str]]) -> list[LineageNode]:
    return [LineageNode("run", feature, run_id) for feature, run_id in pairs]


def _model_node(model: TrainedModel) -> LineageNode:
    return LineageNode("model", model.name, model.run_id)


# -- what a reader sees ------------------------------------------------------------------------


def _hide(
    database: RunTables, models: dict[LineageNode, TrainedModel], graph: LineageGraph, groups: Groups
) -> None:
    """Take out what has no sequence of the reader's groups, and the edges to it."""
    if groups is None:
        return
    pairs = {(node.name, node.run_id) for node in graph.nodes if node.kind == "run"}
    seen = set(_run_nodes(seen_runs(database, pairs, groups)))
    for node in graph.nodes:
        if node.kind == "model" and seen_sequences(database, models[node].sequences, groups):
            seen.add(node)
    graph.nodes &= seen
    graph.edges = {edge for edge in graph.edges if seen.issuperset(edge)}


def _add_sequences(
    database: RunTables,
    models: dict[LineageNode, TrainedModel],
    graph: LineageGraph,
    groups: Groups,
    most: int,
) -> None:
    """Add the recordings that the focus and all above it have entries of."""
    names = _recorded(database, _at_and_above(graph))
    if graph.focus.kind == "model":
        names |= models[graph.focus].sequences
    names = seen_sequences(database, names, groups)
    graph.sequences_total = len(names)
    chosen = sorted(names)[:most]
    rows = database.rows(
        "SELECT name, grp, content_digest FROM sequence WHERE name IN (SELECT value FROM json_each(?))",
        (json.dumps(chosen),),
    )
    known = {name: (group, digest) for name, group, digest in rows}
    graph.sequences = [LineageSequence(name, *known.get(name, (None, None))) for name in chosen]


def _at_and_above(graph: LineageGraph) -> set[tuple[str, str]]:
    found, waiting = {graph.focus}, [graph.focus]
    while waiting:
        node = waiting.pop()
        for source, target in graph.edges:
            if target == node and source not in found:
                found.add(source)
                waiting.append(source)
    return {(node.name, node.run_id) for node in found if node.kind == "run"}


def _recorded(database: RunTables, runs: Collection[tuple[str, str]]) -> set[str]:
    rows = database.rows(
        "SELECT DISTINCT e.sequence FROM json_each(?) AS pair CROSS JOIN feature_entries AS e"
        " ON e.feature=json_extract(pair.value, '$[0]') AND e.run_id=json_extract(pair.value, '$[1]')"
        " WHERE e.sequence <> '__global__'",
        (json.dumps(sorted(runs)),),
    )
    return {name for (name,) in rows}
