"""Approval: whether a session may record. What asks is the observer; who answers is pluggable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from gapless.errors import ApprovalRefused, GaplessError


class Decision(StrEnum):
    """How far an approval is."""

    PENDING = "pending"
    APPROVED = "approved"
    REFUSED = "refused"


@dataclass(frozen=True)
class SessionRequest:
    """What is to be approved: JSON values only."""

    session: str
    tasks: tuple[str, ...]
    total_episodes: int | None
    mode: str
    data_hz: str
    video_hz: str
    recorders: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)


class EpisodeReports(Protocol):
    """Takes the reports of an approved session; never waits for a network and never raises for one."""

    def submit(self, execution_metadata: Mapping[str, Any]) -> None:
        """Report one ended episode."""
        ...

    def stop(self, summary: Mapping[str, Any]) -> None:
        """Report the end of the session, after all its episodes."""
        ...


class Approval(Protocol):
    """One request on its way. ``error``: why it was refused. ``reports``: where an approved session reports."""

    error: GaplessError | None
    reports: EpisodeReports | None

    def poll(self) -> Decision:
        """Return the decision so far; never waits."""
        ...

    def cancel(self) -> None:
        """Stop asking; a later decision changes nothing."""
        ...


class Approver(Protocol):
    """Answers whether a session may record."""

    def request(self, session: SessionRequest) -> Approval:
        """Begin to ask and return at once; raises NotAuthenticated before anything is sent."""
        ...


@dataclass
class LocalApproval:
    """A decision that was made here and now."""

    decision: Decision
    error: GaplessError | None = None
    reports: EpisodeReports | None = None

    def poll(self) -> Decision:
        """Return the decision."""
        return self.decision

    def cancel(self) -> None:
        """Do nothing: it was decided already."""


class NoApproval:
    """Approves every session."""

    def request(self, session: SessionRequest) -> LocalApproval:
        """Return an approval that is granted."""
        del session
        return LocalApproval(Decision.APPROVED)


class LocalPolicy:
    """Approves what ``allow(request)`` says: True, or False, or the reason of a refusal as text."""

    def __init__(self, allow: Callable[[SessionRequest], bool | str]) -> None:
        self._allow = allow

    def request(self, session: SessionRequest) -> LocalApproval:
        """Ask the policy."""
        answer = self._allow(session)
        if answer is True:
            return LocalApproval(Decision.APPROVED)
        reason = answer if isinstance(answer, str) else "the local policy says no"
        return LocalApproval(Decision.REFUSED, ApprovalRefused(reason, found=session.session))
