"""A table of Tiled's tree: rows of a topic, of which a request reads one partition and some columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
import numpy as np
import pyarrow as pa
from tiled.adapters.core import Adapter
from tiled.server.core import NoEntry
from tiled.server.settings import get_settings
from tiled.structures.core import Spec, StructureFamily
from tiled.structures.table import TableStructure

from gapless.bluesky.tiled.array_node import ArrayNode
from gapless.bluesky.tiled.array_sources import ColumnSource
from gapless.bluesky.tiled.read_only import ReadOnly
from gapless.bluesky.tiled.refusal import told, too_large
from gapless.bluesky.tiled.topic_rows import Rows

if TYPE_CHECKING:
    import pandas as pd

TABLE_SPEC: Final = Spec("GaplessTable", "1")
_NULLABLE = {f"{u}int{bits}": f"{u.upper()}Int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)} | {
    "bool": "boolean"
}


class ServedTable:
    """Rows on their way out: an Arrow table whose schema says which pandas types it becomes."""

    def __init__(self, arrow: pa.Table, version: str) -> None:
        self.arrow = arrow
        self._version = version

    def __dask_tokenize__(self) -> tuple[str, str, tuple[str, ...], int]:
        return "ServedTable", self._version, tuple(self.arrow.column_names), self.arrow.num_rows

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.arrow.column_names)

    def memory_usage(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the bytes of each column, as pandas does, for Tiled's limit on answers."""
        return np.array([column.nbytes for column in self.arrow.columns], np.int64)

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows with integers and booleans that may be null as pandas' nullable types."""
        frame: pd.DataFrame = self.arrow.to_pandas()
        return frame


class TableNode(ReadOnly, Adapter[TableStructure]):  # type: ignore[misc]
    """A table, made of :class:`Rows` when something of it is asked for."""

    structure_family = StructureFamily.table

    def __init__(
        self,
        make_rows: Callable[[], Rows],
        *,
        metadata: dict[str, Any] | None = None,
        specs: Sequence[Spec] = (),
    ) -> None:
        self._make_rows = make_rows
        self._metadata = metadata or {}
        self._specs = [*specs, TABLE_SPEC]

    def __repr__(self) -> str:
        return f"<TableNode {self._schema.names}>"

    @cached_property
    def rows(self) -> Rows:
        """Where the rows come from."""
        return self._make_rows()

    def structure(self) -> TableStructure:
        """Return the columns and the number of partitions."""
        return TableStructure.from_schema(self._schema, npartitions=len(self.rows.lengths))

    def read(self, fields: Sequence[str] | None = None) -> ServedTable:
        """Return all rows of the columns; KeyError for one that there is not.

        Stops with the answer 400 as soon as they are more than Tiled would send.
        """
        names, parts, left = self._names(fields), [], int(get_settings().response_bytesize_limit)
        for number in range(len(self.rows.lengths)):
            with told():
                parts.append(self.rows.read(number, names))
            left -= parts[-1].nbytes
            if left < 0:
                raise too_large()
        return self._served(pa.concat_tables(parts))

    def read_partition(self, partition: int, fields: Sequence[str] | None = None) -> ServedTable:
        """Return the rows of one partition; IndexError for one that there is not."""
        if not 0 <= partition < len(self.rows.lengths):
            raise IndexError(partition)
        with told():
            return self._served(self.rows.read(partition, self._names(fields)))

    def __getitem__(self, column: str) -> ArrayNode:
        self._names([column])
        return ArrayNode(ColumnSource(self.rows, column), dims=["time"], chunks=self.rows.lengths)

    def get(self, column: str) -> ArrayNode | None:
        """Return a column, None if there is none of that name."""
        return self[column] if column in self.rows.schema.names else None

    def items(self) -> Iterator[tuple[str, ArrayNode]]:
        """Yield the columns."""
        return ((name, self[name]) for name in self.rows.schema.names)

    async def lookup_adapter(self, segments: list[str]) -> ArrayNode:
        """Return a column; NoEntry if there is none."""
        if len(segments) != 1:
            raise NoEntry(segments)
        try:
            return await anyio.to_thread.run_sync(self.__getitem__, segments[0])
        except KeyError as error:
            raise NoEntry(segments) from error

    def _names(self, fields: Sequence[str] | None) -> list[str]:
        known: list[str] = self.rows.schema.names
        if fields is None:
            return known
        missing = [name for name in fields if name not in known]
        if missing:
            raise KeyError(missing[0])
        return list(fields)

    def _served(self, table: pa.Table) -> ServedTable:
        return ServedTable(
            table.cast(_with_pandas_types(table.schema, self.rows.with_nulls)), self.rows.version
        )

    @cached_property
    def _schema(self) -> pa.Schema:
        return _with_pandas_types(self.rows.schema, self.rows.with_nulls)


def _with_pandas_types(schema: pa.Schema, with_nulls: frozenset[str]) -> pa.Schema:
    """Return the schema with a note that makes pandas read integers with nulls, and bytes, as what they are."""
    import pandas as pd

    noted = {
        field.name: pd.Series(dtype=_pandas_type(field.type))
        for field in schema
        if field.name in with_nulls or pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
    }
    if not noted:
        return schema
    words = json.loads(pa.Schema.from_pandas(pd.DataFrame(noted), preserve_index=False).metadata[b"pandas"])
    return schema.with_metadata({**(schema.metadata or {}), b"pandas": json.dumps(words).encode()})


def _pandas_type(kind: pa.DataType) -> Any:
    import pandas as pd

    return _NULLABLE.get(str(kind)) or pd.ArrowDtype(kind)
