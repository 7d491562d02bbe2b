"""Handing runs on to a real Tiled server, and taking them from one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.bluesky.delivery.test_delivery import uid_of, write_lines
from tests.bluesky.tiled_server import API_KEY, TiledServer, environment
from tests.bluesky.writer.runs import feed, run_of, values
from tests.cli.conftest import Cli
from tests.cli.conftest import cli as cli  # noqa: PLC0414 - a fixture

from gapless.bluesky.spool import Spool
from gapless.bluesky.writer import Writer
from gapless.client.client import connect

pytest.importorskip("tiled")
pytestmark = pytest.mark.slow

_CONFIG = """
authentication: {{single_user_api_key: {key}}}
uvicorn: {{host: 127.0.0.1, port: {port}}}
media_types:
  BlueskyRun:
    application/json-seq: bluesky_tiled_plugins.exporters:json_seq_exporter
trees:
- path: /
  tree: catalog
  args:
    uri: sqlite:///{folder}/catalog.db
    writable_storage: ["{folder}/data", "sqlite:///{folder}/tables.db"]
    init_if_not_exists: true
"""


class ExportingServer(TiledServer):
    """A server whose configuration has the exporter of documents."""

    def start(self) -> TiledServer:
        """Start the process and return when it answers."""
        config = self.folder / "config.yml"
        config.write_text(_CONFIG.format(key=API_KEY, port=self.port, folder=self.folder))
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tiled", "serve", "config", str(config)],
                env=environment(self.folder),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait()
        return self


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TiledServer]:
    """Run a server for the tests of this file."""
    with TiledServer(tmp_path_factory.mktemp("server")) as running:
        yield running


def test_deliver_to_a_server_twice(cli: Cli, tmp_path: Path, server: TiledServer) -> None:
    """The run is on the server once, and its file moves only when it is there."""
    documents = run_of(events=5)
    connect(tmp_path / "store").close()
    spool = Spool(tmp_path / "store" / "spool")
    spool.keep_all(uid_of(documents), documents, reason="why")
    silent = cli("bluesky", "deliver", "store", "--to", TiledServer.url_at(9))
    assert silent.returncode == 5, silent.stderr
    assert cli("import", "bluesky", TiledServer.url_at(9), "--store", "store").returncode == 5
    assert spool.path(uid_of(documents)).exists()
    for expected in ("recorded", None):
        done = cli("bluesky", "deliver", "store", "--to", server.url)
        assert done.returncode == 0, done.stderr
        assert (f"{uid_of(documents)}: {expected}" if expected else "nothing to deliver") in done.stdout
    run = server.client()[uid_of(documents)]
    assert run.metadata["stop"]["exit_status"] == "success"
    assert list(run["primary"].base["internal"].read()["x"]) == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_runs_of_a_plain_writer_go_to_a_server_once_and_stay(
    cli: Cli, tmp_path: Path, server: TiledServer
) -> None:
    """By name, by how the uid begins, all: what is there is found by reading back, and the store keeps its runs."""
    runs = [run_of(events=n) for n in (3, 4, 5)]
    with Writer(tmp_path / "store", name="{plan_name}-{uid8}") as writer:
        for run in runs:
            feed(writer, run)
    uids = [uid_of(run) for run in runs]
    names = [f"count-{uid[:8]}" for uid in uids]
    deliver = ("bluesky", "deliver", "--to", server.url, "--json")
    for words, sent in (
        ((uids[1][:6], names[0], "store"), {0: "sent", 1: "sent"}),
        (("--all", "--store", "store"), {0: "there", 1: "there", 2: "sent"}),
    ):
        done = cli(*deliver, *words)
        assert done.returncode == 0, done.stderr
        assert {run["sequence"]: run["result"] for run in json.loads(done.stdout)["runs"]} == {
            names[place]: result for place, result in sent.items()
        }
    for uid, count in zip(uids, (3, 4, 5), strict=True):
        node = server.client()[uid]
        assert list(node["primary"].base["internal"].read()["x"]) == [float(n) for n in range(1, count + 1)]
        assert node.metadata["stop"]["exit_status"] == "success"
    with connect(tmp_path / "store") as client:
        assert sorted(client.list_sequences()) == sorted(names)


def test_a_run_that_cannot_be_sent_yet_keeps_no_other(cli: Cli, tmp_path: Path, server: TiledServer) -> None:
    """One that is recorded now, one whose owner left it unsealed, and one whose uid is taken there: findings."""
    done, refused, recorded = (run_of(events=2) for _ in range(3))
    server.client().create_container(key=uid_of(refused), metadata={"mine": True})
    with Writer(tmp_path / "store") as writer:
        feed(writer, [*done, *refused])
        feed(writer, recorded[:3])
        writer.flush()
        words = [uid_of(run)[:8] for run in (recorded, refused, done)]
        sent = cli("bluesky", "deliver", *words, "--store", "store", "--to", server.url)
    assert sent.returncode == 1, sent.stderr
    assert f"{uid_of(done)}: sent; stop: delivered" in sent.stdout
    assert f"B104 {uid_of(recorded)} is being recorded" in sent.stdout
    assert "B106 the server has something else under the run's uid" in sent.stdout


def test_a_server_that_wants_a_key_is_told_once(cli: Cli, tmp_path: Path, server: TiledServer) -> None:
    """Not for each run: none can be sent."""
    with Writer(tmp_path / "store") as writer:
        feed(writer, [*run_of(events=1), *run_of(events=1)])
    keyless = server.url.partition("?")[0]
    sent = cli("bluesky", "deliver", "--all", "--store", "store", "--to", keyless)
    assert sent.returncode == 5, sent.stderr
    assert "TILED_API_KEY" in sent.stderr


def test_a_run_with_odd_values_says_what_stays_in_the_store(
    cli: Cli, tmp_path: Path, server: TiledServer
) -> None:
    """The server has null where a value is not as declared."""
    run = run_of(events=2)
    run[2][1]["data"]["x"] = "text"
    with Writer(tmp_path / "store") as writer:
        feed(writer, run)
    sent = cli("bluesky", "deliver", "@last", "--store", "store", "--to", server.url)
    assert sent.returncode == 0, sent.stderr
    assert "only in the store: " in sent.stdout


def test_a_server_without_the_exporter_is_told(cli: Cli, tmp_path: Path, server: TiledServer) -> None:
    """What the server cannot give is an error with the line its configuration lacks."""
    documents = run_of(events=2)
    write_lines(tmp_path / "b.jsonl", documents)
    assert cli("bluesky", "deliver", "b.jsonl", "--store", "one", "--to", server.url).returncode == 0
    url = server.url.replace("http://", "tiled://").replace("/v1", f"/v1/metadata/{uid_of(documents)}")
    refused = cli("import", "bluesky", url, "--store", "two")
    assert refused.returncode == 2, refused.stderr
    assert "json_seq_exporter" in refused.stderr


def test_runs_of_a_server_become_sequences_once(cli: Cli, tmp_path: Path) -> None:
    """A run comes with its rows; one that the store has stays as it is."""
    documents = run_of(events=3)
    write_lines(tmp_path / "b.jsonl", documents)
    with ExportingServer(tmp_path / "server") as server:
        assert cli("bluesky", "deliver", "b.jsonl", "--store", "one", "--to", server.url).returncode == 0
        url = server.url.replace("http://", "tiled://")
        for store, expected in (("two", "recorded"), ("two", "complete"), ("one", "complete")):
            done = cli("import", "bluesky", url, "--store", store)
            assert done.returncode == 0, done.stderr
            assert f"{uid_of(documents)}: {expected}" in done.stdout
    with connect(tmp_path / "two") as client:
        assert values(client, uid_of(documents)) == [1.0, 2.0, 3.0]
