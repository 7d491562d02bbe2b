"""A writer to a server: as into a folder, whatever becomes of the server."""

from __future__ import annotations

import signal
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.bluesky.network.served_store import ServedStore
from tests.bluesky.recording.run_documents import data_key, descriptor_document, event_document
from tests.bluesky.writer.runs import Documents, feed, run_of, values

import gapless
from gapless.bluesky import StoredRun, Writer, deliver, documents
from gapless.bluesky.delivery_warning import DeliveryWarning
from gapless.bluesky.run_reference import referred_run

PATIENCE_S = 120.0
NOBODY = "grpc://127.0.0.1:9"


def eventually(holds: Callable[[], bool]) -> None:
    """Return when it holds."""
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def uid_of(run: Documents) -> str:
    """Return the uid of a run."""
    return str(run[0][1]["uid"])


def is_sealed(client: gapless.Client, name: str) -> bool:
    """Tell whether the sequence is on the server and sealed."""
    return client.sequence_exists(name) and client.sequence_handler(name).state == "sealed"


def test_a_run_is_on_the_server_when_it_was_flushed(served: ServedStore, here: Path) -> None:
    """A run is on the server when it was flushed, and nothing is left here."""
    served.start()
    run = run_of(20)
    writer = Writer(served.url, name="{scan_id}-{uid8}")
    feed(writer, run)
    writer.flush()
    with gapless.connect(served.url) as client:
        (name,) = client.list_sequences()
        stored = StoredRun(client, name)
        assert (stored.outcome, stored.uid, stored.report["documents"]["event"]) == (
            "completed",
            uid_of(run),
            20,
        )
        assert values(client, name) == [float(n) for n in range(1, 21)]
        assert next(documents(client.sequence_handler(name)))[1]["uid"] == uid_of(run)
        assert referred_run(client, uid_of(run)[:8]) == referred_run(client, "@last") == name
    assert served.url in repr(writer)
    writer.close()
    assert writer.errors == []
    assert writer.spool == here / "spool"
    assert not list(here.glob("spool/*"))


def test_a_run_by_its_url_is_read_after_the_call(served: ServedStore, here: Path) -> None:
    """A run that was opened by URL and name can be read."""
    served.start()
    run = run_of(3)
    with Writer(served.url) as writer:
        feed(writer, run)
    stored = StoredRun(served.url, uid_of(run))
    assert stored["primary"].read(["x"])["x"].to_pylist() == [1.0, 2.0, 3.0]
    assert here.name == "here"


def test_late_documents_become_a_layer_on_the_server(served: ServedStore, here: Path, tmp_path: Path) -> None:
    """Late documents become a layer, read alone and with its base, as in a folder."""
    served.start()
    run = run_of(5)
    descriptor = run[1][1]
    late = [("event", event_document(descriptor, n, {"x": float(n)})) for n in (6, 7)]
    late[0][1]["time"] = run[3][1]["time"]  # among those of the base
    other = descriptor_document(run[0][1], {"y": data_key()}, name="second")
    more = [("descriptor", other), ("event", event_document(other, 1, {"y": 1.0}))]
    for target in (served.url, str(tmp_path / "folder")):
        with Writer(target) as writer:
            feed(writer, run)
            writer.flush()
            feed(writer, late)
            writer.flush()
            feed(writer, [*late, *more])
        assert writer.errors == []
    name = uid_of(run)
    with gapless.connect(served.url) as client, gapless.connect(tmp_path / "folder") as folder:
        there, local = StoredRun(client, name), StoredRun(folder, name)
        assert client.sequence_handler(name).layers == ["late-1", "late-2"]
        assert list(documents(there)) == list(documents(local))
        assert list(documents(there, pages=True)) == list(documents(local, pages=True))
        assert there["primary"].read().equals(local["primary"].read())
        assert there["primary"].rows == 7
        assert [part.topics.keys() for part in there.parts] == [part.topics.keys() for part in local.parts]
    assert not list(here.glob("spool/*"))


