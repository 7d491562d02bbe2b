"""What a folder answers a server of that folder answers: every public name, every kind of sequence."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.client.remote.parity_store import SPEED, fill, served

import gapless
from gapless.catalog.answer import AnswerItem, AnswerTopic, QueryAnswer
from gapless.client.client import Client
from gapless.client.remote.remote_client import RemoteClient
from gapless.client.sequence_handler import SequenceHandler
from gapless.client.topic_handler import TopicHandler
from gapless.errors import GaplessError, UsageError
from gapless.model.expression import Sequence, Topic
from gapless.store.pyramid_read import Curve

Ask = Callable[[Any], Any]
FIELD = pc.field
NUMBERS = itertools.count()
TOPICS = [
    ("walk", "mixed"), ("walk", "imu"), ("walk", "cam"), ("walk", "film"), ("walk", "numbered"),
    ("walk", "empty"), ("walk", "_gaps"), ("walk", "_events"), ("walk", "_health"), ("walk", SPEED),
    ("layered", "x"), ("layered", "y"), ("kept", "x"), ("kept", "_events"),
    ("open", "x"), ("open", "imu"), ("open", "_gaps"),
]  # fmt: skip
MIXED_FILTERS = {
    "number": FIELD("x") > 0.9,
    "both": (FIELD("x") > 0.5) & (FIELD("n") == 3),
    "either, not": ~((FIELD("x") > 0.1) | FIELD("s").is_null()),
    "list": FIELD("s").isin(["t1", "t2"]),
    "text": pc.match_substring(FIELD("s"), "t3"),
    "cast": FIELD("n").cast("float64") / 2 > 2.5,
    "nothing": FIELD("x") > 5,
    "no such column": FIELD("nope") > 5,
    "another type": FIELD("s") > 5,
}
CLIENT: dict[str, Ask] = {
    "list_sequences": lambda c: c.list_sequences(),
    "list_discarded": lambda c: c.list_discarded(),
    "was_discarded": lambda c: [c.was_discarded(name) for name in ("old", "Old", "walk", "../x")],
    "sequence_exists": lambda c: [c.sequence_exists(name) for name in ("walk", "WALK", "old", "nope")],
    "sequence_exists of a bad name": lambda c: c.sequence_exists("a\0b"),
    "sequence_handler": lambda c: c.sequence_handler("walk").name,
    "sequence_handler of nothing": lambda c: c.sequence_handler("nope"),
    "sequence_handler outside": lambda c: c.sequence_handler("../../etc/passwd"),
    "sequence_handler of an unknown layer": lambda c: c.sequence_handler("layered", layers=["nope"]),
    "query": lambda c: c.query(Sequence.Q.user_metadata["vehicle.id"].eq("x")),
    "verify": lambda c: c.verify("walk", deep=True),
    "verify of nothing": lambda c: c.verify("nope"),
    "check": lambda c: [c.check(name) for name in ("walk", "layered", "kept", "open")],
    "recover": lambda c: c.recover("walk"),
    "recover of an open one": lambda c: c.recover("open"),
    "discard of an open one": lambda c: c.discard("open"),
    "recover of a pending one": lambda c: c.recover("kept"),
    "seal": lambda c: c.seal("layered"),
    "discard": lambda c: c.discard("nope"),
    "annotate": lambda c: [
        (a := c.annotate("layered", np.int64(1), 3, "a", author="b", confidence=np.float64(0.25))).name,
        c.remove_annotation("layered", a.id, author="b"),
        (a.start_ns, a.end_ns, a.kind, a.author, a.confidence),
    ],
    "annotate with a float": lambda c: c.annotate("walk", 1.5, 3, "a"),
    "annotate backwards": lambda c: c.annotate("walk", 5, 3, "a"),
    "annotate without a name": lambda c: c.annotate("walk", 1, 3, ""),
    "annotate too sure": lambda c: c.annotate("walk", 1, 3, "a", confidence=2),
    "remove_annotation": lambda c: c.remove_annotation("walk", "nope"),
}
SEQUENCE: dict[str, Ask] = {
    "repr": repr,
    "_repr_html_": lambda s: s._repr_html_(),
    "name": lambda s: s.name,
    "state": lambda s: s.state,
    "owner_alive": lambda s: s.owner_alive,
    "outcome": lambda s: s.outcome,
    "group": lambda s: s.group,
    "metadata": lambda s: s.metadata,
    "content_digest": lambda s: s.content_digest,
    "topics": lambda s: s.topics,
    "features": lambda s: s.features,
    "layers": lambda s: s.layers,
    "unsealed_layers": lambda s: s.unsealed_layers,
    "ledger": lambda s: s.ledger,
    "start_ns": lambda s: s.start_ns,
    "end_ns": lambda s: s.end_ns,
    "duration_ns": lambda s: s.duration_ns,
    "topic": lambda s: [topic.name for topic in s],
    "topic of nothing": lambda s: s.topic("nope"),
    "topic of no feature": lambda s: s.topic("features/other@1"),
    "contains": lambda s: [name in s for name in ("x", "mixed", "nope", SPEED, "features/other@1")],
    "notifications": lambda s: s.notifications(),
    "annotations": lambda s: s.annotations(),
    "artifacts": lambda s: s.artifacts,
    "artifact_path": lambda s: [(p := s.artifact_path("notes.bin")).name, p.read_bytes()],
    "artifact_path elsewhere": lambda s: s.artifact_path("model"),
    "artifact_path of nothing": lambda s: s.artifact_path("nope"),
    "reload": lambda s: s.reload(),
    "merge": lambda s: [batch.to_arrow() for batch in s.merge(start_ns=2_000, end_ns=10_000_000)],
    "merge of columns": lambda s: list(s.merge(["x"], {"x": []})),
    "merge twice": lambda s: list(s.merge(["x", "x"])),
    "rows": lambda s: list(itertools.islice(s.rows(), 300)),
    "messages": lambda s: list(itertools.islice(s.messages(end_ns=30_000), 300)),
    "align": lambda s: s.align(on=s.topics[0]),
    "align on a grid": lambda s: s.align(
        [t for t in s.topics if t in ("mixed", "imu", "x", "y")], rate_hz=500, policy="asof", start_ns=1
    ),
    "align on nothing": lambda s: s.align(on="nope"),
    "alignment": lambda s: s.alignment(on=s.topics[0]).schema,
}
TOPIC: dict[str, Ask] = {
    "repr": repr,
    "_repr_html_": lambda t: t._repr_html_(),
    "name": lambda t: t.name,
    "sequence_name": lambda t: t.sequence_name,
    "schema": lambda t: t.schema,
    "units": lambda t: t.units,
    "metadata": lambda t: t.metadata,
    "ontology_tag": lambda t: t.ontology_tag,
    "ontology_type": lambda t: getattr(t.ontology_type, "__name__", type(t.ontology_type)),
    "clock": lambda t: t.clock,
    "rows": lambda t: t.rows,
    "start_ns": lambda t: t.start_ns,
    "end_ns": lambda t: t.end_ns,
    "ledger": lambda t: t.ledger,
    "scan": lambda t: pa.Table.from_batches(t.scan(), schema=t.schema),
    "scan of a window": lambda t: list(t.scan(start_ns=np.int64(2_000), end_ns=4_000)),
    "scan beyond int64": lambda t: list(t.scan(start_ns=-(2**70), end_ns=2**70, batch_rows=70_000))[:1],
    "scan of columns": lambda t: list(t.scan(t.schema.names[1:2], batch_rows=10_000)),
    "scan of no column": lambda t: list(t.scan(["nope"])),
    "scan of a float": lambda t: list(t.scan(start_ns=1.5)),
    "scan with_seq": lambda t: list(t.scan([], with_seq=True)),
    "to_arrow": lambda t: t.to_arrow(end_ns=20_000),
    "to_pandas": lambda t: t.to_pandas(end_ns=20_000),
    "to_polars": lambda t: t.to_polars(end_ns=20_000),
    "to_numpy": lambda t: t.to_numpy(t.schema.names[1:2]),
    "__arrow_c_stream__": lambda t: pa.RecordBatchReader.from_stream(t).read_all(),
    "messages": lambda t: list(itertools.islice(t.messages(), 20)),
    "iter": lambda t: next(iter(t), None),
    "tail": lambda t: list(t.tail(timeout_s=0.0, from_start=True)),
    "downsample": lambda t: t.downsample(t.schema.names[1], 100, start_ns=1_500, end_ns=90_000_001),
    "downsample of all": lambda t: t.downsample(t.schema.names[1]),
    "downsample to one point": lambda t: t.downsample(t.schema.names[1], 1),
    "downsample of nothing": lambda t: t.downsample("nope"),
    "sketch": lambda t: t.sketch().svg(),
    "plot": lambda t: t.plot()._repr_html_(),
    "frames": lambda t: list(t.frames(start_ns=15_000_000)),
    "write_images": lambda t: [path.read_bytes() for path in t.write_images(f"pictures-{next(NUMBERS)}")],
    "write_video": lambda t: t.write_video(f"film-{next(NUMBERS)}.mp4").path.read_bytes(),
}
QUERIES: dict[str, Ask] = {
    "all": lambda c: c.query(),
    "text": lambda c: c.query("metadata.vehicle.id == 'x'"),
    "metadata": lambda c: c.query(Sequence.Q.user_metadata["big"].eq(2**60 + 1)),
    "a topic": lambda c: c.query(Topic.Q.name.match("mi*")),
    "content": lambda c: c.query(gapless.Field("mixed", "x").gt(0.99)),
    "content of a type": lambda c: c.query(gapless.IMU.Q.acceleration.x.between(1, 3)),
    "or": lambda c: c.query(gapless.Field("mixed", "x").gt(0.9999) | Sequence.Q.name.eq("layered")),
    "not": lambda c: c.query(~Sequence.Q.name.match("w*") & Topic.Q.name.eq("x")),
    "nothing": lambda c: c.query(Sequence.Q.name.match("walking")),
    "infinite": lambda c: c.query(gapless.Field("x", "value").lt(float("inf"))),
    "a builder": lambda c: c.query(gapless.QuerySequence().with_name("walk")),
    "in order": lambda c: c.query(order="-name"),
    "no order": lambda c: c.query(order="colour"),
    "no limit": lambda c: c.query(limit=0),
    "no cursor": lambda c: c.query(cursor="x"),
    "no query": lambda c: c.query(5),
}
ANSWER: dict[str, Ask] = {
    "repr": repr,
    "_repr_html_": lambda a: a._repr_html_(),
    "len": len,
    "items": lambda a: [(i.id, i.name, i.component, i.state, i.sequence.name) for i in a.items],
    "index": lambda a: [item.name for item in a],
    "count": lambda a: a.count(a[0]) if a else None,
    "names": lambda a: a.names,
    "warnings": lambda a: a.warnings,
    "next_cursor": lambda a: a.next_cursor,
    "to_arrow": lambda a: a.to_arrow(),
    "to_pandas": lambda a: a.to_pandas(),
    "topics": lambda a: [[(t.sequence, t.name, t.locator, t.ontology_tag) for t in i.topics] for i in a],
    "spans": lambda a: [[(t.spans, t.rows, t.clusterize(10**6)) for t in i.topics] for i in a],
    "clusterize": lambda a: [i.clusterize(10**6) for i in a],
    "intersect": lambda a: [i.intersect(10**6) for i in a],
}
# What has no row in a table: fields of other tests, or what a server has not.
ELSEWHERE = {
    Client: {
        "path",
        "catalog",
        "close",
        "sequence_create",
        "sequence_update",
        "sequence_resume",
        "encoder_gate",
        "registry",
    },
    SequenceHandler: {"path"},
    TopicHandler: set(),
    QueryAnswer: set(),
    AnswerItem: {"id", "name", "component", "state", "sequence"},
    AnswerTopic: {"sequence", "name", "ontology_tag", "locator", "rows"},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with a sequence of every kind."""
    root = tmp_path_factory.mktemp("store")
    fill(root)
    return root


