"""What nobody sends who means well: names, numbers, JSON, bytes, schemas and batches, drawn from a given random."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

import pyarrow as pa

NAMES: Final = (
    "", ".", "..", "../outside", "../../outside", "/etc/passwd", "/outside", "a/../../outside", "..\\outside",
    "C:\\outside", "%2e%2e%2foutside", "..%2foutside", "a%00b", "a\x00b", "a\nb", "\u202egnp", "ﬀ", "İ", "é", "e\u0301",
    "con", "CON.txt", "nul", "lpt1", "a" * 10_000, "ü" * 300, "a/" * 500, "@last", "@", "_events", "_gaps", "_x", "-rf",
    "seq:base", "seq/t/t", "//", "seq//t", " ", "a ", ".hidden", "state.db", "trash", "spool", "*", "?", "[", "{}",
    "'; DROP TABLE sequence; --", '"', "\ud800", "💥", "seq\ud83d", "~", "~root", "$HOME", "`id`", "file:///etc/passwd",
)  # fmt: skip
NUMBERS: Final = (
    0, -1, 1, 2**31, 2**32 - 1, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**400, -0.0, 0.5,
    1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"), True, False,
)  # fmt: skip
_TEXTS: Final = (
    "block",
    "completed",
    "gap",
    "$eq",
    "IMU.x",
    "value",
    "x",
    "0" * 64,
    "deadbeef" * 4,
    "AAAA",
    "//8=",
)


def leaf(dice: Random) -> Any:
    """Return a value without parts."""
    return dice.choice(
        [dice.choice(NAMES), dice.choice(NUMBERS), None, dice.choice(_TEXTS), dice.random() * 1e6]
    )


def tree(dice: Random, depth: int = 3) -> Any:
    """Return some JSON value."""
    kind = dice.randrange(4) if depth else 0
    if kind == 1:
        return [tree(dice, depth - 1) for _ in range(dice.randrange(4))]
    if kind == 2:
        return {str(dice.choice([*NAMES, *_TEXTS])): tree(dice, depth - 1) for _ in range(dice.randrange(4))}
    return leaf(dice)


def deep(dice: Random) -> Any:
    """Return lists or objects nested deeper than anybody's stack should go."""
    found: Any = 1
    for _ in range(dice.choice([40, 150, 900])):
        found = [found] if dice.random() < 0.5 else {"a": found}
    return found


def mutated(dice: Random, document: Any) -> Any:
    """Return a copy of a valid document with some of its parts replaced, left out or added, now and then none."""
    found = copy.deepcopy(document)
    for _ in range(dice.choice([0, 0, 1, 1, 2, 3])):
        places = list(_places(found))
        if not places:
            break
        holder, key = dice.choice(places)
        act = dice.randrange(10)
        if act == 0 and isinstance(holder, dict):
            del holder[key]
        elif act == 1 and isinstance(holder, dict):
            holder[str(dice.choice(NAMES))] = tree(dice)
        elif act == 2:
            holder[key] = [holder[key]]
        elif act == 3:
            holder[key] = deep(dice)
        elif act == 4 and isinstance(holder[key], str):
            holder[key] = _bent(dice, holder[key])
        else:
            holder[key] = tree(dice, 1)
    return found


def _places(document: Any, depth: int = 6) -> Iterator[tuple[Any, Any]]:
    items: Any = ()
    if isinstance(document, dict):
        items = list(document.items())
    elif isinstance(document, list):
        items = list(enumerate(document))
    for key, value in items if depth else ():
        yield document, key
        yield from _places(value, depth - 1)


