"""What the callback has taken is never only in memory for long, and what is not recorded is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter, UserDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.bluesky.recording.run_documents import (
    data_key,
    descriptor_document,
    event_document,
    start_document,
    stop_document,
)
from tests.bluesky.writer.runs import Doc, Documents, feed, run_of, values
from tests.cli.conftest import environment

from gapless.bluesky.delivery import deliver
from gapless.bluesky.lossless import decode
from gapless.bluesky.normalizer import RunNormalizer
from gapless.bluesky.run_report import RunReport
from gapless.bluesky.stored_run import StoredRun
from gapless.bluesky.writer import Writer
from gapless.client.client import Client, connect
from gapless.errors import DeadlinePassed, WriterClosed
from gapless.store.platform import Platform


def uid_of(documents: Documents) -> str:
    """Return the uid of the run."""
    return str(documents[0][1]["uid"])


def report_of(client: Client, uid: str) -> dict[str, Any]:
    """Return the report in the metadata of a run."""
    report: dict[str, Any] = client.sequence_handler(uid).metadata["bluesky"]
    return report


def in_process(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=environment(),
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


class Held:
    """A patch that holds the recording thread up until it is let go."""

    def __init__(self) -> None:
        self.entered, self.let_go = threading.Event(), threading.Event()

    def __call__(self, doc: Doc) -> Doc:
        """Wait."""
        self.entered.set()
        self.let_go.wait(60)
        return doc


# -- odd documents --------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", [{"d": None}, {"d": [3]}, {"d": 7.5}, {"d": [{"no": "descriptor"}]}])
def test_an_odd_bulk_costs_nothing_of_its_group(tmp_path: Path, odd: Doc) -> None:
    """The documents behind it are recorded, and the request to close is answered."""
    documents = run_of(events=10)
    documents.insert(2, ("bulk_events", odd))
    with Writer(tmp_path) as writer:
        feed(writer, documents)
    with connect(tmp_path) as client:
        assert client.sequence_handler(uid_of(documents)).outcome == "completed"
        assert values(client, uid_of(documents)) == [float(n) for n in range(1, 11)]
    assert len(writer.errors) == 1
    assert [path.name for path in writer.spool.glob("*.jsonl")] == ["unrouted.jsonl"]


def test_what_an_odd_document_makes_the_router_raise_costs_that_document_only(tmp_path: Path) -> None:
    """A resource that cannot be hashed where it is looked up, and a name that is no text."""
    documents = run_of(events=4)
    documents.insert(3, ("datum", {"datum_id": "x", "resource": []}))
    with Writer(tmp_path) as writer:
        feed(writer, documents)
        writer.flush()
    with connect(tmp_path) as client:
        assert values(client, uid_of(documents)) == [1.0, 2.0, 3.0, 4.0]
    assert len(writer.errors) == 1


def test_the_report_tells_what_was_parked_and_what_went_to_the_spool(tmp_path: Path) -> None:
    """A run of which documents are missing says so itself."""
    start, descriptor, *events, stop = run_of(events=4)
    broken = ("event", {"descriptor": descriptor[1]["uid"], "data": {}})
    with Writer(tmp_path) as writer:
        feed(writer, [events[0], start, events[1], descriptor, *events[2:], broken, stop])
    with connect(tmp_path) as client:
        report = report_of(client, start[1]["uid"])
    assert (report["parked"], report["quarantined"]) == (2, 1)
    assert [finding["code"] for finding in report["findings"]] == ["spooled"]


# -- datums ---------------------------------------------------------------------------------------


def imaged_run(events: int) -> tuple[Documents, Documents]:
    """Return a run of the old form, and its datums apart."""
    start = start_document()
    keys = {"x": data_key(), "img": data_key("array", (2, 2), external="FILESTORE:")}
    descriptor = descriptor_document(start, keys)
    resource = {
        "uid": "res",
        "run_start": start["uid"],
        "spec": "AD_TIFF",
        "root": "/data",
        "resource_path": "a",
        "resource_kwargs": {},
    }
    numbers = range(1, events + 1)
    shown = [
        event_document(descriptor, n, {"x": float(n), "img": f"res/{n}"}, filled={"img": False})
        for n in numbers
    ]
    datums: Documents = [
        ("datum", {"datum_id": f"res/{n}", "resource": "res", "datum_kwargs": {"point_number": n - 1}})
        for n in numbers
    ]
    run = [
        ("start", start),
        ("descriptor", descriptor),
        ("resource", resource),
        *(("event", event) for event in shown),
        ("stop", stop_document(start)),
    ]
    return run, datums


def test_references_to_datums_that_never_come_are_kept(tmp_path: Path) -> None:
    """Each is a violation with the event's uid and the datum's id."""
    run, _ = imaged_run(events=3)
    with Writer(tmp_path) as writer:
        feed(writer, run)
    with connect(tmp_path) as client:
        topic = client.sequence_handler(uid_of(run)).topic("bluesky/violations")
        rows = [row for batch in topic.scan() for row in batch.to_pylist()]
    assert [row["kind"] for row in rows] == ["unresolved"] * 3
    assert [row["key"] for row in rows] == ["img"] * 3
    assert [json.loads(row["value"]) for row in rows] == ["res/1", "res/2", "res/3"]
    assert [row["uid"] for row in rows] == [doc["uid"] for name, doc in run if name == "event"]


def test_the_report_counts_datums_that_never_come_and_specs_that_nobody_knows(tmp_path: Path) -> None:
    """Beside their findings; two resources of one spec are one, and a report of before these counts reads 0."""
    run, datums = imaged_run(events=5)
    run[2] = ("resource", run[2][1] | {"spec": "OF_NOBODY"})
    run.insert(3, ("resource", run[2][1] | {"uid": "other"}))
    other = ("datum", {"datum_id": "other/1", "resource": "other", "datum_kwargs": {"point_number": 0}})
    run[4][1]["data"]["img"] = "other/1"
    with Writer(tmp_path) as writer:
        feed(writer, [*run[:-1], datums[1], other, run[-1]])
    with connect(tmp_path) as client:
        report = StoredRun(client, uid_of(run)).report
    assert (report["unresolved_datums"], report["unknown_specs"]) == (3, 1)
    codes = Counter(finding["code"] for finding in report["findings"])
    assert codes == {"spec-unknown": 1, "datum-unresolved": 1}
    before = {
        key: value for key, value in report.items() if key not in ("unresolved_datums", "unknown_specs")
    }
    assert RunReport.read(before) == before | {"unresolved_datums": 0, "unknown_specs": 0}
    assert RunReport.read({}) == {}


def test_references_of_a_run_without_stop_are_kept_as_well(tmp_path: Path) -> None:
    """Each is a violation of the interrupted run."""
    (*run, _stop), _ = imaged_run(events=2)
    with Writer(tmp_path) as writer:
        feed(writer, run)
    with connect(tmp_path) as client:
        assert values(client, uid_of(run), "value", "bluesky/violations") == ['"res/1"', '"res/2"']


@pytest.mark.parametrize("again", [False, True])
def test_datums_behind_the_stop_are_joined_with_the_events_of_the_run(tmp_path: Path, again: bool) -> None:
    """They become references to external data in a layer, by this writer or a later one."""
    run, datums = imaged_run(events=3)
    writer = Writer(tmp_path)
    feed(writer, run)
    writer.flush()
    if again:
        writer.close()
        writer = Writer(tmp_path)
        feed(writer, run[:3])
    feed(writer, datums)
    writer.close()
    assert writer.errors == []
    with connect(tmp_path) as client:
        handler = client.sequence_handler(uid_of(run))
        assert handler.layers == ["late-1"]
        assert values(client, handler.name, "uid", "primary/_external") == ["res/1", "res/2", "res/3"]
        assert values(client, handler.name, "seq_start", "primary/_external") == [1, 2, 3]
        assert len(values(client, handler.name, "value", "bluesky/violations")) == 3


# -- a recording that does not keep up -------------------------------------------------------------


@pytest.mark.parametrize("begun", [False, True])
def test_what_found_no_room_can_be_delivered(tmp_path: Path, begun: bool) -> None:
    """It lies in the spool with what it refers to, the run says so, and delivering completes it."""
    held = Held()
    documents = run_of(events=60)
    patched = "event" if begun else "start"
    writer = Writer(tmp_path, patches={patched: held}, max_waiting_documents=20, deadline_s=0.05)
    feed(writer, documents[:3])
    assert held.entered.wait(60)
    feed(writer, documents[3:])
    held.let_go.set()
    writer.close(60)
    uid = uid_of(documents)
    with connect(tmp_path) as client:
        recorded = values(client, uid)
        report = report_of(client, uid)
        assert len(recorded) < 60
        assert report["quarantined"] == 60 - len(recorded)
        assert [finding["code"] for finding in report["findings"]] == ["spooled"]
        delivered = deliver(tmp_path, client, make_normalizer=RunNormalizer)
        assert delivered.findings == []
        assert [run.result for run in delivered.runs] == ["added"]
        assert sorted(values(client, uid)) == [float(n) for n in range(1, 61)]
    assert not list(writer.spool.glob("*.jsonl"))


def test_large_documents_wait_for_room(tmp_path: Path) -> None:
    """The bound is one of bytes as well."""
    held = Held()
    start = start_document()
    descriptor = descriptor_document(start, {"img": data_key("array", (1000,))})
    writer = Writer(tmp_path, patches={"descriptor": held}, max_waiting_bytes=50_000, deadline_s=0.05)
    feed(writer, [("start", start), ("descriptor", descriptor)])
    assert held.entered.wait(60)
    for number in range(1, 31):
        writer("event", event_document(descriptor, number, {"img": np.zeros(1000)}))
    assert writer.waiting < 10
    assert writer.blocked
    held.let_go.set()
    writer.close(60)
    with connect(tmp_path) as client:
        deliver(tmp_path, client, make_normalizer=RunNormalizer)
        assert len(values(client, start["uid"], "img")) == 30


class HangingDisk(Platform):
    """A disk that does not come back from a sync of the spool until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def data_sync(self, fd: int) -> None:
        """Sync, when it may."""
        if "/spool/" in os.readlink(f"/proc/self/fd/{fd}"):
            self.let_go.wait(60)
        super().data_sync(fd)


