"""Tasks of a hub from the first question to the decision."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from gapless.errors import ApprovalRefused, GaplessError, HubFailed
from gapless.observe.approval import Decision
from gapless.observe.hub_endpoint import HubEndpoint
from gapless.observe.hub_request import Answer

_LONGEST_ID = 200
_TOKEN_STEP = "give a token that the hub knows and that may do this"


class HubTask:
    """One request for approval. ``id`` is the hub's, None until it answered; ``error``: why it was refused."""

    def __init__(self, body: str, abandon: Callable[[HubTask], None]) -> None:
        self.body = body
        self.id: str | None = None
        self.error: GaplessError | None = None
        self.abandoned = False
        self._abandon = abandon
        self._lock = threading.Lock()
        self._decision = Decision.PENDING
        self._taken = False

    def poll(self) -> Decision:
        """Return the decision so far; never waits. An approval that was returned once stays."""
        with self._lock:
            self._taken = self._taken or self._decision is Decision.APPROVED
            return self._decision

    def cancel(self) -> None:
        """Refuse it here, unless it was decided and :meth:`poll` said so, and let the hub stop the task."""
        with self._lock:
            if self._taken or self._decision is Decision.REFUSED:
                return
            self._refuse(ApprovalRefused("the request was cancelled before it was decided"))
        self._abandon(self)

    def approve(self) -> None:
        """Approve it, unless it was decided before."""
        with self._lock:
            if self._decision is Decision.PENDING:
                self._decision = Decision.APPROVED

    def refuse(self, error: GaplessError) -> None:
        """Refuse it, unless it was decided before."""
        with self._lock:
            if self._decision is Decision.PENDING:
                self._refuse(error)

    def _refuse(self, error: GaplessError) -> None:
        self.error = error
        self.abandoned = True
        self._decision = Decision.REFUSED


class Approvals:
    """Asks the hub for tasks and polls those that a person decides; used by one thread.

    ``give_up(id, reason)`` is called for a task that the hub knows and nobody here waits for any more.
    """

    def __init__(
        self,
        endpoint: HubEndpoint,
        *,
        timeout_s: float,
        poll_s: float,
        give_up: Callable[[str, str], None],
    ) -> None:
        self._endpoint = endpoint
        self._timeout_s, self._poll_s = timeout_s, poll_s
        self._give_up = give_up
        self._waiting: dict[HubTask, float] = {}  # until when a person may decide
        self._next_poll = 0.0

    def ask(self, task: HubTask) -> None:
        """Ask for a new task, unless it was cancelled before."""
        if task.abandoned:
            return
        self._waiting[task] = 0.0  # from here on refuse_all knows it
        try:
            approved = self._read_created(task, self._endpoint.create(task.body))
        except GaplessError as error:
            del self._waiting[task]
            task.refuse(error)
            return
        if approved:
            del self._waiting[task]
            task.approve()
        else:
            self._waiting[task] = time.monotonic() + self._timeout_s

    def stop(self, task: HubTask) -> None:
        """Wait no longer for a task that was cancelled, and let the hub stop it if it knows it."""
        self._waiting.pop(task, None)
        if task.id is not None:
            self._give_up(task.id, "" if task.error is None else task.error.message)

    def poll(self) -> float | None:
        """Poll the tasks that wait if it is time; return the seconds until the next time, None if none waits."""
        now = time.monotonic()
        if self._waiting and now >= self._next_poll:
            for task in list(self._waiting):
                self._poll_one(task)
            self._next_poll = time.monotonic() + self._poll_s
        return max(0.0, self._next_poll - time.monotonic()) if self._waiting else None

    def refuse_all(self, error: GaplessError) -> None:
        """Refuse what is still undecided, and let the hub stop it."""
        waiting = list(self._waiting)
        self._waiting.clear()
        for task in waiting:
            self._end(task, error)

    def _poll_one(self, task: HubTask) -> None:
        assert task.id is not None
        try:
            if time.monotonic() >= self._waiting[task]:
                raise ApprovalRefused("nobody approved the session in time", found=f"{self._timeout_s:g} s")
            decision = _decision(self._endpoint.look(task.id))
        except GaplessError as error:
            del self._waiting[task]
            if isinstance(error, _Decided):
                task.refuse(error)
            else:
                self._end(task, error)
            return
        if decision is Decision.APPROVED:
            del self._waiting[task]
            task.approve()

    def _end(self, task: HubTask, error: GaplessError) -> None:
        """Refuse a task of which the hub is to hear: first that, so that who sees the refusal can wait for it."""
        try:
            if task.id is not None:
                self._give_up(task.id, error.message)
        finally:
            task.refuse(error)

    def _read_created(self, task: HubTask, answer: Answer) -> bool:
        """Learn the id and return whether the task is approved; raises ApprovalRefused and HubFailed."""
        if answer.status not in (200, 201, 202):
            raise _refusal(answer)
        found = answer.json_object()
        task.id = _id_of(found, answer)
        approved = answer.status != 202
        agreed = "approved" if approved else "pending"
        if found.get("status", agreed) != agreed:
            raise HubFailed("the hub's answer contradicts itself", found=answer.excerpt, expected=agreed)
        return approved


class _Decided(ApprovalRefused):
    """The hub itself says no, so there is nothing to stop."""


def _decision(answer: Answer) -> Decision:
    """Return what a poll says; raises the refusal."""
    if answer.status != 200:
        raise _refusal(answer)
    found = answer.json_object()
    status, reason = found.get("status"), found.get("reason")
    if status in ("rejected", "stopped"):
        raise _Decided(
            f"the hub says {status}", found=answer.quote(reason) if isinstance(reason, str) else None
        )
    if status not in ("pending", "approved"):
        raise HubFailed("the hub's answer has no status that is known", found=answer.excerpt)
    return Decision(status)


def _refusal(answer: Answer) -> GaplessError:
    if 400 <= answer.status < 500:
        step = _TOKEN_STEP if answer.status in (401, 403) else None
        return ApprovalRefused("the hub refused the session", found=answer.excerpt, next_step=step)
    return HubFailed("the hub failed", found=answer.excerpt)


def _id_of(found: dict[str, Any], answer: Answer) -> str:
    task_id = found.get("id")
    if isinstance(task_id, int) and not isinstance(task_id, bool):
        task_id = str(task_id)
    if not isinstance(task_id, str) or not 0 < len(task_id) <= _LONGEST_ID:
        raise HubFailed("the hub's answer names no task", found=answer.excerpt, expected="an id")
    return task_id
