"""Files that cannot be made again: durable, shared by processes, and never replaced when they are damaged."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gapless.catalog import Catalog
from gapless.catalog.state_database import DurableDatabase, StateDatabase
from gapless.errors import CatalogBusy, IntegrityError, NotFound, StorageFailed

TABLE = "CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT"


def test_what_was_committed_is_there_for_the_next_one(tmp_path: Path) -> None:
    """The file is state.db of the store; WAL, and a commit waits for the disk."""
    with StateDatabase(tmp_path) as database:
        database.ensure(TABLE)
        with database.transaction():
            database.many("INSERT INTO note (text) VALUES (?)", [("a",), ("b",)])
        assert database.rows("PRAGMA journal_mode") == [("wal",)]
        assert database.rows("PRAGMA synchronous") == [(2,)]
    with StateDatabase(tmp_path) as database:
        assert database.rows("SELECT text FROM note ORDER BY id") == [("a",), ("b",)]
    assert [path.name for path in tmp_path.iterdir()] == ["state.db"]


def test_ensure_runs_a_script_once_for_each_open_file(tmp_path: Path) -> None:
    """A second call costs no statement; after close the script runs again and harms nothing."""
    database = StateDatabase(tmp_path)
    database.ensure(f"{TABLE}; CREATE INDEX IF NOT EXISTS note_by_text ON note (text)")
    before = database.statements
    database.ensure(f"{TABLE}; CREATE INDEX IF NOT EXISTS note_by_text ON note (text)")
    assert database.statements == before
    database.close()
    database.ensure(f"{TABLE}; CREATE INDEX IF NOT EXISTS note_by_text ON note (text)")
    assert database.rows("SELECT name FROM sqlite_schema ORDER BY name") == [("note",), ("note_by_text",)]
    database.close()


def test_a_transaction_happens_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """An error inside of the inner of two nested transactions undoes both."""
    with StateDatabase(tmp_path) as database:
        database.ensure(TABLE)

        def write() -> None:
            with database.transaction():
                database.rows("INSERT INTO note (text) VALUES ('outer')")
                with database.transaction():
                    database.rows("INSERT INTO note (text) VALUES ('inner')")
                    raise RuntimeError

        with pytest.raises(RuntimeError):
            write()
        assert database.rows("SELECT * FROM note") == []


def test_a_broken_constraint_is_the_callers(tmp_path: Path) -> None:
    """SQLite's own error passes, for it says which constraint."""
    with StateDatabase(tmp_path) as database:
        database.ensure(TABLE)
        with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
            database.rows("INSERT INTO note (text) VALUES (NULL)")


@pytest.mark.parametrize("damage", ["no database", "torn page"])
def test_a_damaged_file_is_reported_and_left_alone(tmp_path: Path, damage: str) -> None:
    """Not one byte of it changes."""
    path = tmp_path / "state.db"
    if damage == "no database":
        path.write_bytes(b"something else entirely" * 100)
    else:
        with StateDatabase(tmp_path) as database:
            database.ensure(TABLE)
        data = bytearray(path.read_bytes())
        data[100:] = b"\xff" * (len(data) - 100)
        path.write_bytes(data)
    before = path.read_bytes()
    with pytest.raises(IntegrityError, match="damaged"), StateDatabase(tmp_path) as database:
        database.rows("SELECT * FROM note")
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A mistyped path makes nothing."""
    with pytest.raises(NotFound):
        DurableDatabase(tmp_path / "nowhere" / "x.db").rows("SELECT 1")
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_a_folder_is_a_typed_error(tmp_path: Path) -> None:
    """SQLite cannot open it."""
    (tmp_path / "state.db").mkdir()
    with pytest.raises(StorageFailed):
        StateDatabase(tmp_path).rows("SELECT 1")


def test_a_locked_file_is_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that never ends its transaction is named as the reason."""
    monkeypatch.setattr("gapless.catalog.state_database._BUSY_S", 0.05)
    with StateDatabase(tmp_path) as database, StateDatabase(tmp_path) as other:
        database.ensure(TABLE)
        other.rows("SELECT 1")
        with database.transaction(), pytest.raises(CatalogBusy):
            other.rows("INSERT INTO note (text) VALUES ('x')")


def test_threads_share_one_object(tmp_path: Path) -> None:
    """Transactions of threads do not mix: each thread's pair of rows is adjacent."""
    with StateDatabase(tmp_path) as database:
        database.ensure(TABLE)

        def write(name: str) -> None:
            for _ in range(20):
                with database.transaction():
                    database.many("INSERT INTO note (text) VALUES (?)", [(name,), (name,)])

        threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        texts = [text for (text,) in database.rows("SELECT text FROM note ORDER BY id")]
    assert len(texts) == 160
    assert texts[::2] == texts[1::2]


@pytest.mark.parametrize("kind", [Catalog, StateDatabase])
def test_any_number_may_open_a_new_file_at_once(tmp_path: Path, kind: type[Catalog | StateDatabase]) -> None:
    """Those who come while another makes the file wait for it."""
    failures: list[BaseException] = []

    def use(root: Path, barrier: threading.Barrier) -> None:
        opened = kind(root)
        database = opened.database if isinstance(opened, Catalog) else opened
        barrier.wait()
        try:
            with database.transaction():
                database.rows("SELECT 1")
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)
        opened.close()

    for number in range(25):
        root = tmp_path / str(number)
        root.mkdir()
        barrier = threading.Barrier(6)
        threads = [threading.Thread(target=use, args=(root, barrier)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


_WRITER = """
import sys
from gapless.catalog.state_database import StateDatabase
with StateDatabase(sys.argv[1]) as database:
    database.ensure(sys.argv[2])
    for number in range(50):
        with database.transaction():
            [(count,)] = database.rows("SELECT count(*) FROM note")
            database.rows("INSERT INTO note (id, text) VALUES (?, ?)", (count + 1, sys.argv[3]))
"""


def test_processes_share_one_file(tmp_path: Path) -> None:
    """Two processes that read and then write in one transaction never collide, and no row is lost."""
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path), TABLE, name], env=os.environ.copy())
        for name in "ab"
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    with StateDatabase(tmp_path) as database:
        assert database.rows("SELECT count(*), max(id) FROM note") == [(100, 100)]
