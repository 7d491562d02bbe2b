"""A server of an empty store with the trial door, on a free port of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.client.remote.write_server import threads_before

from gapless.serve.server import Server

from .trial_door import TrialDoor

__all__ = ["threads_before"]  # tests that count threads count those that they begin

Serve = Callable[..., tuple[Server, TrialDoor]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the folder of the store."""
    return tmp_path / "store"


@pytest.fixture
def serve(root: Path) -> Iterator[Serve]:
    """Return a function that starts a server and gives it with its door; all are stopped in the end."""
    running: list[tuple[Server, TrialDoor]] = []

    def begin(**words: Any) -> tuple[Server, TrialDoor]:
        doors: list[TrialDoor] = []

        def make(served: Any) -> TrialDoor:
            doors.append(TrialDoor(served))
            return doors[0]

        server = Server(root, words.pop("host", "127.0.0.1"), 0, doors=[make], **words)
        server.start()
        running.append((server, doors[0]))
        return running[-1]

    yield begin
    for server, door in running:
        door.go_on.set()
        assert server.stop(0.1)
