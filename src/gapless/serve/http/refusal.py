"""How an error reaches who asked over HTTP: its class, what was found and what to do next, never a traceback."""

from __future__ import annotations

import logging
import secrets
from typing import Any, Final

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from gapless.errors import (
    CatalogBusy,
    ControlFailed,
    CsrfRefused,
    DeadlinePassed,
    GaplessError,
    HostRefused,
    HubFailed,
    KeyRefused,
    LimitReached,
    MissingExtra,
    NameTaken,
    NotFound,
    OriginRefused,
    QuestionRefused,
    RecordTooLarge,
    RequestTooLarge,
    RightMissing,
    ServerClosing,
    ServerFault,
    StateError,
    StorageFailed,
    Unreachable,
    UsageError,
    WriteError,
)

_LONGEST: Final = 500  # characters of one text: parts of a request come back in it
#: The first class that fits says the status; what is in none of them is a fault of the server, 500.
STATUSES: Final[tuple[tuple[type[GaplessError], int], ...]] = (
    (NotFound, 404),
    (KeyRefused, 401),
    (RightMissing, 403),
    (CsrfRefused, 403),
    (OriginRefused, 403),
    (HostRefused, 403),
    (QuestionRefused, 422),
    (RequestTooLarge, 413),
    (RecordTooLarge, 413),
    (LimitReached, 429),
    (ServerClosing, 503),
    (DeadlinePassed, 503),
    (CatalogBusy, 503),
    (NameTaken, 409),
    (MissingExtra, 501),
    (UsageError, 400),
    (StateError, 409),
    (ControlFailed, 502),
    (HubFailed, 502),
    (Unreachable, 502),
    (WriteError, 400),
)


class Refusal(BaseModel):
    """The body of every answer that is not a success."""

    model_config = ConfigDict(extra="forbid")

    error: str = Field(description="the class of the error, such as NotFound")
    code: str = Field(description="what `gapless explain` knows it by, such as E201")
    message: str
    found: str | None = None
    expected: str | None = None
    next: str = Field(description="what to do about it")
    sequence: str | None = None
    topic: str | None = None
    field: str | None = None


def status_of(error: GaplessError) -> int:
    """Return the HTTP status of an error."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def refusal_of(error: GaplessError) -> Refusal:
    """Return an error as it is told."""
    return Refusal(
        error=type(error).__name__,
        code=error.code,
        message=_text(error.message) or "",
        found=_text(error.found),
        expected=_text(error.expected),
        next=error.advice,
        sequence=_text(error.sequence),
        topic=_text(error.topic),
        field=_text(error.field),
    )


def known(error: BaseException, what: str, log: logging.Logger, *, draining: bool) -> GaplessError:
    """Return an error of ours for any error; one that nobody expected is logged, and told by a reference only.

    ``what`` names the request in the log. A server that goes down closes what requests still use.
    """
    match error:
        case GaplessError():
            return error
        case MemoryError():  # Arrow's own is one, too
            return LimitReached("the server has not enough memory for this")
        case _ if draining or isinstance(error, pa.ArrowCancelled):
            return ServerClosing("the request was ended before its answer")
        case OSError(errno=int()):
            log.error("%s: %s", what, error, exc_info=error)
            return StorageFailed("the server's file system refused", found=error.strerror)
    reference = secrets.token_hex(4)
    log.error("%s: unexpected error, reference %s", what, reference, exc_info=error)
    return ServerFault("the server met an unexpected error", found=f"reference {reference}")


def documented() -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says about answers that refuse, for every route."""
    statuses = sorted({500, 405, *(status for _, status in STATUSES)})
    return {
        status: {
            "model": Refusal,
            "description": "; ".join(kind.__name__ for kind, own in STATUSES if own == status) or "refused",
        }
        for status in statuses
    }


def _text(value: object) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else repr(value)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
