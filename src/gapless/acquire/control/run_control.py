"""What may be asked of a run from outside, by any thread; the socket, terminals and pages use only this."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from gapless.acquire.command import Command, CommandResult
from gapless.flow.bridge import ThreadBridge

if TYPE_CHECKING:
    from gapless.acquire.safe_state import SafeReport


class RunControl(Protocol):
    """A run, as its operators see it."""

    @property
    def name(self) -> str:
        """The sequence that is recorded."""

    def status(self) -> dict[str, Any]:
        """Return what a live view shows, as JSON values; must not wait."""

    def describe(self) -> dict[str, Any]:
        """Return what the run is made of, as JSON values; must not wait."""

    def note(self, text: str, by: str) -> None:
        """Record a note; durable on return."""

    def dispatch(self, device: str, command: Command) -> Future[CommandResult]:
        """Give a command to a device."""

    def confirm(self, prompt_id: str, answer: str, by: str) -> None:
        """Answer a prompt of the method."""

    def stop(self, reason: str, by: str) -> None:
        """Begin the end: safe state, drain, seal as aborted."""

    def emergency_stop(self, reason: str, by: str) -> SafeReport:
        """Put every device into its safe state and tell what became of each, then begin the end."""

    def feed(self, capacity: int = 256) -> ThreadBridge[Any]:
        """Return a mirror of readings and events that drops its oldest; who asked for it closes it."""
