"""Moments as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gapless.errors import UsageError

_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)")


def instant_ns(text: str, start_ns: int | None) -> int:
    """Return the instant a person means, in exact integer arithmetic; raises UsageError.

    Seconds since ``start_ns`` (``12.5`` or ``12.5s``), nanoseconds since the epoch (13 digits or more), or
    ISO 8601 with its zone.
    """
    try:
        found = _instant_ns(text, start_ns)
    except (ArithmeticError, ValueError):  # no number, not finite, or no day of the calendar
        found = None
    if found is None or not -(2**63) <= found < 2**63:
        raise UsageError(
            "this is no instant",
            found=text,
            next_step="write seconds since the start, epoch nanoseconds, or ISO 8601 with zone",
        )
    return found


def _instant_ns(text: str, start_ns: int | None) -> int:
    iso = _ISO.fullmatch(text)
    if iso is not None:
        zone = "+00:00" if iso[3] == "Z" else iso[3]
        moment = datetime.fromisoformat(iso[1] + zone)
        return (moment - _EPOCH) // timedelta(seconds=1) * _NS + int((iso[2] or "").ljust(9, "0"))
    if re.fullmatch(r"-?\d{13,}", text):
        return int(text)
    value = Decimal(text.removesuffix("s"))
    if start_ns is None:
        raise UsageError("the sequence has no rows, so seconds since its start mean nothing", found=text)
    if not abs(value) < 2**63:  # also true of NaN: int() of a huge exponent would fill the memory
        raise ValueError(text)
    return start_ns + int(value * _NS)
