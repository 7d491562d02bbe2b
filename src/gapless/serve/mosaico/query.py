"""Queries of the SDK: JSON conditions that must all hold, answered by the catalog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from gapless.catalog.answer import AnswerItem
from gapless.client.client import Client
from gapless.errors import QueryRefused
from gapless.model.expression import And, Expression, FieldRef, Or
from gapless.model.glob import glob_match
from gapless.serve.call import Call
from gapless.serve.mosaico.locator import has_locator
from gapless.serve.mosaico.row_shape import UNMODELED
from gapless.serve.mosaico.topic_name_glob import patterns, with_digits, without_slash
from gapless.serve.native.reading_turns import in_turns
from gapless.store.derived import is_feature_topic

_OPS: Final = {
    "$eq": "eq", "$lt": "lt", "$leq": "leq", "$gt": "gt", "$geq": "geq",
    "$between": "between", "$outside": "outside", "$in": "in",
}  # fmt: skip
_PROPERTIES: Final = {
    "sequence": {"name": "name", "created_at_ns": "created_ns"},
    "topic": {"name": "name", "created_at_ns": "created_ns", "ontology_tag": "ontology_tag"},
}
_PATHS: Final = "SELECT path FROM metadata_path WHERE scope=?"


def answer(client: Client, call: Call, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sequences that a query means, with their topics, as the SDK reads them.

    Conditions on rows of one tag hold in the same row; a sequence is in the answer when every tag's do.
    Raises ``pyarrow.ArrowInvalid`` for a query that means nothing.
    """
    wanted = And((*_conditions(client, document), *_of_own_groups(call)))
    turns = in_turns(client, wanted, call.cancelled, runs=False, order="name")
    return {"items": [_told(item) for turn in turns for item in turn if has_locator(item.name)]}


def names(client: Client, call: Call) -> list[str]:
    """Return the names of all sequences that the caller sees, in order."""
    return [name for name in client.query(*_of_own_groups(call), order="name").names if has_locator(name)]


def _of_own_groups(call: Call) -> tuple[Expression, ...]:
    groups = call.access.groups
    return () if groups is None else (FieldRef("sequence", "group").in_(sorted(groups)),)


def _told(item: AnswerItem) -> dict[str, Any]:
    return {
        "sequence": item.name,
        "topics": [
            {"locator": f"{item.name}/{topic.name}", "ontology_tag": topic.ontology_tag or UNMODELED}
            for topic in item.topics
            if not is_feature_topic(topic.name) and not topic.name.startswith("_")
        ],
    }


def _conditions(client: Client, document: Mapping[str, Any]) -> Iterator[Expression]:
    for kind, conditions in document.items():
        if not isinstance(conditions, Mapping):
            raise pa.ArrowInvalid(f"query: {kind!r} is not an object of conditions")
        if kind == "ontology":
            yield from row_conditions(conditions)
        elif kind in _PROPERTIES:
            yield from _property_conditions(client, kind, conditions)
        else:
            raise pa.ArrowInvalid(f"query: {kind!r} is none of sequence, topic, ontology")


def row_conditions(conditions: Mapping[str, Any], tag: str | None = None) -> Iterator[Expression]:
    """Yield conditions on rows, given as ``Tag.field``; all of them must be of ``tag`` where one is given."""
    for key, test in conditions.items():
        head, dot, path = key.partition(".")
        if not dot or not head or not path:
            raise pa.ArrowInvalid(f"query: {key!r} is not a tag and a field, such as IMU.acceleration.x")
        if tag is not None and head != tag:
            raise pa.ArrowInvalid(f"query: {key!r} is not a field of the topic, whose type is {tag!r}")
        target = "field:*" if head == UNMODELED else f"ontology:{head}"
        for op, value in _tests(key, test):
            yield _compare(FieldRef(target, path), op, value)


def _property_conditions(client: Client, kind: str, conditions: Mapping[str, Any]) -> Iterator[Expression]:
    for key, test in conditions.items():
        if key == "user_metadata":
            if not isinstance(test, Mapping):
                raise pa.ArrowInvalid("query: 'user_metadata' is not an object of conditions")
            for path, inner in test.items():
                for op, value in _tests(path, inner):
                    yield _metadata(client, kind, path, op, value)
            continue
        place = _PROPERTIES[kind].get(key)
        if place is None:
            raise pa.ArrowInvalid(f"query: a {kind} has no {key!r}")
        for op, value in _tests(key, test):
            yield _property(FieldRef(kind, place), kind, op, value)


def _property(place: FieldRef, kind: str, op: str, value: Any) -> Expression:
    if place._path == "ontology_tag" and op == "$eq" and value == UNMODELED:
        return place.exists(present=False)
    if kind == "topic" and place._path == "name":
        if op == "$match":
            return _any([place.match(p) if p else place.eq("") for p in patterns(_pattern("name", value))])
        value = [_plain(item) for item in value] if isinstance(value, list) else _plain(value)
    return _compare(place, op, value)


def _plain(name: Any) -> Any:
    return without_slash(name) if isinstance(name, str) else name


def _metadata(client: Client, kind: str, path: str, op: str, value: Any) -> Expression:
    """Return a condition on metadata; ``*`` in a path stands for one key, ``**`` for any number of keys."""
    if not path:
        raise pa.ArrowInvalid("query: a metadata condition needs a key")
    if "*" not in path:
        return _compare(FieldRef(kind, f"metadata.{path}"), op, value)
    client._look()
    known = [row[0] for row in client.catalog._database.rows(_PATHS, (kind,))]
    meant = [name for name in known if _path_matches(path.split("."), name.split("."))]
    return _any([_compare(FieldRef(kind, f"metadata.{name}"), op, value) for name in meant])


def _path_matches(pattern: list[str], keys: list[str]) -> bool:
    if not pattern:
        return not keys
    if pattern[0] == "**":
        return any(_path_matches(pattern[1:], keys[n:]) for n in range(len(keys) + 1))
    return bool(keys) and glob_match(pattern[0], keys[0]) and _path_matches(pattern[1:], keys[1:])


def _any(expressions: list[Expression]) -> Expression:
    if len(expressions) == 1:
        return expressions[0]
    return Or(tuple(expressions)) if expressions else FieldRef("sequence", "name").in_()


def _tests(key: str, test: object) -> list[tuple[str, Any]]:
    if not isinstance(test, Mapping) or not test:
        raise pa.ArrowInvalid(f"query: the condition on {key!r} is not an operator with its value")
    return list(test.items())


def _compare(place: FieldRef, op: str, value: Any) -> Expression:
    try:
        if op in _OPS:
            return place.compare(_OPS[op], value)
        if op == "$neq":  # what is missing is not compared at all
            return And((place.exists(), place.neq(value)))
        if op == "$match":
            return place.match(_pattern(place._path, value))
        if op in ("$ex", "$nex"):
            return place.exists(present=op == "$ex")
    except QueryRefused as error:
        raise pa.ArrowInvalid(f"query: {error}") from error
    raise pa.ArrowInvalid(
        f"query: an unknown operator {op!r}; there is {', '.join(_OPS)}, $neq, $match, $ex, $nex"
    )


def _pattern(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise pa.ArrowInvalid(f"query: the pattern for {key!r} is not a text of at least one character")
    return with_digits(value)
