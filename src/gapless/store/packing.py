"""The fast lane's row layout: fixed-width rows packed by one ``struct.pack_into`` per push.

A row is ``timestamp_ns`` (int64), the producer's seq (int64, where the topic has one), the leaves in
schema order, and, where a leaf may be null, 64-bit words with one bit per leaf (1 = valid). Little
endian, no padding. Columns are made from whole blocks of rows, never per row.
"""

from __future__ import annotations

import struct
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from gapless.errors import ValueRefused
from gapless.store.declaration import TopicDeclaration
from gapless.store.scratch import scratch_array

INT64_MIN = -(2**63)
_CODES = {
    pa.bool_(): "?",
    pa.int8(): "b",
    pa.uint8(): "B",
    pa.int16(): "h",
    pa.uint16(): "H",
    pa.int32(): "i",
    pa.uint32(): "I",
    pa.int64(): "q",
    pa.uint64(): "Q",
    pa.float16(): "e",
    pa.float32(): "f",
    pa.float64(): "d",
}
_NUMPY = {
    "?": "?",
    "b": "i1",
    "B": "u1",
    "h": "<i2",
    "H": "<u2",
    "i": "<i4",
    "I": "<u4",
    "q": "<i8",
    "Q": "<u8",
    "e": "<f2",
    "f": "<f4",
    "d": "<f8",
}
_FLOATS = frozenset("efd")


