"""The callback: what it is given is recorded or spooled, and the caller hears of what is neither."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
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
from tests.bluesky.writer.runs import Doc, feed, run_of, values
from tests.cli.conftest import environment

import gapless
from gapless.bluesky.backup_files import TornLine, read_backup
from gapless.bluesky.normalizer import RunNormalizer
from gapless.bluesky.writer import Writer
from gapless.client.client import connect
from gapless.errors import (
    ArgumentRefused,
    BackupFailed,
    DeadlinePassed,
    DocumentFailed,
    DocumentRefused,
    RecordingFailed,
    StorageFailed,
    WriterClosed,
)
from gapless.store.platform import Platform


def spooled(writer: Writer) -> list[tuple[str, Doc]]:
    """Return the documents in the spool, file after file."""
    return [
        (found[0], dict(found[1]))
        for path in sorted(writer.spool.glob("*.jsonl"))
        for found in read_backup(path)
        if not isinstance(found, TornLine)
    ]


def until(true: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    give_up = time.monotonic() + 60
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.01)


class TakenOverDisk(Platform):
    """A disk that refuses, from a moment on, what is written to files of which the path holds a word."""

    def __init__(self) -> None:
        self.refused: tuple[str, ...] = ()

    def write(self, fd: int, buffers: Any) -> int:
        """Write, or refuse."""
        self._check(fd)
        return super().write(fd, buffers)

    def data_sync(self, fd: int) -> None:
        """Sync, or refuse."""
        self._check(fd)
        super().data_sync(fd)

    def _check(self, fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if any(word in path for word in self.refused):
            raise OSError(errno.ENOSPC, "no space left on device", path)


# -- runs -----------------------------------------------------------------------------------------


def test_interleaved_runs_become_sequences(tmp_path: Path) -> None:
    """Interleaved runs become sequences."""
    one, two = run_of(events=40, scan_id=1), run_of(events=40, scan_id=2)
    with Writer(tmp_path, name="{scan_id}-{uid8}") as writer:
        for pair in zip(one, two, strict=True):
            feed(writer, pair)
    names = [f"{run[0][1]['scan_id']}-{run[0][1]['uid'][:8]}" for run in (one, two)]
    with connect(tmp_path) as client:
        assert sorted(client.list_sequences()) == names
        for name in names:
            assert client.sequence_handler(name).outcome == "completed"
            assert values(client, name) == [float(n) for n in range(1, 41)]
    assert writer.errors == []
    assert {report.streams["primary"].rows for report in writer.reports.values()} == {40}
    assert not writer.spool.exists()


def test_a_buffer_that_is_filled_again_changes_nothing(tmp_path: Path) -> None:
    """A buffer that is filled again changes nothing."""
    start = start_document()
    descriptor = descriptor_document(start, {"line": data_key("array", (3,))})
    buffer = np.zeros(3)
    with Writer(tmp_path) as writer:
        feed(writer, [("start", start), ("descriptor", descriptor)])
        for number in range(1, 51):
            buffer[:] = number
            event = event_document(descriptor, number, {"line": buffer})
            writer("event", event)
            event["data"]["line"] = None
        buffer[:] = -1
        writer("stop", stop_document(start))
    with connect(tmp_path) as client:
        assert values(client, start["uid"], "line") == [[float(n)] * 3 for n in range(1, 51)]


def test_flush_makes_durable_what_an_open_run_has(tmp_path: Path) -> None:
    """Flush makes durable what an open run has."""
    *documents, stop = run_of(events=5)
    with Writer(tmp_path, group_s=10.0) as writer:
        feed(writer, documents)
        writer.flush()
        with connect(tmp_path) as client:
            uid = documents[0][1]["uid"]
            assert client.sequence_handler(uid).state == "open"
            assert values(client, uid) == [1.0, 2.0, 3.0, 4.0, 5.0]
        writer(*stop)
        writer.flush()
        with connect(tmp_path) as client:
            assert client.sequence_handler(uid).outcome == "completed"


def test_a_run_without_stop_is_sealed_as_interrupted(tmp_path: Path) -> None:
    """A run without stop is sealed as interrupted."""
    *documents, _stop = run_of()
    with Writer(tmp_path) as writer:
        feed(writer, documents)
    with connect(tmp_path) as client:
        handler = client.sequence_handler(documents[0][1]["uid"])
        assert handler.outcome == "interrupted"
        assert values(client, handler.name) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("status", "outcome"), [("success", "completed"), ("abort", "aborted"), ("fail", "failed")]
)
def test_the_stop_decides_the_outcome(tmp_path: Path, status: str, outcome: str) -> None:
    """The stop decides the outcome."""
    documents = run_of()
    documents[-1][1]["exit_status"] = status
    with Writer(tmp_path) as writer:
        feed(writer, documents)
    with connect(tmp_path) as client:
        assert client.sequence_handler(documents[0][1]["uid"]).outcome == outcome


def test_documents_in_any_order_end_in_the_run(tmp_path: Path) -> None:
    """Documents in any order end in the run."""
    start, descriptor, *events, stop = run_of(events=4)
    with Writer(tmp_path) as writer:
        feed(writer, [events[0], descriptor, events[1], start, *events[2:], stop])
    with connect(tmp_path) as client:
        assert sorted(values(client, start[1]["uid"])) == [1.0, 2.0, 3.0, 4.0]
    assert writer.errors == []


def test_late_documents_become_one_layer_and_known_ones_none(tmp_path: Path) -> None:
    """Late documents become one layer and known ones none."""
    documents = run_of(events=3)
    descriptor = documents[1][1]
    late = [("event", event_document(descriptor, n, {"x": float(n)})) for n in (4, 5)]
    with Writer(tmp_path) as writer:
        feed(writer, documents)
        writer.flush()
        feed(writer, [late[0], documents[2], late[1], documents[-1]])
    with connect(tmp_path) as client:
        handler = client.sequence_handler(documents[0][1]["uid"])
        assert handler.layers == ["late-1"]
        assert sorted(values(client, handler.name)) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert writer.errors == []


def test_late_documents_are_written_while_the_writer_idles(tmp_path: Path) -> None:
    """Late documents are written while the writer idles."""
    documents = run_of(events=1)
    uid = documents[0][1]["uid"]
    with Writer(tmp_path) as writer:
        feed(writer, documents)
        writer.flush()
        writer("event", event_document(documents[1][1], 2, {"x": 2.0}))
        with connect(tmp_path) as client:
            until(lambda: client.sequence_exists(uid) and client.sequence_handler(uid).layers == ["late-1"])


def test_replaying_a_recorded_run_changes_nothing(tmp_path: Path) -> None:
    """Replaying a recorded run changes nothing."""
    documents = run_of()
    for _ in range(2):
        with Writer(tmp_path) as writer:
            feed(writer, documents)
        assert writer.errors == []
    with connect(tmp_path) as client:
        assert client.list_sequences() == [documents[0][1]["uid"]]
        assert client.sequence_handler(documents[0][1]["uid"]).layers == []
    assert not writer.spool.exists()


def test_two_runs_of_one_name_are_both_recorded(tmp_path: Path) -> None:
    """Two runs of one name are both recorded."""
    one, two = run_of(uid="12345678-one"), run_of(uid="12345678-two")
    with Writer(tmp_path, name="{scan_id}-{uid8}") as writer:
        feed(writer, [*one, *two])
    with connect(tmp_path) as client:
        assert sorted(client.list_sequences()) == ["1-12345678", "12345678-two"]


# -- what goes wrong ------------------------------------------------------------------------------


def test_a_document_that_makes_no_sense_waits_behind_its_run_in_the_spool(tmp_path: Path) -> None:
    """A document that makes no sense waits behind its run in the spool."""
    documents = run_of(events=3)
    broken = {"descriptor": documents[1][1]["uid"], "data": {"x": 9.0}}
    documents.insert(3, ("event", broken))
    with Writer(tmp_path) as writer:
        feed(writer, documents)
    assert [name for name, _ in spooled(writer)] == ["start", "descriptor", "event"]
    assert spooled(writer)[-1][1] == broken
    (error,) = writer.errors
    assert (type(error), error.sequence) == (DocumentRefused, documents[0][1]["uid"])
    with connect(tmp_path) as client:
        assert values(client, documents[0][1]["uid"]) == [1.0, 2.0, 3.0]


def test_a_patch_that_raises_costs_its_documents_only(tmp_path: Path) -> None:
    """A patch that raises costs its documents only."""

    def patch(doc: Doc) -> Doc:
        if doc["seq_num"] == 2:
            raise ZeroDivisionError("a patch of the user")
        return doc

    one, two = run_of(events=3), run_of(events=1)
    with Writer(tmp_path, patches={"event": patch}) as writer:
        feed(writer, [*one, *two])
    (error,) = writer.errors
    assert (type(error), error.sequence) == (DocumentFailed, one[0][1]["uid"])
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert [name for name, _ in spooled(writer)] == ["start", "descriptor", "event"]
    with connect(tmp_path) as client:
        assert values(client, one[0][1]["uid"]) == [1.0, 3.0]
        assert values(client, two[0][1]["uid"]) == [1.0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("uid", 5),
        ("uid", None),
        ("seq_num", None),
        ("seq_num", "two"),
        ("seq_num", 2**70),
        ("time", None),
        ("time", "noon"),
        ("data", None),
        ("data", {"x": object()}),
        ("timestamps", {"x": 2**2000}),
    ],
)
def test_an_odd_event_costs_no_other(tmp_path: Path, key: str, value: Any) -> None:
    """Every event of a batch with an odd one in it is in its topic or in the spool."""
    documents = run_of(events=6)
    documents[4][1][key] = value
    with Writer(tmp_path) as writer:
        feed(writer, documents)
    with connect(tmp_path) as client:
        recorded = values(client, documents[0][1]["uid"], "seq_num")
    kept = [doc["seq_num"] for name, doc in spooled(writer) if name == "event"]
    assert {1, 2, 4, 5, 6} <= {*recorded, *kept}
    assert documents[4][1]["seq_num"] in [*recorded, *kept]


class NoNormalizer(RunNormalizer):
    """Cannot be made."""

    def __init__(self) -> None:
        raise OSError("no table of specs")


def test_a_run_that_cannot_begin_goes_to_the_spool_whole(tmp_path: Path) -> None:
    """A run that cannot begin goes to the spool whole."""
    documents = run_of()
    with Writer(tmp_path, normalizer=NoNormalizer) as writer:
        feed(writer, documents)
    assert spooled(writer) == documents
    (error,) = writer.errors
    assert (type(error), error.sequence) == (DocumentFailed, documents[0][1]["uid"])
    assert isinstance(error.__cause__, OSError)


def test_when_the_sequence_fails_all_that_is_not_durable_is_in_the_spool(tmp_path: Path) -> None:
    """When the sequence fails all that is not durable is in the spool."""
    disk = TakenOverDisk()
    healthy, documents = run_of(events=2), run_of(events=20)
    uid = documents[0][1]["uid"]
    with connect(tmp_path, platform=disk) as client:
        writer = Writer(client)
        feed(writer, documents[:12])
        writer.flush()
        disk.refused = (f"sequences/{uid}",)
        feed(writer, documents[12:])
        feed(writer, healthy)
        writer.close()
        assert any(isinstance(error, RecordingFailed) for error in writer.errors)
        found = spooled(writer)
        assert [name for name, _ in found[:2]] == ["start", "descriptor"]
        kept = set(values(client, uid)) | {doc["data"]["x"] for name, doc in found if name == "event"}
        assert kept == {float(n) for n in range(1, 21)}
        assert found[-1][0] == "stop"
        assert client.sequence_handler(uid).outcome != "completed"
        assert client.sequence_handler(healthy[0][1]["uid"]).outcome == "completed"


def test_when_the_spool_fails_as_well_the_caller_hears_of_it(tmp_path: Path) -> None:
    """When the spool fails as well the caller hears of it."""
    disk = TakenOverDisk()
    with connect(tmp_path, platform=disk) as client:
        writer = Writer(client)
        disk.refused = ("/spool/",)
        writer("event", {"no": "descriptor"})
        until(lambda: any(isinstance(error, BackupFailed) for error in writer.errors))
        with pytest.raises(BackupFailed):
            writer("start", start_document())
        writer.close()


def test_every_error_names_its_run_whatever_the_sequence_is_called(tmp_path: Path) -> None:
    """Also where only the first letters of the uid are in the sequence's name."""
    disk = TakenOverDisk()
    documents = run_of(events=20)
    uid = documents[0][1]["uid"]
    with connect(tmp_path, platform=disk) as client:
        writer = Writer(client, name="{scan_id}-{uid8}")
        writer("event", {"descriptor": "of no run"})
        feed(writer, documents[:2])
        feed(writer, [("event", {"descriptor": documents[1][1]["uid"], "data": {"x": 9.0}})])
        writer.flush()
        disk.refused = ("sequences/1-",)
        feed(writer, documents[2:])
        writer.close()
    *of_run, stray = sorted(writer.errors, key=lambda error: error.sequence is None)
    assert (type(stray), stray.sequence) == (DocumentRefused, None)
    assert {type(error) for error in of_run} >= {DocumentRefused, StorageFailed}
    assert all(uid in str(error) for error in of_run)


