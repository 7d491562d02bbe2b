"""What an OPC UA server says of one value: the value itself, its source's time, its status code."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from asyncua import ua

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OVERFLOW = 0x0480  # info bits of a status code: a data value, and the server dropped some before it
_BAD = 0x8000_0000


def code_of(found: ua.DataValue) -> int:
    """Return the status code as 32 bits; 0 is good."""
    return int(found.StatusCode.value) if found.StatusCode is not None else 0


def tells_of_loss(found: ua.DataValue) -> bool:
    """Return whether the server dropped changes before this one."""
    return code_of(found) & _OVERFLOW == _OVERFLOW


def good_value(found: ua.DataValue) -> Any:
    """Return the value as the library has it, None where there is none or it is bad."""
    return None if code_of(found) >= _BAD or found.Value is None else found.Value.Value


def source_ns(found: ua.DataValue) -> int | None:
    """Return the source's time in nanoseconds since 1970, exactly; the server's times are UTC."""
    moment: datetime | None = found.SourceTimestamp
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


__all__ = ["code_of", "good_value", "source_ns", "tells_of_loss"]
