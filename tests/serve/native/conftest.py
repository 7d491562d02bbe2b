"""Servers of a store: some in this process, some that can be killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gapless.serve.limits import Limits
from gapless.serve.native.writing import NativeWriting
from gapless.serve.server import Server
from gapless.store.folder import FolderStore

from .server_process import Process


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of an empty store."""
    return FolderStore(tmp_path / "store").root


@pytest.fixture
def spawn(root: Path) -> Iterator[Callable[[], Process]]:
    """Start server processes of the store; all are dead in the end."""
    processes: list[Process] = []

    def start() -> Process:
        processes.append(Process(root))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


@pytest.fixture
def started(root: Path) -> Iterator[Callable[..., Server]]:
    """Start servers of the store in this process; all are stopped in the end."""
    servers: list[Server] = []

    def start(**limits: float) -> Server:
        found = Server(root, "127.0.0.1", 0, limits=Limits(**limits), doors=[NativeWriting])  # type: ignore[arg-type] # by name
        found.start()
        servers.append(found)
        return found

    yield start
    for server in servers:
        server.stop(0.1)
