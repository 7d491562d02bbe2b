"""What a server cannot hold as it came is told, and the recording that holds it stays."""

from __future__ import annotations

import gc
import weakref
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import httpx
import numpy as np
import pytest
from tests.bluesky.plans.engine import run_plan
from tests.bluesky.plans.plan_table import ALL
from tests.bluesky.recording.run_documents import (
    Doc,
    data_key,
    descriptor_document,
    event_document,
    start_document,
    stop_document,
)
from tests.bluesky.tiled_server import TiledServer
from tests.bluesky.tiled_sink.sample_runs import Named, scalar_run, seq_nums, uid_of
from tests.bluesky.tiled_sink.test_sink import PATIENCE_S, feed

import gapless
from gapless.bluesky.delivery import deliver
from gapless.bluesky.document_source import documents
from gapless.bluesky.spool import FOLDER, Spool
from gapless.bluesky.tiled_sink.deliver_run import deliver_documents
from gapless.bluesky.tiled_sink.json_loss import loss_in
from gapless.bluesky.tiled_sink.only_here import only_here, only_in_spool
from gapless.bluesky.tiled_sink.run_sink import Progress, RunSink
from gapless.bluesky.tiled_sink.server import Server
from gapless.bluesky.tiled_sink.target import Target
from gapless.bluesky.tiled_writer import TiledWriter
from gapless.bluesky.writer import Writer


def run_of(keys: dict[str, Doc], rows: list[Doc], *, stream: str = "primary") -> list[Named]:
    """Return a run of one stream with these rows."""
    start = start_document()
    descriptor = descriptor_document(start, keys, name=stream)
    events: list[Named] = [("event", event_document(descriptor, n, row)) for n, row in enumerate(rows, 1)]
    return [("start", start), ("descriptor", descriptor), *events, ("stop", stop_document(start))]


@pytest.mark.parametrize(
    ("value", "survives"),
    [
        ({"a": [1, 2.5, None, True, "é"], "b": {"c": (1, 2)}}, True),
        (np.arange(3), True),
        (np.float32(0.1), True),
        (2**63 - 1, True),
        (2**63, False),
        (np.uint64(2**63), False),
        (float("nan"), False),
        (np.array([1.0, np.inf]), False),
        (b"raw", False),
        (datetime(2026, 1, 1, tzinfo=UTC), False),
        (np.array(["2026-01-01"], "M8[ns]"), False),
        ({1, 2}, False),
        ({5: "a key that is no text"}, False),
        ("\ud800", False),
        (1j, False),
    ],
)
def test_what_json_changes_is_named_by_its_place(value: Any, survives: bool) -> None:
    """Values that come back equal are no loss; what would come back as something else is one sentence."""
    found = loss_in("start document", {"uid": "u", "sample": {"value": value}})
    assert len(found) == (not survives)
    assert all("'sample.value" in text for text in found)


def test_a_loss_in_many_places_is_one_sentence() -> None:
    """The first places are named, the others counted."""
    (found,) = loss_in("stop document", {f"k{n}": b"" for n in range(9)})
    assert "'k4' and 4 more places" in found


def test_no_value_in_an_array_of_no_floats_is_a_finding(server: TiledServer, target: Server) -> None:
    """The array on the server has 0 there, so it is said; NaN in an array of floats says it itself."""
    keys = {
        name: data_key("array", (20,), dtype_numpy=kind)
        for name, kind in (("i", "<i8"), ("b", "|b1"), ("f", "<f8"))
    } | {"t": data_key("array", (2,), dtype_numpy="<U5")}
    full: Doc = {"i": [7] * 20, "b": [True] * 20, "f": [0.5] * 20, "t": ["a", "b"]}
    run = run_of(keys, [full, dict.fromkeys(full), full, {**full, "i": None}])
    delivered = deliver_documents(lambda: run, target, batch_rows=2)
    assert sorted(text.split(";")[0] for text in delivered.findings) == [
        "1 events of stream 'primary' have no value of 'b'",
        "1 events of stream 'primary' have no value of 't'",
        "2 events of stream 'primary' have no value of 'i'",
    ]
    node = server.client()[uid_of(run)]
    assert node.metadata["notes"][-3:] == delivered.findings
    assert np.isnan(node["primary"]["f"].read()[1]).all()