@pytest.fixture(scope="module")
def clients(store: Path) -> Iterator[tuple[Client, RemoteClient]]:
    """Return a client of the folder and one of its server."""
    with (
        gapless.connect(store) as local,
        served(store) as (_, remote),
        local.sequence_create("open", {"now": True}, group="g1") as seq,
    ):
        for k in range(5):
            seq.log("x", float(k), timestamp_ns=k)
        topic = seq.topic_create("imu", ontology_type=gapless.IMU)
        zero = gapless.Vector3d(x=0.0, y=0.0, z=0.0)
        topic.push(gapless.Message(7, gapless.IMU(acceleration=zero, angular_velocity=zero)))
        seq.flush()
        yield local, remote


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(value: Any) -> Any:
    """Return a value in a form whose equality means equal to the last bit, schema metadata included."""
    if isinstance(value, pa.Table):
        return "table", told(value.schema), value.combine_chunks().to_pydict()
    if isinstance(value, pa.RecordBatch):
        return "batch", told(value.schema), value.to_pydict()
    if isinstance(value, pa.Schema):
        return value.serialize().to_pybytes()
    if isinstance(value, pd.DataFrame | pl.DataFrame):
        return type(value), str(value.dtypes), told(value.to_dict(**_dict_form(value)))
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tolist()
    if isinstance(value, Curve):
        return "curve", value.topic, value.field, value.unit, told(value.to_arrow())
    if isinstance(value, QueryAnswer):
        return value.names, value.warnings
    if isinstance(value, list | tuple):
        return [told(item) for item in value]
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    return repr(value) if is_dataclass(value) or isinstance(value, float) else value


