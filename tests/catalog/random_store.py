"""Random sequences and random queries about them, from a seed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
from tests.catalog.bundle_files import Row, TopicSpec, write_bundle
from tests.catalog.oracle import Recorded

from gapless.model.expression import (
    OPS,
    ORDERED_OPS,
    Expression,
    Field,
    FieldRef,
    Sequence,
    Topic,
    ontology_root,
    without,
)

_BIG = 2**53
_FLOATS = [0.0, -0.0, 0.1, 1.0, 2.5, 3.0, float("nan"), float("inf"), float("-inf"), float(_BIG), None]
_INTS = [0, 1, 2, 3, _BIG, _BIG + 1, 2**63 - 1, -(2**63), None]
_TEXTS = ["", "a", "ab", "abc", "b*", "é", "plan-4.1", None]
_COLUMNS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "x": (pa.float64(), _FLOATS),
    "single": (pa.float32(), [0.0, 0.5, 1.0, float("nan"), None]),
    "count": (pa.int64(), _INTS),
    "small": (pa.int8(), [-128, 0, 1, 127, None]),
    "ok": (pa.bool_(), [True, False, None]),
    "word": (pa.string(), _TEXTS),
    "kind": (pa.dictionary(pa.int32(), pa.string()), _TEXTS),
}
_OPERANDS: list[bool | int | float | str] = [
    0, 1, 2, 3, 0.5, 0.1, 2.5, -1, 127.5, _BIG, _BIG + 1, float(_BIG), 2**63, -(2**64), float("inf"),
    float("nan"), True, False, "a", "ab", "b*", "plan-4.1",
]  # fmt: skip
_GLOBS = ["a*", "*b*", "?", "plan-4.*", "[ab]*", "ab", "[!a]*", "*"]
_METADATA = [
    0,
    1,
    1.0,
    2.5,
    _BIG + 1,
    2**70,
    True,
    False,
    "a",
    "ab",
    "plan-4.1",
    None,
    [1, "a"],
    {"k": 1},
    [],
    {},
]
_TOPICS = ["imu/a", "imu/b", "pv"]


def random_store(rng: random.Random, store: Path, sequences: int) -> list[Recorded]:
    """Write random sequences into a store and return what was written."""
    found = []
    for number in range(sequences):
        recorded = Recorded(
            name=f"{rng.choice(['run', 'test'])}-{number}",
            group=rng.choice([None, "a", "b"]),
            outcome=rng.choice(["completed", "failed"]),
            opened_ns=rng.randrange(5),
            metadata=_metadata(rng),
            topics={n: _topic(rng, n) for n in _TOPICS if rng.random() < 0.7},
        )
        write_bundle(
            store, recorded.name, recorded.topics, metadata=recorded.metadata, group=recorded.group,
            outcome=recorded.outcome, opened_ns=recorded.opened_ns, group_rows=rng.choice([2, 5, 100]),
            with_stats=rng.random() < 0.9,
        )  # fmt: skip
        if rng.random() < 0.3:
            again = [n for n in recorded.topics if rng.random() < 0.5]
            for n in again:
                base = recorded.topics[n]
                recorded.layer[n] = TopicSpec(base.columns, _parts(rng, base.columns), base.tag)
            write_bundle(store, recorded.name, recorded.layer, layer="late", opened_ns=9)
        found.append(recorded)
    return found


def random_query(rng: random.Random, depth: int = 3) -> Expression:
    """Return a random expression."""
    if depth == 0 or rng.random() < 0.35:
        return _compare(rng, _place(rng))
    left, right = random_query(rng, depth - 1), random_query(rng, depth - 1)
    choice = rng.random()
    if choice < 0.5:
        return left & right
    if choice < 0.75:
        return left | right
    return ~left if choice < 0.92 else without(left)


def _metadata(rng: random.Random) -> dict[str, Any]:
    return {key: rng.choice(_METADATA) for key in ("p", "q") if rng.random() < 0.8} | {
        "deep": {"p": rng.choice(_METADATA)}
    }


def _topic(rng: random.Random, name: str) -> TopicSpec:
    names = rng.sample(sorted(_COLUMNS), 4)
    columns = {n: _COLUMNS[n][0] for n in names}
    tag = "IMU" if name.startswith("imu") else None
    return TopicSpec(columns, _parts(rng, columns), tag, {"p": rng.choice(_METADATA)})


def _parts(rng: random.Random, columns: dict[str, pa.DataType]) -> list[list[Row]]:
    parts, at = [], rng.randrange(10)
    few = {n: rng.sample(_COLUMNS[n][1], rng.choice([1, 2, len(_COLUMNS[n][1])])) for n in columns}
    for _ in range(rng.randrange(4)):
        rows = []
        for _ in range(rng.randrange(12)):
            rows.append({"timestamp_ns": at, **{n: rng.choice(few[n]) for n in columns}})
            at += rng.choice([0, 1, 3])
        parts.append(rows)
        at += rng.choice([-15, 0, 5])
    return parts


def _place(rng: random.Random) -> FieldRef:
    column = rng.choice([*_COLUMNS, "timestamp_ns", "nowhere"])
    return rng.choice(
        [
            Sequence.Q.name, Sequence.Q.group, Sequence.Q.outcome, Sequence.Q.created_ns,
            Sequence.Q.metadata["p"], Sequence.Q.metadata["q"], Sequence.Q.metadata["deep.p"],
            Sequence.Q.metadata["p.k"], Topic.Q.name, Topic.Q.ontology_tag, Topic.Q.rows,
            Topic.Q.metadata["p"],
            ontology_root("IMU")[column], ontology_root("IMU")[rng.choice(list(_COLUMNS))],
            Field("*", rng.choice(list(_COLUMNS))), Field("imu/*", column), Field("pv", column),
        ]
    )  # fmt: skip


def _compare(rng: random.Random, place: FieldRef) -> Expression:
    op = rng.choice(OPS)
    numbers = [v for v in _OPERANDS if not isinstance(v, str | bool) and v == v]
    value: Any = True
    if op in ("eq", "neq"):
        value = rng.choice([*_OPERANDS, "run-1", "a", "IMU", "imu/a"])
    elif op in ORDERED_OPS:
        value = rng.choice([*numbers, float("nan"), "a", "run"])
    elif op == "in":
        value = tuple(rng.choice(_OPERANDS) for _ in range(rng.randrange(4)))
    elif op in ("between", "outside"):
        value = tuple(sorted(rng.sample(numbers, 2))) if rng.random() < 0.8 else ("a", "b")
    elif op == "match":
        value = rng.choice([*_GLOBS, "run*", "imu/?"])
    elif op == "exists":
        value = rng.random() < 0.7
    return place.compare(op, value)
