"""What the cells of one column are, counted over the whole file, so that no later row comes as a surprise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from gapless.exchange.cells import INT_RE, NUMBER_RE, kind_of
from gapless.exchange.csv_records import Quoted
from gapless.exchange.instants import ZONED_RE, day_month_numbers, time_kind

_NUMBERS = ("int", "float", "inf", "nan")


class ColumnSurvey:
    """Counts of the kinds of cells in one column, and the range of its numbers."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.first_line: dict[str, int] = {}
        self.low: Decimal | None = None
        self.high: Decimal | None = None
        self.time_low: Decimal | None = None
        self.time_high: Decimal | None = None
        self.fraction = False
        self.quoted = 0
        self.needlessly_quoted = 0
        self.day_first = 0
        self.month_first = 0

    @property
    def present(self) -> int:
        """The number of cells that hold something."""
        return self.kinds.total() - self.kinds["missing"]

    @property
    def times(self) -> int:
        """The number of cells that are written as a date with or without a clock."""
        return self.kinds["iso"] + self.kinds["dm_iso"] + self.naive_times

    @property
    def naive_times(self) -> int:
        """The number of dates, with or without a clock, that name no zone."""
        return sum(self.kinds[kind] for kind in ("naive", "date", "dm_naive", "dm_date"))

    @property
    def dates(self) -> int:
        """The number of dates without a clock."""
        return self.kinds["date"] + self.kinds["dm_date"]

    @property
    def year_last(self) -> int:
        """The number of dates that begin with the day or the month."""
        return sum(self.kinds[kind] for kind in ("dm_iso", "dm_naive", "dm_date"))

    def numbers(self, decimal: str) -> int:
        """Return how many cells are numbers when ``decimal`` is the decimal mark."""
        extra = ("comma", "thousand") if decimal == "," else ()
        return sum(self.kinds[kind] for kind in (*_NUMBERS, *extra))

    def add(self, cells: Sequence[str], lines: Sequence[int], delimiter: str) -> None:
        """Count one chunk of cells, which stand in these lines."""
        if self._add_numbers(cells) or self._add_zoned(cells):
            return
        for cell, line in zip(cells, lines, strict=True):
            kind = kind_of(cell)
            self.kinds[kind] += 1
            self.first_line.setdefault(kind, line)
            if type(cell) is Quoted:
                self.quoted += 1
                self.needlessly_quoted += delimiter not in cell
            if kind in ("int", "float", "comma", "thousand"):
                self._range(cell)
            elif kind.startswith("dm_"):
                first, second = day_month_numbers(cell) or (0, 0)
                self.day_first += first > 12
                self.month_first += second > 12

    def type_name(self, decimal: str, unquoted_numbers: bool, own: bool) -> str:
        """Return the Arrow type that fits: numbers or booleans when at least two cells of three are.

        ``unquoted_numbers`` says that the file quotes texts only, so a column that is always quoted
        without need is text; in an ``own`` file, written by gapless, any quotation mark makes text.
        """
        present = self.present
        if (
            not present
            or (own and self.quoted)
            or (unquoted_numbers and self.quoted >= present and self.needlessly_quoted)
        ):
            return "string"
        if 3 * self.kinds["bool"] >= 2 * present:
            return "bool"
        numbers = self.numbers(decimal)
        if 3 * (numbers + self.kinds["zeros"]) < 2 * present:
            return "string"
        if numbers > self.kinds["int"] and not (
            numbers == self.kinds["int"] + self.kinds["nan"] > self.kinds["nan"]
        ):
            return "double"
        if self.kinds["zeros"]:
            return "string"  # 007 is a label: as a number it would lose its zeros
        low, high = int(self.low or 0), int(self.high or 0)
        if low >= -(2**63) and high < 2**63:
            return "int64"
        return "uint64" if low >= 0 and high < 2**64 else "string"

    def misfits(self, type_name: str, decimal: str) -> tuple[int, int | None]:
        """Return how many cells do not fit the type, and the line of the first."""
        if type_name == "string":
            return 0, None
        fitting = {"missing", "nan", "bool"} if type_name == "bool" else {"missing", *_NUMBERS, "zeros"}
        if decimal == "," and type_name == "double":
            fitting |= {"comma", "thousand"}
        odd = [kind for kind in self.kinds if kind not in fitting]
        lines = [self.first_line[kind] for kind in odd if kind in self.first_line]
        return sum(self.kinds[kind] for kind in odd), min(lines, default=None)

    def _add_numbers(self, cells: Sequence[str]) -> bool:
        """Count a chunk of plain unquoted numbers and empty cells much faster than one by one."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if any(type(cell) is Quoted for cell in cells):
            return False
        texts = pa.array(cells, pa.string())
        filled = texts.filter(pc.not_equal(texts, ""))
        if not len(filled) or not pc.all(pc.match_substring_regex(filled, NUMBER_RE)).as_py():
            return False
        whole = pc.sum(pc.match_substring_regex(filled, INT_RE)).as_py()
        zeros = pc.any(pc.match_substring_regex(filled, r"^[+-]?0[0-9]+$")).as_py()
        values = filled.cast(pa.float64())
        ends = pc.min_max(values)
        if zeros or pc.any(pc.is_inf(values)).as_py():
            return False
        low, high = (filled[pc.index(values, ends[key]).as_py()].as_py() for key in ("min", "max"))
        if max(abs(ends["min"].as_py()), abs(ends["max"].as_py())) > 2**53:
            return self._add_large(filled, len(cells), whole)
        self._count(len(cells) - len(filled), whole, len(filled) - whole)
        self._range(low)
        self._range(high)
        return True

    def _add_zoned(self, cells: Sequence[str]) -> bool:
        """Count a chunk of times with zones, as a time column mostly is, at once."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not cells or time_kind(cells[0]) != "iso" or any(type(cell) is Quoted for cell in cells):
            return False
        if not pc.all(pc.match_substring_regex(pa.array(cells, pa.string()), ZONED_RE)).as_py():
            return False
        self.kinds["iso"] += len(cells)
        return True

    def _add_large(self, filled: object, rows: int, whole: int) -> bool:
        """Count large whole numbers, whose order a float would blur, by exact comparison."""
        texts: list[str] = filled.to_pylist()  # type: ignore[attr-defined]  # pyarrow has no types
        if whole != len(texts):
            return False
        values = list(map(int, texts))
        if max(map(abs, values)) >= 2**63:
            return False
        self._count(rows - len(texts), whole, 0)
        self._range(str(min(values)))
        self._range(str(max(values)))
        return True

    def _count(self, missing: int, whole: int, broken: int) -> None:
        self.kinds.update({"missing": missing, "int": whole, "float": broken})
        self.fraction = self.fraction or broken > 0

    def _range(self, text: str) -> None:
        try:
            value = Decimal(text.replace(",", "."))
        except InvalidOperation:
            return
        if abs(value.adjusted()) <= 400:  # beyond any float; Decimal's own arithmetic has limits there
            self.include(value)

    def include(self, value: Decimal) -> None:
        """Widen the range to hold a number, and that of possible times if it can be one in any unit."""
        self.low = value if self.low is None else min(self.low, value)
        self.high = value if self.high is None else max(self.high, value)
        if abs(value) < 2**63:  # one cell of noise must not hide the unit of all others
            self.time_low = value if self.time_low is None else min(self.time_low, value)
            self.time_high = value if self.time_high is None else max(self.time_high, value)
        self.fraction = self.fraction or value != value.to_integral_value()