def test_on_error_raise_tells_at_the_next_call_and_takes_its_document(tmp_path: Path) -> None:
    """On error raise tells at the next call and takes its document."""
    documents = run_of()
    writer = Writer(tmp_path, on_error="raise")
    writer("event", {"no": "descriptor"})
    until(lambda: bool(writer.errors))
    with pytest.raises(DocumentRefused):
        writer(*documents[0])
    feed(writer, documents[1:])
    writer("event", {"no": "descriptor either"})
    with pytest.raises(DocumentRefused):
        writer.close()
    writer.close()
    with connect(tmp_path) as client:
        assert client.sequence_handler(documents[0][1]["uid"]).outcome == "completed"


def test_a_recording_that_does_not_keep_up_costs_the_deadline_once(tmp_path: Path) -> None:
    """A recording that does not keep up costs the deadline once."""
    held, entered = threading.Event(), threading.Event()

    def patch(doc: Doc) -> Doc:
        entered.set()
        held.wait(60)
        return doc

    documents = run_of(events=30)
    writer = Writer(
        tmp_path, patches={"descriptor": patch}, max_waiting_documents=10, deadline_s=0.2, group_s=0.001
    )
    feed(writer, documents[:2])
    assert entered.wait(60)
    feed(writer, documents[2:])
    held.set()
    writer.close(60)
    assert writer.blocked >= 1
    with connect(tmp_path) as client:
        recorded = values(client, documents[0][1]["uid"])
    kept = [doc["data"]["x"] for name, doc in spooled(writer) if name == "event"]
    assert kept
    assert sorted(recorded + kept) == [float(n) for n in range(1, 31)]


