"""How an error reaches the client: the same error for ours, the class that Flight has for it, never a traceback."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Any, Final, NoReturn

import pyarrow as pa
from pyarrow import flight

from gapless.client.remote import protocol
from gapless.errors import (
    GaplessError,
    KeyRefused,
    LimitReached,
    RightMissing,
    ServerClosing,
    ServerFault,
    StorageFailed,
    UsageError,
)

# gRPC carries an error in headers of 8 KiB together, the text more than once and percent-encoded.
_TEXT_BYTES: Final = 1200
_DETAIL_BYTES: Final = 1800
_CLIPS: Final = (400, 120, 30)  # characters of each part of an error, until it fits
_CLASSES: Final = (
    (KeyRefused, flight.FlightUnauthenticatedError),
    (RightMissing, flight.FlightUnauthorizedError),
    (LimitReached, flight.FlightUnavailableError),
    (ServerClosing, flight.FlightUnavailableError),
    (ServerFault, flight.FlightInternalError),
    (GaplessError, flight.FlightServerError),
)


class InvalidArgument(pa.ArrowInvalid):  # type: ignore[misc]
    """A bad argument: gRPC's INVALID_ARGUMENT, which reaches clients as pyarrow.ArrowInvalid.

    Arrow puts the formatted traceback of a Python error into the message it sends. Formatting asks for the
    cause first; as there is none to get, Arrow sends the message and the name of this class.
    """

    @property
    def __cause__(self) -> NoReturn:
        raise AttributeError("a bad argument travels without its traceback")


def refused(
    error: BaseException, what: str, log: logging.Logger, told: Callable[[str], str] = lambda text: text
) -> Exception:
    """Return what a handler of the server raises instead of ``error``; ``what`` names the request in the log.

    ``told(text)`` returns how much of a text of ours is the caller's concern.
    """
    match error:
        case flight.FlightError():
            return _flight(type(error), str(error), error.extra_info[:_DETAIL_BYTES])
        case pa.ArrowCancelled():
            return _flight(flight.FlightCancelledError, "the request was cancelled")
        case NotImplementedError():
            return _typed(UsageError("the server has nothing of this kind"))
        case MemoryError():  # Arrow's own is one, too
            return _typed(LimitReached("the server has not enough memory for this", found=str(error)))
        case GaplessError():
            return _typed(reworded(error, told))
        case pa.ArrowException():
            return InvalidArgument(_fitting(str(error)))
        case OSError(errno=int()):
            found = StorageFailed("the server's file system refused", found=error.strerror)
            log.error("%s: %s", what, error, exc_info=error)
            return _typed(found)
        case OSError():  # Arrow's, about bytes that are not what they claim to be
            return InvalidArgument(_fitting(str(error)))
    reference = secrets.token_hex(4)
    log.error("%s: unexpected error, reference %s", what, reference, exc_info=error)
    return _typed(ServerFault("the server met an unexpected error", found=f"reference {reference}"))


def code_of(error: BaseException) -> str:
    """Return what an error is counted as."""
    return error.code if isinstance(error, GaplessError) else type(error).__name__


def invalid(error: Exception) -> InvalidArgument:
    """Return an error as a bad argument: of GetSchema, Arrow passes on nothing else."""
    return error if isinstance(error, InvalidArgument) else InvalidArgument(str(error))


def _typed(error: GaplessError) -> Exception:
    kind = next(kind for ours, kind in _CLASSES if isinstance(error, ours))
    return _flight(kind, str(error), _detail(error))


def _flight(kind: type[Exception], text: str, detail: bytes = b"") -> Exception:
    return kind(_fitting(text), detail)


def _detail(error: GaplessError) -> bytes:
    """Return the error as the client makes it again, each part cut down until all of it fits."""
    detail = protocol.encode_error(error)
    for characters in _CLIPS:
        if len(detail) <= _DETAIL_BYTES:
            break
        detail = protocol.encode_error(_clipped(error, characters))
    return detail if len(detail) <= _DETAIL_BYTES else b""


def _clipped(error: GaplessError, characters: int) -> GaplessError:
    return reworded(error, lambda text: text if len(text) <= characters else f"{text[: characters - 1]}…")


def reworded(error: GaplessError, change: Callable[[str], str]) -> GaplessError:
    """Return the error with each of its texts changed; numbers stay."""

    def part(value: Any) -> Any:
        if value is None or isinstance(value, int | float):
            return value
        return change(value if isinstance(value, str) else repr(value))

    return type(error)(
        str(part(error.message)),
        sequence=part(error.sequence),
        topic=part(error.topic),
        field=part(error.field),
        found=part(error.found),
        expected=part(error.expected),
        next_step=part(error.advice),
    )


def _fitting(text: str) -> str:
    """Return text that UTF-8 can carry, cut where it would be too long for a header."""
    text = text.encode("utf-8", "backslashreplace").decode()
    room = _TEXT_BYTES
    for index, character in enumerate(text):
        room -= 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode())
        if room < 0:
            return f"{text[:index]}…"
    return text