def _bent(dice: Random, text: str) -> str:
    """Return a text that is nearly the same."""
    changes: tuple[Callable[[str], str], ...] = (
        str.upper, str.swapcase, lambda t: t + "\x00", lambda t: t + "/", lambda t: "/" + t, lambda t: t + " ",
        lambda t: t[: len(t) // 2], lambda t: t * 50, lambda t: "../" + t, lambda t: t + "\u0301", lambda t: t + "%00",
    )  # fmt: skip
    return dice.choice(changes)(text)


def body(dice: Random, document: Any) -> bytes:
    """Return bytes to send where the JSON of ``document`` would be right."""
    kind = dice.randrange(20)
    if kind == 0:
        return dice.randbytes(dice.choice([0, 1, 7, 300, 70_000]))
    if kind == 1:
        return dice.choice(
            [b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5_000, b"\xef\xbb\xbf{}", b"nul", b'"\\ud800"']
        )
    if kind == 2:
        return _text(tree(dice))
    whole = _text(mutated(dice, document))
    if kind == 3:
        return whole[: dice.randrange(len(whole) + 1)]
    if kind == 4:
        place = dice.randrange(len(whole))
        return whole[:place] + dice.randbytes(1) + whole[place + 1 :]
    return whole


def _text(document: Any) -> bytes:
    """Return JSON as Python writes it: with NaN, Infinity and halves of characters."""
    try:
        return json.dumps(document).encode()
    except RecursionError:  # what was nested was nested once more
        return b"[" * 1_000


# -- Arrow -----------------------------------------------------------------------------------------

_TIME: Final = pa.field("timestamp_ns", pa.int64(), nullable=False)


def _nested(depth: int) -> pa.DataType:
    found = pa.int32()
    for level in range(depth):
        found = pa.list_(found) if level % 2 else pa.struct([pa.field("a", found)])
    return found


TYPES: Final[tuple[pa.DataType, ...]] = (
    pa.null(), pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.decimal128(38, 37),
    pa.decimal256(76, 0), pa.date32(), pa.date64(), pa.time64("ns"), pa.timestamp("ns", "Mars/Phobos"),
    pa.duration("ns"), pa.month_day_nano_interval(), pa.string(), pa.large_string(), pa.string_view(),
    pa.binary(), pa.binary(16), pa.binary(0), pa.large_binary(), pa.binary_view(), pa.list_(pa.int64()),
    pa.list_(pa.int64(), 3), pa.list_(pa.int64(), 0), pa.large_list(pa.string()), pa.list_view(pa.int8()),
    pa.struct([]), pa.struct([pa.field("a", pa.int8()), pa.field("a", pa.int8())]), pa.map_(pa.string(), pa.int8()),
    pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int64(), pa.list_(pa.int8())),
    pa.run_end_encoded(pa.int32(), pa.string()), pa.uuid(), pa.json_(), pa.bool8(), pa.opaque(pa.int8(), "x", "y"),
    pa.fixed_shape_tensor(pa.float32(), [2, 2]),
    pa.dense_union([pa.field("a", pa.int8()), pa.field("b", pa.string())]),
    pa.sparse_union([pa.field("a", pa.int8())]), _nested(50), _nested(20),
)  # fmt: skip


def schema(dice: Random, near: pa.Schema) -> pa.Schema:
    """Return some schema, often one that differs from ``near`` in little."""
    kind = dice.randrange(8)
    if kind == 0:
        return near
    if kind == 1:
        return pa.schema([])
    if kind == 2:
        return pa.schema([*near, near.field(len(near) - 1)])
    if kind == 3:
        return pa.schema(list(near)[::-1])
    if kind == 4:
        return pa.schema([f if pa.types.is_null(f.type) else f.with_nullable(not f.nullable) for f in near])
    columns = [_column(dice) for _ in range(dice.randrange(1, 4))]
    found = pa.schema([_TIME, *columns] if kind < 7 else columns)
    return found.with_metadata({b"\xff": b"\x00"}) if dice.random() < 0.2 else found


def _column(dice: Random) -> pa.Field:
    kind = dice.choice(TYPES)
    return pa.field(_name(dice), kind, pa.types.is_null(kind) or dice.random() < 0.7)


def _name(dice: Random) -> str:
    name = dice.choice([*NAMES, "_seq", "timestamp_ns", "x", "data"])
    return str(name).encode("utf-8", "replace").decode()


def batch(dice: Random, columns: pa.Schema) -> pa.RecordBatch | None:
    """Return rows of a schema; None where none can be made here."""
    rows = dice.choice([0, 0, 1, 3, 1000])
    try:
        arrays = [
            _array(dice, field.type, rows, nullable=field.nullable or dice.random() < 0.1)
            for field in columns
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=columns)
    except (pa.ArrowException, ValueError, TypeError):
        return None


def _array(dice: Random, kind: pa.DataType, rows: int, *, nullable: bool) -> pa.Array:
    if nullable and dice.random() < 0.3:
        return pa.nulls(rows, kind)
    if pa.types.is_integer(kind):
        top = 2 ** (kind.bit_width - 1) - 1
        return pa.array([dice.choice([0, 1, top]) for _ in range(rows)], kind)
    if pa.types.is_floating(kind):
        return pa.array([dice.choice([0.0, float("nan"), float("inf")]) for _ in range(rows)], kind)
    if pa.types.is_string(kind):
        return pa.array([dice.choice(["", "x", "é" * 100]) for _ in range(rows)], kind)
    if pa.types.is_binary(kind):
        return pa.array([dice.randbytes(dice.choice([0, 1, 500])) for _ in range(rows)], kind)
    return pa.nulls(rows, kind)
