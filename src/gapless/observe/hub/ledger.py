"""What a hub knows, in one SQLite file: who may speak to it, the tasks, and the reports of their episodes.

Every change is durable when the call returns, and the same report sent twice is kept once.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapless.catalog.state_database import DurableDatabase
from gapless.errors import NameTaken, NotFound, StateError, UsageError
from gapless.observe.hub.token import digest_of, new_token

_TABLES = """
CREATE TABLE IF NOT EXISTS tokens (
  name TEXT PRIMARY KEY, digest TEXT NOT NULL UNIQUE, approver INTEGER NOT NULL, expires_s INTEGER
);
CREATE TABLE IF NOT EXISTS tasks (
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, status TEXT NOT NULL, reason TEXT, request TEXT NOT NULL,
  created_ns INTEGER NOT NULL, number INTEGER UNIQUE NOT NULL
);
CREATE TABLE IF NOT EXISTS reports (
  task TEXT NOT NULL REFERENCES tasks (id), key TEXT NOT NULL, kind TEXT NOT NULL, number INTEGER NOT NULL,
  body TEXT NOT NULL, received_ns INTEGER NOT NULL, PRIMARY KEY (task, key)
)
"""
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Person:
    """Whose token it is, and whether it may decide on tasks."""

    name: str
    approver: bool


class HubLedger:
    """The hub's file ``path``, made if it is absent; shared by the server and the command line.

    Raises NotFound without the folder, IntegrityError for a damaged file, StorageFailed, CatalogBusy.
    """

    def __init__(self, path: Path | str) -> None:
        self._database = DurableDatabase(Path(path))
        self._database.ensure(_TABLES)

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    # -- tokens ----------------------------------------------------------------------------------

    def add_token(self, name: str, *, approver: bool = False, expires_s: int | None = None) -> str:
        """Make a token for a name and return it: only its digest is kept. NameTaken if the name has one."""
        if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
            raise UsageError("a token needs a name of at most 100 characters", found=repr(name))
        token = new_token(expires_s)
        with self._database.transaction():
            if self._database.rows("SELECT 1 FROM tokens WHERE name = ?", (name,)):
                raise NameTaken(
                    "the name has a token", found=name, next_step="remove it first, or add another name"
                )
            self._database.rows(
                "INSERT INTO tokens VALUES (?, ?, ?, ?)", (name, digest_of(token), int(approver), expires_s)
            )
        return token

    def remove_token(self, name: str) -> None:
        """Let a token count no longer; raises NotFound."""
        with self._database.transaction():
            if not self._database.rows("SELECT 1 FROM tokens WHERE name = ?", (name,)):
                raise NotFound("there is no token of that name", found=name)
            self._database.rows("DELETE FROM tokens WHERE name = ?", (name,))

    def tokens(self) -> list[dict[str, Any]]:
        """Return names, rights and ends of the tokens."""
        rows = self._database.rows("SELECT name, approver, expires_s FROM tokens ORDER BY name")
        return [{"name": name, "approver": bool(may), "expires_s": end} for name, may, end in rows]

    def person(self, token: str) -> Person | None:
        """Return whose token it is, or None; takes the same time for every wrong one."""
        digest = digest_of(token)
        found: Person | None = None
        for name, known, approver, expires_s in self._database.rows(
            "SELECT name, digest, approver, expires_s FROM tokens"
        ):
            same = hmac.compare_digest(digest, known)
            if same and (expires_s is None or time.time() < expires_s):
                found = Person(name, bool(approver))
        return found

    # -- tasks -----------------------------------------------------------------------------------

    def create_task(self, owner: str, request: dict[str, Any], *, approved: bool) -> dict[str, Any]:
        """Keep a new task, approved or pending, and return it."""
        task_id = secrets.token_hex(8)
        with self._database.transaction():
            self._database.rows(
                "INSERT INTO tasks (id, owner, status, request, created_ns, number)"
                " VALUES (?, ?, ?, ?, ?, (SELECT coalesce(max(number), 0) + 1 FROM tasks))",
                (task_id, owner, "approved" if approved else "pending", json.dumps(request), time.time_ns()),
            )
        return self.task(task_id)

    def tasks(self) -> list[dict[str, Any]]:
        """Return all tasks, the oldest first, each with the number of its episodes."""
        return self._tasks("ORDER BY number", ())

    def waiting(self, limit: int) -> list[dict[str, Any]]:
        """Return at most ``limit`` tasks that wait for a decision, the one that waits longest first."""
        return self._tasks("WHERE status = 'pending' ORDER BY number LIMIT ?", (limit,))

    def decided(self, limit: int, before: str | None = None) -> list[dict[str, Any]]:
        """Return at most ``limit`` tasks that do not wait any more, the newest first: those before a task's id."""
        if before is None:
            return self._tasks("WHERE status <> 'pending' ORDER BY number DESC LIMIT ?", (limit,))
        return self._tasks(
            "WHERE status <> 'pending' AND number < (SELECT number FROM tasks WHERE id = ?)"
            " ORDER BY number DESC LIMIT ?",
            (before, limit),
        )

    def task(self, task_id: str) -> dict[str, Any]:
        """Return one task; raises NotFound."""
        found = self._tasks("WHERE id = ?", (task_id,))
        if not found:
            raise NotFound(
                "there is no task of that id", found=task_id, next_step="`gapless hub tasks` lists them"
            )
        return found[0]

    def decide(self, task_id: str, status: str, reason: str | None = None) -> dict[str, Any]:
        """Make a pending task ``approved`` or ``rejected``; raises NotFound, StateError if it was decided."""
        with self._database.transaction():
            task = self.task(task_id)
            if task["status"] not in ("pending", status):
                raise StateError("the task was decided before", found=task["status"], expected="pending")
            self._database.rows(
                "UPDATE tasks SET status = ?, reason = ? WHERE id = ?", (status, reason, task_id)
            )
        return self.task(task_id)

    # -- reports ---------------------------------------------------------------------------------

    def submit(self, task_id: str, key: str, metadata: dict[str, Any]) -> dict[str, Any]:
        """Keep the report of an episode; raises NotFound, StateError unless the task is approved."""
        return self._report(task_id, key, "submit", metadata, {"approved"})

    def stop(self, task_id: str, key: str, summary: dict[str, Any]) -> dict[str, Any]:
        """Keep the end of a task, approved or still pending; otherwise like :meth:`submit`."""
        return self._report(task_id, key, "stop", summary, {"approved", "pending"})

    def episodes(self, task_id: str, *, after: int = 0, limit: int = -1) -> list[dict[str, Any]]:
        """Return the reports of a task's episodes in the order in which they came; raises NotFound.

        ``after``: only those with a greater number; ``limit``: at most so many, -1 for all.
        """
        self.task(task_id)
        rows = self._database.rows(
            "SELECT number, key, body, received_ns FROM reports"
            " WHERE task = ? AND kind = 'submit' AND number > ? ORDER BY number LIMIT ?",
            (task_id, after, limit),
        )
        return [
            {"number": number, "key": key, "executionMetadata": json.loads(body), "received_ns": received_ns}
            for number, key, body, received_ns in rows
        ]

    def ending(self, task_id: str) -> dict[str, Any] | None:
        """Return what was reported at the end of a task: ``{"summary", "received_ns"}``; None while it goes on.

        Raises NotFound.
        """
        self.task(task_id)
        rows = self._database.rows(
            "SELECT body, received_ns FROM reports WHERE task = ? AND kind = 'stop' ORDER BY number DESC LIMIT 1",
            (task_id,),
        )
        return {"summary": json.loads(rows[0][0]), "received_ns": rows[0][1]} if rows else None

    def _tasks(self, rest: str, values: tuple[object, ...]) -> list[dict[str, Any]]:
        rows = self._database.rows(
            "SELECT id, owner, status, reason, request, created_ns,"
            " (SELECT count(*) FROM reports WHERE task = id AND kind = 'submit')"
            f" FROM tasks {rest}",
            values,
        )
        return [_task(row) for row in rows]

    def _report(
        self, task_id: str, key: str, kind: str, body: dict[str, Any], allowed: set[str]
    ) -> dict[str, Any]:
        text = json.dumps(body, sort_keys=True)
        with self._database.transaction():
            task = self.task(task_id)
            known = self._database.rows(
                "SELECT kind, body, number FROM reports WHERE task = ? AND key = ?", (task_id, key)
            )
            if known and known[0][:2] != (kind, text):
                raise StateError("the idempotency key has another report", found=key)
            if known:
                return {"id": task_id, "number": known[0][2], "known": True}
            if task["status"] not in allowed:
                raise StateError("the task takes no such report", found=task["status"], expected="approved")
            number = 1 + self._database.rows("SELECT count(*) FROM reports WHERE task = ?", (task_id,))[0][0]
            self._database.rows(
                "INSERT INTO reports VALUES (?, ?, ?, ?, ?, ?)",
                (task_id, key, kind, number, text, time.time_ns()),
            )
            if kind == "stop":
                self._database.rows("UPDATE tasks SET status = 'stopped' WHERE id = ?", (task_id,))
        return {"id": task_id, "number": number, "known": False}


def _task(row: tuple[Any, ...]) -> dict[str, Any]:
    task_id, owner, status, reason, request, created_ns, episodes = row
    return {
        "id": task_id,
        "owner": owner,
        "status": status,
        **({} if reason is None else {"reason": reason}),
        "request": json.loads(request),
        "created_ns": created_ns,
        "episodes": episodes,
    }
