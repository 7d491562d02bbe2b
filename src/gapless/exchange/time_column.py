"""Which column is the time and how it is written; whatever could be read in two ways is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING

from gapless.errors import ImportRefused
from gapless.exchange.instants import (
    MAX_NS,
    MIN_NS,
    NAIVE_RE,
    UNIT_POWER,
    UNIT_WORDS,
    ZONED_RE,
    BadTimeError,
    iso_text,
    number_ns,
    resolve_zone,
    text_ns,
)

if TYPE_CHECKING:
    from datetime import tzinfo

    import pyarrow as pa

    from gapless.exchange.column_survey import ColumnSurvey

OWN_NAMES = ("timestamp_ns", "timestamp_utc")  # what gapless itself writes
_NAME = re.compile(
    r"t|ts|(utc_)?(time|timestamp|time_?stamp|date|date_?time|epoch)(_utc)?|utc|epoch_time|unix(_?time(stamp)?)?"
    r"|sec(ond)?s?|elapsed(_?time|_seconds)?|rel(ative)?_?time|zeit|datum|uhrzeit|zeitstempel"
)
_UNIT_SUFFIX = re.compile(r"^(.+?)_(s|sec|secs|seconds|ms|msec|millis|us|usec|micros|ns|nanos|nsec)$")
_YEAR_S = (315_532_800, 4_102_444_800)  # 1980 to 2100: the units s, ms, us, ns cannot be confused within
_OVER_A_DAY_S = 100_000  # whole numbers above this may as well be milliseconds


@dataclass(frozen=True)
class TimeColumn:
    """The time column of a file and the way its cells become nanoseconds.

    ``columns`` are one position, or two for a date and a clock. ``unit`` is set for numbers, ``zone``
    for texts that name none, ``day_first`` for dates like 31/12/2024. A relative time counts from
    ``origin_ns``.
    """

    columns: tuple[int, ...]
    unit: str | None = None
    zone: str | None = None
    day_first: bool | None = None
    relative: bool = False
    origin_ns: int = 0

    @cached_property
    def _zone(self) -> tzinfo | None:
        return resolve_zone(self.zone) if self.zone is not None else None

    def ns(self, cell: str) -> int:
        """Return the nanoseconds of one cell; raises BadTimeError."""
        if self.unit is None:
            return text_ns(cell, self._zone, self.day_first)

        value = number_ns(cell, self.unit) + self.origin_ns
        if not MIN_NS <= value <= MAX_NS:
            raise BadTimeError("outside the years 1677 to 2262 that nanoseconds can hold")
        return value

    def column_ns(self, cells: pa.Array) -> pa.Array | None:
        """Return the nanoseconds of a whole chunk at once, or None when a cell needs a closer look."""
        import pyarrow as pa

        try:
            return self._numbers(cells) if self.unit is not None else self._texts(cells)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None

    def describe(self) -> str:
        """Return in words how the time is written."""
        if self.unit is not None:
            if not self.relative:
                return f"epoch {self.unit}"

            return f"relative time in {self.unit}, counted from {iso_text(self.origin_ns)}"
        order = {None: "date and time, year first", True: "date, day first", False: "date, month first"}
        zone = f"zone {self.zone} where none is written" if self.zone else "with its zone"
        return f"{order[self.day_first]}, {zone}"

    def _numbers(self, cells: pa.Array) -> pa.Array | None:
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.unit == "ns":
            if not pc.all(pc.match_substring_regex(cells, r"^-?\d+$"), min_count=0).as_py():
                return None
            values = cells.cast(pa.int64())
        else:
            power = UNIT_POWER[self.unit or "s"]
            if not pc.all(pc.match_substring_regex(cells, r"^[+-]?\d+(\.\d*)?$"), min_count=0).as_py():
                return None
            scaled = cells.cast(pa.decimal128(38, power))
            # The integer behind a decimal of that scale is the number of nanoseconds, exactly.
            plain = pa.Array.from_buffers(
                pa.decimal128(38, 0), len(scaled), scaled.buffers(), offset=scaled.offset
            )
            values = plain.cast(pa.int64())
        if self.origin_ns:
            values = pc.add_checked(values, pa.scalar(self.origin_ns, pa.int64()))
        return None if _holds_minimum(values) else values

    def _texts(self, cells: pa.Array) -> pa.Array | None:
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.day_first is not None:
            return None
        zoned = pc.match_substring_regex(cells, ZONED_RE)
        if pc.all(zoned, min_count=0).as_py():
            values = cells.cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
            return None if _holds_minimum(values) else values
        if self.zone is None or not pc.all(pc.match_substring_regex(cells, NAIVE_RE), min_count=0).as_py():
            return None
        naive = cells.cast(pa.timestamp("ns"))
        values = pc.assume_timezone(naive, arrow_zone(self.zone)).cast(pa.int64())  # raises unless unique
        return None if _holds_minimum(values) else values


def arrow_zone(zone: str) -> str:
    """Return the zone as Arrow spells it; the name must be one that ``resolve_zone`` knows."""
    if zone.upper() in ("Z", "GMT", "UTC"):
        return "UTC"
    if zone[0] not in "+-":
        return zone
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return f"{zone[0]}{digits[:2]}:{digits[2:]}"


def _holds_minimum(values: pa.Array) -> bool:
    import pyarrow.compute as pc

    return bool(pc.any(pc.equal(values, -(2**63))).as_py())


@dataclass(frozen=True)
class TimeWish:
    """What the person importing said about the time; None leaves it to the file."""

    column: str | None = None
    zone: str | None = None
    units: Mapping[str, str | None] = field(default_factory=dict)
    start: str | int | None = None
    date_order: str | None = None


def choose_time(
    names: Sequence[str],
    units: Sequence[str | None],
    surveys: Sequence[ColumnSurvey],
    decimal: str,
    wish: TimeWish,
) -> TimeColumn:
    """Return the time column of a file, or raise ImportRefused naming the choice to make."""
    columns = (
        _wished(names, wish.column) if wish.column is not None else _found(names, units, surveys, decimal)
    )
    if len(columns) == 2:
        return _text_time(columns, names, surveys[columns[0]], wish)
    survey = surveys[columns[0]]
    if not survey.present and names[columns[0]] in OWN_NAMES:
        return TimeColumn(columns, "ns")  # an exported topic without rows
    if survey.numbers(decimal) > survey.times:
        return number_time(columns[0], names[columns[0]], units[columns[0]], survey, wish)
    if survey.kinds["clock"] > survey.times:
        raise ImportRefused(
            "the time column holds a clock without a date",
            field=names[columns[0]],
            next_step="name the column of the date as well, as in --time DATE+TIME",
        )
    return _text_time(columns, names, survey, wish)


def number_unit(unit: str | None, name: str, low: Decimal, high: Decimal, whole: bool) -> tuple[str, bool]:
    """Return the unit of times given as numbers, and whether they are relative.

    A stated unit holds unless the numbers contradict it. Without one, numbers that are times from 1980
    to 2100 in exactly one unit are epoch times, small ones are relative seconds. Raises ImportRefused
    when neither is certain.
    """
    bands = {u: (_YEAR_S[0] * 10 ** (9 - p), _YEAR_S[1] * 10 ** (9 - p)) for u, p in UNIT_POWER.items()}
    inside = [u for u, (first, last) in bands.items() if first <= low and high <= last]
    if unit is not None:
        word = UNIT_WORDS.get(unit.strip().lower())
        if word is None:
            raise ImportRefused(
                "the unit of the time column is not a unit of time",
                field=name,
                found=unit,
                expected="s, ms, us or ns",
                next_step=f"pass --units '{name}=s' or another",
            )
        if inside and word not in inside and UNIT_POWER[word] > UNIT_POWER[inside[0]]:
            raise ImportRefused(
                f"the time column says {word}, but its numbers look like epoch {inside[0]}",
                field=name,
                found=f"{low} to {high}",
                next_step=f"pass --units '{name}={inside[0]}', or correct the header",
            )
        return word, word not in inside
    if inside:
        return inside[0], False
    biggest = max(abs(low), abs(high))
    if biggest < _OVER_A_DAY_S or (not whole and biggest < _YEAR_S[0]):
        return "s", True
    raise ImportRefused(
        "the unit of the time column is not certain",
        field=name,
        found=f"{low} to {high}",
        expected="epoch or relative time in s, ms, us or ns",
        next_step=f"pass --units '{name}=s' (or ms, us, ns)",
    )


def _wished(names: Sequence[str], wish: str) -> tuple[int, ...]:
    if wish in names:
        return (names.index(wish),)
    parts = [part.strip() for part in wish.split("+")]
    if len(parts) == 2 and all(part in names for part in parts):
        return tuple(names.index(part) for part in parts)
    raise ImportRefused(
        "there is no such time column",
        found=wish,
        expected=", ".join(names),
        next_step="pass one of these names as time (--time), or two as DATE+TIME",
    )


def _found(
    names: Sequence[str], units: Sequence[str | None], surveys: Sequence[ColumnSurvey], decimal: str
) -> tuple[int, ...]:
    for own in OWN_NAMES:
        if own in names:
            return (names.index(own),)
    dated = [i for i, s in enumerate(surveys) if s.present and 3 * s.times >= 2 * s.present]
    named = [
        i
        for i, s in enumerate(surveys)
        if i not in dated
        and is_time_name(names[i], units[i], s)
        and s.numbers(decimal) * 3 >= 2 * s.present > 0
    ]
    clocks = [i for i, s in enumerate(surveys) if s.present and 3 * s.kinds["clock"] >= 2 * s.present]
    if (
        len(dated) == 1
        and not named
        and len(clocks) == 1
        and surveys[dated[0]].dates == surveys[dated[0]].times
    ):
        return dated[0], clocks[0]
    candidates = dated + named
    if len(candidates) == 1:
        return (candidates[0],)
    if candidates:
        raise ImportRefused(
            "more than one column could be the time",
            found=", ".join(names[i] for i in candidates),
            next_step=f"pass the one to use as time, as in --time '{names[candidates[0]]}'",
        )
    raise ImportRefused(
        "no column is recognised as the time",
        found=", ".join(names),
        expected="a column of dates, or of numbers with a header like time, t [s] or timestamp_ms",
        next_step="pass the column as time (--time NAME) and for numbers its unit (--units NAME=s)",
    )


def is_time_name(name: str, unit: str | None, survey: ColumnSurvey) -> bool:
    """Tell whether a column of numbers is called like a time and has no unit of anything else."""
    bare = re.sub(r"[\s\-.]+", "_", name.strip().lower())
    suffix = _UNIT_SUFFIX.match(bare)
    if name.strip() == "T":
        return False  # a temperature far more often than a time
    if _NAME.fullmatch(bare) or (suffix is not None and _NAME.fullmatch(suffix[1])):
        return unit is None or unit.strip().lower() in UNIT_WORDS
    if (
        not bare.endswith(("_time", "_timestamp", "_ts"))
        or survey.time_low is None
        or survey.time_high is None
    ):
        return False
    low, high = survey.time_low, survey.time_high
    return any(_YEAR_S[0] * 10**e <= low and high <= _YEAR_S[1] * 10**e for e in (0, 3, 6, 9))


def _unit_in_name(name: str) -> str | None:
    found = _UNIT_SUFFIX.match(re.sub(r"[\s\-.]+", "_", name.strip().lower()))
    return found[2] if found is not None else None


def number_time(column: int, name: str, unit: str | None, survey: ColumnSurvey, wish: TimeWish) -> TimeColumn:
    """Return how a column of numbers is a time; ``unit`` is what the file says, ``wish`` comes before it."""
    unit = unit or _unit_in_name(name)
    low, high = survey.time_low or Decimal(0), survey.time_high or Decimal(0)
    stated = (wish.units.get(name) or "").strip().lower()
    if stated in UNIT_WORDS:
        word = UNIT_WORDS[stated]  # the person decided: no contradiction to look for
        power = 9 - UNIT_POWER[word]
        relative = not (_YEAR_S[0] * 10**power <= low and high <= _YEAR_S[1] * 10**power)
    elif not stated and unit is None and name == "timestamp_ns":
        word, relative = "ns", False
    else:
        word, relative = number_unit(stated or unit, name, low, high, not survey.fraction)
    if name == "timestamp_ns":
        relative = False
    if wish.start is not None:
        if not relative:
            raise ImportRefused(
                "a start is given, but the times are epoch times already",
                field=name,
                found=f"{low} to {high} {word}",
                next_step="leave the start out",
            )
        return TimeColumn((column,), word, relative=True, origin_ns=start_ns(wish.start, wish.zone))
    return TimeColumn((column,), word, relative=relative)


def start_ns(start: str | int, zone: str | None) -> int:
    """Return the nanoseconds of a start given as nanoseconds or as a date and time with a zone."""

    if isinstance(start, int):
        return start
    try:
        return text_ns(start.strip(), resolve_zone(zone) if zone else None)
    except BadTimeError as error:
        raise ImportRefused(
            f"the start cannot be read: {error}",
            found=start,
            expected="a time like 2024-05-01T10:00:00Z",
            next_step="give it with a zone",
        ) from error


def _text_time(
    columns: tuple[int, ...], names: Sequence[str], survey: ColumnSurvey, wish: TimeWish
) -> TimeColumn:
    name = names[columns[0]]
    if not survey.times:
        raise ImportRefused(
            "the time column holds no times", field=name, next_step="pass another column as time (--time)"
        )
    if wish.units.get(name):
        raise ImportRefused(
            "a unit is given for a time column of dates",
            field=name,
            found=wish.units[name],
            next_step="leave the unit of that column out",
        )
    day_first = None
    if survey.year_last:
        day_first = _day_first(survey, name, wish.date_order)
    if survey.naive_times and wish.zone is None:
        raise ImportRefused(
            "times name no time zone",
            field=name,
            found=f"{survey.naive_times} of {survey.times}",
            next_step="pass the zone as tz, as in --tz UTC or --tz Europe/Berlin",
        )
    if wish.zone is not None:
        resolve_zone(wish.zone)
    return TimeColumn(columns, zone=wish.zone, day_first=day_first)


def _day_first(survey: ColumnSurvey, name: str, order: str | None) -> bool:
    if order is not None:
        if order.lower() not in ("dmy", "mdy"):
            raise ImportRefused(
                "the date order is not known",
                found=order,
                expected="dmy or mdy",
                next_step="pass --date-order dmy or --date-order mdy",
            )
        return order.lower() == "dmy"
    if survey.day_first and not survey.month_first:
        return True
    if survey.month_first and not survey.day_first:
        return False
    raise ImportRefused(
        "the dates can be read with the day first or the month first",
        field=name,
        next_step="pass --date-order dmy (31/12/2024) or --date-order mdy (12/31/2024)",
    )
