"""The commands that bring runs to a server's store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.bluesky.network.served_store import ServedStore
from tests.bluesky.writer.runs import feed, run_of, values
from tests.cli.conftest import Cli
from tests.cli.conftest import cli as cli  # noqa: PLC0414 - a fixture

import gapless
from gapless.bluesky import Writer
from gapless.bluesky.delivery_warning import DeliveryWarning
from gapless.bluesky.lossless import dumps
from gapless.bluesky.spool import Spool


def test_deliver_brings_spooled_runs_and_documents(cli: Cli, served: ServedStore, here: Path) -> None:
    """Deliver brings spooled runs, then documents in files, and a second time there is nothing to do."""
    spooled, kept = run_of(5), run_of(3)
    writer = Writer(served.url)
    feed(writer, spooled)
    writer.flush(60)
    with pytest.warns(DeliveryWarning):
        writer.close(60)
    Spool(here / "spool").keep_all(kept[0][1]["uid"], kept, reason="why")
    away = cli("bluesky", "deliver", str(here), "--to", served.url)
    assert away.returncode == 5, away.stderr
    served.start()
    dry = cli("bluesky", "deliver", str(here), "--to", served.url, "--dry-run")
    assert "would be sent" in dry.stdout
    assert "would be recorded" in dry.stdout
    done = cli("bluesky", "deliver", str(here), "--to", served.url, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [(run["uid"], run["result"], run["stop"]) for run in told["runs"]] == [
        (spooled[0][1]["uid"], "sent", "delivered"),
        (kept[0][1]["uid"], "recorded", "delivered"),
    ]
    with gapless.connect(served.url) as client:
        assert values(client, spooled[0][1]["uid"]) == [1.0, 2.0, 3.0, 4.0, 5.0]
        assert values(client, kept[0][1]["uid"]) == [1.0, 2.0, 3.0]
    again = cli("bluesky", "deliver", str(here / "spool"), "--to", served.url)
    assert (again.returncode, again.stdout) == (0, "nothing to deliver\n")


def test_what_was_recorded_for_another_server_stays(cli: Cli, served: ServedStore, here: Path) -> None:
    """What was recorded for another server stays, and is a finding that names the way."""
    writer = Writer("grpc://127.0.0.1:9")
    feed(writer, run_of(5))
    writer.flush(60)
    with pytest.warns(DeliveryWarning):
        writer.close(60)
    served.start()
    done = cli("bluesky", "deliver", str(here), "--to", served.url)
    assert done.returncode == 1, done.stderr
    assert "B106" in done.stdout
    assert "gapless deliver --spool" in done.stdout
    with gapless.connect(served.url) as client:
        assert client.list_sequences() == []


def test_import_into_a_servers_store(cli: Cli, served: ServedStore, tmp_path: Path) -> None:
    """Runs of a file become sequences of the server's store, once."""
    served.start()
    run = run_of(4)
    (tmp_path / "runs.jsonl").write_bytes(b"".join(dumps(name, doc) for name, doc in run))
    for expected in ("recorded", "complete"):
        done = cli("import", "bluesky", str(tmp_path / "runs.jsonl"), "--store", served.url)
        assert done.returncode == 0, done.stderr
        assert f": {expected}" in done.stdout
    with gapless.connect(served.url) as client:
        assert values(client, run[0][1]["uid"]) == [1.0, 2.0, 3.0, 4.0]


def test_what_cannot_be_asked_of_a_server(cli: Cli, served: ServedStore, here: Path) -> None:
    """Sealed runs are not copied, and a Tiled server is fed from a folder: the refusal names the way."""
    Spool(here / "spool").keep_all("u", run_of(1), reason="why")
    copying = cli("bluesky", "deliver", "@last", "--to", served.url)
    assert copying.returncode == 2, copying.stderr
    assert "gapless serve FOLDER" in copying.stderr
    both = cli("bluesky", "deliver", str(here), "--to", served.url, "--store", str(here))
    assert both.returncode == 2
    handing = cli("bluesky", "deliver", str(here), "--to", "http://127.0.0.1:9", "--store", served.url)
    assert handing.returncode == 2
    assert "--store FOLDER" in handing.stderr