def test_a_spool_that_hangs_holds_no_call_up(tmp_path: Path) -> None:
    """What finds no room is kept by another thread, and closing waits for it."""
    held, disk = Held(), HangingDisk()
    documents = run_of(events=40)
    with connect(tmp_path, platform=disk) as client:
        writer = Writer(client, patches={"descriptor": held}, max_waiting_documents=5, deadline_s=0.05)
        feed(writer, documents[:2])
        assert held.entered.wait(60)
        feed(writer, documents[2:])
        assert not disk.let_go.is_set()
        disk.let_go.set()
        held.let_go.set()
        writer.close(60)
        deliver(tmp_path, client, make_normalizer=RunNormalizer)
        assert sorted(values(client, uid_of(documents))) == [float(n) for n in range(1, 41)]


def test_a_run_is_known_under_any_name(tmp_path: Path) -> None:
    """A run that was recorded under another pattern is not recorded again."""
    documents = run_of(events=2)
    for pattern in ("{scan_id}-{uid8}", "{uid}"):
        with Writer(tmp_path, name=pattern) as writer:
            feed(writer, documents)
    with connect(tmp_path) as client:
        assert client.list_sequences() == [f"1-{uid_of(documents)[:8]}"]


def test_a_number_of_thousands_of_digits_costs_nothing_else(tmp_path: Path) -> None:
    """Nor does an object that says nothing of itself; the raw values are kept."""

    class Mute:
        def __repr__(self) -> str:
            raise OSError("no connection")

    documents = run_of(events=4, huge=10**5000)
    documents[3][1]["data"]["x"] = Mute()
    documents[4][1]["data"]["x"] = 10**5000
    with Writer(tmp_path) as writer:
        feed(writer, documents)
    with connect(tmp_path) as client:
        assert values(client, uid_of(documents)) == [1.0, None, None, 4.0]
        raw = values(client, uid_of(documents), "value", "bluesky/violations")
    assert decode(raw[1]) == 10**5000
    assert writer.errors == []


