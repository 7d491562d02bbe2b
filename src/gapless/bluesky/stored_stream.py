"""One stream of a stored run: its events as a table by seq_num, its configuration, its external data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapless.bluesky.external.external_key import ExternalKey, Selector
from gapless.bluesky.external.reference import REFERENCE, references
from gapless.bluesky.json_safe import json_safe
from gapless.bluesky.kept_documents import KeptDocument
from gapless.bluesky.lossless import encode
from gapless.bluesky.stream_rows import StreamRows
from gapless.bluesky.stream_schema import VIOLATIONS, VIOLATIONS_SCHEMA
from gapless.client.table import TableView
from gapless.errors import NotFound

if TYPE_CHECKING:
    from gapless.bluesky.external.external_file import Array
    from gapless.store.reader import BundleReader, TopicReader

_LEAD = ("timestamp_ns", "seq_num", "time", "uid", "descriptor")
_LEAD_SCHEMA = pa.schema(
    [
        pa.field("timestamp_ns", pa.int64(), nullable=False),
        pa.field("seq_num", pa.int64(), nullable=False),
        pa.field("time", pa.float64(), nullable=False),
        pa.field("uid", pa.string(), nullable=False),
        pa.field("descriptor", pa.int32(), nullable=False),
    ]
)
_SAID_TYPE = ("dtype_numpy", "dtype_descr", "dtype_str")


class StoredStream(TableView):
    """Reads one stream, recorded or still being recorded; layers of late documents are read with the base.

    As a table it has ``timestamp_ns``, ``seq_num``, ``time``, ``uid``, ``descriptor`` (the ordinal in
    :attr:`descriptors`), and ``<key>`` and ``ts_<key>`` of each internal data key. A key whose name
    another column has keeps the name of its own, which has ``_`` appended.
    """

    def __init__(
        self,
        name: str,
        descriptors: Sequence[KeptDocument],
        resources: Mapping[str, Mapping[str, Any]],
        parts: Sequence[BundleReader],
        topics: Mapping[int, TopicReader],
        external: Mapping[int, TopicReader],
    ) -> None:
        """``topics`` and ``external``: the stream's own topics, by the number of the part that has them."""
        self.name = name
        self._kept = list(descriptors)
        self._resources = resources
        self._parts = parts
        self._topics = list(topics.values())
        self.event_rows = StreamRows(topics)
        self.external_rows = StreamRows(external)

    def __repr__(self) -> str:
        return f"<StoredStream {self.name} rows={self.rows} external={list(self.external)}>"

    # -- what it is ----------------------------------------------------------------------------

    @property
    def descriptors(self) -> list[dict[str, Any]]:
        """The descriptors in order of arrival: more than one where the configuration changed."""
        return [kept.document for kept in self._kept if kept.document is not None]

    @property
    def data_keys(self) -> dict[str, dict[str, Any]]:
        """The data keys of the first descriptor, internal and external."""
        return dict(self.descriptors[0]["data_keys"]) if self.descriptors else {}

    @property
    def topic(self) -> str | None:
        """The name of the topic that holds the events; None for a stream of external data alone."""
        return self._topics[0].name if self._topics else None

    @cached_property
    def columns(self) -> dict[str, str]:
        """Internal data key to the column of the topic that holds it; its times are in ``ts_<column>``."""
        if self.event_rows.schema is None:
            return {}
        words = self._topics[0].metadata.get("bluesky") or {}
        renamed: Mapping[str, str] = words.get("columns") or {}
        names = ((key, renamed.get(key, key)) for key in self.data_keys)
        return {key: column for key, column in names if column in self.event_rows.schema.names}

    @property
    def rows(self) -> int:
        """The number of events, superseded ones included; of an open run, those durable now."""
        return self.event_rows.rows

    @cached_property
    def _names(self) -> dict[str, str]:
        """Column of the topic to the name it is read by."""
        names = {name: name for name in _LEAD}
        taken = set(self.event_rows.schema.names if self.event_rows.schema is not None else ())
        for key, column in self.columns.items():
            shown = column if {key, f"ts_{key}"} & taken else key
            names[column], names[f"ts_{column}"] = shown, f"ts_{shown}"
        return names

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of the table; fields carry unit, description and shape."""
        stored = self.event_rows.schema or _LEAD_SCHEMA
        return pa.schema(
            [
                stored.field(column).with_name(name)
                for column, name in self._names.items()
                if column in stored.names
            ]
        )

    # -- events --------------------------------------------------------------------------------

    def read(self, columns: Sequence[str] | None = None, *, all: bool = False) -> pa.Table:  # noqa: A002 - of the stream
        """Return the events by seq_num, the last of each; ``columns`` by the names of :attr:`schema`.

        ``all=True`` gives superseded events as well, before the one that replaced them, and the column
        ``superseded``. ``timestamp_ns`` is always the first. Only the chosen columns are read.
        """
        schema = self.schema
        wanted = schema.names if columns is None else list(dict.fromkeys(["timestamp_ns", *columns]))
        stored = {name: column for column, name in self._names.items()}
        for name in wanted:
            if name not in schema.names:
                raise NotFound(
                    "the stream has no such column",
                    topic=self.name,
                    field=name,
                    expected=f"one of {', '.join(schema.names)}",
                    next_step=self._advice(name),
                )
        table = self.event_rows.by_seq_num([stored[name] for name in wanted], superseded=all)
        shown = [self._names.get(column, column) for column in table.column_names]
        return table.rename_columns(shown)

    def _advice(self, name: str) -> str:
        return "read it with read_external()" if name in self.external else "correct the column name"

    def scan(
        self, columns: Sequence[str] | None = None, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the events of :meth:`read` whose times are in ``[start_ns, end_ns)``, by seq_num."""
        table = self.read(columns)
        times = table.column("timestamp_ns").to_numpy()
        keep = np.ones(len(times), np.bool_)
        if start_ns is not None:
            keep &= times >= start_ns
        if end_ns is not None:
            keep &= times < end_ns
        if not keep.all():
            table = table.filter(pa.array(keep))
        yield from table.to_batches()

    def violations(self) -> pa.Table:
        """Return the cells that were not as declared, with their raw values as lossless JSON.

        A violating cell is null in the table. Columns as in the topic ``bluesky/violations``.
        """
        import pyarrow.compute as pc

        found = [
            batch
            for part in self._parts
            if VIOLATIONS in part.topics
            for batch in part.topic(VIOLATIONS).scan(filter=pc.field("stream") == self.name)
        ]
        stamped = pa.schema([pa.field("timestamp_ns", pa.int64(), nullable=False), *VIOLATIONS_SCHEMA])
        return pa.Table.from_batches(found).cast(stamped) if found else stamped.empty_table()

    # -- configuration -------------------------------------------------------------------------

    def configuration(self, seq_num: int) -> dict[str, Any]:
        """Return the configuration, by object name, that the devices had when an event was taken."""
        numbers, ordinals = self._ordinals()
        place = int(np.searchsorted(numbers, seq_num))
        if place == len(numbers) or numbers[place] != seq_num:
            raise NotFound(
                "the stream has no such event", topic=self.name, found=seq_num, next_step="see read()"
            )
        return dict(self.descriptors[ordinals[place]].get("configuration") or {})

    def configurations(self) -> pa.Table:
        """Return ``seq_num``, ``descriptor`` and each configuration value of each event.

        Columns are named ``<object>:<key>``. Values that are no one Arrow type are lossless JSON.
        """
        numbers, ordinals = self._ordinals()
        which = pa.array(ordinals)
        held = [
            {
                f"{name}:{key}": value
                for name, words in (descriptor.get("configuration") or {}).items()
                for key, value in (words.get("data") or {}).items()
            }
            for descriptor in self.descriptors
        ]
        columns = {"seq_num": pa.array(numbers), "descriptor": which}
        for name in dict.fromkeys(name for words in held for name in words):
            columns[name] = _values([words.get(name) for words in held]).take(which)
        return pa.table(columns)

    def _ordinals(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return the seq_nums of events and external frames, rising, and the ordinal of each one's descriptor."""
        table = self.read(["seq_num", "descriptor"])
        numbers = [table.column("seq_num").to_numpy()]  # events first: they decide
        ordinals = [table.column("descriptor").to_numpy()]
        taken = [
            (one.seq_start, one.seq_stop, one.descriptor)
            for batch in self.external_rows.by_arrival(["data_key", *REFERENCE])
            for _, one in references(batch)
        ]
        for start, stop, ordinal in reversed(taken):  # of frames, the last
            numbers.append(np.arange(start, stop, dtype=np.int64))
            ordinals.append(np.full(max(stop - start, 0), ordinal, np.int32))
        found, places = np.unique(np.concatenate(numbers), return_index=True)
        return found, np.concatenate(ordinals)[places]

    # -- external data -------------------------------------------------------------------------

    @property
    def external_names(self) -> list[str]:
        """The data keys whose values lie in files."""
        return [key for key, words in self.data_keys.items() if "external" in words]

    @cached_property
    def external(self) -> dict[str, ExternalKey]:
        """The data keys whose values lie in files, as far as references to them are durable."""
        keys: dict[str, ExternalKey] = {}
        for name in self.external_names:
            keys[name] = self._external_key(name)
        for batch in self.external_rows.by_arrival(["data_key", *REFERENCE]):
            for name, reference in references(batch):
                if name not in keys:
                    keys[name] = self._external_key(name)
                keys[name].add(reference)
        return keys

    def _external_key(self, name: str) -> ExternalKey:
        return ExternalKey(name, self._resources, [_as_declared(kept, name) for kept in self._kept])

    def read_external(self, key: str, select: Selector = None, *, all: bool = False) -> Array:  # noqa: A002 - as read()
        """Return the values of an external data key; see :meth:`ExternalKey.read`.

        They are in the order of ``external[key].seq_nums()``.
        """
        return self._external(key).read(select, all=all)

    def _external(self, key: str) -> ExternalKey:
        if key not in self.external:
            raise NotFound(
                "the stream has no such external data key",
                topic=self.name,
                field=key,
                expected=f"one of {', '.join(self.external)}",
                next_step="internal data keys are columns of read()",
            )
        return self.external[key]


def _as_declared(kept: KeptDocument, key: str) -> dict[str, Any]:
    """Return a data key without a type that only the normalising gave it."""
    words = dict(((kept.document or {}).get("data_keys") or {}).get(key) or {})
    before = (((kept.original or {}).get("data_keys") or {}).get(key)) if kept.original else None
    if before is not None and not any(before.get(name) for name in _SAID_TYPE):
        words.pop("dtype_numpy", None)
    return words


def _values(values: list[Any]) -> pa.Array:
    plain = json_safe(values)
    try:
        return pa.array(plain)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # another type in another descriptor
        return pa.array([encode(value) for value in values])
