"""The base or one layer of a run, read alone, wherever the run is stored."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from gapless.client.remote.remote_bundle import RemoteBundle
from gapless.store.reader import BATCH_ROWS, BundleReader, TopicReader, open_bundle

if TYPE_CHECKING:
    import pyarrow.compute as pc

_TIME = "timestamp_ns"


def parts_of(reader: BundleReader) -> list[BundleReader]:
    """Return readers of the base alone and of each layer alone, in order."""
    if not isinstance(reader, RemoteBundle):
        return [open_bundle(folder.path, layers=[]) for folder in reader.folders]
    names = reader.layers
    wholes = [RemoteBundle(reader.connection, reader.name, names[:count]) for count in range(len(names) + 1)]
    layers = [LayerReader(*pair) for pair in itertools.pairwise(wholes)]
    return [wholes[0], *layers]


class LayerReader(BundleReader):
    """One layer on a server, which gives its rows with those before it: what ``whole`` has more than ``before``."""

    def __init__(self, before: BundleReader, whole: BundleReader) -> None:
        self.before = before
        self.whole = whole
        self._folders = whole.folders[-1:]
        self._readers = {}
        self._derived = {}

    @property
    def name(self) -> str:
        """The name of the layer."""
        return self.base.layer_name

    def reload(self) -> None:
        """Do nothing: a layer that can be read never changes."""

    def topic(self, name: str) -> TopicReader:
        """Return the reader of a topic; NotFound if there is none."""
        if name not in self._readers:
            super().topic(name)  # refuses a name that there is not
            self._readers[name] = LayerTopicReader(self, name)
        return self._readers[name]


class LayerTopicReader(TopicReader):
    """One topic of a layer on a server."""

    bundle: LayerReader

    def scan(
        self,
        columns: Sequence[str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
        *,
        with_seq: bool = False,
        filter: pc.Expression | None = None,  # noqa: A002 - the word of pyarrow's own readers
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the layer in time order; see :meth:`TopicReader.scan`."""
        rows = self.bundle.whole.topic(self.name).scan(
            columns, start_ns, end_ns, with_seq=with_seq, filter=filter, batch_rows=batch_rows
        )
        if self.name not in self.bundle.before.topics:
            return rows
        before = self.bundle.before.topic(self.name)
        return _joined(_without(rows, before.scan([], start_ns, end_ns, filter=filter)), batch_rows)


def _without(rows: Iterable[pa.RecordBatch], before: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the rows that are not among those before; of equal times, those before come first."""
    known = np.empty(0, np.int64)  # times of rows before that have not come by, rising
    for batch in rows:
        times = batch.column(_TIME).to_numpy()
        while not len(known) or known[-1] <= times[-1]:
            more = next(before, None)
            if more is None:
                break
            known = np.concatenate([known, more.column(_TIME).to_numpy()])
        place = np.arange(len(times)) - np.searchsorted(times, times, "left")
        there = np.searchsorted(known, times, "right") - np.searchsorted(known, times, "left")
        is_new = place >= there
        known = known[len(times) - int(is_new.sum()) :]
        if is_new.any():
            yield batch.filter(pa.array(is_new))


def _joined(batches: Iterable[pa.RecordBatch], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches of ``batch_rows``: what is left of a merge are scraps."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        while (count := sum(map(len, held))) >= batch_rows:
            whole = pa.Table.from_batches(held).combine_chunks()
            yield from whole.slice(0, batch_rows).to_batches()
            held = whole.slice(batch_rows).to_batches() if count > batch_rows else []
    if held:
        yield from pa.Table.from_batches(held).combine_chunks().to_batches()
