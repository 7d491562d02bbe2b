"""Runs that are recorded here and sent to a Tiled server while they last."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.bluesky.recording.run_documents import (
    data_key,
    descriptor_document,
    event_document,
    start_document,
)
from tests.bluesky.tiled_server import TiledServer
from tests.bluesky.tiled_sink.sample_runs import (
    Named,
    eventually,
    full_run,
    scalar_run,
    seq_nums,
    uid_of,
)

import gapless
from gapless.bluesky.delivery_warning import DeliveryWarning
from gapless.bluesky.tiled_writer import TiledWriter
from gapless.bluesky.writer import Writer
from gapless.cli.main import main
from gapless.errors import NotFound

PATIENCE_S = 100.0

pytestmark = pytest.mark.filterwarnings("ignore:.* not on the Tiled server")


def feed(writer: Any, run: list[Named]) -> None:
    """Call the writer with every document of a run."""
    for name, doc in run:
        writer(name, doc)


def test_a_run_goes_to_the_server_and_leaves_the_store(server: TiledServer, tmp_path: Path) -> None:
    """The server has every row and the stop; the local sequence is in the trash, with a tombstone."""
    run = full_run(30)
    writer = TiledWriter.from_uri(server.url, backup_directory=tmp_path / "store")
    feed(writer, run)
    writer.close(PATIENCE_S)
    uid = uid_of(run)
    assert writer.errors == []
    assert writer.delivered[uid].is_whole
    assert writer.delivered[uid].rows == 30
    node = server.client()[uid]
    assert seq_nums(server.client(), uid) == list(range(1, 31))
    assert node["primary"]["large"].shape == (30, 5, 6)
    assert node.metadata["stop"]["uid"] == run[-1][1]["uid"]
    with gapless.connect(tmp_path / "store") as store:
        assert store.list_sequences() == []
        assert store.was_discarded(uid)
    assert not writer.spool.exists() or list(writer.spool.glob("*.jsonl")) == []


def test_keep_local_leaves_the_run_in_the_store(server: TiledServer, tmp_path: Path) -> None:
    """A confirmed run may stay; another writer on the same store leaves it alone."""
    run = scalar_run(5)
    for documents in (run, []):
        with TiledWriter.from_uri(server.url, backup_directory=tmp_path, keep_local=True) as writer:
            feed(writer, documents)
    with gapless.connect(tmp_path) as store:
        assert store.sequence_handler(uid_of(run)).outcome == "completed"
    assert seq_nums(server.client(), uid_of(run)) == [1, 2, 3, 4, 5]


def test_rows_are_readable_on_the_server_while_the_run_lasts(server: TiledServer, tmp_path: Path) -> None:
    """No waiting for a full batch: what came is there soon, and the run has no stop yet."""
    run = scalar_run(4)
    uid = uid_of(run)
    with TiledWriter.from_uri(server.url, backup_directory=tmp_path) as writer:
        feed(writer, run[:4])
        writer.flush(PATIENCE_S)
        assert seq_nums(server.client(), uid) == [1, 2]
        assert "stop" not in server.client()[uid].metadata
        feed(writer, run[4:])
    assert seq_nums(server.client(), uid) == [1, 2, 3, 4]


def test_runs_that_interleave_are_kept_apart(server: TiledServer, tmp_path: Path) -> None:
    """Documents of two open runs in turn."""
    runs = [scalar_run(6), scalar_run(6)]
    with TiledWriter.from_uri(server.url, backup_directory=tmp_path) as writer:
        for pair in zip(*runs, strict=True):
            feed(writer, list(pair))
    for run in runs:
        assert seq_nums(server.client(), uid_of(run)) == [1, 2, 3, 4, 5, 6]


def test_the_caller_speaks_to_no_server(
    server: TiledServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request is made on the sending thread, so the callback's cost is not the server's."""
    speakers: list[str] = []
    send = httpx.Client.send

    def noted(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        speakers.append(threading.current_thread().name)
        return send(client, request, **options)

    monkeypatch.setattr(httpx.Client, "send", noted)
    writer = TiledWriter.from_uri(server.url, backup_directory=tmp_path)
    feed(writer, scalar_run(20))
    writer.flush(PATIENCE_S)
    writer.close(PATIENCE_S)
    assert set(speakers) == {"gapless-bluesky-tiled"}


def test_the_writer_takes_the_url_of_a_server(
    server: TiledServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One writer, two targets: the URL chooses, the local store is $GAPLESS_STORE."""
    monkeypatch.setenv("GAPLESS_STORE", str(tmp_path / "local"))
    run = scalar_run(3)
    with Writer(server.url) as writer:
        feed(writer, run)
    assert seq_nums(server.client(), uid_of(run)) == [1, 2, 3]
    assert (tmp_path / "local").is_dir()


def test_a_server_that_never_answers_costs_the_recording_nothing(tmp_path: Path) -> None:
    """Nobody listens: the run is sealed here, and its documents wait in the spool with the reason."""
    run = scalar_run(8)
    uid = uid_of(run)
    writer = TiledWriter.from_uri("http://127.0.0.1:1/api/v1", backup_directory=tmp_path)
    feed(writer, run)
    writer.flush(2.0)
    writer.close(3.0)
    assert any("not on the Tiled server" in str(error) for error in writer.errors)
    with gapless.connect(tmp_path) as store:
        assert store.sequence_handler(uid).outcome == "completed"
        assert store.sequence_handler(uid).topic("primary").rows == 8
    assert len((writer.spool / f"{uid}.jsonl").read_text().splitlines()) >= len(run)


def test_a_run_that_somebody_discarded_keeps_no_other_from_the_spool(tmp_path: Path) -> None:
    """Nobody listens, and the first of two runs is gone from the store: the second is in the spool all the same."""
    runs = [scalar_run(2), scalar_run(2)]
    writer = TiledWriter.from_uri("http://127.0.0.1:1/api/v1", backup_directory=tmp_path)
    for run in runs:
        feed(writer, run)
    writer.flush(PATIENCE_S)
    with gapless.connect(tmp_path) as store:
        store.discard(uid_of(runs[0]))
    writer.close(3.0)
    assert any(isinstance(error, NotFound) for error in writer.errors)
    assert [path.stem for path in writer.spool.glob("*.jsonl")] == [uid_of(runs[1])]


def test_when_too_much_waits_the_sequence_is_sent_instead(server: TiledServer, tmp_path: Path) -> None:
    """The bound on documents in memory holds, and no row is lost by it."""
    run = scalar_run(300)
    server.pause()
    try:
        writer = TiledWriter.from_uri(server.url, backup_directory=tmp_path, max_waiting=50)
        feed(writer, run)
    finally:
        server.resume()
    writer.close(PATIENCE_S)
    assert seq_nums(server.client(), uid_of(run)) == list(range(1, 301))
    assert writer.delivered[uid_of(run)].is_whole


def test_a_run_without_a_stop_is_interrupted_there_too(server: TiledServer, tmp_path: Path) -> None:
    """Closing the writer ends the run here; the server gets its rows, no stop document, and the outcome."""
    run = scalar_run(5)[:-1]
    uid = uid_of(run)
    with TiledWriter.from_uri(server.url, backup_directory=tmp_path) as writer:
        feed(writer, run)
    metadata = server.client()[uid].metadata
    assert seq_nums(server.client(), uid) == [1, 2, 3, 4, 5]
    assert "stop" not in metadata
    assert metadata["gapless"]["outcome"] == "interrupted"
    with gapless.connect(tmp_path) as store:
        assert store.sequence_handler(uid).outcome == "interrupted"


def test_a_run_with_odd_values_stays_in_the_store(server: TiledServer, tmp_path: Path) -> None:
    """The server has null where the value is not as declared; the raw value is only here, so it stays."""
    start = start_document()
    descriptor = descriptor_document(start, {"x": data_key()})
    run: list[Named] = [("start", start), ("descriptor", descriptor)]
    run += [("event", event_document(descriptor, n, {"x": x})) for n, x in enumerate((1.5, True), 1)]
    run.append(("stop", {"uid": "s", "time": 1.0, "run_start": start["uid"], "exit_status": "success"}))
    with TiledWriter.from_uri(server.url, backup_directory=tmp_path) as writer:
        feed(writer, run)
    with gapless.connect(tmp_path) as store:
        handler = store.sequence_handler(start["uid"])
        assert handler.topic("bluesky/violations").rows == 1
        digest = handler.content_digest
    assert server.client()[start["uid"]].metadata["gapless"]["content_digest"] == digest


@pytest.mark.parametrize("waits", ["for the server", "for the seal", "for nothing"])
def test_late_events_reach_the_server_before_the_run_leaves(
    server: TiledServer, tmp_path: Path, waits: str
) -> None:
    """An event after the stop becomes a layer here and a row there, whatever of the run was there before."""
    run = scalar_run(3)
    uid = uid_of(run)
    with TiledWriter.from_uri(server.url, backup_directory=tmp_path) as writer:
        feed(writer, run)
        if waits == "for the server":
            eventually(lambda: uid in server.client() and "stop" in server.client()[uid].metadata)
        elif waits == "for the seal":
            writer.flush(PATIENCE_S)
        writer("event", event_document(run[1][1], 4, {"x": 2.0}))
    assert writer.errors == []
    assert seq_nums(server.client(), uid) == [1, 2, 3, 4]
    assert writer.delivered[uid].rows == 4


def test_a_run_that_was_delivered_without_its_layer_is_delivered_again(
    server: TiledServer, tmp_path: Path
) -> None:
    """What an earlier delivery said of itself counts for the layers that it knew, not for later ones."""
    run = scalar_run(3)
    uid = uid_of(run)
    for documents in (run, [*run[:2], ("event", event_document(run[1][1], 4, {"x": 2.0})), run[-1]], []):
        with TiledWriter.from_uri(server.url, backup_directory=tmp_path, keep_local=True) as writer:
            feed(writer, documents)
        assert writer.errors == []
    assert seq_nums(server.client(), uid) == [1, 2, 3, 4]


def test_deliver_sends_what_a_store_still_has_for_the_server(
    server: TiledServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that a dead server never took: listed by a dry run, sent once, and gone from the store."""
    run = scalar_run(12)
    writer = TiledWriter.from_uri(server.url, backup_directory=tmp_path / "store")
    server.pause()
    try:
        feed(writer, run)
        with pytest.warns(DeliveryWarning, match="gapless bluesky deliver"):
            writer.close(2.0)
    finally:
        server.resume()
    for thread in threading.enumerate():
        if thread.name == "gapless-bluesky-tiled":  # it waited for the server's answer
            thread.join(PATIENCE_S)
    deliver = ["bluesky", "deliver", str(tmp_path / "store"), "--to", server.url, "--json"]
    for extra, results in (["--dry-run"], ["complete", "sent"]), ([], ["complete", "sent"]), ([], []):
        out = io.StringIO()
        monkeypatch.setattr("sys.stdout", out)
        assert main([*deliver, *extra]) == 0
        assert [told["result"] for told in json.loads(out.getvalue())["runs"]] == results
    assert seq_nums(server.client(), uid_of(run)) == list(range(1, 13))
    with gapless.connect(tmp_path / "store") as store:
        assert store.list_sequences() == []
