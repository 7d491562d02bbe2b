"""States, outcomes and error policies of a sequence, each one word."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from gapless.errors import UsageError


class State(StrEnum):
    """Where a sequence is in its life."""

    OPEN = "open"
    PENDING = "pending"
    SEALED = "sealed"
    DISCARDED = "discarded"


class Outcome(StrEnum):
    """How a recording ended; only ``completed`` counts as complete."""

    COMPLETED = "completed"
    ABORTED = "aborted"  # stopped by a person
    FAILED = "failed"  # an exception or a write error ended it
    INTERRUPTED = "interrupted"  # the owner died; sealed by recovery
    CRASHED = "crashed"  # a fault inside an acquisition run
    CRASHED_BUT_SEALED = "crashed_but_sealed"  # saturation


class OnErrorPolicy(StrEnum):
    """What happens to a sequence when an exception leaves its with-block."""

    Delete = "delete"  # to the trash, with a tombstone
    Report = "report"  # kept as pending, with the error as a notification


class TopicErrorPolicy(StrEnum):
    """What happens when one push to a topic is refused."""

    Raise = "raise"  # the caller sees the error
    Ignore = "ignore"  # the row is dropped, counted and notified; recording goes on
    Finalize = "finalize"  # as Ignore, and the topic takes no more rows
    Quarantine = "quarantine"  # the row is kept aside with its reason


class TopicStatus(StrEnum):
    """Where a topic writer is in its life."""

    ACTIVE = "active"
    FINALIZED = "finalized"
    FINALIZED_WITH_ERROR = "finalized_with_error"
    IGNORED_LAST_ERROR = "ignored_last_error"
    QUARANTINED_LAST_ERROR = "quarantined_last_error"
    RAISED_EXCEPTION = "raised_exception"


Word = TypeVar("Word", bound=StrEnum)


def choice(kind: type[Word], value: object, argument: str) -> Word:
    """Return the word that an argument chooses, or raise UsageError with the words there are."""
    try:
        return kind(str(value))
    except ValueError as error:
        words = ", ".join(kind)
        raise UsageError(f"{argument} is not one of its words", found=repr(value), expected=words) from error
