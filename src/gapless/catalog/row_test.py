"""Comparisons of whole columns, exact: a bound is fitted to the column's type before it is compared.

``float32`` against 9.8, ``int64`` against 9.5 or ``float64`` against 2**53 + 1 give what comparing the
exact numbers would give; nothing is rounded on the way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gapless.model.evaluate import kind_of
from gapless.model.expression import Predicate, Scalar
from gapless.model.glob import has_wildcard, is_prefix, literal_prefix, matches_nothing, regex_body
from gapless.model.normal_form import Condition

Mask = NDArray[np.bool_]
_NUMPY = {"lt": np.less, "leq": np.less_equal, "gt": np.greater, "geq": np.greater_equal, "eq": np.equal}
_ARROW = {"lt": "less", "leq": "less_equal", "gt": "greater", "geq": "greater_equal", "eq": "equal"}


def rows_hold(columns: Mapping[str, pa.Array], rows: int, conditions: Sequence[Condition]) -> Mask:
    """Return which rows satisfy all conditions; a column that is not there is null in every row."""
    result: Mask | None = None
    for condition in conditions:
        column = columns.get(condition.predicate.path)
        mask = np.zeros(rows, np.bool_) if column is None else _holds(column, condition.predicate)
        if not condition.wanted:
            mask = ~mask
        result = mask if result is None else result & mask
    return np.ones(rows, np.bool_) if result is None else result


def plain_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, dictionaries decoded."""
    if isinstance(column, pa.ChunkedArray):
        column = (
            column.chunk(0)
            if column.num_chunks == 1
            else pa.concat_arrays(column.chunks or [pa.array([], column.type)])
        )
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _holds(column: pa.Array, predicate: Predicate) -> Mask:
    if predicate.op == "exists":
        return _bools(column.is_valid())
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return _numbers_hold(column, predicate)
    if predicate.op == "is_nan":
        return np.zeros(len(column), np.bool_)
    if pa.types.is_boolean(column.type):
        return _any(column, predicate, "b", lambda _, value: _bools(pc.equal(column, pa.scalar(value))))
    if (
        pa.types.is_string(column.type)
        or pa.types.is_large_string(column.type)
        or pa.types.is_string_view(column.type)
    ):
        return _texts_hold(column, predicate)
    return np.zeros(len(column), np.bool_)


def _any(column: pa.Array, predicate: Predicate, kind: str, compare: Any) -> Mask:
    """Return where the column satisfies one of the simple comparisons that the predicate stands for."""
    result = np.zeros(len(column), np.bool_)
    for op, operand in _simple(predicate):
        if kind_of(operand) == kind:
            result |= compare(op, operand)
    return result


def _simple(predicate: Predicate) -> list[tuple[str, Scalar]]:
    operand = predicate.value
    if predicate.op == "in":
        return [("eq", value) for value in cast("tuple[Scalar, ...]", operand)]
    if predicate.op == "outside":
        low, high = cast("tuple[Scalar, Scalar]", operand)
        return [("lt", low), ("gt", high)]
    return [(predicate.op, cast("Scalar", operand))]


def _numbers_hold(column: pa.Array, predicate: Predicate) -> Mask:
    valid = None
    if column.null_count:
        valid = _bools(column.is_valid())
        column = column.fill_null(0)
    values = column.to_numpy(zero_copy_only=False)
    if predicate.op == "is_nan":
        mask = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), np.bool_)
    elif predicate.op == "between":
        low, high = cast("tuple[Scalar, Scalar]", predicate.value)
        mask = _number_holds(values, "geq", low) & _number_holds(values, "leq", high)
    else:
        mask = _any(column, predicate, "n", lambda op, value: _number_holds(values, op, value))
    return mask if valid is None else mask & valid


def _number_holds(values: NDArray[Any], op: str, operand: Scalar) -> Mask:
    if op not in _NUMPY or kind_of(operand) != "n" or operand != operand:
        return np.zeros(len(values), np.bool_)
    fitted = _fit(op, cast("float", operand), values.dtype)
    if isinstance(fitted, bool):
        if not fitted:
            return np.zeros(len(values), np.bool_)
        return ~np.isnan(values) if values.dtype.kind == "f" else np.ones(len(values), np.bool_)
    mask: Mask = _NUMPY[fitted[0]](values, fitted[1])
    return mask


def _fit(op: str, bound: float, dtype: np.dtype[Any]) -> bool | tuple[str, Any]:
    """Return the same comparison with a bound of the column's own type, or what it is for every number."""
    if dtype.kind == "f":
        return _fit_float(op, bound, dtype)
    limits = np.iinfo(dtype)
    if isinstance(bound, float) and not math.isinf(bound):
        if op == "eq" and not bound.is_integer():
            return False
        bound = math.ceil(bound) if op in ("lt", "geq") else math.floor(bound)
    if bound < limits.min:
        return op in ("gt", "geq")
    if bound > limits.max:
        return op in ("lt", "leq")
    return op, dtype.type(bound)


def _fit_float(op: str, bound: float, dtype: np.dtype[Any]) -> bool | tuple[str, Any]:
    with np.errstate(over="ignore"):
        try:
            nearest = dtype.type(float(bound))
        except OverflowError:  # an integer beyond the range of float
            nearest = dtype.type(math.inf if bound > 0 else -math.inf)
    exact = float(nearest)
    if exact == bound:
        return op, nearest
    if op == "eq":
        return False
    if op in ("gt", "geq"):
        return ("geq" if exact > bound else "gt"), nearest
    return ("lt" if exact > bound else "leq"), nearest


def _texts_hold(column: pa.Array, predicate: Predicate) -> Mask:
    if predicate.op == "between":
        low, high = cast("tuple[Scalar, Scalar]", predicate.value)
        return _text_holds(column, "geq", low) & _text_holds(column, "leq", high)
    return _any(column, predicate, "s", lambda op, value: _text_holds(column, op, value))


def _text_holds(column: pa.Array, op: str, operand: Scalar) -> Mask:
    if not isinstance(operand, str):
        return np.zeros(len(column), np.bool_)
    if op != "match":
        return _bools(pc.call_function(_ARROW[op], [column, pa.scalar(operand, column.type)]))
    if not has_wildcard(operand):
        return _text_holds(column, "eq", operand)
    if matches_nothing(operand):
        return np.zeros(len(column), np.bool_)
    if is_prefix(operand):
        return _bools(pc.starts_with(column, literal_prefix(operand)))
    return _bools(pc.match_substring_regex(column, rf"(?s)\A(?:{regex_body(operand)})\z"))


def _bools(array: pa.Array) -> Mask:
    if array.null_count:
        array = array.fill_null(False)  # noqa: FBT003 - the value that nulls become
    mask: Mask = array.to_numpy(zero_copy_only=False)
    return mask