def test_what_is_no_document_is_kept_as_text(tmp_path: Path) -> None:
    """What is no document is kept as text."""
    itself: Doc = {"uid": "x"}
    itself["itself"] = itself
    with Writer(tmp_path) as writer:
        writer("event", itself)
        writer("nonsense", {"uid": "y"})
    assert sorted(name for name, _ in spooled(writer)) == ["event", "nonsense"]


def test_flush_has_a_deadline(tmp_path: Path) -> None:
    """Flush has a deadline."""
    held = threading.Event()

    def patch(doc: Doc) -> Doc:
        held.wait(60)
        return doc

    with Writer(tmp_path, patches={"start": patch}) as writer:
        feed(writer, run_of())
        with pytest.raises(DeadlinePassed):
            writer.flush(0.05)
        held.set()


def test_after_close_nothing_is_taken(tmp_path: Path) -> None:
    """After close nothing is taken."""
    writer = Writer(tmp_path)
    writer.close()
    writer.close()
    with pytest.raises(WriterClosed, match="make a new writer") as refused:
        writer("start", start_document())
    assert refused.value.code == "E305"


@pytest.mark.parametrize(
    "options",
    [{"name": "{scan_id}"}, {"on_error": "ignore"}, {"max_waiting_documents": 0}, {"deadline_s": -1.0}],
)
def test_options_that_mean_nothing_are_refused(tmp_path: Path, options: Mapping[str, Any]) -> None:
    """Options that mean nothing are refused."""
    with pytest.raises(ArgumentRefused):
        Writer(tmp_path, **options)


