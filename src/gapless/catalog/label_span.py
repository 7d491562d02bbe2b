"""Where the span of a label lies beside the rows that it is about: it may leave them, and that is told."""

from __future__ import annotations

from collections.abc import Callable


def outside(
    start_ns: int, end_ns: int, first_ns: int | None, last_ns: int | None, length: Callable[[int], str]
) -> str:
    """Return in what way a span leaves the rows from ``first_ns`` to ``last_ns``, "" if it lies within them.

    None: nothing is known of that end. ``length`` says a number of nanoseconds in words.
    """
    parts = []
    if first_ns is not None and start_ns < first_ns:
        if end_ns < first_ns:
            return "is outside the rows"
        parts.append(f"begins {length(first_ns - start_ns)} before the first row")
    if last_ns is not None and end_ns > last_ns:
        if start_ns > last_ns:
            return "is outside the rows"
        parts.append(f"ends {length(end_ns - last_ns)} after the last row")
    return " and ".join(parts)
