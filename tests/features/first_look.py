"""Stores at rest, and every SQL statement that looking at them takes."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from gapless.catalog import Catalog


def long_ago(store: Path) -> None:
    """Let what a look goes by have changed long ago: what changes just now is looked at again."""
    for path in (store / "sequences", store / "discarded", *store.glob("catalog.db*")):
        if path.exists():
            os.utime(path, (10**9, 10**9))


def settle(store: Path) -> None:
    """Let the catalog remember the folders as they are, and all of it have been long ago."""
    long_ago(store)
    with Catalog(store) as catalog:
        catalog.reconcile(quick=True)
    long_ago(store)


def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets every statement which any SQLite connection of the process runs from now on.

    The settings of a connection are left out.
    """
    said: list[str] = []
    connect = sqlite3.connect

    def hear(sql: str) -> None:
        if not sql.startswith("PRAGMA"):
            said.append(sql)

    def listening(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **kwargs)
        connection.set_trace_callback(hear)
        return connection

    monkeypatch.setattr(sqlite3, "connect", listening)
    return said
