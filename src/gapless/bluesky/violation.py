"""What an event held that its descriptor did not announce; the raw value is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gapless.bluesky.json_safe import digits
from gapless.bluesky.lossless import encode

_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Violation:
    """One cell that is not as declared. ``kind``: missing, extra, type, shape, range, timestamp, time or
    unresolved (external, and its datum never came: the value is the datum's id).

    ``value`` is the raw value as lossless JSON; of an extra key ``{"value": …, "timestamp": …}``, of fields
    beside the data (key ``""``) the fields; None
    where there is none.
    """

    timestamp_ns: int
    stream: str
    uid: str
    seq_num: int
    key: str
    kind: str
    expected: str
    found: str
    value: str | None


def describe(value: Any) -> str:
    """Return a value's type and the beginning of its text."""
    try:
        text = digits(value) if type(value) is int else repr(value)
    except BaseException as broken:  # noqa: BLE001 - the value's own class may fail to describe itself
        text = f"its text raises {type(broken).__name__}"
    return f"{type(value).__name__}: {text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}"


def raw(value: Any) -> str:
    """Return the lossless text of a raw value."""
    return encode(value)
