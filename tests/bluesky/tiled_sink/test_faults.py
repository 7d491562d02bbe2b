"""What goes wrong between a recording and a Tiled server loses no row and writes none twice."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from tests.bluesky.recording.run_documents import event_document
from tests.bluesky.tiled_server import TiledServer
from tests.bluesky.tiled_sink.cutting_proxy import CuttingProxy
from tests.bluesky.tiled_sink.sample_runs import eventually, full_run, scalar_run, seq_nums, uid_of
from tests.bluesky.tiled_sink.test_sink import PATIENCE_S, feed

import gapless
from gapless.bluesky.delivery_report import Delivery
from gapless.bluesky.tiled_sink.claim import Claim
from gapless.bluesky.tiled_sink.deliver_run import deliver_documents, deliver_run
from gapless.bluesky.tiled_sink.run_sender import sealed_runs, send_runs
from gapless.bluesky.tiled_sink.server import Server
from gapless.bluesky.tiled_writer import TiledWriter
from gapless.bluesky.writer import Writer
from gapless.errors import DeliveryFailed, SequenceOwned

ROOT = Path(__file__).parents[3]
NOBODY = "http://127.0.0.1:1/api/v1"

pytestmark = pytest.mark.filterwarnings("ignore:.* not on the Tiled server")


@pytest.mark.crash
def test_a_server_killed_in_the_middle_has_everything_once_after_its_return(
    server: TiledServer, tmp_path: Path
) -> None:
    """Rows before, during and after the outage; nothing twice, and the run leaves the store."""
    run = full_run(40)
    uid = uid_of(run)
    writer = TiledWriter.from_uri(server.url, backup_directory=tmp_path / "store")
    feed(writer, run[:15])
    writer.flush(PATIENCE_S)
    assert seq_nums(server.client(), uid) == list(range(1, 14))
    server.kill()
    try:
        feed(writer, run[15:30])
        writer.flush(1.0)
    finally:
        server.start()
    feed(writer, run[30:])
    writer.close(PATIENCE_S)
    assert seq_nums(server.client(), uid) == list(range(1, 41))
    assert server.client()[uid]["primary"]["large"].read()[:, 0, 0].tolist() == list(range(1, 41))
    assert writer.delivered[uid].is_whole
    with gapless.connect(tmp_path / "store") as store:
        assert store.list_sequences() == []


@pytest.mark.parametrize("method", [b"PATCH", b"POST", b"PUT"])
def test_an_answer_that_is_lost_doubles_nothing(server: TiledServer, tmp_path: Path, method: bytes) -> None:
    """The server did what was asked and the answer never came: it is looked up, not done again."""
    run = full_run(20)
    uid = uid_of(run)
    with CuttingProxy(server.port, method=method, cuts=2) as proxy:
        writer = TiledWriter.from_uri(TiledServer.url_at(proxy.port), backup_directory=tmp_path)
        for first in (0, 8, 16):
            feed(writer, run[first : first + 8])
            writer.flush(PATIENCE_S)
        writer.close(PATIENCE_S)
        assert proxy.lost == 2
    assert seq_nums(server.client(), uid) == list(range(1, 21))
    assert server.client()[uid]["primary"]["large"].shape[0] == 20
    assert "stop" in server.client()[uid].metadata
    assert writer.delivered[uid].is_whole


def test_a_late_event_whose_delivery_fails_at_first_keeps_the_run_here(
    server: TiledServer, tmp_path: Path
) -> None:
    """The run is there, its layer is not yet: it leaves the store only after the layer was brought as well."""
    run = scalar_run(3)
    uid = uid_of(run)
    with CuttingProxy(server.port, method=b"GET", cuts=0) as proxy:
        writer = TiledWriter.from_uri(TiledServer.url_at(proxy.port), backup_directory=tmp_path)
        feed(writer, run)
        eventually(lambda: uid in server.client() and "stop" in server.client()[uid].metadata)
        proxy.cuts_left = 4
        writer("event", event_document(run[1][1], 4, {"x": 2.0}))
        writer.close(PATIENCE_S)
        assert proxy.lost == 4
    assert seq_nums(server.client(), uid) == [1, 2, 3, 4]
    with gapless.connect(tmp_path) as store:
        assert store.was_discarded(uid)


def test_delivering_through_lost_answers_doubles_nothing(server: TiledServer) -> None:
    """The same for a run that is delivered afterwards, in small batches."""
    run = scalar_run(12)
    with CuttingProxy(server.port, method=b"PATCH", cuts=2) as proxy:
        target = Server.of_url(TiledServer.url_at(proxy.port))
        assert deliver_documents(lambda: run, target, batch_rows=3).is_whole
        target.close()
        assert proxy.lost == 2
    assert seq_nums(server.client(), uid_of(run)) == list(range(1, 13))


def test_a_run_left_behind_is_taken_up_by_the_next_writer(server: TiledServer, tmp_path: Path) -> None:
    """Recorded while the server was away: whoever opens the store for that server delivers it, once."""
    run = scalar_run(6)
    uid = uid_of(run)
    url = server.url
    server.pause()
    try:
        writer = TiledWriter.from_uri(url, backup_directory=tmp_path)
        feed(writer, run)
        writer.close(2.0)
    finally:
        server.resume()
    for _ in range(2):
        TiledWriter.from_uri(url, backup_directory=tmp_path).close(PATIENCE_S)
    eventually(lambda: uid in server.client())
    eventually(lambda: "stop" in server.client()[uid].metadata)
    assert seq_nums(server.client(), uid) == [1, 2, 3, 4, 5, 6]


@pytest.mark.crash
def test_a_killed_engine_leaves_a_run_that_the_next_writer_completes(
    server: TiledServer, tmp_path: Path
) -> None:
    """kill -9: every durable row reaches the server once; the run is interrupted here and has no stop there."""
    uid = str(uuid.uuid4())
    words = [sys.executable, "-m", "tests.bluesky.tiled_sink.killed_engine"]
    words += [server.url, str(tmp_path / "store"), uid, "50"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment, cwd=ROOT) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline() == b"flushed\n"
        engine.kill()
    for _ in range(2):
        TiledWriter.from_uri(server.url, backup_directory=tmp_path / "store").close(PATIENCE_S)
    metadata = server.client()[uid].metadata
    assert seq_nums(server.client(), uid) == list(range(1, 51))
    assert "stop" not in metadata
    assert metadata["gapless"]["outcome"] == "interrupted"
    with gapless.connect(tmp_path / "store") as store:
        assert store.sequence_handler(uid).outcome == "interrupted"


def test_a_recorded_run_is_delivered_on_request(server: TiledServer, target: Server, tmp_path: Path) -> None:
    """deliver_run takes any sequence of the store to a server, twice without a difference."""
    run = full_run(7)
    writer = TiledWriter.from_uri(NOBODY, backup_directory=tmp_path)
    feed(writer, run)
    writer.close(2.0)
    with gapless.connect(tmp_path) as store:
        for _ in range(2):
            delivered = deliver_run(store.sequence_handler(uid_of(run)), target, validate=True)
            assert delivered.is_whole
            assert delivered.rows == 7
    assert seq_nums(server.client(), uid_of(run)) == list(range(1, 8))


@pytest.mark.parametrize("way", ["at the next call", "at close"])
def test_on_error_raise_raises_what_a_dead_server_did_not_take(tmp_path: Path, way: str) -> None:
    """Nobody listens: the plan hears of it when it lasts, and of each run at the end, sealed here and spooled."""
    runs = [scalar_run(4), scalar_run(4)]
    writer = TiledWriter.from_uri(NOBODY, backup_directory=tmp_path, on_error="raise")
    if way == "at the next call":
        feed(writer, runs[0][:3])
        eventually(lambda: len(writer.errors) > 1)
        with pytest.raises(DeliveryFailed, match=uid_of(runs[0])):
            writer(*runs[0][3])
        feed(writer, runs[0][4:])
    else:
        feed(writer, runs[0])
    feed(writer, runs[1])
    with pytest.raises(DeliveryFailed):
        writer.close(3.0)
    writer.close()
    assert all(isinstance(error, DeliveryFailed) for error in writer.errors)
    with gapless.connect(tmp_path) as store:
        for run in runs:
            assert store.sequence_handler(uid_of(run)).outcome == "completed"
            assert (writer.spool / f"{uid_of(run)}.jsonl").exists()
            assert any(
                error.sequence == uid_of(run) and error.message == "a run is not on the Tiled server"
                for error in writer.errors
            )


def test_on_error_raise_raises_what_a_server_refuses(server: TiledServer, tmp_path: Path) -> None:
    """Something else has the run's uid there: final, so told at once, typed, and the run is sealed here."""
    run = scalar_run(3)
    uid = uid_of(run)
    server.client().create_container(key=uid, metadata={"mine": True})
    writer = TiledWriter.from_uri(server.url, backup_directory=tmp_path, on_error="raise")
    feed(writer, run)
    with pytest.raises(DeliveryFailed, match="something else under the run's uid"):
        writer.close(PATIENCE_S)
    assert {(type(error), error.sequence) for error in writer.errors} == {(DeliveryFailed, uid)}
    with gapless.connect(tmp_path) as store:
        assert store.sequence_handler(uid).outcome == "completed"


