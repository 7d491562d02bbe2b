"""The time column of typed data: timestamps, durations and numbers, each exactly in nanoseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from gapless.errors import ImportRefused
from gapless.exchange.column_survey import ColumnSurvey
from gapless.exchange.instants import UNIT_POWER, iso_text, resolve_zone
from gapless.exchange.time_column import OWN_NAMES, TimeWish, arrow_zone, is_time_name, number_time, start_ns

if TYPE_CHECKING:
    import pyarrow as pa

_DAY_NS = 86_400 * 10**9


@dataclass(frozen=True)
class ArrowTime:
    """The time column of a typed file: its name, the unit of its numbers, the zone of naive timestamps."""

    name: str
    unit: str
    zone: str | None = None
    naive: bool = False
    relative: bool = False
    origin_ns: int = 0

    def describe(self) -> str:
        """Return in words how the time is stored."""
        if self.relative:
            return f"relative time in {self.unit}, counted from {iso_text(self.origin_ns)}"
        return f"timestamp in {self.unit}, zone {self.zone}" if self.naive else f"epoch {self.unit}"

    def ns(self, column: pa.Array, path: Path) -> pa.Array:
        """Return int64 nanoseconds, null where there is no time; raises ImportRefused for an overflow."""
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            values = self._values(column)
            if self.origin_ns:
                values = pc.add_checked(values, pa.scalar(self.origin_ns, pa.int64()))
        except pa.ArrowInvalid as error:
            raise ImportRefused(
                f"a time of {path.name} cannot be kept as nanoseconds: {error}",
                field=self.name,
                expected="times between 1677 and 2262 that occur once in their zone",
                next_step="correct the times, or pass another column as time (--time)",
            ) from error
        if pc.any(pc.equal(values, -(2**63))).as_py():
            raise ImportRefused(
                f"a time of {path.name} is the one int64 value that is no time",
                field=self.name,
                next_step="correct the times",
            )
        return values

    def _values(self, column: pa.Array) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = column.type
        if pa.types.is_date(kind):
            column = column.cast(pa.timestamp("s" if pa.types.is_date32(kind) else "ms"))
            kind = column.type
        if pa.types.is_timestamp(kind) and self.naive:
            column = pc.assume_timezone(column, arrow_zone(self.zone or "UTC"))
            kind = column.type
        if pa.types.is_floating(kind):
            return _floats_ns(column, self.unit)
        values = column.cast(pa.int64())
        return pc.multiply_checked(values, pa.scalar(10 ** UNIT_POWER[self.unit], pa.int64()))


def find_time(
    schema: pa.Schema,
    files: Sequence[Path],
    name: str | None,
    zone: str | None,
    units: Mapping[str, str],
    start: str | int | None,
) -> ArrowTime:
    """Return the time column of files with this flat schema, or raise ImportRefused naming the choice."""
    import pyarrow as pa

    field = schema.field(_chosen(schema, name))
    kind = field.type
    if pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None):
        if zone is None:
            raise ImportRefused(
                "the timestamps name no time zone",
                field=field.name,
                found=str(kind),
                next_step="pass the zone as tz, as in --tz UTC",
            )
        resolve_zone(zone)
        unit = kind.unit if pa.types.is_timestamp(kind) else ("s" if pa.types.is_date32(kind) else "ms")
        return ArrowTime(field.name, unit, zone, naive=True)
    if pa.types.is_timestamp(kind):
        return ArrowTime(field.name, kind.unit)
    if pa.types.is_duration(kind):
        origin = start_ns(start, zone) if start is not None else 0
        return ArrowTime(field.name, kind.unit, relative=True, origin_ns=origin)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise ImportRefused(
            "the time column holds no times",
            field=field.name,
            found=str(kind),
            expected="timestamps, durations or numbers",
            next_step="pass another column as time (--time)",
        )
    stored = (field.metadata or {}).get(b"unit")
    chosen = number_time(
        0,
        field.name,
        stored.decode() if stored else None,
        _survey(files, field.name),
        TimeWish(None, zone, units, start),
    )
    return ArrowTime(field.name, chosen.unit or "s", relative=chosen.relative, origin_ns=chosen.origin_ns)


def _chosen(schema: pa.Schema, wish: str | None) -> str:
    import pyarrow as pa

    names: list[str] = schema.names
    if wish is not None:
        if names.count(wish) != 1:
            raise ImportRefused(
                "there is no such time column",
                found=wish,
                expected=", ".join(names),
                next_step="pass one of these names as time (--time)",
            )
        return wish
    for own in OWN_NAMES:
        if own in names:
            return own
    typed: list[str] = [f.name for f in schema if pa.types.is_timestamp(f.type)]
    named: list[str] = [
        f.name
        for f in schema
        if is_time_name(f.name, ((f.metadata or {}).get(b"unit") or b"").decode() or None, ColumnSurvey())
        and (pa.types.is_integer(f.type) or pa.types.is_floating(f.type) or pa.types.is_duration(f.type)
             or pa.types.is_date(f.type))
    ]  # fmt: skip
    candidates = typed + named
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise ImportRefused(
            "more than one column could be the time",
            found=", ".join(candidates),
            next_step=f"pass the one to use as time, as in --time '{candidates[0]}'",
        )
    raise ImportRefused(
        "no column is recognised as the time",
        found=", ".join(names),
        expected="a timestamp, or a number called time, t or timestamp_ms",
        next_step="pass the column as time (--time NAME) and for numbers its unit (--units NAME=s)",
    )


def _survey(files: Sequence[Path], name: str) -> ColumnSurvey:
    """Return the range of a numeric column over all files; only that column is read."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    survey = ColumnSurvey()
    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=[name.split(".")[0]] if "." in name else [name]):
                table = pa.Table.from_batches([batch])
                while name not in table.column_names:
                    table = table.flatten()
                values = table.column(name)
                if pa.types.is_floating(values.type):
                    values = values.filter(pc.is_finite(values))
                    survey.fraction = survey.fraction or bool(
                        pc.any(pc.not_equal(pc.floor(values), values)).as_py()
                    )
                ends = pc.min_max(values).as_py()
                for end in (ends["min"], ends["max"]):
                    if end is not None:
                        survey.include(Decimal(end))
    return survey


def _floats_ns(column: pa.Array, unit: str) -> pa.Array:
    """Return the nanoseconds nearest to floats; NaN and null become null, whole numbers stay exact."""
    import numpy as np
    import pyarrow as pa

    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    missing = np.isnan(values)
    values = np.where(missing, 0.0, values)
    whole = np.floor(values)
    factor = 10 ** UNIT_POWER[unit]
    if np.any(np.abs(whole) >= 2**63 // factor):
        raise pa.ArrowInvalid("a float is outside of int64 nanoseconds")
    ns = whole.astype(np.int64) * factor + np.rint((values - whole) * factor).astype(np.int64)
    return pa.array(ns, pa.int64(), mask=missing)
