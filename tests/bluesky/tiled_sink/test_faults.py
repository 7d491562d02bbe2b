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
from gapless.bluesky.tiled_sink.claim import Claim
from gapless.bluesky.tiled_sink.deliver_run import deliver_documents, deliver_run
from gapless.bluesky.tiled_sink.server import Server
from gapless.bluesky.tiled_writer import TiledWriter

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