def _dict_form(frame: Any) -> dict[str, Any]:
    return {"orient": "list"} if isinstance(frame, pd.DataFrame) else {"as_series": False}


def outcome(ask: Ask, subject: Any) -> Any:
    """Return what a question gives, or the error that it ends with."""
    try:
        return told(ask(subject))
    except GaplessError as error:
        return type(error), error.message, error.sequence, error.topic, error.field
    except (pa.ArrowException, KeyError) as error:
        return type(error)


@pytest.mark.parametrize("name", CLIENT)
def test_the_client_answers_as_a_folder_does(clients: tuple[Client, RemoteClient], name: str) -> None:
    """Values, tables and errors are equal."""
    local, remote = clients
    assert outcome(CLIENT[name], remote) == outcome(CLIENT[name], local)


@pytest.mark.parametrize("sequence", ["walk", "layered", "kept", "open"])
@pytest.mark.parametrize("name", SEQUENCE)
def test_a_sequence_is_as_in_a_folder(clients: tuple[Client, RemoteClient], sequence: str, name: str) -> None:
    """What a sequence is, holds and gives is equal."""
    expected, found = (outcome(SEQUENCE[name], client.sequence_handler(sequence)) for client in clients)
    assert found == expected


@pytest.mark.parametrize("layers", [[], ["late"], None])
def test_layers_are_chosen_as_in_a_folder(
    clients: tuple[Client, RemoteClient], layers: list[str] | None
) -> None:
    """The base alone, the layers that are named, or all of them."""
    found, expected = (
        [h.layers, h.topics, h.ledger, list(h.rows())]
        for h in (client.sequence_handler("layered", layers=layers) for client in clients)
    )
    assert found == expected


