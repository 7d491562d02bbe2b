"""A store served to clients through a network that can be cut; every test counts the threads that it begins."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.client.remote.write_server import server, threads_before

from gapless.serve.server import Server
from gapless.testing.network import Link

__all__ = ["threads_before"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the server's store is."""
    return tmp_path / "store"


@pytest.fixture
def served(root: Path) -> Iterator[Server]:
    """A server in this process."""
    with server(root) as running:
        yield running


@pytest.fixture
def link(served: Server) -> Iterator[Link]:
    """A bad network before the server."""
    with Link(("127.0.0.1", served.port)) as between:
        yield between
