"""What one comparison means for one plain value: exact numbers, IEEE NaN, whole-value globs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import cast

from gapless.model.expression import Predicate, Scalar, Value, split_path
from gapless.model.glob import glob_match


def kind_of(value: object) -> str:
    """Return ``b`` for true and false, ``n`` for numbers, ``s`` for text, ``o`` for anything else.

    Values of different kinds are never equal and have no order.
    """
    if isinstance(value, bool):
        return "b"
    if isinstance(value, int | float):
        return "n"
    return "s" if isinstance(value, str) else "o"


def value_holds(op: str, value: object, operand: Value) -> bool:
    """Return whether one present value satisfies the comparison; ``neq`` is the caller's business.

    Python compares ints with floats exactly, so no number is rounded.
    """
    if op == "exists":
        return True
    if op == "is_nan":
        return isinstance(value, float) and math.isnan(value)
    if op == "in":
        return any(value_holds("eq", value, item) for item in cast("tuple[Scalar, ...]", operand))
    if op in ("between", "outside"):
        low, high = cast("tuple[Scalar, Scalar]", operand)
        if op == "between":
            return value_holds("geq", value, low) and value_holds("leq", value, high)
        return value_holds("lt", value, low) or value_holds("gt", value, high)
    if kind_of(value) != kind_of(operand) or kind_of(value) == "o":
        return False
    if op == "match":
        return isinstance(value, str) and glob_match(cast("str", operand), value)
    left, right = cast("float", value), cast("float", operand)
    match op:
        case "eq":
            return left == right
        case "lt":
            return left < right
        case "leq":
            return left <= right
        case "gt":
            return left > right
        case _:
            return left >= right


def values_at(document: object, path: str) -> Iterator[object]:
    """Yield the values found at a dotted path; a list stands for each of its elements. Null is no value."""
    yield from _descend(document, split_path(path))


def _descend(node: object, keys: tuple[str, ...]) -> Iterator[object]:
    if isinstance(node, list):
        if not keys:
            yield node
        for item in node:
            yield from _descend(item, keys)
    elif not keys:
        if node is not None:
            yield node
    elif isinstance(node, Mapping) and keys[0] in node:
        yield from _descend(node[keys[0]], keys[1:])


def property_holds(predicate: Predicate, properties: Mapping[str, object], metadata: object) -> bool:
    """Return whether a predicate on a sequence's or topic's properties or metadata is true."""
    if predicate.path.startswith("metadata."):
        found = list(values_at(metadata, predicate.path.removeprefix("metadata.")))
    else:
        held = properties.get(predicate.path)
        found = held if isinstance(held, list) else [] if held is None else [held]
    return any(value_holds(predicate.op, value, predicate.value) for value in found)