def test_a_value_that_is_not_as_declared_is_found_once(target: Server) -> None:
    """An array with a hole in it is a violation, not an array without value."""
    run = run_of({"i": data_key("array", (20,), dtype_numpy="<i8")}, [{"i": [1, None] * 10}])
    delivered = deliver_documents(lambda: run, target)
    assert not any("no value" in text for text in delivered.findings)
    assert "1 values of stream 'primary'" in delivered.findings[0]


def test_a_run_whose_metadata_json_changes_stays(server: TiledServer, tmp_path: Path) -> None:
    """NaN, wide integers and bytes are in the recording, which stays, also when another writer looks at it."""
    run = scalar_run(2, sample=float("nan"), wide=2**70)
    run[-1][1]["blob"] = b"xyz"
    uid = uid_of(run)
    with TiledWriter.from_uri(server.url, backup_directory=tmp_path) as writer:
        feed(writer, run)
    TiledWriter.from_uri(server.url, backup_directory=tmp_path).close(PATIENCE_S)
    assert writer.errors == []
    assert not writer.delivered[uid].is_whole
    metadata = server.client()[uid].metadata
    assert [("'sample', 'wide'" in note, "'blob'" in note) for note in metadata["notes"]] == [
        (True, False),
        (False, True),
    ]
    assert metadata["gapless"]["findings"] == 2
    with gapless.connect(tmp_path) as store:
        kept = {name: doc for name, doc in documents(store.sequence_handler(uid)) if name != "event"}
    assert (kept["start"]["wide"], kept["stop"]["blob"]) == (2**70, b"xyz")


def test_a_run_of_rewritten_documents_stays(server: TiledServer, files: Path, tmp_path: Path) -> None:
    """Resource and datum as they came are in no document that the server gets."""
    folder = files / "rewritten"
    folder.mkdir()
    seen = run_plan(ALL["resource and datum"], folder)
    uid = uid_of(seen)
    for some in (seen, []):
        with TiledWriter.from_uri(server.url, backup_directory=tmp_path) as writer:
            feed(writer, some)
    said = server.client()[uid].metadata
    assert said["gapless"]["findings"] == 1
    assert any("3 datum, 1 resource" in note for note in said["notes"])
    with gapless.connect(tmp_path) as store:
        assert store.list_sequences() == [uid]


@pytest.mark.parametrize("late", [False, True])
def test_a_run_with_documents_in_the_spool_stays_until_they_are_delivered(
    server: TiledServer, tmp_path: Path, late: bool
) -> None:
    """An event that could not be recorded is nowhere else: once it is mended and delivered, the run leaves."""
    run = scalar_run(3)
    uid, odd = uid_of(run), run.pop(3)
    run.insert(len(run) if late else 3, ("event", odd[1] | {"seq_num": "2x"}))
    with TiledWriter.from_uri(server.url, backup_directory=tmp_path) as writer:
        feed(writer, run)
    assert not writer.delivered[uid].is_whole
    assert any("(1) are only in the spool" in text for text in writer.delivered[uid].findings)
    if not late:
        assert server.client()[uid].metadata["gapless"]["findings"] == 1
    path = writer.spool / f"{uid}.jsonl"
    path.write_text(path.read_text().replace('"2x"', "2"))
    with gapless.connect(tmp_path) as store:
        assert store.list_sequences() == [uid]
        assert deliver(path, store).findings == []
    TiledWriter.from_uri(server.url, backup_directory=tmp_path).close(PATIENCE_S)
    assert sorted(seq_nums(server.client(), uid)) == [1, 2, 3]
    with gapless.connect(tmp_path) as store:
        assert store.list_sequences() == []


def test_a_recorded_run_that_is_in_the_spool_as_well_may_leave(tmp_path: Path) -> None:
    """The documents of a run that a server did not take in time are in its sequence too."""
    run = scalar_run(2)
    with gapless.connect(tmp_path) as store:
        with Writer(store) as writer:
            feed(writer, run)
        handler = store.sequence_handler(uid_of(run))
        assert only_in_spool(tmp_path, handler) == []
        spool = Spool(tmp_path / FOLDER)
        spool.keep_all(uid_of(run), documents(handler, pages=True), reason="no answer")
        assert only_in_spool(tmp_path, handler) == []
        spool.keep(uid_of(run), "event", event_document(run[1][1], 3, {"x": 1.0}), reason="full")
        spool.close()
        assert len(only_in_spool(tmp_path, handler)) == 1