class Layout:
    """How one topic's rows are packed; ``Layout.of`` tells whether they can be."""

    def __init__(self, declaration: TopicDeclaration) -> None:
        self.declaration = declaration
        self.leaves = list(declaration.schema)[1:]
        self.codes = [_CODES[column.type] for column in self.leaves]
        self.words = -(-len(self.leaves) // 64) if any(column.nullable for column in self.leaves) else 0
        head = "qq" if declaration.producer_seq else "q"
        self.struct = struct.Struct(f"<{head}{''.join(self.codes)}{'Q' * self.words}")
        self.all_valid = [(1 << min(64, len(self.leaves) - 64 * w)) - 1 for w in range(self.words)]
        self.no_nan = [
            c in _FLOATS and (f.metadata or {}).get(b"allow_nan") == b"false"
            for c, f in zip(self.codes, self.leaves, strict=True)
        ]

    @classmethod
    def of(cls, declaration: TopicDeclaration) -> Layout | None:
        """Return the layout, or None where a column has no fixed width."""
        if all(column.type in _CODES for column in declaration.schema):
            return cls(declaration)
        return None

    @property
    def row_bytes(self) -> int:
        """Bytes of one packed row."""
        return self.struct.size

    @cached_property
    def value_bytes(self) -> int:
        """Bytes of values of one row: what row-group cuts count."""
        return 8 + sum(struct.calcsize(f"<{code}") for code in self.codes)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The packed row as a NumPy structured type, for turning blocks into columns."""
        names = ["t"] + (["s"] if self.declaration.producer_seq else [])
        formats = ["<i8"] * len(names)
        names += [f"c{i}" for i in range(len(self.codes))] + [f"v{i}" for i in range(self.words)]
        formats += [_NUMPY[code] for code in self.codes] + ["<u8"] * self.words
        return np.dtype({"names": names, "formats": formats})

    def columns(self, payload: bytes | bytearray | memoryview, first_seq: int) -> pa.RecordBatch:
        """Return packed rows as one batch of the stored schema (``_seq`` last)."""
        rows = np.frombuffer(payload, self.dtype)
        words = self._words(payload)
        time = words[0] if words is not None else np.ascontiguousarray(rows["t"])
        arrays = [pa.array(time)]
        lead = 1 + self.declaration.producer_seq
        for i, column in enumerate(self.leaves):
            if words is not None:
                values = words[lead + i].view(_NUMPY[self.codes[i]])
            else:
                values = np.ascontiguousarray(rows[f"c{i}"])
            invalid = None
            if self.words and column.nullable:
                bits = rows[f"v{i // 64}"]
                if not bool(np.all(bits == self.all_valid[i // 64])):
                    invalid = (bits >> np.uint64(i % 64)) & np.uint64(1) == 0
            arrays.append(pa.array(values, column.type, mask=invalid))
        seq = rows["s"] if self.declaration.producer_seq else np.arange(first_seq, first_seq + len(rows))
        arrays.append(pa.array(np.ascontiguousarray(seq, dtype=np.int64)))
        return pa.RecordBatch.from_arrays(arrays, schema=self.declaration.stored_schema)

    def _words(self, payload: bytes | bytearray | memoryview) -> np.ndarray[Any, np.dtype[np.int64]] | None:
        """Return rows of eight-byte values transposed in one pass; None where widths differ."""
        if self.row_bytes % 8 or any(struct.calcsize(code) != 8 for code in self.codes):
            return None
        rows = np.frombuffer(payload, np.int64).reshape(-1, self.row_bytes // 8)
        words = scratch_array(rows.T.shape, rows.dtype)
        np.copyto(words, rows.T)
        return words

    def slow_row(self, sequence: str, timestamp_ns: int, seq: int | None, values: tuple[Any, ...]) -> bytes:
        """Return one packed row, with nulls, or raise ValueRefused naming the field at fault."""
        topic = self.declaration.name
        if len(values) != len(self.leaves):
            raise ValueRefused(
                "a row has the wrong number of values",
                sequence=sequence,
                topic=topic,
                found=f"{len(values)} values",
                expected=f"{len(self.leaves)}: {', '.join(f.name for f in self.leaves)}",
            )
        cells: list[Any] = []
        words = [0] * self.words
        for i, value in enumerate(values):
            cells.append(self._cell(sequence, i, value))
            if value is not None and self.words:
                words[i // 64] |= 1 << (i % 64)
        head = (timestamp_ns, seq) if self.declaration.producer_seq else (timestamp_ns,)
        return self.struct.pack(*head, *cells, *words)

    def _cell(self, sequence: str, index: int, value: Any) -> Any:
        column, code = self.leaves[index], self.codes[index]
        where = {"sequence": sequence, "topic": self.declaration.name, "field": column.name}
        if value is None:
            if column.nullable:
                return 0
            raise ValueRefused(
                "a value is missing in a field that may not be null",
                **where,
                found="None",
                expected=str(column.type),
            )
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        if code == "?":
            if isinstance(value, bool | np.bool_):
                return bool(value)
            raise ValueRefused("a value has the wrong type", **where, found=repr(value), expected="bool")
        try:
            struct.pack(f"<{code}", value)
        except (struct.error, TypeError, OverflowError) as error:
            raise ValueRefused(
                "a value has the wrong type or range", **where, found=repr(value), expected=str(column.type)
            ) from error
        if self.no_nan[index] and value != value:
            raise ValueRefused(
                "NaN is not allowed in this field", **where, found=repr(value), expected="a number"
            )
        return value


def check_time(timestamp_ns: Any, sequence: str, topic: str) -> int:
    """Return the time as an int, or raise ValueRefused."""
    try:
        value = int(timestamp_ns.__index__())
    except (AttributeError, TypeError) as error:
        raise ValueRefused(
            "a time must be whole nanoseconds",
            sequence=sequence,
            topic=topic,
            field="timestamp_ns",
            found=repr(timestamp_ns),
            expected="int",
        ) from error
    if not INT64_MIN < value < 2**63:
        raise ValueRefused(
            "a time is outside 64 bits",
            sequence=sequence,
            topic=topic,
            field="timestamp_ns",
            found=value,
            expected="more than -2**63 and less than 2**63",
        )
    return value


_PUSH = '''
def make(lane, pack_into, get_ident, slow, roll):
    buffer = lane.buffer
    offset = 0
    limit = len(buffer)
    owner = None

    def push_row(timestamp_ns=MISSING{defaults}, *extra):
        nonlocal offset
        if get_ident() != owner{refuse_extra}:
            return slow(timestamp_ns{seq_name}, ({row_values}*extra,))
        try:
            pack_into(buffer, offset, timestamp_ns{seq_name}{packed}{valid})
        except pack_errors:
{with_nulls}        if timestamp_ns == {minimum}{checks}:
            return slow(timestamp_ns{seq_name}, ({row_values}))
        offset += {size}
        if offset == limit:
            roll()

    def position():
        """The writer thread's view: the buffer and how far it is filled (see Lane.steal)."""
        while True:
            first = buffer
            filled = offset
            if buffer is first:
                return first, filled

    def put(row):
        nonlocal offset
        buffer[offset:offset + {size}] = row
        offset += {size}
        if offset == limit:
            roll()

    def renew(fresh, filled=0):
        # offset first: position() then sees either the old buffer with nothing new, or the fresh one
        nonlocal buffer, offset, limit
        offset = filled
        buffer = fresh
        limit = len(fresh)

    def own(ident):
        nonlocal owner
        owner = ident

    def end(nothing):
        """Take the block away: a push that is past its checks then meets a full block and rolls.

        No call stands between these lines, and none between a push's pack_into and its roll, so that
        CPython does not change threads there.
        """
        nonlocal buffer, offset, limit
        first = buffer
        filled = offset
        offset = 0
        limit = {size}
        buffer = nothing
        return first, filled

    return push_row, position, put, renew, own, end
'''


def compile_push(layout: Layout) -> Any:
    """Return the factory of a lane's push function, generated for the layout's fields.

    Called with (lane, pack_into, get_ident, slow, roll) it gives (push_row, position, put, renew,
    own, end).
    """
    names = [f"a{i}" for i in range(len(layout.codes))]
    checks = [
        f" or {n} is not True and {n} is not False"
        for n, c in zip(names, layout.codes, strict=True)
        if c == "?"
    ]
    checks += [f" or {n} != {n}" for n, no_nan in zip(names, layout.no_nan, strict=True) if no_nan]
    source = _PUSH.format(
        with_nulls=_with_nulls(layout, names),
        defaults="".join(
            [", seq=None" if layout.declaration.producer_seq else "", *(f", {n}=MISSING" for n in names)]
        ),
        refuse_extra=" or extra",
        seq_name=", seq" if layout.declaration.producer_seq else "",
        packed="".join(f", {n}" for n in names),
        row_values="".join(f"{n}, " for n in names),
        valid="".join(f", {word}" for word in layout.all_valid),
        minimum=INT64_MIN,
        checks="".join(checks),
        size=layout.row_bytes,
    )
    space: dict[str, Any] = {"MISSING": MISSING, "pack_errors": (struct.error, TypeError, OverflowError)}
    exec(compile(source, f"<push_row of {layout.declaration.name}>", "exec"), space)
    return space["make"]


def _with_nulls(layout: Layout, names: list[str]) -> str:
    """Return the branch that packs a row whose only fault is None in nullable fields; it falls through on success."""
    nullable = [column.nullable for column in layout.leaves]
    if not any(nullable):
        seq = ", seq" if layout.declaration.producer_seq else ""
        return f"            return slow(timestamp_ns{seq}, ({''.join(f'{n}, ' for n in names)}))\n"
    values = "".join(
        f", 0 if {n} is None else {n}" if may else f", {n}" for n, may in zip(names, nullable, strict=True)
    )
    words = []
    for word, every in enumerate(layout.all_valid):
        bits = [
            (i, n) for i, (n, may) in enumerate(zip(names, nullable, strict=True)) if may and i // 64 == word
        ]
        words.append(f", {every}" + "".join(f" - ({1 << i % 64} if {n} is None else 0)" for i, n in bits))
    some = " or ".join(f"{n} is None" for n, may in zip(names, nullable, strict=True) if may)
    seq = ", seq" if layout.declaration.producer_seq else ""
    rows = "".join(f"{n}, " for n in names)
    return (
        f"            if not ({some}):\n"
        f"                return slow(timestamp_ns{seq}, ({rows}))\n"
        f"            try:\n"
        f"                pack_into(buffer, offset, timestamp_ns{seq}{values}{''.join(words)})\n"
        f"            except pack_errors:\n"
        f"                return slow(timestamp_ns{seq}, ({rows}))\n"
    )


class _Missing:
    """Stands for an argument that was not given."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()
