"""One Tiled server for the tests that leave it alone, and a short patience of its client."""

from __future__ import annotations

import os

os.environ.setdefault("TILED_RETRY_ATTEMPTS", "2")  # read when the client is imported, so before it

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

with warnings.catch_warnings():  # its own use of other packages, at import
    warnings.simplefilter("ignore")
    import bluesky_tiled_plugins.writing.consolidators  # noqa: F401
    import tiled.client  # noqa: F401

from tests.bluesky.tiled_server import TiledServer

from gapless.bluesky.tiled_sink.server import Server


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of external files that the server may read."""
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="session")
def sqlite_server(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Iterator[TiledServer]:
    """Yield a server whose tables are in SQLite, which knows no lists."""
    with TiledServer(tmp_path_factory.mktemp("sqlite"), readable=files) as server:
        yield server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Iterator[TiledServer]:
    """Yield a server whose tables are in DuckDB."""
    with TiledServer(tmp_path_factory.mktemp("duckdb"), tables="duckdb", readable=files) as server:
        yield server


@pytest.fixture(scope="session")
def target(server: TiledServer) -> Iterator[Server]:
    """Yield the server as what runs are delivered to."""
    found = Server.of_url(server.url)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def quiet_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the client's files in the test's folder and let its packages warn of each other."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "TILED_PROFILES", "TILED_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
