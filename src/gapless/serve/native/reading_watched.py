"""The rows of a topic for a caller who may leave: nothing is read on for one who has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import pyarrow as pa

from gapless.store.reader import TopicReader
from gapless.store.selection import Selection

Gone = Callable[[], bool]


@dataclass(frozen=True, kw_only=True)
class WatchedSelection(Selection):
    """What a caller selected, as long as ``gone()`` is false.

    A filter that few rows pass lets a scan read for minutes without a batch that shows whether its caller
    is still there; so it is asked at each row group.
    """

    gone: Gone

    @classmethod
    def watching(cls, chosen: Selection, gone: Gone) -> Self:
        """Return the same selection for a caller who may go."""
        return cls(chosen.stored, chosen.output, chosen.start_ns, chosen.end_ns, chosen.filter, gone=gone)

    def project(self, table: pa.Table) -> pa.Table:
        """Return the selected rows of a row group; ``pyarrow.ArrowCancelled`` once the caller has gone."""
        if self.gone():
            raise pa.ArrowCancelled("nobody waits for the rows any more")
        return super().project(table)


class WatchedReader(TopicReader):
    """A topic's reader whose scans raise ``pyarrow.ArrowCancelled`` once their caller has gone."""

    def __init__(self, reader: TopicReader, gone: Gone) -> None:
        super().__init__(reader.bundle, reader.name)
        self._gone = gone

    def _scan(self, selection: Selection, batch_rows: int) -> Iterator[pa.RecordBatch]:
        return super()._scan(WatchedSelection.watching(selection, self._gone), batch_rows)