def test_a_deadline_of_flush_harms_no_run(tmp_path: Path) -> None:
    """However often it passes, the run is recorded whole."""
    documents = run_of(events=300)
    writer = Writer(tmp_path)
    passed = 0
    for place in range(0, len(documents), 10):
        feed(writer, documents[place : place + 10])
        try:
            writer.flush(1e-6)
        except DeadlinePassed:
            passed += 1
    writer.close()
    assert passed
    assert writer.errors == []
    assert not writer.spool.exists()
    with connect(tmp_path) as client:
        assert client.sequence_handler(uid_of(documents)).outcome == "completed"
        assert len(values(client, uid_of(documents))) == 300


def test_a_call_that_is_still_copying_at_close_is_recorded_or_refused(tmp_path: Path) -> None:
    """It never returns with its document left behind."""
    documents = run_of(events=1)
    copying, closed = threading.Event(), threading.Event()

    class Slow(UserDict[str, Any]):
        """A mapping that is copied while the writer is closed."""

        def keys(self) -> Any:
            """Wait for the close."""
            copying.set()
            closed.wait(60)
            return super().keys()

    refused: list[BaseException] = []
    writer = Writer(tmp_path)
    feed(writer, documents[:2])

    def call() -> None:
        try:
            writer("event", Slow(documents[2][1]))
        except WriterClosed as error:
            refused.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert copying.wait(60)
    writer.close()
    closed.set()
    thread.join(60)
    assert len(refused) == 1
    assert writer.waiting == 0


