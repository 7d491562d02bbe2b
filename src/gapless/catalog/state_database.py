"""SQLite files that cannot be made again from anything else: every commit is durable, nothing is deleted.

``state.db`` holds what people decided and what trainings told about themselves; each part of the package
that keeps something there makes its own tables.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

from gapless.catalog.sqlite import Row, split_statements, use_write_ahead_log
from gapless.errors import CatalogBusy, GaplessError, IntegrityError, NotFound, StorageFailed

_BUSY_S = 20.0
_DAMAGED = ("malformed", "not a database", "corrupt")


class DurableDatabase:
    """One SQLite file, made if it is absent; one connection per process, guarded by a lock.

    Write-ahead log where the file system allows it, else a rollback journal. Raises IntegrityError for a
    damaged file, which stays as it is, CatalogBusy, StorageFailed; NotFound without the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.statements = 0
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._owner = 0
        self._ensured: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file; the next statement opens it again."""
        with self._lock:
            if self._connection is not None and self._owner == os.getpid():
                self._connection.close()
            self._connection = None
            self._ensured.clear()

    def ensure(self, script: str) -> None:
        """Run statements that make tables where they are absent; once for each script and open file."""
        with self._lock:
            self._opened()
            if script in self._ensured:
                return
            with self.transaction():
                for statement in split_statements(script):
                    self.rows(statement)
            self._ensured.add(script)

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Run one statement and return all its rows."""
        with self._lock, _typed(self.path):
            self.statements += 1
            return self._opened().execute(sql, parameters).fetchall()

    def many(self, sql: str, parameters: Sequence[Sequence[object]]) -> None:
        """Run one statement for each set of parameters; only inside a transaction."""
        with self._lock, _typed(self.path):
            self.statements += 1
            self._opened().executemany(sql, parameters)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what runs inside happen as a whole, durably, or not at all; may be nested."""
        with self._lock:
            if self._opened().in_transaction:
                yield
                return
            self.rows("BEGIN IMMEDIATE")
            try:
                yield
                self.rows("COMMIT")
            except BaseException:
                if self._opened().in_transaction:
                    self.rows("ROLLBACK")
                raise

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and self._owner != os.getpid():
            self._connection = None  # a forked child must not touch its parent's connection
            self._lock = threading.RLock()
            self._ensured.clear()
        if self._connection is None:
            self._owner = os.getpid()
            with _typed(self.path):
                self._connection = _connect(self.path)
        return self._connection


class StateDatabase(DurableDatabase):
    """``state.db`` of the store at ``root``."""

    def __init__(self, root: Path) -> None:
        super().__init__(Path(root) / "state.db")


def _connect(path: Path) -> sqlite3.Connection:
    if not path.parent.is_dir():
        raise NotFound("the folder of a database is not there", found=str(path))
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # reads it: is it a database?
        _set_journal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _set_journal(connection: sqlite3.Connection) -> None:
    """Ask for the write-ahead log; network file systems that share no memory keep the rollback journal."""
    try:
        use_write_ahead_log(connection)
    except sqlite3.OperationalError as error:
        if "locked" in str(error).lower():  # another process is using the file in its present mode
            raise
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()


@contextmanager
def _typed(path: Path) -> Iterator[None]:
    """Turn what SQLite raises about the file into an error of the package; broken constraints stay."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.DatabaseError as error:
        raise _error(path, error) from error


def _error(path: Path, error: sqlite3.DatabaseError) -> GaplessError:
    text = str(error).lower()
    advice: dict[str, Any] = {"found": f"{path}: {error}"}
    if any(sign in text for sign in _DAMAGED):
        advice["next_step"] = "put back a copy of the file, or move it away and begin a new one"
        return IntegrityError("a database is damaged; it was left as it is", **advice)
    if "locked" in text or "busy" in text:
        advice["next_step"] = "end the program that holds it, then try again"
        return CatalogBusy("another process keeps a database locked", **advice)
    return StorageFailed("a database cannot be read or written", **advice)


__all__ = ["DurableDatabase", "StateDatabase"]


def look(root: Path, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
    """Return the rows of one query on ``<root>/state.db`` without changing anything, also where nothing can be.

    No file, or no such table, is no rows. Raises IntegrityError for a damaged file, StorageFailed.
    """
    path = Path(root) / "state.db"
    if not path.exists():
        return []
    for mode in ("mode=ro", "immutable=1"):  # the second for a read-only folder, where no lock can be made
        try:
            with closing(
                sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=_BUSY_S)
            ) as file:
                return file.execute(sql, parameters).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            problem = error
        except sqlite3.DatabaseError as error:
            raise _error(path, error) from error
    raise StorageFailed("state.db cannot be read", found=f"{path}: {problem}") from problem
