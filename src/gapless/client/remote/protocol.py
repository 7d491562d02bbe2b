"""What client and server of the network door say to each other: names, JSON bodies, errors.

Every action's body, command, ticket and piece of application metadata is one JSON object in UTF-8. A
command or ticket of this protocol has the key ``gapless``, whose value says what it asks for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from gapless import errors
from gapless.errors import GaplessError, UsageError

PORT: Final = 6726

INFO: Final = "gapless.info"
OPEN: Final = "gapless.write.open"
TOPIC: Final = "gapless.write.topic"
NOTE: Final = "gapless.write.note"
END: Final = "gapless.write.end"
KEEP: Final = "gapless.write.keep"
DISCARD: Final = "gapless.write.discard"

KIND: Final = "gapless"  # the key of commands and tickets
LANE: Final = "lane"
ARTIFACT: Final = "artifact"
SCAN: Final = "scan"
TAIL: Final = "tail"
DOWNSAMPLE: Final = "downsample"

UID_ELSEWHERE: Final = (
    "the uid is another recording's"  # NameTaken: it is open as `found`, not as it was asked for
)

_DETAILS: Final = ("sequence", "topic", "field", "found", "expected")


def encode(document: Mapping[str, Any]) -> bytes:
    """Return a JSON object as the bytes that travel."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def decode(body: bytes | memoryview | Any) -> dict[str, Any]:
    """Return the JSON object of a body; UsageError for anything else."""
    data = bytes(body)
    try:
        found = json.loads(data) if data else {}
    except (ValueError, RecursionError) as error:
        raise UsageError("a request is not JSON", found=repr(data[:80]), expected="a JSON object") from error
    if not isinstance(found, dict):
        raise UsageError("a request is not a JSON object", found=repr(found)[:80], expected="a JSON object")
    return found


def encode_error(error: GaplessError) -> bytes:
    """Return an error as the bytes that :func:`decode_error` makes the same error of."""
    words: dict[str, Any] = {"code": error.code, "message": error.message, "advice": error.advice}
    for name in _DETAILS:
        value = getattr(error, name)
        if value is not None:
            words[name] = value if isinstance(value, str | int | float | bool) else repr(value)
    return encode(words)


def decode_error(body: bytes) -> GaplessError | None:
    """Return the error that a server sent, or None where the bytes are not one of this protocol."""
    try:
        words = decode(body)
    except UsageError:
        return None
    kind = _kinds().get(str(words.get("code")))
    if kind is None:
        return None
    details = {name: words[name] for name in _DETAILS if name in words}
    return kind(str(words.get("message")), next_step=str(words.get("advice")), **details)


def _kinds() -> dict[str, type[GaplessError]]:
    found = (getattr(errors, name) for name in errors.__all__)
    return {kind.code: kind for kind in found if isinstance(kind, type) and issubclass(kind, GaplessError)}