# -- a process that is killed ---------------------------------------------------------------------

_LATE = """
import os, sys, time
from gapless.bluesky import Writer
from gapless.client.client import connect
from tests.bluesky.recording.run_documents import event_document
from tests.bluesky.writer.runs import feed, run_of
documents = run_of(events=1, uid="run")
writer = Writer(sys.argv[1])
feed(writer, documents)
writer.flush()
give_up = time.monotonic() + 100
number = 1
def durable():
    with connect(sys.argv[1]) as client:
        handler = client.sequence_handler("run")
        return handler.unsealed_layers
while number < 5 or not durable():
    number += 1
    assert time.monotonic() < give_up
    writer("event", event_document(documents[1][1], number, {"x": float(number)}))
    time.sleep(0.2)
writer.flush()  # whenever a slow disk has the last of them
print(number, flush=True)
os.kill(os.getpid(), 9)
"""


def test_late_documents_outlive_the_process_before_the_last_has_come(tmp_path: Path) -> None:
    """They stream into a layer, which can be recovered."""
    done = in_process(_LATE, tmp_path)
    sent = int(done.stdout)
    with connect(tmp_path) as client:
        client.seal("run")
        assert client.sequence_handler("run").layers == ["late-1"]
        assert len(values(client, "run")) == sent


_PARKED = """
import os, sys
from gapless.bluesky import Writer
from tests.bluesky.writer.runs import feed, run_of
documents = run_of(events=50)
writer = Writer(sys.argv[1])
feed(writer, documents[2:-1])
writer.flush()
os.kill(os.getpid(), 9)
"""


def test_parked_documents_outlive_the_process(tmp_path: Path) -> None:
    """What flush has seen is in the spool though it could not be routed yet."""
    in_process(_PARKED, tmp_path)
    (path,) = (tmp_path / "spool").glob("parked-*.jsonl")
    assert len(path.read_bytes().splitlines()) == 50


def test_parked_documents_leave_the_spool_with_their_run(tmp_path: Path) -> None:
    """Nothing waits there once they are durable where they belong."""
    documents = run_of(events=5)
    with Writer(tmp_path) as writer:
        feed(writer, documents[2:-1])
        writer.flush()
        assert len(list(writer.spool.glob("parked-*.jsonl"))) == 1
        feed(writer, [*documents[:2], documents[-1]])
    assert list(writer.spool.glob("*.jsonl")) == []
    assert writer.errors == []
    with connect(tmp_path) as client:
        assert sorted(values(client, uid_of(documents))) == [1.0, 2.0, 3.0, 4.0, 5.0]


_UNTOLD = """
import sys
from pathlib import Path
from gapless.bluesky import Writer
from tests.bluesky.writer.runs import feed, run_of
documents = run_of(events=2)
documents.insert(3, ("event", {"descriptor": documents[1][1]["uid"]}))
writer = Writer(sys.argv[1])
if sys.argv[2] == "refused":
    Path(sys.argv[1], "spool").write_text("a file stands here")
feed(writer, documents)
"""


@pytest.mark.parametrize(
    ("spool", "words"), [("refused", "BackupFailed"), ("kept", "gapless bluesky deliver")]
)
def test_a_process_that_ends_says_what_nobody_was_told(tmp_path: Path, spool: str, words: str) -> None:
    """On its standard error, since the writer was never closed."""
    done = in_process(_UNTOLD, tmp_path, spool)
    assert words in done.stderr