@pytest.mark.parametrize(("sequence", "topic"), TOPICS)
@pytest.mark.parametrize("name", TOPIC)
def test_a_topic_is_as_in_a_folder(
    clients: tuple[Client, RemoteClient], sequence: str, topic: str, name: str
) -> None:
    """What a topic is and every form of its rows is equal."""
    expected, found = (
        outcome(TOPIC[name], client.sequence_handler(sequence).topic(topic)) for client in clients
    )
    assert found == expected


@pytest.mark.parametrize("name", MIXED_FILTERS)
def test_a_filter_keeps_the_same_rows(clients: tuple[Client, RemoteClient], name: str) -> None:
    """A filter is applied on the server, and one that does not fit raises what it raises in a folder."""
    expected, found = (
        outcome(
            lambda t: pa.Table.from_batches(t.scan(["n"], filter=MIXED_FILTERS[name]), schema=t.schema.empty_table()
                                            .select(["timestamp_ns", "n"]).schema),
            client.sequence_handler("walk").topic("mixed"),
        )
        for client in clients
    )  # fmt: skip
    assert found == expected


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_finds_the_same(clients: tuple[Client, RemoteClient], query: str) -> None:
    """Sequences, topics, spans, warnings and errors are equal."""
    expected, found = (outcome(QUERIES[query], client) for client in clients)
    assert found == expected
    if isinstance(found, list):
        local, remote = (QUERIES[query](client) for client in clients)
        assert {name: outcome(ask, remote) for name, ask in ANSWER.items()} == {
            name: outcome(ask, local) for name, ask in ANSWER.items()
        }


def test_a_cursor_goes_on_where_a_limit_cut_the_answer(clients: tuple[Client, RemoteClient]) -> None:
    """Page after page gives the whole answer in its order, once each."""
    for client in clients:
        names: list[str] = []
        answer = client.query(order="name", limit=1)
        while True:
            names += answer.names
            if answer.next_cursor is None:
                break
            answer = client.query(order="name", limit=1, cursor=answer.next_cursor)
        assert names == ["kept", "layered", "open", "walk"]


def test_what_only_a_folder_has_says_so(clients: tuple[Client, RemoteClient]) -> None:
    """Paths, the catalog and parts are refused with an error that says what to do instead."""
    _, remote = clients
    handler = remote.sequence_handler("walk")
    for ask in (
        lambda: remote.path,
        lambda: remote.catalog,
        lambda: remote.sequence_resume("open"),
        lambda: handler.path,
        lambda: handler.reader.path,
        lambda: handler.reader.topic("mixed").parts(),
    ):
        with pytest.raises(UsageError, match=r"connect to the folder|recover\(\)"):
            ask()


@pytest.mark.parametrize(
    ("kind", "tables"),
    [
        (Client, [CLIENT]),
        (SequenceHandler, [SEQUENCE]),
        (TopicHandler, [TOPIC]),
        (QueryAnswer, [ANSWER]),
        (AnswerItem, [ANSWER]),
        (AnswerTopic, [ANSWER]),
    ],
)
def test_every_public_name_has_a_row(kind: type, tables: list[dict[str, Ask]]) -> None:
    """A name that is added to a class is compared here too."""
    public = {name for name in dir(kind) if not name.startswith("_")}
    rows = {name for table in tables for name in table}
    assert public - rows - ELSEWHERE[kind] == set()
