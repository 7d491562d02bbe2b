"""The words on a control socket: one JSON object a line, in UTF-8.

A client sends requests ``{"id": 1, "verb": "status"}``. The server greets with ``{"hello": …}``, answers each
request once with ``{"id": 1, "ok": …}`` or ``{"id": 1, "error": …}``, in any order, and sends subscribers
``{"stream": "samples" | "event" | "gap" | "end", …}`` in between. Unknown fields are refused.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from gapless import errors
from gapless.errors import ControlFailed, GaplessError

PROTOCOL = 1
MAX_REQUEST_BYTES = 64 * 1024
MAX_REPLY_BYTES = 16 * 1024 * 1024
MAX_STREAM_HZ = 10.0

Operator = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=16_384)]


class Status(msgspec.Struct, tag="status", tag_field="verb", forbid_unknown_fields=True):
    """What the run is at."""

    id: int


class Describe(msgspec.Struct, tag="describe", tag_field="verb", forbid_unknown_fields=True):
    """What the run is made of."""

    id: int


class Subscribe(msgspec.Struct, tag="subscribe", tag_field="verb", forbid_unknown_fields=True):
    """The latest value of each channel at most ``rate_hz`` times a second, and every event and gap.

    ``channels``: globs; all of them if left out, none of them if empty.
    """

    id: int
    channels: list[str] | None = None
    rate_hz: Annotated[float, msgspec.Meta(gt=0, le=MAX_STREAM_HZ)] = MAX_STREAM_HZ


class Note(msgspec.Struct, tag="note", tag_field="verb", forbid_unknown_fields=True):
    """A note of the operator."""

    id: int
    text: Words
    by: Operator


class Order(msgspec.Struct, tag="command", tag_field="verb", forbid_unknown_fields=True):
    """A command to a device. ``confirmed``: the person named in ``by`` stands behind it."""

    id: int
    device: str
    name: str
    by: Operator
    arguments: dict[str, Any] = {}
    confirmed: bool = False
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 5.0


class Confirm(msgspec.Struct, tag="confirm", tag_field="verb", forbid_unknown_fields=True):
    """The answer to a prompt of the method."""

    id: int
    prompt_id: str
    answer: str
    by: Operator


class Stop(msgspec.Struct, tag="stop", tag_field="verb", forbid_unknown_fields=True):
    """End the run: safe state, drain, seal as aborted."""

    id: int
    by: Operator
    reason: Words = "stopped by the operator"


class EmergencyStop(msgspec.Struct, tag="emergency_stop", tag_field="verb", forbid_unknown_fields=True):
    """Safe state before everything else, then the end."""

    id: int
    by: Operator
    reason: Words = "emergency stop by the operator"


Request = Status | Describe | Subscribe | Note | Order | Confirm | Stop | EmergencyStop

_REQUESTS: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_ENCODER = msgspec.json.Encoder(enc_hook=repr)


class _Numbered(msgspec.Struct):
    """The least that a line must hold to be answered by its number."""

    id: int | None = None


def decode_request(line: bytes) -> Request:
    """Return the request of a line, or raise ControlFailed saying what is wrong with it."""
    try:
        return _REQUESTS.decode(line)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise ControlFailed(
            "this is no request",
            found=str(error),
            next_step="see docs/control.md for the verbs and their fields",
        ) from error


def id_of(line: bytes) -> int | None:
    """Return the number of a request that is wrong otherwise, None if it has none."""
    try:
        return msgspec.json.decode(line, type=_Numbered).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def encode(message: dict[str, Any]) -> bytes:
    """Return a message as a line; NaN becomes null, and what JSON cannot hold its ``repr``."""
    return _ENCODER.encode(message) + b"\n"


def error_message(number: int | None, error: BaseException) -> dict[str, Any]:
    """Return the answer to a request that failed."""
    if not isinstance(error, GaplessError):
        error = ControlFailed(f"{type(error).__name__}: {error}", next_step="`gapless watch` shows the run")
    fields = {
        "code": error.code,
        "error": type(error).__name__,
        "message": error.message,
        "found": None if error.found is None else str(error.found),
        "expected": None if error.expected is None else str(error.expected),
        "next": error.advice,
    }
    return {"id": number, "error": fields}


def error_of(fields: dict[str, Any]) -> GaplessError:
    """Return the error that an answer describes, of its own class where this version knows it."""
    kind = getattr(errors, str(fields.get("error")), None)
    if not (isinstance(kind, type) and issubclass(kind, GaplessError)):
        kind = ControlFailed
    return kind(
        str(fields.get("message", "the run refused")),
        found=fields.get("found"),
        expected=fields.get("expected"),
        next_step=fields.get("next"),
    )
