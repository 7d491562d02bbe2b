"""Handing runs on to a real Tiled server, and taking them from one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.bluesky.delivery.test_delivery import uid_of, write_lines
from tests.bluesky.tiled_server import API_KEY, TiledServer, environment
from tests.bluesky.writer.runs import run_of, values
from tests.cli.conftest import Cli
from tests.cli.conftest import cli as cli  # noqa: PLC0414 - a fixture

from gapless.bluesky.spool import Spool
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