def test_a_server_killed_in_the_middle_costs_nothing(served: ServedStore, here: Path) -> None:
    """What comes while the server is dead is delivered when it is back, the run whole and once."""
    served.start()
    run, after = run_of(300), run_of(3)
    writer = Writer(served.url)
    feed(writer, run[:100])
    writer.flush()
    served.kill()
    feed(writer, run[100:])
    feed(writer, after)
    writer.flush(PATIENCE_S)
    assert {path.name for path in here.glob("spool/*") if path.is_dir()} == {uid_of(run), uid_of(after)}
    served.start()
    with gapless.connect(served.url) as client:
        for each in (run, after):
            eventually(partial(is_sealed, client, uid_of(each)))
            assert StoredRun(client, uid_of(each)).outcome == "completed"
        assert values(client, uid_of(run)) == [float(n) for n in range(1, 301)]
        writer.close()
        assert not list(here.glob("spool/*.jsonl"))
        assert sorted(client.list_sequences()) == sorted([uid_of(run), uid_of(after)])


def test_a_server_back_at_once_is_written_to_again(served: ServedStore, here: Path) -> None:
    """A server that is killed and started again at once has the run, with nothing in the spool."""
    served.start()
    run = run_of(300)
    with Writer(served.url) as writer:
        feed(writer, run[:100])
        writer.flush()
        served.kill()
        served.start()
        feed(writer, run[100:])
    with gapless.connect(served.url) as client:
        eventually(lambda: is_sealed(client, uid_of(run)))
        assert values(client, uid_of(run)) == [float(n) for n in range(1, 301)]
    assert not list(here.glob("spool/*.jsonl"))


def test_a_server_that_was_never_there(served: ServedStore, here: Path) -> None:
    """Runs wait here, the person is told, and the next writer delivers them; a late document waits in its file."""
    run = run_of(50)
    writer = Writer(served.url, name="{plan_name}-{uid8}")
    feed(writer, run)
    writer.flush(PATIENCE_S)
    assert list(writer.reports) == [uid_of(run)]
    name = f"{run[0][1]['plan_name']}-{uid_of(run)[:8]}"
    late = event_document(run[1][1], 51, {"x": 51.0})
    writer("event", late)
    with pytest.warns(
        DeliveryWarning, match=rf"1 run not on the server {served.url}.*bluesky deliver {here}"
    ):
        writer.close(PATIENCE_S)
    assert [path.name for path in here.glob("spool/*.jsonl")] == [f"{uid_of(run)}.jsonl"]
    served.start()
    with Writer(served.url) as again, gapless.connect(served.url) as client:
        eventually(lambda: is_sealed(client, name))
        assert again.errors == []
        assert deliver(here, client).exit_code == 0
        stored = StoredRun(client, name)
        assert stored["primary"].read(["x"])["x"].to_pylist() == [float(n) for n in range(1, 52)]
        assert client.sequence_handler(name).layers == ["late-1"]
        assert deliver(here, client).runs == []
    assert [path.name for path in here.glob("spool/delivered/*")] == [f"{uid_of(run)}.jsonl"]


def test_on_error_raise_tells_of_runs_that_wait(served: ServedStore, here: Path) -> None:
    """With on_error="raise" close() raises for a run that waits here; during the plan nothing is raised."""
    writer = Writer(served.url, on_error="raise")
    feed(writer, run_of(5))
    writer.flush(PATIENCE_S)
    with pytest.raises(gapless.errors.DeliveryFailed, match="waits in the spool"):
        writer.close(PATIENCE_S)
    assert len(list(here.glob("spool/*"))) >= 1


@pytest.mark.parametrize("as_errors", [False, True])
def test_on_error_raise_warns_of_the_runs_it_does_not_raise(here: Path, *, as_errors: bool) -> None:
    """One error names one run; that there are more is a warning, or a note where warnings are errors."""
    writer = Writer(NOBODY, on_error="raise")
    for _ in range(3):
        feed(writer, run_of(2))
    writer.flush(PATIENCE_S)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error" if as_errors else "always")
        with pytest.raises(gapless.errors.DeliveryFailed, match="waits in the spool") as raised:
            writer.close(PATIENCE_S)
    told = getattr(raised.value, "__notes__", []) if as_errors else [str(each.message) for each in caught]
    assert len(told) == 1
    assert f"3 runs not on the server {NOBODY}" in told[0]
    assert f"gapless bluesky deliver {here}" in told[0]


