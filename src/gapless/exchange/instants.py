"""Text becomes a time in whole nanoseconds, exactly: integers only, never through a float."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

from gapless.errors import ImportRefused

MAX_NS: Final = 2**63 - 1
MIN_NS: Final = -(2**63) + 1  # the minimum itself stands for "no time" in several readers
UNIT_POWER: Final = {"s": 9, "ms": 6, "us": 3, "ns": 0}
UNIT_WORDS: Final = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("us", "µs", "μs", "usec", "usecs", "micros", "microsecond", "microseconds"), "us"),
    **dict.fromkeys(("ns", "nsec", "nsecs", "nanos", "nanosecond", "nanoseconds"), "ns"),
}
NAIVE_RE: Final = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?$"  # what Arrow reads at once
ZONED_RE: Final = NAIVE_RE[:-1] + r"(Z|[+-]\d\d:?\d\d)$"

_CLOCK = (
    r"(?:(?P<h>\d{1,2}):(?P<mi>\d\d)(?::(?P<s>\d\d)(?:[.,](?P<f>\d{1,99}))?)?(?:\s*(?P<ap>[AaPp])\.?[Mm]\.?)?"
    r"|(?P<h2>\d\d)(?P<mi2>\d\d)(?P<s2>\d\d)(?:[.,](?P<f2>\d{1,99}))?)"
)
_ZONE = r"(?:\s*(?P<z>Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?"
_ISO = re.compile(
    r"(?P<y>\d{4})(?:(?P<sep>[-/.])(?P<mo>\d{1,2})(?P=sep)(?P<d>\d{1,2})|(?P<mo2>\d\d)(?P<d2>\d\d)(?=T))"
    rf"(?:[T ]\s*{_CLOCK}{_ZONE})?\Z"
)
_DAY_MONTH = re.compile(
    rf"(?P<a>\d{{1,2}})(?P<sep>[-/.])(?P<b>\d{{1,2}})(?P=sep)(?P<y>\d{{4}})(?:,?[T ]\s*{_CLOCK}{_ZONE})?\Z"
)
_CLOCK_ONLY = re.compile(rf"(?=\d{{1,2}}:){_CLOCK}\Z")
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>\d{0,999})(?:[.,](?P<part>\d{0,999}))?(?:[eE](?P<exp>[+-]?\d{1,3}))?\Z"
)
_EPOCH_DAY: Final = datetime(1970, 1, 1, tzinfo=UTC).toordinal()


class BadTimeError(ValueError):
    """A cell that is no time, or none that int64 nanoseconds can hold; the text says why."""


def resolve_zone(name: str) -> tzinfo:
    """Return the zone of an IANA name, ``UTC`` or an offset like ``+02:00``.

    Raises ImportRefused for a name that this machine does not know.
    """
    if name.upper() in ("UTC", "Z", "GMT"):
        return UTC
    if re.fullmatch(r"[+-]\d\d(?::?\d\d)?", name):
        return timezone(timedelta(seconds=_offset_s(name)))
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ImportRefused(
            "the time zone is not known",
            found=name,
            expected="UTC, an offset like +02:00, or a name like Europe/Berlin",
            next_step="pass another tz (--tz)",
        ) from error


def time_kind(text: str) -> str | None:
    """Return what kind of time a text is written as, or None.

    ``iso`` has a zone, ``naive`` has none, ``date`` has no clock either; ``dm_iso``, ``dm_naive`` and
    ``dm_date`` are the same with the year last; ``clock`` is a clock without a date.
    """
    found, prefix = _ISO.match(text), ""
    if found is None:
        found, prefix = _DAY_MONTH.match(text), "dm_"
    if found is None:
        return "clock" if _CLOCK_ONLY.match(text) else None
    if found["h"] is None and found["h2"] is None:
        return f"{prefix}date"
    return f"{prefix}iso" if found["z"] else f"{prefix}naive"


def day_month_numbers(text: str) -> tuple[int, int] | None:
    """Return the first and the second number of a date like ``13/02/2024``, or None if it is none."""
    found = _DAY_MONTH.match(text)
    return None if found is None else (int(found["a"]), int(found["b"]))


def text_ns(text: str, zone: tzinfo | None, day_first: bool | None = None) -> int:
    """Return the nanoseconds of a date and clock; digits beyond the ninth are rounded to the nearest.

    ``zone`` applies to texts that name none. ``day_first`` tells the order of dates that end with the
    year. Raises BadTimeError for anything else, for local times that occur twice or never, and for
    leap seconds, which no count of nanoseconds can tell from the next second.
    """
    found = _ISO.match(text)
    if found is not None:
        month, day = (found["mo"], found["d"]) if found["mo"] else (found["mo2"], found["d2"])
    else:
        found = _DAY_MONTH.match(text)
        if found is None or day_first is None:
            raise BadTimeError("not a time")
        day, month = (found["a"], found["b"]) if day_first else (found["b"], found["a"])
    hour, minute, second, fraction = _clock(found)
    if second == 60:
        raise BadTimeError("a leap second")
    try:
        moment = datetime(int(found["y"]), int(month), int(day), hour, minute, second)
    except ValueError as error:
        raise BadTimeError(f"not a time: {error}") from error
    if found["z"]:
        offset = _offset_s(found["z"])
    elif zone is not None:
        offset = _local_offset_s(moment, zone)
    else:
        raise BadTimeError("no time zone")
    seconds = (moment.toordinal() - _EPOCH_DAY) * 86_400 + hour * 3600 + minute * 60 + second - offset
    return _checked(seconds * 10**9 + _scaled(int(fraction or "0"), 9 - len(fraction or "")))


def number_ns(text: str, unit: str) -> int:
    """Return the nanoseconds of a decimal number of s, ms, us or ns, rounded to the nearest.

    The number is never a float: ``1700000000.123456789`` seconds keep every digit. Raises BadTimeError.
    """
    found = _NUMBER.match(text)
    if found is None or not (found["whole"] or found["part"]):
        raise BadTimeError("not a number")
    part = found["part"] or ""
    value = _scaled(int(found["whole"] + part or "0"), int(found["exp"] or 0) - len(part) + UNIT_POWER[unit])
    return _checked(-value if found["sign"] == "-" else value)


def iso_text(ns: int) -> str:
    """Return the UTC time with nine digits and ``Z`` that :func:`text_ns` reads back exactly."""
    seconds, fraction = divmod(ns, 10**9)
    moment = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    return f"{moment.isoformat()}.{fraction:09d}Z"


def _clock(found: re.Match[str]) -> tuple[int, int, int, str]:
    if found["h2"] is not None:
        return int(found["h2"]), int(found["mi2"]), int(found["s2"]), found["f2"] or ""
    if found["h"] is None:
        return 0, 0, 0, ""
    hour = int(found["h"])
    if found["ap"]:
        if not 1 <= hour <= 12:
            raise BadTimeError("not a time: the hour of a 12 hour clock is 1 to 12")
        hour = hour % 12 + (12 if found["ap"] in "pP" else 0)
    return hour, int(found["mi"]), int(found["s"] or 0), found["f"] or ""


def _offset_s(text: str) -> int:
    if text[0] not in "+-":
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:
        raise BadTimeError(f"not a zone: {text}")
    return (hours * 3600 + minutes * 60) * (-1 if text[0] == "-" else 1)


def _local_offset_s(moment: datetime, zone: tzinfo) -> int:
    first, second = moment.replace(tzinfo=zone, fold=0), moment.replace(tzinfo=zone, fold=1)
    early, late = first.utcoffset(), second.utcoffset()
    if early is None or late is None:
        raise BadTimeError("the zone knows no offset for this time")
    if early != late:
        if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != moment:
            raise BadTimeError("this local time does not exist: the clock was set forward")
        raise BadTimeError("this local time occurs twice: the clock was set back")
    return early.days * 86_400 + early.seconds


def _scaled(digits: int, power: int) -> int:
    """Return digits times ten to a power, rounded to the nearest whole number, ties to even."""
    if power >= 0:
        return digits * int(10**power) if digits else 0
    divisor = int(10**-power)
    whole, rest = divmod(digits, divisor)
    return whole + int(2 * rest > divisor or (2 * rest == divisor and whole % 2 == 1))


def _checked(ns: int) -> int:
    if not MIN_NS <= ns <= MAX_NS:
        raise BadTimeError("outside the years 1677 to 2262 that nanoseconds can hold")
    return ns
