"""Where the next page of a list begins, as text that a caller gives back and nobody reads."""

from __future__ import annotations

import base64
import binascii
import json

from gapless.errors import QuestionRefused


def to_cursor(place: tuple[str, ...]) -> str:
    """Return a place as text for a query parameter."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def from_cursor(text: str | None, length: int) -> tuple[str, ...] | None:
    """Return the place of ``length`` texts that :func:`to_cursor` gave, None for none; raises QuestionRefused."""
    if not text:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError, binascii.Error) as error:
        raise _refused(text) from error
    if not isinstance(found, list) or len(found) != length or not all(isinstance(x, str) for x in found):
        raise _refused(text)
    return tuple(found)


def _refused(text: str) -> QuestionRefused:
    return QuestionRefused(
        "no page begins there", found=text[:100], field="cursor",
        next_step="give the cursor that the page before brought, or none for the first page",
    )  # fmt: skip
