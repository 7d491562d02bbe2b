"""The catalog file: opened, rebuilt when it is damaged, shared by any number of processes and threads.

Whatever happens to the file, no recording is harmed: a damaged or older file is replaced by an empty
one that reconciling fills again. Where it cannot be written (a read-only store, or a newer gapless
owns it) the catalog lives in memory for as long as this object.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from gapless.catalog.schema import SCHEMA, VERSION
from gapless.errors import CatalogBusy, QueryRefused, StorageFailed
from gapless.model.evaluate import value_holds
from gapless.model.glob import glob_match

_BUSY_S = 20.0  # one rebuild of 100,000 sequences by another process fits
_UNWRITABLE = ("readonly", "unable to open", "disk i/o error", "database or disk is full")
_REFUSED = (
    "too complex",
    "too large",
    "too many",
    "too big",
    "stack overflow",
    "json path",
    "malformed json",
)
_LOOK_STEPS = 1000  # of SQLite's virtual machine between two looks at the clock
Row = tuple[Any, ...]


class Database:
    """One SQLite connection per process, guarded by a lock; counts the statements it runs.

    ``opened`` is called whenever a file was opened, before anything is read from it, and before it
    ``refill`` if the tables had to be made anew.
    """

    def __init__(
        self,
        path: Path,
        refill: Callable[[], object] = lambda: None,
        opened: Callable[[], object] = lambda: None,
    ) -> None:
        self.path = path
        self._refill = refill
        self._when_opened = opened
        self._empty = False
        self._unseen = False
        self._file: tuple[int, int] | None = None
        self.statements = 0
        self.in_memory = False
        self._lock = threading.RLock()
        self._depth = 0
        self._connection: sqlite3.Connection | None = None
        self._owner = 0

    def close(self) -> None:
        """Close the connection; the next statement opens it again."""
        with self._lock:
            if self._connection is not None and self._owner == os.getpid():
                self._connection.close()
            self._connection = None

    def rows(
        self, sql: str, parameters: Sequence[object] = (), *, patience_s: float | None = None
    ) -> list[Row]:
        """Run one statement and return all its rows.

        ``patience_s``: give up after this time, with QueryRefused; only for statements that change nothing.
        QueryRefused too for one that is beyond SQLite's limits.
        """
        with self._lock:
            self._ready()
            try:
                return self._execute(sql, parameters, patience_s)
            except sqlite3.DatabaseError as error:
                if self._depth:
                    raise
                self._recover(error)
                self._ready()
                return self._execute(sql, parameters, patience_s)

    def many(self, sql: str, parameters: Sequence[Sequence[object]]) -> None:
        """Run one statement for each set of parameters; only inside a transaction."""
        self.statements += 1
        self._opened().executemany(sql, parameters)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what runs inside happen as a whole or not at all; may be nested."""
        with self._lock:
            if self._depth:
                yield
                return
            self._ready()
            self._begin()
            self._depth = 1
            try:
                yield
                self._execute("COMMIT", ())
            except BaseException as error:
                self._depth = 0
                self._rollback()
                if isinstance(error, sqlite3.OperationalError) and _is_unwritable(error):
                    raise StorageFailed(
                        "the disk refused the catalog; no sequence is harmed",
                        found=f"{self.path}: {error}",
                        next_step="make room on the disk; `gapless reindex` makes the catalog again",
                    ) from error
                raise
            self._depth = 0

    def clear(self, keep: Collection[str] = ()) -> None:
        """Empty every table but those to keep, in one transaction."""
        with self.transaction():
            for (table,) in self.rows(
                "SELECT name FROM sqlite_schema WHERE type='table' AND name NOT LIKE 'sqlite_%'"
            ):
                if table not in keep:
                    self.rows(f"DELETE FROM {table}")

    # -- inside --------------------------------------------------------------------------------

    def _ready(self) -> None:
        """Open the file that is there now and fill it if it is new; nothing inside a transaction."""
        if self._depth:
            return
        if self._connection is not None and not self.in_memory and _identity(self.path) != self._file:
            self.close()  # deleted or replaced since: writing to the old file would be lost
        self._opened()
        empty, unseen = self._empty, self._unseen
        self._empty = self._unseen = False  # what is called now comes back here
        try:
            if empty:
                self._refill()
            if unseen:
                self._when_opened()
        except BaseException:
            self._empty, self._unseen = self._empty or empty, self._unseen or unseen
            raise

    def _execute(self, sql: str, parameters: Sequence[object], patience_s: float | None = None) -> list[Row]:
        self.statements += 1
        connection = self._opened()
        if patience_s is None:
            return connection.execute(sql, parameters).fetchall()
        end = time.monotonic() + patience_s
        connection.set_progress_handler(lambda: time.monotonic() > end, _LOOK_STEPS)
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.set_progress_handler(None, 0)

    def _begin(self) -> None:
        try:
            self._execute("BEGIN IMMEDIATE", ())
        except sqlite3.DatabaseError as error:
            self._recover(error)
            self._execute("BEGIN IMMEDIATE", ())

    def _rollback(self) -> None:
        connection = self._connection
        if connection is not None and connection.in_transaction:
            connection.rollback()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and self._owner != os.getpid():
            self._connection = None  # a forked child must not touch its parent's connection
            self._lock = threading.RLock()
            self._depth = 0
        if self._connection is None:
            try:
                self._connection = self._open()
            except sqlite3.DatabaseError as error:
                self._recover(error)
        return cast("sqlite3.Connection", self._connection)

    def _open(self) -> sqlite3.Connection:
        self._owner = os.getpid()
        connection = _connect(":memory:" if self.in_memory else self.path)
        try:
            version, made = _prepare(connection, in_memory=self.in_memory)
        except BaseException:
            connection.close()
            raise
        if version > VERSION:  # a newer release is at work in this store; leave its file alone
            connection.close()
            self.in_memory = True
            return self._open()
        self._empty = self._empty or made
        self._unseen = True
        self._file = None if self.in_memory else _identity(self.path)
        return connection

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        """Replace what cannot be used and open again, or raise CatalogBusy, QueryRefused or the error itself."""
        text = str(error).lower()
        if text == "interrupted":
            raise QueryRefused(
                "the search took too long and was given up", next_step="ask for less"
            ) from error
        if any(sign in text for sign in _REFUSED):
            raise QueryRefused("the catalog cannot answer such a search", found=str(error)) from error
        if "locked" in text or "busy" in text:
            raise CatalogBusy("another process keeps the catalog locked", found=str(self.path)) from error
        self.close()
        if _is_unwritable(error):
            self.in_memory = True
        elif "malformed" in text or "not a database" in text or "no such table" in text or "corrupt" in text:
            _delete(self.path)
        else:
            raise error
        self._connection = self._open()


