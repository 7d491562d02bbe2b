"""Readiness of a real server over a real folder."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from gapless.serve.operations.readiness import Readiness


def looks() -> int:
    """Return how many looks are going on."""
    return sum(thread.name == "gapless readiness" for thread in threading.enumerate())


def test_a_server_that_works_is_ready_and_leaves_nothing(serve: Any, root: Path) -> None:
    """No problem, and no file of the look stays in the store."""
    server, _ = serve()
    readiness = Readiness(server.served)
    assert readiness.problem() is None
    before = sorted(path.name for path in root.iterdir())
    assert readiness.problem() is None
    assert sorted(path.name for path in root.iterdir()) == before


def test_a_server_that_drains_is_not_ready(serve: Any) -> None:
    """It says so before anything is looked at."""
    server, _ = serve()
    server.served.draining.set()
    assert Readiness(server.served).problem() == "the server is going down"


def test_a_store_that_takes_nothing_is_told(serve: Any, root: Path, tmp_path: Path) -> None:
    """A folder that is gone is a reason, and it is ready again when the folder is back."""
    server, _ = serve()
    readiness = Readiness(server.served)
    root.rename(tmp_path / "elsewhere")
    try:
        assert "the store takes nothing" in str(readiness.problem())
    finally:
        (tmp_path / "elsewhere").rename(root)
    assert readiness.problem() is None


def test_a_catalog_that_does_not_answer_costs_one_thread(serve: Any, root: Path) -> None:
    """While another process keeps the catalog to itself, whoever asks is told in time, by one look together."""
    server, _ = serve()
    readiness = Readiness(server.served, patience_s=0.05)
    assert Readiness(server.served).problem() is None
    with closing(sqlite3.connect(root / "catalog.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        found = [str(readiness.problem()) for _ in range(3)]
        assert looks() <= 1
    assert all("has not answered" in each or "does not open" in each for each in found), found
    for thread in threading.enumerate():
        if thread.name == "gapless readiness":
            thread.join(60)
    assert Readiness(server.served).problem() is None