def test_a_warning_that_is_an_error_does_not_hide_what_ended_the_block(here: Path) -> None:
    """It is a note of the caller's own error; a block that ended well raises it."""

    def plan(error: BaseException | None) -> None:
        with Writer(NOBODY) as writer:
            feed(writer, run_of(2))
            writer.flush(PATIENCE_S)
            if error is not None:
                raise error

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ZeroDivisionError) as raised:
            plan(ZeroDivisionError("the plan's"))
        with pytest.raises(DeliveryWarning, match=f"gapless bluesky deliver {here}"):
            plan(None)
    assert "1 run not on the server" in raised.value.__notes__[0]


def test_a_lost_document_hides_no_run_that_waits(here: Path) -> None:
    """BackupFailed is raised, and the run is warned of all the same."""
    writer = Writer(NOBODY)
    feed(writer, run_of(2))
    writer.flush(PATIENCE_S)
    (here / "spool" / "unrouted.jsonl").mkdir()
    writer("event", {"no": "descriptor"})
    eventually(lambda: any(isinstance(error, gapless.errors.BackupFailed) for error in writer.errors))
    with (
        pytest.warns(DeliveryWarning, match=f"1 run not on the server {NOBODY}"),
        pytest.raises(gapless.errors.BackupFailed),
    ):
        writer.close(PATIENCE_S)


@pytest.mark.parametrize("on_error", ["spool", "raise"])
@pytest.mark.parametrize("damage", ["cut", "a folder"])
def test_a_spool_that_cannot_be_read_keeps_no_writer_open(
    here: Path, damage: str, on_error: Literal["spool", "raise"]
) -> None:
    """The connection ends, and that nobody knows what waits is told."""
    writer = Writer(NOBODY, on_error=on_error)
    feed(writer, run_of(2))
    writer.flush(PATIENCE_S)
    identity = here / "gapless.json"
    identity.unlink()
    if damage == "cut":
        identity.write_text("{")
    else:
        identity.mkdir()
    raised: AbstractContextManager[Any] = nullcontext()
    if on_error == "raise":
        raised = pytest.raises(gapless.errors.DeliveryFailed, match="nobody can tell which runs wait")
    with pytest.warns(UserWarning, match="cannot be read, so that nobody knows what waits"), raised:
        writer.close(PATIENCE_S)
    assert writer.has_ended
    assert writer.waiting == 0


def test_a_stopped_server_is_waited_for_by_nobody(served: ServedStore, here: Path) -> None:
    """A server that takes connections and never answers does not hold up the plan; its run is delivered later."""
    served.start()
    served.signal(signal.SIGSTOP)
    run = run_of(500)
    writer = Writer(served.url)
    feed(writer, run)
    assert writer.blocked == 0
    eventually(lambda: writer.waiting == 0)
    served.signal(signal.SIGCONT)
    with gapless.connect(served.url) as client:
        writer.close(PATIENCE_S)
        eventually(lambda: is_sealed(client, uid_of(run)))
        assert values(client, uid_of(run)) == [float(n) for n in range(1, 501)]
    assert not list(here.glob("spool/*.jsonl"))


def test_a_client_without_a_spool_loses_nothing(served: ServedStore, here: Path) -> None:
    """With a client of one's own and no spool in it, documents go to the spool of documents."""
    run = run_of(5)
    with gapless.connect(served.url) as client:
        with Writer(client) as writer:
            feed(writer, run)
        assert {error.sequence for error in writer.errors} == {uid_of(run)}
        assert {type(error) for error in writer.errors} == {gapless.errors.Unreachable}
        assert [path.name for path in here.glob("spool/*.jsonl")] == [f"{uid_of(run)}.jsonl"]
        served.start()
        report: Any = deliver(here, client)
        assert [(one.uid, one.result, one.stop) for one in report.runs] == [
            (uid_of(run), "recorded", "delivered")
        ]
        assert values(client, uid_of(run)) == [1.0, 2.0, 3.0, 4.0, 5.0]