def _is_unwritable(error: sqlite3.DatabaseError) -> bool:
    return any(sign in str(error).lower() for sign in _UNWRITABLE)


def _connect(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    connection.create_function("glob_match", 2, _glob_holds, deterministic=True)
    connection.create_function("integer_holds", 3, _integer_holds, deterministic=True)
    connection.create_function("number_holds", 3, _number_holds, deterministic=True)
    connection.create_function("text_holds", 2, _text_holds, deterministic=True)
    return connection


def use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch a file to the write-ahead log; where that cannot be had SQLite's error passes.

    SQLite does not wait when several connections switch a new file at once, so this does.
    """
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _prepare(connection: sqlite3.Connection, *, in_memory: bool) -> tuple[int, bool]:
    """Give the file its tables if it has none or older ones; return the version and whether they are new."""
    version = _version(connection)
    if version > VERSION:
        return version, False
    if not in_memory:
        use_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous=NORMAL")  # a lost last commit is found again by reconciling
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA cache_size=-32000")
    if version == VERSION:
        return version, False
    connection.execute("PRAGMA foreign_keys=OFF")
    connection.execute("BEGIN IMMEDIATE")
    made = _version(connection) != VERSION  # another process may have been first
    if made:
        for kind, name in connection.execute(
            "SELECT type, name FROM sqlite_schema WHERE type IN ('table','index')"
            " AND name NOT LIKE 'sqlite_%' ORDER BY type"
        ).fetchall():
            connection.execute(f'DROP {kind} IF EXISTS "{name}"')
        for statement in split_statements(SCHEMA):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")
    connection.execute("PRAGMA foreign_keys=ON")
    return VERSION, made


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def split_statements(script: str) -> list[str]:
    """Return the statements of a script; neither ``;`` nor ``--`` may stand inside of texts."""
    plain = "\n".join(line.partition("--")[0] for line in script.splitlines())
    return [statement for statement in plain.split(";") if statement.strip()]


def _delete(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _integer_holds(op: str, value: str, operand: str) -> bool:
    """Compare an integer beyond 64 bits, kept as text, with a number written as Python writes it."""
    number = float(operand) if set(operand) & set(".enif") else int(operand)
    return value_holds(op, int(value), number)


def _number_holds(op: str, value: float, operand: str) -> bool:
    """Compare a stored number with an integer beyond 64 bits, which SQLite cannot take as a parameter."""
    return value_holds(op, value, int(operand))


def _glob_holds(pattern: str, value: object) -> bool:
    return isinstance(value, str) and glob_match(pattern, value)


def _text_holds(word: str, value: object) -> bool:
    """Tell whether a text contains a word whatever the case of letters beyond ASCII, which LIKE cannot tell."""
    return isinstance(value, str) and word.casefold() in value.casefold()
