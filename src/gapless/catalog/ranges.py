"""What the statistics of a field prove about a comparison: no row, every row, or look at the rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

from gapless.model.evaluate import kind_of, value_holds
from gapless.model.expression import Scalar
from gapless.model.glob import literal_prefix
from gapless.model.normal_form import Condition

_TEXT = ("string", "large_string", "string_view")
_NUMBERS = (
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "halffloat", "float", "double", "float16", "float32", "float64",
)  # fmt: skip


class Proof(Enum):
    """What is known about the rows of a part without reading them."""

    NONE = 0
    SOME = 1
    ALL = 2


def kind_of_type(arrow_type: str) -> str:
    """Return ``n``, ``b`` or ``s`` for a column type that can be compared, ``o`` for any other."""
    if arrow_type in _NUMBERS:
        return "n"
    if arrow_type == "bool":
        return "b"
    if arrow_type in _TEXT or (arrow_type.startswith("dictionary<") and "values=string" in arrow_type):
        return "s"
    return "o"


@dataclass(frozen=True, slots=True)
class FieldRange:
    """The smallest and greatest value of a column, and how many rows have none or a NaN."""

    kind: str
    rows: int
    nulls: int
    nans: int
    low: Scalar | None
    high: Scalar | None
    wide: bool = False

    @classmethod
    def of(cls, arrow_type: str, rows: int, stats: Mapping[str, Any]) -> FieldRange:
        """Return the range that a part's ``gapless.stats`` hold for one column."""
        kind = kind_of_type(arrow_type)
        low, high = (
            float(bound) if kind == "n" and isinstance(bound, str) else bound
            for bound in (stats.get("min"), stats.get("max"))
        )
        nulls, nans = int(stats.get("nulls") or 0), int(stats.get("nans") or 0)
        return cls(kind, rows, nulls, nans, low, high, bool(stats.get("wide")))

    @property
    def values(self) -> int:
        """Rows that have a value that can be compared."""
        return self.rows - self.nulls - self.nans

    def joined(self, other: FieldRange) -> FieldRange:
        """Return the range of both together."""
        if self.kind != other.kind:
            return FieldRange("o", self.rows + other.rows, 0, 0, None, None, wide=True)
        lows = [r.low for r in (self, other) if r.low is not None]
        highs = [r.high for r in (self, other) if r.high is not None]
        wide = self.wide or other.wide
        return FieldRange(
            self.kind,
            self.rows + other.rows,
            self.nulls + other.nulls,
            self.nans + other.nans,
            None if wide else min(cast("list[float]", lows), default=None),
            None if wide else max(cast("list[float]", highs), default=None),
            wide,
        )


def prove(conditions: Sequence[Condition], ranges: Mapping[str, FieldRange | None]) -> Proof:
    """Return what the ranges prove about rows that satisfy all conditions.

    A path that is not in ``ranges`` is a column that the topic does not have: every row is null there.
    None stands for a column without statistics.
    """
    result = Proof.ALL
    for condition in conditions:
        path = condition.predicate.path
        if path in ranges:
            field_range = ranges[path]
            proof = Proof.SOME if field_range is None else _prove(condition, field_range)
        else:
            proof = Proof.NONE
        if not condition.wanted and proof is not Proof.SOME:
            proof = Proof.NONE if proof is Proof.ALL else Proof.ALL
        if proof is Proof.NONE:
            return Proof.NONE
        if proof is Proof.SOME:
            result = Proof.SOME
    return result


def _prove(condition: Condition, known: FieldRange) -> Proof:
    """Return what is known about the comparison itself, before ``wanted`` is looked at."""
    op, operand = condition.predicate.op, condition.predicate.value
    if op == "exists":
        return _counted(known.rows - known.nulls, known.rows)
    if op == "is_nan":
        return _counted(known.nans, known.rows)
    operands = operand if isinstance(operand, tuple) else (operand,)
    if not any(kind_of(item) == known.kind for item in operands) or known.values == 0:
        return Proof.NONE
    if known.wide or known.low is None or known.high is None:
        return Proof.SOME
    possible, certain = _range_holds(op, known.low, known.high, operands)
    if not possible:
        return Proof.NONE
    return Proof.ALL if certain and known.values == known.rows else Proof.SOME


def _counted(count: int, rows: int) -> Proof:
    if count == 0:
        return Proof.NONE
    return Proof.ALL if count == rows else Proof.SOME


def _range_holds(op: str, low: Scalar, high: Scalar, operands: tuple[Scalar, ...]) -> tuple[bool, bool]:
    """Return whether some value between low and high can satisfy the comparison, and whether all must."""
    first = operands[0]
    if op == "eq":
        inside = value_holds("geq", first, low) and value_holds("leq", first, high)
        return inside, inside and low == high
    if op == "in":
        each = [_range_holds("eq", low, high, (item,)) for item in operands if kind_of(item) == kind_of(low)]
        return any(p for p, _ in each), any(c for _, c in each)
    if op in ("lt", "leq"):
        return value_holds(op, low, first), value_holds(op, high, first)
    if op in ("gt", "geq"):
        return value_holds(op, high, first), value_holds(op, low, first)
    if op == "between":
        second = operands[1]
        possible = value_holds("geq", high, first) and value_holds("leq", low, second)
        return possible, value_holds("geq", low, first) and value_holds("leq", high, second)
    if op == "outside":
        second = operands[1]
        below, above = value_holds("lt", high, first), value_holds("gt", low, second)
        return value_holds("lt", low, first) or value_holds("gt", high, second), below or above
    return _match_holds(str(first), low, high)


def _match_holds(pattern: str, low: Scalar, high: Scalar) -> tuple[bool, bool]:
    prefix = literal_prefix(pattern)
    if prefix == pattern:
        return _range_holds("eq", low, high, (pattern,))
    assert isinstance(low, str)
    assert isinstance(high, str)
    possible = high >= prefix and (low <= prefix or low.startswith(prefix))
    certain = pattern == f"{prefix}*" and low.startswith(prefix) and high.startswith(prefix)
    return possible, certain


def storable(value: Scalar | None, *, upwards: bool) -> Scalar | None:
    """Return a bound that SQLite can hold: an integer beyond 64 bits becomes a float rounded outwards."""
    if not isinstance(value, int) or -(2**63) <= value < 2**63:
        return int(value) if isinstance(value, bool) else value
    rounded = float(value)
    if (rounded < value) if upwards else (rounded > value):
        return math.nextafter(rounded, math.inf if upwards else -math.inf)
    return rounded
