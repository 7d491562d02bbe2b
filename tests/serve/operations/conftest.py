"""`gapless serve` as a process on free ports, with its log as objects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import gapless

SOURCE = Path(gapless.__path__[0]).parent
DEADLINE_S = 90
Begin = Callable[..., Any]


@dataclass
class Running:
    """One server process, and what it has logged so far."""

    process: subprocess.Popen[str]
    place: str
    text: list[str] = field(default_factory=list)
    more: threading.Condition = field(default_factory=threading.Condition)
    url: str = ""

    def follow(self) -> None:
        """Read the log until its end."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.more:
                self.text.append(line)
                self.more.notify_all()

    def heard(self, event: str, part: str = "") -> dict[str, Any]:
        """Return the first line of an event whose message has that part, waiting for it; each line is an object."""
        with self.more:
            assert self.more.wait_for(lambda: self._lines(event, part), DEADLINE_S), "".join(self.text)
            return self._lines(event, part)[0]

    def _lines(self, event: str, part: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [json.loads(line) for line in self.text]
        return [line for line in found if line["event"] == event and part in line["message"]]

    def kill(self) -> None:
        """End it as a crash does."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(DEADLINE_S)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Return a function that serves ./store and returns the running server; none is left in the end."""
    running: list[tuple[Running, threading.Thread]] = []

    def start(*arguments: str) -> Running:
        command = [sys.executable, "-m", "gapless.cli.main", "serve", "store", "--port", "0"]
        environment = {k: v for k, v in os.environ.items() if k != "GAPLESS_STORE"}
        process = subprocess.Popen(
            [*command, "--log-format", "json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(SOURCE), "HOME": str(tmp_path)},
        )
        assert process.stdout is not None
        server = Running(process, process.stdout.readline().removeprefix("serving on ").strip())
        follower = threading.Thread(target=server.follow)
        follower.start()
        running.append((server, follower))
        said = server.heard("note", "next:")["message"]
        server.url = next((word for word in said.split() if word.startswith("http")), "").removesuffix(
            "/metrics"
        )
        return server

    yield start
    for server, follower in running:
        server.kill()
        follower.join(DEADLINE_S)
        for stream in (server.process.stdout, server.process.stderr):
            assert stream is not None
            stream.close()


def asked(url: str, token: str | None = None, **words: Any) -> tuple[int, str]:
    """Return status and body of a page, refusals too."""
    request = urllib.request.Request(url)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S, **words) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
