"""Live facts as JSON that a browser can hold: no NaN, no whole number that it would round, no endless text."""

from __future__ import annotations

import math
from typing import Any, Final

MAX_TEXT: Final = 4_000
_EXACT = 2**53
_STAMPS = frozenset({"timestamp_ns", "start_ns", "end_ns", "started_ns", "since_ns"})


def plain(value: Any, key: str = "") -> Any:
    """Return a JSON value without what a browser cannot hold.

    Times since 1970 and whole numbers beyond 2^53 become texts, numbers that are not finite null, texts are
    cut at ``MAX_TEXT`` characters, and anything that is no JSON value becomes its ``repr``.
    """
    if isinstance(value, dict):
        return {str(name): plain(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return str(value) if key in _STAMPS or abs(value) > _EXACT else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def said(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message as it is sent: without the word that says what kind it is."""
    return {key: value for key, value in message.items() if key != "stream"}