def test_one_lost_answer_stops_no_plan_that_wants_to_hear(server: TiledServer, tmp_path: Path) -> None:
    """It is among the errors, and since the next try succeeded it is not raised."""
    run = scalar_run(6)
    with CuttingProxy(server.port, method=b"PATCH", cuts=1) as proxy:
        url = TiledServer.url_at(proxy.port)
        with TiledWriter.from_uri(url, backup_directory=tmp_path, on_error="raise") as writer:
            feed(writer, run)
        assert proxy.lost == 1
    assert [type(error) for error in writer.errors] == [DeliveryFailed]
    assert seq_nums(server.client(), uid_of(run)) == [1, 2, 3, 4, 5, 6]


def test_the_writer_with_a_url_tells_the_same_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server did not take is in the errors of the plain writer as well, and raised by it."""
    monkeypatch.setenv("GAPLESS_STORE", str(tmp_path))
    run = scalar_run(2)
    writer = Writer(NOBODY, on_error="raise")
    feed(writer, run)
    with pytest.raises(DeliveryFailed):
        writer.close(3.0)
    assert [error.sequence for error in writer.errors if isinstance(error, DeliveryFailed)][-1] == uid_of(run)


def test_one_process_at_a_time_sends_on_request(tmp_path: Path) -> None:
    """Two that look at once what the server has would both send the rest."""
    with gapless.connect(tmp_path) as store:
        claim = Claim(tmp_path)
        assert claim.take_requests()
        with pytest.raises(SequenceOwned, match="another process is sending"):
            send_runs(store, NOBODY, [], Delivery())
        claim.release()
        with pytest.raises(DeliveryFailed, match="does not answer"):
            send_runs(store, NOBODY, [], Delivery())


def test_a_run_that_a_live_writer_sends_is_left_to_it(server: TiledServer, tmp_path: Path) -> None:
    """A finding while it lives; afterwards the run is found there."""
    run = scalar_run(3)
    uid = uid_of(run)
    found: list[tuple[list[str], list[str]]] = []
    with gapless.connect(tmp_path) as store:
        writer = TiledWriter.from_uri(server.url, backup_directory=tmp_path, keep_local=True)
        feed(writer, run)
        writer.flush(PATIENCE_S)
        for _ in range(2):
            report = Delivery()
            send_runs(store, server.url, sealed_runs(store), report)
            found.append(([run.result for run in report.runs], [each.message for each in report.findings]))
            writer.close(PATIENCE_S)
    assert found == [([], [f"{uid}: a live writer is sending it"]), (["there"], [])]
    assert seq_nums(server.client(), uid) == [1, 2, 3]


def test_two_sinks_never_claim_the_same_runs(tmp_path: Path) -> None:
    """A run belongs to the sink that records it; what dead ones left belongs to one living sink."""
    first, second = Claim(tmp_path), Claim(tmp_path)
    assert not second.is_free(first.id)
    assert first.take_left_behind()
    assert not second.take_left_behind()
    first.release()
    assert second.is_free(first.id)
    assert second.take_left_behind()
    second.release()
