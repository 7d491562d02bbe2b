"""A table on the server that only grows, filled exactly once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from gapless.bluesky.tiled_sink.server import child, is_conflict, is_unanswered
from gapless.errors import DeliveryFailed


class RowsDiffer(DeliveryFailed):
    """The server holds other rows of the stream than the recording, or in another order."""

    next_step = "`gapless bluesky deliver` writes the stream's table again"

    def __init__(self, stream: str, found: object, expected: object) -> None:
        super().__init__(
            "the server's rows are not those that were sent", topic=stream, found=found, expected=expected
        )
        self.stream = stream


class TableNode:
    """One appendable table below a stream.

    ``rows`` is what the server is known to hold. After an append without an answer it is unknown, and is
    asked for before anything more is sent.
    """

    def __init__(
        self,
        stream: Any,
        key: str,
        schema: pa.Schema,
        *,
        of_stream: str,
        metadata: dict[str, Any],
        access_tags: Any,
    ) -> None:
        self._stream, self.key, self._schema = stream, key, schema
        self._of_stream = of_stream
        self._metadata, self._access_tags = metadata, access_tags
        self.node: Any = None
        self.rows: int | None = None
        self.was_uncertain = False

    def open(self, *, look: bool) -> None:
        """Make the table, or take the one that is there; ``look`` first where there may be one."""
        if self.node is not None:
            return
        node = child(self._stream, self.key) if look else None
        if node is None:
            node = self._create()
        if node is None:
            raise DeliveryFailed("the server neither makes the table nor has it", topic=self.key)
        if set(node.columns) != set(self._schema.names):
            raise RowsDiffer(self._of_stream, list(node.columns), self._schema.names)
        self.node = node

    def _create(self) -> Any:
        import httpx

        try:
            node = self._stream.create_appendable_table(
                schema=self._schema, key=self.key, metadata=self._metadata, access_tags=self._access_tags
            )
        except httpx.HTTPStatusError as error:
            if not is_conflict(error):
                raise
            return child(self._stream, self.key)
        self.rows = 0
        return node

    def append(self, piece: pa.Table, position: int) -> None:
        """Append the rows of the piece that the server does not have; the first is row ``position``."""
        import httpx

        held = self.count()
        if held < position:
            raise RowsDiffer(self._of_stream, f"{held} rows", f"at least {position}")
        rest = piece.slice(held - position)
        if not rest.num_rows:
            return
        self.rows = None
        try:
            self.node.append_partition(0, rest.select(self._schema.names))
        except httpx.HTTPError as error:
            self.was_uncertain = True
            if not is_unanswered(error):
                self.rows = held
            raise
        self.rows = held + rest.num_rows

    def count(self) -> int:
        """Return how many rows the server holds; asks it where that is not known."""
        if self.rows is None:
            self.rows = len(self.node.read([self._schema.names[0]]))
        return self.rows

    def recount(self) -> int:
        """Ask the server for its rows."""
        self.rows = None
        return self.count()

    def marks(self) -> np.ndarray[Any, Any] | None:
        """Return (seq_num, time) of the server's rows in their order, None for a table without these."""
        return table_marks(self.node) if {"seq_num", "time"} <= set(self._schema.names) else None


def table_marks(node: Any) -> np.ndarray[Any, Any]:
    """Return (seq_num, time) of a table's rows in their order."""
    found = node.read(["seq_num", "time"])
    return marks(found["seq_num"].to_numpy(), found["time"].to_numpy())


def marks(seq_nums: Any, times: Any) -> np.ndarray[Any, Any]:
    """Return what tells rows of one stream apart: (seq_num, the bits of time), an int64 pair a row."""
    pairs = np.empty((len(seq_nums), 2), np.int64)
    pairs[:, 0] = seq_nums
    pairs[:, 1] = np.ascontiguousarray(times, np.float64).view(np.int64)
    return pairs