# -- the process ----------------------------------------------------------------------------------

_EXIT = """
import sys
from gapless.bluesky import Writer
from tests.bluesky.writer.runs import feed, run_of
documents = run_of(events=1000)
print(documents[0][1]["uid"])
writer = Writer(sys.argv[1])
feed(writer, documents)
if sys.argv[2] == "forget":
    del writer
"""


@pytest.mark.parametrize("how", ["keep", "forget"])
def test_a_process_that_ends_without_close_has_recorded_everything(tmp_path: Path, how: str) -> None:
    """A process that ends without close has recorded everything."""
    done = subprocess.run(
        [sys.executable, "-c", _EXIT, str(tmp_path), how],
        env=environment(),
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    with connect(tmp_path) as client:
        uid = done.stdout.strip()
        assert client.sequence_handler(uid).outcome == "completed"
        assert len(values(client, uid)) == 1000


_FORK = """
import os, sys
from gapless.bluesky import Writer
from gapless.errors import WrongProcess
from tests.bluesky.writer.runs import feed, run_of
*documents, stop = run_of(events=10)
writer = Writer(sys.argv[1])
feed(writer, documents)
child = os.fork()
if child == 0:
    try:
        writer(*stop)
    except WrongProcess:
        sys.exit(3)
    sys.exit(4)
_, status = os.waitpid(child, 0)
writer(*stop)
writer.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_child_neither_writes_nor_ends_the_parents_run(tmp_path: Path) -> None:
    """A forked child neither writes nor ends the parents run."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORK, str(tmp_path)],
        env=environment(),
        cwd=Path(__file__).parents[3],
        timeout=100,
        check=False,
    )
    assert done.returncode == 3
    with connect(tmp_path) as client:
        (name,) = client.list_sequences()
        assert client.sequence_handler(name).outcome == "completed"
        assert len(values(client, name)) == 10


def test_importing_the_package_imports_neither_bluesky_nor_a_file_format() -> None:
    """Importing the package imports neither bluesky nor a file format."""
    program = (
        "import sys, gapless.bluesky; from gapless.bluesky import Writer, RunRouter, deliver\n"
        "heavy = {'bluesky', 'event_model', 'tiled', 'h5py', 'pandas', 'bluesky_tiled_plugins', 'pydantic'}\n"
        "sys.exit(len(heavy & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], env=environment(), check=True, timeout=100)
    light = "import sys, gapless.bluesky; sys.exit(len({'numpy', 'pyarrow'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", light], env=environment(), check=True, timeout=100)
    assert set(gapless.bluesky.__all__) == set(dir(gapless.bluesky))


def test_the_function_keeps_its_name_beside_the_module() -> None:
    """``gapless.bluesky.documents`` is the function, however its module was imported before."""
    program = (
        "import gapless.bluesky.document_source; from gapless.bluesky.document_source import documents\n"
        "import gapless.bluesky; assert gapless.bluesky.documents is documents; assert callable(documents)"
    )
    subprocess.run([sys.executable, "-c", program], env=environment(), check=True, timeout=100)
