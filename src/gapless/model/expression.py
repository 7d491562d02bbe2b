"""Query expressions: frozen values that say which sequences, topics and rows are meant.

Roots make predicates, ``& | ~`` join them, nothing here looks at data::

    Sequence.Q.user_metadata["vehicle.id"].eq("x") & IMU.Q.acceleration.x.gt(9.8)

A predicate is ``Predicate(target, path, op, value)``. The target is ``sequence``, ``topic``,
``ontology:<tag>`` or ``field:<topic glob>``. ``repr`` gives Python that builds the value again and
``to_json``/``from_json`` carry it to another program. docs/query.md defines what an expression means.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, cast

from gapless.errors import QueryRefused

Scalar = bool | int | float | str
Value = Scalar | tuple[Scalar, ...]

ORDERED_OPS = ("lt", "leq", "gt", "geq")
OPS = ("eq", "neq", *ORDERED_OPS, "in", "between", "outside", "match", "exists", "is_nan")
SEQUENCE_PATHS = (
    "name", "group", "state", "outcome", "created_ns", "rows", "start_ns", "end_ns", "annotation",
)  # fmt: skip
TOPIC_PATHS = ("name", "ontology_tag", "created_ns", "rows", "start_ns", "end_ns")
METADATA = "metadata."


class Expression:
    """A condition on sequences; joined with ``&``, ``|`` and ``~``."""

    __slots__ = ()

    def __and__(self, other: Expression) -> Expression:
        return And((*_parts(self, And), *_parts(_checked(other), And)))

    def __or__(self, other: Expression) -> Expression:
        return Or((*_parts(self, Or), *_parts(_checked(other), Or)))

    def __invert__(self) -> Expression:
        return self.item if isinstance(self, Not) else Not(self)

    def __bool__(self) -> bool:
        raise QueryRefused(
            "an expression is neither true nor false by itself",
            next_step="join with & | ~ and parentheses instead of and/or/not, and use between() for a range",
        )


@dataclass(frozen=True, slots=True)
class Predicate(Expression):
    """One comparison of one property or field."""

    target: str
    path: str
    op: str
    value: Value = True

    def __post_init__(self) -> None:
        _check_place(self.target, self.path)
        object.__setattr__(self, "value", _check_value(self.op, self.value, self.path))

    def __repr__(self) -> str:
        return f"Predicate({self.target!r}, {self.path!r}, {self.op!r}, {_literal(self.value)})"


@dataclass(frozen=True, slots=True)
class And(Expression):
    """All of the items hold; row predicates of one target hold in the same row."""

    items: tuple[Expression, ...]

    def __repr__(self) -> str:
        return f"And({self.items!r})"


@dataclass(frozen=True, slots=True)
class Or(Expression):
    """At least one of the items holds."""

    items: tuple[Expression, ...]

    def __repr__(self) -> str:
        return f"Or({self.items!r})"


@dataclass(frozen=True, slots=True)
class Not(Expression):
    """The item does not hold of that sequence, topic or row."""

    item: Expression

    def __repr__(self) -> str:
        return f"Not({self.item!r})"


@dataclass(frozen=True, slots=True)
class Without(Expression):
    """The sequence does not match the item at all: no topic and no row of it does."""

    item: Expression

    def __repr__(self) -> str:
        return f"Without({self.item!r})"


def without(expression: Expression) -> Expression:
    """Return the condition that a sequence does not match ``expression``, with no row of it."""
    return Without(_checked(expression))


class FieldRef:
    """A property or field still waiting for its comparison; the operators give predicates."""

    __slots__ = ("_known", "_path", "_target")

    def __init__(self, target: str, path: str, known: Collection[str] | None = None) -> None:
        self._target = target
        self._path = path
        self._known = known

    def __repr__(self) -> str:
        return f"FieldRef({self._target!r}, {self._path!r})"

    def __hash__(self) -> int:
        return hash((self._target, self._path))

    def compare(self, op: str, value: object = True) -> Predicate:
        """Return the predicate of an operator given by its name."""
        if self._known is not None and self._path not in self._known:
            raise QueryRefused(
                f"{self._target.partition(':')[2]} has no such field",
                field=self._path,
                expected=closest(self._path, self._known),
            )
        return Predicate(self._target, self._path, op, cast("Value", value))

    def eq(self, value: object) -> Predicate:
        """Hold where the value is equal; 1 equals 1.0 but not True."""
        return self.compare("eq", value)

    def neq(self, value: object) -> Predicate:
        """Hold where the value is not equal, also where it is NaN or missing."""
        return self.compare("neq", value)

    def lt(self, value: object) -> Predicate:
        """Hold where the value is smaller."""
        return self.compare("lt", value)

    def leq(self, value: object) -> Predicate:
        """Hold where the value is smaller or equal."""
        return self.compare("leq", value)

    def gt(self, value: object) -> Predicate:
        """Hold where the value is greater."""
        return self.compare("gt", value)

    def geq(self, value: object) -> Predicate:
        """Hold where the value is greater or equal."""
        return self.compare("geq", value)

    def in_(self, *values: object) -> Predicate:
        """Hold where the value equals one of the values, given one by one or as one collection."""
        if len(values) == 1 and not isinstance(values[0], str) and isinstance(values[0], Collection):
            values = tuple(values[0])
        return self.compare("in", values)

    def between(self, low: object, high: object | None = None) -> Predicate:
        """Hold where ``low <= value <= high``; the bounds may come as one pair."""
        return self.compare("between", _bounds(low, high))

    def outside(self, low: object, high: object | None = None) -> Predicate:
        """Hold where ``value < low`` or ``value > high``; the bounds may come as one pair."""
        return self.compare("outside", _bounds(low, high))

    def match(self, pattern: str) -> Predicate:
        """Hold where the whole text matches a glob of ``* ? []``, case sensitive."""
        return self.compare("match", pattern)

    def exists(self, present: bool = True) -> Predicate:
        """Hold where there is a value; a NaN is a value, null is not."""
        return self.compare("exists", present)

    def ex(self, present: bool = True) -> Predicate:
        """Do the same as :meth:`exists`."""
        return self.exists(present)

    def is_nan(self) -> Predicate:
        """Hold where the value is NaN."""
        return self.compare("is_nan")

    def __eq__(self, value: object) -> Predicate:  # type: ignore[override] # builds a predicate
        return self.eq(value)

    def __ne__(self, value: object) -> Predicate:  # type: ignore[override] # builds a predicate
        return self.neq(value)

    def __lt__(self, value: object) -> Predicate:
        return self.lt(value)

    def __le__(self, value: object) -> Predicate:
        return self.leq(value)

    def __gt__(self, value: object) -> Predicate:
        return self.gt(value)

    def __ge__(self, value: object) -> Predicate:
        return self.geq(value)


class RowPath(FieldRef):
    """A path into a row type: attributes and items lead deeper (``IMU.Q.acceleration["x"]``)."""

    __slots__ = ()

    def __getattr__(self, name: str) -> RowPath:
        if name.startswith("__"):  # copy, pickle and inspect probe for protocols
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> RowPath:
        return RowPath(self._target, f"{self._path}.{name}" if self._path else name, self._known)


def ontology_root(tag: str, known_paths: Collection[str] | None = None) -> RowPath:
    """Return the root of an ontology type's fields; an unknown path is refused when it is compared.

    ``known_paths`` are the type's leaves; None accepts any path. ``timestamp_ns`` is always known.
    """
    known = None if known_paths is None else frozenset(known_paths) | {"timestamp_ns"}
    return RowPath(f"ontology:{tag}", "", known)


def Field(topic: str, path: str) -> FieldRef:  # noqa: N802 - reads as a noun in a query
    """Return the field ``path`` of every topic whose name matches the glob, whatever its type."""
    return FieldRef(f"field:{topic}", path)


class MetadataRef:
    """``Q.user_metadata["vehicle.id"]``: dots separate keys, ``a\\.b`` is one key with a dot in it."""

    __slots__ = ("_target",)

    def __init__(self, target: str) -> None:
        self._target = target

    def __getitem__(self, path: str) -> FieldRef:
        return FieldRef(self._target, METADATA + path)


class SequenceRoot:
    """Properties of a sequence: ``Sequence.Q``."""

    name: ClassVar[FieldRef] = FieldRef("sequence", "name")
    group: ClassVar[FieldRef] = FieldRef("sequence", "group")
    state: ClassVar[FieldRef] = FieldRef("sequence", "state")
    outcome: ClassVar[FieldRef] = FieldRef("sequence", "outcome")
    created_ns: ClassVar[FieldRef] = FieldRef("sequence", "created_ns")
    created_timestamp: ClassVar[FieldRef] = FieldRef("sequence", "created_ns")
    rows: ClassVar[FieldRef] = FieldRef("sequence", "rows")
    start_ns: ClassVar[FieldRef] = FieldRef("sequence", "start_ns")
    end_ns: ClassVar[FieldRef] = FieldRef("sequence", "end_ns")
    annotation: ClassVar[FieldRef] = FieldRef("sequence", "annotation")
    metadata: ClassVar[MetadataRef] = MetadataRef("sequence")
    user_metadata: ClassVar[MetadataRef] = MetadataRef("sequence")


class TopicRoot:
    """Properties of a topic: ``Topic.Q``; joined with ``&`` they hold of the same topic."""

    name: ClassVar[FieldRef] = FieldRef("topic", "name")
    ontology_tag: ClassVar[FieldRef] = FieldRef("topic", "ontology_tag")
    created_ns: ClassVar[FieldRef] = FieldRef("topic", "created_ns")
    created_timestamp: ClassVar[FieldRef] = FieldRef("topic", "created_ns")
    rows: ClassVar[FieldRef] = FieldRef("topic", "rows")
    start_ns: ClassVar[FieldRef] = FieldRef("topic", "start_ns")
    end_ns: ClassVar[FieldRef] = FieldRef("topic", "end_ns")
    metadata: ClassVar[MetadataRef] = MetadataRef("topic")
    user_metadata: ClassVar[MetadataRef] = MetadataRef("topic")


class Sequence:
    """The place where queries about sequences begin."""

    Q: ClassVar[SequenceRoot] = SequenceRoot()


class Topic:
    """The place where queries about topics begin."""

    Q: ClassVar[TopicRoot] = TopicRoot()


def split_path(path: str) -> tuple[str, ...]:
    r"""Return the keys of a dotted path; ``\.`` and ``\\`` stand for a dot and a backslash in a key."""
    keys: list[str] = [""]
    chars = iter(path)
    for char in chars:
        if char == "\\":
            keys[-1] += next(chars, "\\")
        elif char == ".":
            keys.append("")
        else:
            keys[-1] += char
    return tuple(keys)


def join_path(keys: Collection[str]) -> str:
    """Return the dotted path of the keys; the inverse of :func:`split_path`."""
    return ".".join(key.replace("\\", "\\\\").replace(".", "\\.") for key in keys)


def walk(expression: Expression) -> Iterator[Predicate]:
    """Yield every predicate of the expression, left to right."""
    if isinstance(expression, Predicate):
        yield expression
    elif isinstance(expression, And | Or):
        for item in expression.items:
            yield from walk(item)
    elif isinstance(expression, Not | Without):
        yield from walk(expression.item)


def to_json(expression: Expression) -> dict[str, object]:
    """Return the expression as a JSON object; :func:`from_json` makes it again."""
    match expression:
        case Predicate(target, path, op, value):
            wire: object = [_wire(v) for v in value] if isinstance(value, tuple) else _wire(value)
            return {"target": target, "path": path, "op": op, "value": wire}
        case And(items):
            return {"and": [to_json(item) for item in items]}
        case Or(items):
            return {"or": [to_json(item) for item in items]}
        case Not(item):
            return {"not": to_json(item)}
        case Without(item):
            return {"without": to_json(item)}
    raise QueryRefused("this is not a query expression", found=type(expression).__name__)


def from_json(document: object) -> Expression:
    """Return the expression of a JSON object, or raise QueryRefused naming what is wrong with it."""
    if not isinstance(document, Mapping):
        raise QueryRefused("a query must be an object", found=document)
    keys = set(document)
    if keys == {"and"} or keys == {"or"}:
        kind, items = next(iter(document.items()))
        if not isinstance(items, list) or not items:
            raise QueryRefused(f"{kind!r} needs a list of queries", found=items)
        parts = tuple(from_json(item) for item in items)
        return And(parts) if kind == "and" else Or(parts)
    if keys == {"not"}:
        return Not(from_json(document["not"]))
    if keys == {"without"}:
        return Without(from_json(document["without"]))
    if keys != {"target", "path", "op", "value"}:
        raise QueryRefused("a predicate has target, path, op and value", found=sorted(map(str, keys)))
    target, path, op = document["target"], document["path"], document["op"]
    if not (isinstance(target, str) and isinstance(path, str) and isinstance(op, str)):
        raise QueryRefused("target, path and op must be text", found=[target, path, op])
    value = document["value"]
    read: object = tuple(_unwire(v) for v in value) if isinstance(value, list) else _unwire(value)
    return Predicate(target, path, op, cast("Value", read))


def closest(word: str, known: Collection[str]) -> str:
    """Return the known words most like ``word`` as one text, for an error message."""
    from difflib import get_close_matches

    near = get_close_matches(word, sorted(known), n=3, cutoff=0.5) or sorted(known)[:12]
    return ", ".join(near)


def _wire(value: Scalar) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    return value


def _unwire(value: object) -> object:
    if isinstance(value, Mapping) and value.get("float") in ("nan", "inf", "-inf"):
        return float(cast("str", value["float"]))
    return value


def _parts(expression: Expression, kind: type[And] | type[Or]) -> tuple[Expression, ...]:
    return expression.items if isinstance(expression, kind) else (expression,)


def _checked(expression: object) -> Expression:
    if not isinstance(expression, Expression):
        raise QueryRefused("only query expressions can be joined", found=type(expression).__name__)
    return expression


def _check_place(target: str, path: str) -> None:
    kind, colon, name = target.partition(":")
    if kind in ("sequence", "topic") and not colon:
        known = SEQUENCE_PATHS if kind == "sequence" else TOPIC_PATHS
        if path in known or (path.startswith(METADATA) and len(path) > len(METADATA)):
            return
        raise QueryRefused(
            f"a {kind} has no such property",
            field=path,
            expected=closest(path, (*known, "metadata.<key>")),
        )
    if kind not in ("ontology", "field") or not name:
        raise QueryRefused(
            "an unknown target", found=target, expected="sequence, topic, ontology:TAG, field:TOPIC"
        )
    if not path:
        raise QueryRefused(
            "a comparison needs a field", found=name, expected="a field such as acceleration.x"
        )


def _check_value(op: str, value: object, path: str) -> Value:
    if op not in OPS:
        raise QueryRefused("an unknown operator", field=path, found=op, expected=closest(op, OPS))
    if op in ("exists", "is_nan"):
        if not isinstance(value, bool):
            raise QueryRefused(f"{op} takes true or false", field=path, found=value)
        return value
    if op == "in":
        if not isinstance(value, tuple | list):
            raise QueryRefused("in needs a list of values", field=path, found=value)
        return tuple(_scalar(item, path) for item in value)
    if op in ("between", "outside"):
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise QueryRefused(f"{op} needs two bounds", field=path, found=value)
        low, high = (_orderable(_scalar(item, path), op, path) for item in value)
        if isinstance(low, str) != isinstance(high, str):
            raise QueryRefused(f"{op} needs two bounds of one kind", field=path, found=value)
        if not cast("float", low) <= cast("float", high):  # also when one is NaN
            raise QueryRefused(f"the lower bound of {op} is above the upper", field=path, found=value)
        return (low, high)
    scalar = _scalar(value, path)
    if op == "match" and not (isinstance(scalar, str) and scalar):
        raise QueryRefused("match takes a pattern of at least one character", field=path, found=value)
    return _orderable(scalar, op, path) if op in ORDERED_OPS else scalar


def _scalar(value: object, path: str) -> Scalar:
    if isinstance(value, datetime):
        return _datetime_ns(value, path)
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool | int | float | str):
        return value
    raise QueryRefused(
        "values are compared with text, numbers, true and false",
        field=path,
        found=value,
        next_step="use exists(False) for a missing value" if value is None else None,
    )


def _orderable(value: Scalar, op: str, path: str) -> Scalar:
    if isinstance(value, bool):
        raise QueryRefused(f"true and false have no order: {op} means nothing", field=path, found=value)
    return value


def _datetime_ns(value: datetime, path: str) -> int:
    if value.tzinfo is None:
        raise QueryRefused("a time needs its zone", field=path, found=value.isoformat(), expected="…+00:00")
    since = value - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(microseconds=1) * 1000 + int(getattr(value, "nanosecond", 0))


def _bounds(low: object, high: object | None) -> tuple[object, ...]:
    if high is None and isinstance(low, tuple | list):
        return tuple(low)
    return (low, high)


def _literal(value: Value) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    return repr(value)
