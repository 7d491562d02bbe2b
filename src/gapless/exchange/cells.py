"""Cells of text become typed Arrow columns; a cell that does not fit is named, never guessed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from gapless.exchange.csv_records import Quoted
from gapless.exchange.instants import BadTimeError, time_kind

if TYPE_CHECKING:
    import pyarrow as pa

MISSING_NUMBER: Final = frozenset(("", "na", "n/a", "null", "none"))  # compared in lower case
MISSING_TEXT: Final = frozenset(("", "NA", "NaN", "nan"))  # unquoted only
BOOLS: Final = {"true": True, "false": False}

_KIND = re.compile(
    r"(?P<int>[+-]?(?:0|[1-9]\d*)\Z)"
    r"|(?P<float>[+-]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][+-]?\d+)?\Z)"
    r"|(?P<thousand>[+-]?[1-9]\d{0,2},\d{3}\Z)"
    r"|(?P<comma>[+-]?(?:\d+,\d*|,\d+)(?:[eE][+-]?\d+)?\Z)"
    r"|(?P<zeros>[+-]?0\d+\Z)"
    r"|(?P<inf>[+-]?(?:inf|infinity)\Z)"
    r"|(?P<nan>[+-]?nan\Z)"
    r"|(?P<bool>(?:true|false)\Z)",
    re.IGNORECASE,
)
INT_RE: Final = r"^[+-]?(0|[1-9][0-9]*)$"
NUMBER_RE: Final = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_NUMBER = re.compile(NUMBER_RE)
_WORDS: Final = {
    word: float(word) for sign in ("", "+", "-") for word in (f"{sign}inf", f"{sign}infinity", f"{sign}nan")
}
Bad = dict[int, str]  # row of the chunk -> what is wrong


def kind_of(cell: str) -> str:
    """Return what one cell looks like: int, float, comma, thousand, zeros, inf, nan, bool, missing, text
    or a kind of time (:func:`gapless.exchange.instants.time_kind`)."""
    found = _KIND.match(cell)
    if found is not None:
        return str(found.lastgroup)
    if cell.lower() in MISSING_NUMBER:
        return "missing"
    return time_kind(cell) or "text"


def to_column(cells: Sequence[str], kind: str, decimal: str) -> tuple[pa.Array, Bad]:
    """Return the Arrow column of one chunk and the rows that do not fit, which are null in it.

    ``kind`` is an Arrow type name: ``int64``, ``uint64``, ``double``, ``bool`` or ``string``.
    """
    import pyarrow as pa

    if kind == "string":
        values = [None if c in MISSING_TEXT and type(c) is not Quoted else str(c) for c in cells]
        return pa.array(values, pa.string()), {}
    if kind != "bool":
        fast = _whole_column(cells, kind, decimal)
        if fast is not None:
            return fast, {}
    reader = {"bool": _bool, "double": _float(decimal)}.get(kind) or _integer(kind)
    bad: Bad = {}
    out: list[object] = []
    for row, cell in enumerate(cells):
        try:
            out.append(reader(cell))
        except (ValueError, OverflowError) as error:
            bad[row] = str(error)
            out.append(None)
    return pa.array(out, pa.type_for_alias(kind)), bad


def to_times(
    cells: Sequence[str], exact: Callable[[str], int], whole: Callable[[pa.Array], pa.Array | None]
) -> tuple[pa.Array, Bad]:
    """Return the int64 nanoseconds of one chunk and the rows that are no time, which are 0 in it.

    ``whole`` may convert the chunk at once or decline with None; ``exact`` is asked for each cell then.
    """
    import pyarrow as pa

    at_once = whole(pa.array(cells, pa.string()))
    if at_once is not None:
        return at_once, {}
    bad: Bad = {}
    out = [0] * len(cells)
    for row, cell in enumerate(cells):
        try:
            out[row] = exact(cell)
        except BadTimeError as error:
            bad[row] = str(error) if cell else "no time"
    return pa.array(out, pa.int64()), bad


def _whole_column(cells: Sequence[str], kind: str, decimal: str) -> pa.Array | None:
    """Convert a chunk in which every cell is a plain number or empty; None when one is not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pa.array(cells, pa.string())
    if pc.any(pc.equal(texts, "")).as_py():
        texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
    if decimal == "," and kind == "double":
        if pc.any(pc.match_substring(texts, ".")).as_py():
            return None
        texts = pc.replace_substring(texts, ",", ".")
    plain = pc.match_substring_regex(texts, NUMBER_RE if kind == "double" else INT_RE)
    if not pc.all(plain, min_count=0).as_py():
        return None
    try:
        column = texts.cast(pa.type_for_alias(kind))
    except pa.ArrowInvalid:
        return None
    if kind == "double" and pc.any(pc.is_inf(column)).as_py():
        return None  # a number beyond float64: the slow way names its row
    return column


def _bool(cell: str) -> bool | None:
    low = cell.lower()
    if low in BOOLS:
        return BOOLS[low]
    if low in MISSING_NUMBER or low == "nan":
        return None
    raise ValueError(f"not true or false: {cell!r}")


def _float(decimal: str) -> Callable[[str], float | None]:
    def read(cell: str) -> float | None:
        low = cell.lower()
        if low in MISSING_NUMBER:
            return None
        if low in _WORDS:
            return _WORDS[low]
        text = cell.replace(",", ".") if decimal == "," and "." not in cell else cell
        if _NUMBER.match(text) is None:
            raise ValueError(f"not a number: {str(cell)!r}")
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise ValueError(f"beyond what a float64 can hold: {str(cell)!r}")
        return value

    return read


def _integer(kind: str) -> Callable[[str], int | None]:
    low_bound, high_bound = (0, 2**64 - 1) if kind == "uint64" else (-(2**63), 2**63 - 1)

    def read(cell: str) -> int | None:
        low = cell.lower()
        if low in MISSING_NUMBER or low.lstrip("+-") == "nan":
            return None
        if not re.fullmatch(r"[+-]?\d{1,400}", cell, re.ASCII):
            raise ValueError(f"not a whole number: {str(cell)!r}")
        value = int(cell)
        if not low_bound <= value <= high_bound:
            raise ValueError(f"beyond {kind}: {str(cell)!r}")
        return value

    return read
