"""A server of an empty store with the trial door, on a free port of this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.client.remote.write_server import threads_before

from gapless.serve.mosaico.session import Session
from gapless.serve.native.writing_sequence import IncomingSequence
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


@pytest.fixture
def leases(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return what lets leases run out: until it is set no client is idle, however slow the machine is."""
    running = threading.Event()
    session, sequence = Session.idle_s, vars(IncomingSequence)["idle_s"].fget
    monkeypatch.setattr(Session, "idle_s", lambda one: session(one) if running.is_set() else 0.0)
    monkeypatch.setattr(
        IncomingSequence, "idle_s", property(lambda one: sequence(one) if running.is_set() else 0.0)
    )
    return running
