"""Things that are recorded while a test looks: a run whose every answer the test chooses, and what follows them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
from tests.acquire.small_run import SmallRun
from websockets.sync.client import ClientConnection, connect

import gapless
from gapless.acquire.control.server import ControlServer

from .conftest import Site, bearer

DEADLINE_S = 60.0


def until(holds: Callable[[], Any], what: str) -> None:
    """Wait until something holds."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.005)


class SmallRecording:
    """A sequence that this process records, with a run that answers on its control socket."""

    def __init__(self, root: Path, name: str = "oven-1", group: str | None = None) -> None:
        self.run = SmallRun(name)
        self._open = ExitStack()
        client = self._open.enter_context(gapless.connect(str(root)))
        self.sequence = self._open.enter_context(client.sequence_create(name, group=group))
        self.server = ControlServer(self.run)
        self.server.start()
        self.sequence.announce({"pid": os.getpid(), "control": str(self.server.path)})

    def end(self) -> None:
        """Close the mirrors, seal and close the socket, in the order of a run; any number of times."""
        self.run.end()
        self._open.close()
        self.server.close()

    @property
    def watched(self) -> int:
        """How many mirrors of the run are open: one for each connection that streams."""
        return sum(not feed.closed for feed in self.run.feeds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Heard:
    """Server-sent events as they come: ``next`` returns (kind, data, id) and skips comments."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.iter_lines()

    def next(self) -> tuple[str, Any, str | None]:
        """Return the next event; StopIteration when the server has ended the stream."""
        kind, data, number = "message", None, None
        for line in self._lines:
            word, _, rest = line.partition(": ")
            if word == "event":
                kind = rest
            elif word == "data":
                data = json.loads(rest)
            elif word == "id":
                number = rest
            elif not line and data is not None:
                return kind, data, number
        raise StopIteration

    def until(self, kind: str) -> tuple[Any, str | None]:
        """Return data and id of the next event of a kind."""
        while True:
            found, data, number = self.next()
            if found == kind:
                return data, number

    def rest(self) -> list[tuple[str, Any, str | None]]:
        """Return everything until the stream ends."""
        found = []
        while True:
            try:
                found.append(self.next())
            except StopIteration:
                return found


@contextmanager
def hearing(site: Site, path: str, key: str | None = None, **headers: str) -> Iterator[Heard]:
    """Follow a stream of the API."""
    url = f"{site.url}/api/v1{path}"
    with site.http.stream("GET", url, headers={**headers, **bearer(key)}, timeout=DEADLINE_S) as answer:
        assert answer.status_code == 200, answer.read()
        yield Heard(answer)


def values(site: Site, path: str, key: str | None = None) -> ClientConnection:
    """Open a WebSocket of the API."""
    return connect(
        f"ws://{site.netloc}/api/v1{path}",
        additional_headers=bearer(key),
        open_timeout=DEADLINE_S,
        proxy=None,
    )


def taken(line: ClientConnection) -> Any:
    """Return the next message of a WebSocket."""
    return json.loads(line.recv(DEADLINE_S))
