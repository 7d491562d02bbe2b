"""Commands to devices, their answers, and who may give them.

Every command carries the run's authorisation or the name of a person who confirmed it. One with neither
is refused, not raised: ``accepted`` is False and the refusal is recorded.
"""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import Any

import msgspec

#: Who gives the commands of a safe-state program; no dispatcher lets anybody else use it.
SAFE_STATE = "safe-state"


class CommandStatus(StrEnum):
    """How a command ended."""

    DONE = "done"
    FAILED = "failed"  # the device or the way to it failed; its state is unknown
    REFUSED = "refused"  # nothing reached the device, or the device said no


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One order to one device. ``arguments`` are JSON values; ``timeout_s`` bounds the device's answer."""

    name: str
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)
    issued_by: str = ""
    authorization_id: str | None = None
    confirmed_by: str | None = None
    command_id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)
    timeout_s: float = 5.0

    @property
    def authorized(self) -> bool:
        """Whether the run or a person stands behind the command."""
        return bool(self.authorization_id or self.confirmed_by)


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one command, joined to it by ``command_id``."""

    command_id: str
    status: CommandStatus
    value: Any = None
    message: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the command reached the device."""
        return self.status is not CommandStatus.REFUSED


def refused(command: Command, message: str) -> CommandResult:
    """Return the refusal of a command."""
    return CommandResult(command_id=command.command_id, status=CommandStatus.REFUSED, message=message)


def failed(command: Command, message: str) -> CommandResult:
    """Return the failure of a command."""
    return CommandResult(command_id=command.command_id, status=CommandStatus.FAILED, message=message)


def done(command: Command, value: Any = None, message: str = "") -> CommandResult:
    """Return the success of a command with the device's value."""
    return CommandResult(
        command_id=command.command_id, status=CommandStatus.DONE, value=value, message=message
    )
