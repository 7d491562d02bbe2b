"""A server with the Mosaico door alone, and a plain Flight client that speaks its protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gapless.serve.mosaico.door import Mosaico
from gapless.serve.server import Server

from .caller import Caller

Serve = Callable[..., Caller]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the folder of the store."""
    return tmp_path / "store"


@pytest.fixture
def serve(root: Path) -> Iterator[Serve]:
    """Return a function that starts a server of the store and gives a caller of it; all are stopped in the end."""
    callers: list[Caller] = []

    def begin(**words: Any) -> Caller:
        server = Server(root, port=0, doors=[Mosaico], **words)
        server.start()
        callers.append(Caller(server))
        return callers[-1]

    yield begin
    for caller in callers:
        caller.close()
        assert caller.server.stop(0.2)