def test_additions_of_the_normalizer_keep_no_run(tmp_path: Path) -> None:
    """A descriptor that only got a type beside what it had can be read from the server."""
    seen = run_plan(ALL["count"], tmp_path)
    with gapless.connect(tmp_path / "store") as store:
        with Writer(store) as writer:
            feed(writer, seen)
        handler = store.sequence_handler(uid_of(seen))
        changed = [row for batch in handler.topic("bluesky/documents").scan() for row in batch.to_pylist()]
        assert any(row["original"] is not None for row in changed)
        assert only_here(handler) == []


def test_a_later_descriptor_that_declares_something_else_is_a_finding(target: Server) -> None:
    """The stream's node has the first one; only a configuration may change without being told."""
    start = start_document()
    first, second, third = (
        descriptor_document(
            start, {"x": data_key(units=units)}, configuration={"d": {"data": {"gain": gain}}}
        )
        for units, gain in (("mm", 1), ("mm", 2), ("m", 2))
    )
    run: list[Named] = [("start", start)]
    for n, descriptor in enumerate((first, second, third), 1):
        run += [("descriptor", descriptor), ("event", event_document(descriptor, n, {"x": 0.5}))]
    delivered = deliver_documents(lambda: [*run, ("stop", stop_document(start))], target)
    assert [text.split(" declare")[0] for text in delivered.findings] == [
        "1 later descriptors of stream 'primary'"
    ]


@pytest.mark.parametrize("name", ["a/b", "", "..", "100%", "a%2F?\n"])
def test_a_stream_and_an_array_of_any_name_are_there(server: TiledServer, target: Server, name: str) -> None:
    """What an address cannot hold is under a like key, which a note tells; delivering again adds nothing."""
    run = run_of(
        {"x": data_key(), f"im{name}": data_key("array", (20,), dtype_numpy="<i8")},
        [{"x": 1.5, f"im{name}": [n] * 20} for n in range(3)],
        stream=name,
    )
    for some in (run[:4], run, run):
        delivered = deliver_documents(partial(list, some), target, validate=True)
        assert (delivered.findings, delivered.problems) == ([], [])
    node = server.client()[uid_of(run)]
    (key,) = list(node.base)
    stream = node[key]
    (array,) = set(stream.base) - {"internal"}
    assert stream.base[array].read()[:, 0].tolist() == [0, 1, 2]
    assert stream.base["internal"].read()["x"].tolist() == [1.5] * 3
    if key != name:
        assert stream.metadata["name"] == name
        assert f"stream {name!r} is under the key {key!r}" in node.metadata["notes"]


def test_an_array_that_is_called_like_the_table_is_not_taken_for_it(
    server: TiledServer, target: Server
) -> None:
    """The table's key is the server's; the array gets another."""
    run = run_of({"internal": data_key("array", (20,), dtype_numpy="<i8")}, [{"internal": [3] * 20}])
    assert deliver_documents(lambda: run, target).is_whole
    stream = server.client()[uid_of(run)]["primary"].base
    (array,) = set(stream) - {"internal"}
    assert stream[array].read().tolist() == [[3] * 20]


class Kept(dict[str, Any]):
    """A document whose life can be followed."""

    __slots__ = ("__weakref__",)


def refuse() -> NoReturn:
    """Be a server that is not there."""
    raise httpx.ConnectError("refused")


def test_documents_that_will_be_sent_later_are_not_kept_in_memory(tmp_path: Path) -> None:
    """While no server answers, at most ``max_waiting`` wait; beyond, none, those of the last request included."""
    run = scalar_run(40)
    lives: list[weakref.ref[Kept]] = []
    with gapless.connect(tmp_path) as client, client.sequence_create("run") as sequence:
        target = Target(client, Server("http://nobody", refuse), max_waiting=30)
        sink = RunSink(target, "run", run[0][1], sequence)
        for n, (name, doc) in enumerate(run[1:], 1):
            kept = Kept(doc)
            lives.append(weakref.ref(kept))
            sink(name, kept)
            del kept
            if n == 20:
                with pytest.raises(httpx.ConnectError):
                    sink.step()
            if n in (30, 31, 40):
                gc.collect()
                assert sum(life() is not None for life in lives) == (30 if n == 30 else 0)
        assert sink.progress is Progress.AFTER_SEAL
