"""What one scan wants of a topic: columns, a half-open time window and a row filter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapless.errors import NotFound, UsageError
from gapless.store.declaration import SEQ, TIME

if TYPE_CHECKING:
    import pyarrow.compute as pc

Times = NDArray[np.int64]
_CALLS = re.compile(r"(\w+)\(")
_BY_NUMBER = "FieldPath("  # a column by its place, which may be any
_NAN_SAFE_CALLS = frozenset(["and_kleene", "or_kleene"])


@dataclass(frozen=True)
class Selection:
    """The columns, the window ``[start_ns, end_ns)`` and the filter that every source of a scan applies."""

    stored: pa.Schema
    output: pa.Schema
    start_ns: int | None = None
    end_ns: int | None = None
    filter: pc.Expression | None = None

    @classmethod
    def of(
        cls,
        schema: pa.Schema,
        columns: Sequence[str] | None,
        start_ns: int | None,
        end_ns: int | None,
        *,
        with_seq: bool,
        filter: pc.Expression | None,  # noqa: A002 - the word of pyarrow's own readers
        topic: str,
        numbered: bool = True,
    ) -> Selection:
        """Return the selection, or raise NotFound for a column that the topic does not have.

        UsageError for a filter that means nothing for its columns. ``numbered`` is false for rows that have
        no ``_seq``.
        """
        stored = schema.append(pa.field(SEQ, pa.int64(), nullable=False)) if numbered else schema
        if with_seq and not numbered:
            raise UsageError(
                "the rows of a feature have no sequence number",
                topic=topic,
                next_step="read it without with_seq",
            )
        wanted = schema.names if columns is None else list(columns)
        for name in wanted:
            if name not in schema.names:
                raise NotFound(
                    "the topic has no such column",
                    topic=topic,
                    field=name,
                    expected=f"one of {', '.join(schema.names)}",
                    next_step="correct the column name",
                )
        for bound in (start_ns, end_ns):
            if bound is not None and not isinstance(bound, (int, np.integer)):
                raise UsageError("a time window is given in whole nanoseconds", topic=topic, found=bound)
        names = [TIME, *(n for n in dict.fromkeys(wanted) if n != TIME), *([SEQ] if with_seq else [])]
        output = pa.schema([stored.field(n) for n in names], metadata=schema.metadata)
        chosen = cls(stored, output, _plain(start_ns), _plain(end_ns), filter)
        chosen._check_filter(topic)
        return chosen

    def _check_filter(self, topic: str) -> None:
        """Try the filter on no rows, so that its faults are not taken for those of a file."""
        try:
            self.project(self.stored.empty_table())
        except pa.ArrowException as error:
            raise UsageError(
                "the filter does not fit the topic",
                topic=topic,
                found=str(error).splitlines()[0],
                next_step="compare the columns that the topic has, with values of their types",
            ) from error

    @cached_property
    def read_names(self) -> list[str]:
        """The columns to read: those of the answer and those that the filter mentions."""
        if self.filter is None:
            return list(self.output.names)
        # pyarrow does not tell which fields an expression uses, but its text holds each of their names,
        # so a name that is not in the text is certainly not used.
        text = str(self.filter)
        extra = [n for n in self.stored.names if n not in self.output.names and n in text]
        return [*self.output.names, *extra]

    def prunes_exactly(self, nan_columns: Sequence[str]) -> bool:
        """Tell whether Parquet statistics may rule rows out although the given columns hold NaN.

        Parquet statistics leave NaN out, so a row group of 5.0 and NaN looks as if it held only 5.0, and
        ``x != 5`` or ``~(x <= 5)`` would lose the NaN rows. Plain comparisons are never true of NaN.
        """
        text = str(self.filter)
        if _BY_NUMBER not in text and not any(name in text for name in nan_columns):
            return True
        return "!=" not in text and set(_CALLS.findall(text)) <= _NAN_SAFE_CALLS

    def bounds(self, times: Times) -> tuple[int, int]:
        """Return the first and one past the last row of the sorted times that lie in the window."""
        low = 0 if self.start_ns is None else int(np.searchsorted(times, _clip(self.start_ns), "left"))
        if self.end_ns is None or self.end_ns > _MAX:
            return low, len(times)
        return low, max(low, int(np.searchsorted(times, _clip(self.end_ns), "left")))

    def excludes(self, start_ns: int, end_ns: int) -> bool:
        """Tell whether no row of a file that spans ``start_ns`` to ``end_ns`` can lie in the window."""
        before = self.start_ns is not None and end_ns < self.start_ns
        return before or (self.end_ns is not None and start_ns >= self.end_ns)

    def project(self, table: pa.Table) -> pa.Table:
        """Return the rows that pass the filter, with the columns of the answer, in the order they came."""
        if self.filter is not None:
            from pyarrow import acero  # costs 0.1 s and brings pandas in where it is installed

            source = acero.Declaration("table_source", acero.TableSourceNodeOptions(table))
            rows = acero.Declaration("filter", acero.FilterNodeOptions(self.filter), inputs=[source])
            table = rows.to_table(use_threads=False)  # threads may change the order of rows
        return table.select(self.output.names)


def batches_of(table: pa.Table, schema: pa.Schema, batch_rows: int) -> list[pa.RecordBatch]:
    """Return the table as batches of at most ``batch_rows`` with exactly that schema."""
    return [
        pa.RecordBatch.from_arrays(batch.columns, schema=schema)
        for batch in table.to_batches(max_chunksize=batch_rows)
        if batch.num_rows
    ]


def times_of(batch: pa.RecordBatch) -> Times:
    """Return the timestamps of a batch whose first column is ``timestamp_ns``, without a copy."""
    times: Times = batch.column(0).to_numpy(zero_copy_only=True)
    return times


_MAX = 2**63 - 1


def _clip(time_ns: int) -> Any:
    return np.int64(min(max(time_ns, -(2**63)), _MAX))


def _plain(time_ns: int | None) -> int | None:
    return None if time_ns is None else int(time_ns)
