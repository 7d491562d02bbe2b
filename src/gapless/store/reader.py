"""A sequence opened for reading: never locks, never writes, never gives rows other than those written.

Sealed, pending and open bundles read alike. The rows of a topic come in time order, rows of equal time
in the order they arrived; a layer's rows come after the base's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gapless.errors import DeadlinePassed, NotFound
from gapless.model.names import from_component
from gapless.store.bundle_state import Declared, Folder, find_layers, open_folder
from gapless.store.derived import DerivedTopic, Owner, derived_topic, feature_topics, is_feature_topic
from gapless.store.live_rows import SortedRows
from gapless.store.merge import SortedStream, merge_sorted
from gapless.store.part_reader import Part
from gapless.store.reserved import RESERVED_SCHEMAS
from gapless.store.selection import Selection

if TYPE_CHECKING:
    import pyarrow.compute as pc

BATCH_ROWS = 65_536
_LEDGER = ("produced", "written", "dropped", "gapped")
_ATTEMPTS = 10


def open_bundle(path: Path, *, layers: list[str] | None = None) -> BundleReader:
    """Return a reader of the sequence in a folder, whatever its state.

    ``layers=None`` takes all sealed layers, ``[]`` the base only, a list the layers of those names.
    Raises NotFound if there is no sequence, IntegrityError if its manifest is damaged.
    """
    return BundleReader(Path(path), layers)


class BundleReader:
    """One sequence: its description and a reader for each topic."""

    def __init__(self, path: Path, layers: list[str] | None = None) -> None:
        self.path = path
        self._wanted_layers = layers
        self.reload()

    def reload(self) -> None:
        """Look at the folder again: more rows, a seal or a new layer may have come since."""
        base = open_folder(self.path)
        self._folders = [base, *find_layers(base, self._wanted_layers)]
        self._readers: dict[str, TopicReader] = {}
        self._derived: dict[str, DerivedTopic] = {}

    @property
    def base(self) -> Folder:
        """The sequence without its layers."""
        return self._folders[0]

    @property
    def folders(self) -> list[Folder]:
        """The base, then the layers that are read with it, in order."""
        return list(self._folders)

    @property
    def name(self) -> str:
        """The name of the sequence."""
        known = self.base.description.get("name")
        return str(known) if known else from_component(self.path.name)

    @property
    def state(self) -> str:
        """``open``, ``pending`` or ``sealed``."""
        return self.base.state

    @property
    def owner_alive(self) -> bool:
        """True while a live process is writing the sequence."""
        return self.base.owner_alive

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The manifest of the base, None until it is sealed."""
        return self.base.manifest

    @property
    def outcome(self) -> str | None:
        """How the recording ended, None until it is sealed."""
        return self.base.manifest["record"]["outcome"] if self.base.manifest else None

    @property
    def group(self) -> str | None:
        """The group given at creation."""
        return self.base.description.get("group")

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata given at creation."""
        return dict(self.base.description.get("metadata") or {})

    @property
    def layers(self) -> list[str]:
        """The names of the layers that are read with the base, in order."""
        return [folder.layer_name for folder in self._folders[1:]]

    @property
    def ledger(self) -> dict[str, int]:
        """Produced, written, dropped and gapped over the base and its layers."""
        return _total([folder.ledger() for folder in self._folders])

    @property
    def topics(self) -> dict[str, TopicReader]:
        """Readers of the user's topics, those that only a layer has at the end."""
        return {name: self.topic(name) for name in self._topic_names() if not name.startswith("_")}

    @property
    def feature_topics(self) -> list[str]:
        """The names of the topics that feature runs have for the sequence."""
        return feature_topics(self._owner)

    def topic(self, name: str) -> TopicReader:
        """Return the reader of a topic; NotFound if there is none. A reserved topic may have no rows.

        ``features/<feature>@<run id>`` is what a feature run has for the sequence.
        """
        if name not in self._readers:
            names = self._topic_names()
            if name not in names and name not in RESERVED_SCHEMAS and not is_feature_topic(name):
                raise NotFound(
                    "there is no such topic",
                    sequence=self.name,
                    topic=name,
                    expected=f"one of {', '.join(n for n in names if not n.startswith('_'))}",
                    next_step="`gapless tree` lists the topics of each sequence",
                )
            self._readers[name] = TopicReader(self, name)
        return self._readers[name]

    def holders(self, topic: str) -> Sequence[Folder | DerivedTopic]:
        """Return what holds a topic: the base and layers that have it, or an entry of a feature run.

        Raises NotFound for a feature topic that there is not.
        """
        found = [folder for folder in self._folders if topic in folder.topic_names()]
        if found or not is_feature_topic(topic):
            return found
        if topic not in self._derived:
            self._derived[topic] = derived_topic(self._owner, topic)
        return [self._derived[topic]]

    @property
    def _owner(self) -> Owner:
        record = self.base.manifest["record"] if self.base.manifest else self.base.description
        return Owner.of(self.path, self.base.description, record)

    def _topic_names(self) -> list[str]:
        return list(dict.fromkeys(name for folder in self._folders for name in folder.topic_names()))


class TopicReader:
    """One topic of a sequence: its declaration and its rows.

    Layers made side by side may have given one name to rows of different columns: such a topic is listed and
    counted, and IntegrityError is raised where its rows are read.
    """

    def __init__(self, bundle: BundleReader, name: str) -> None:
        self.bundle = bundle
        self.name = name
        holders = bundle.holders(name)
        self.derived = any(isinstance(holder, DerivedTopic) for holder in holders)  # rows have no _seq
        declared = [holder.declaration(name) for holder in holders]
        if not declared:  # a reserved topic that was never needed
            declared = [Declared(name, RESERVED_SCHEMAS[name], {}, {}, "gapless")]
        first = declared[0]
        self._declared = declared
        self.schema: pa.Schema = first.schema
        self.ontology: dict[str, Any] = first.ontology
        self.metadata: dict[str, Any] = first.metadata
        self.clock: str = first.clock

    @property
    def rows(self) -> int:
        """Number of rows; of an open sequence, those durable now."""
        return sum(source.rows for source in self._found([]))

    @property
    def start_ns(self) -> int | None:
        """The smallest timestamp, None without rows."""
        return min((s.start_ns for s in self._found([]) if s.start_ns is not None), default=None)

    @property
    def end_ns(self) -> int | None:
        """The greatest timestamp, None without rows."""
        return max((s.end_ns for s in self._found([]) if s.end_ns is not None), default=None)

    @property
    def ledger(self) -> dict[str, int]:
        """Produced, written, dropped and gapped of this topic."""
        return _total([holder.ledger(self.name) for holder in self.bundle.holders(self.name)])

    def parts(self) -> list[Part]:
        """Return the Parquet parts that hold the topic, the base's before those of layers."""
        return [source for source in self._sources([]) if isinstance(source, Part)]

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
        """Yield the rows in ``[start_ns, end_ns)`` in time order, one batch per overlapping part in memory.

        ``timestamp_ns`` is always the first column. ``filter`` keeps the rows for which it is true and
        skips row groups that cannot hold any. Damaged bytes raise IntegrityError before their rows come.
        """
        selection = Selection.of(
            self.schema, columns, start_ns, end_ns,
            with_seq=with_seq, filter=filter, topic=self.name, numbered=not self.derived,
        )  # fmt: skip
        return self._scan(selection, batch_rows)

    def _scan(self, selection: Selection, batch_rows: int) -> Iterator[pa.RecordBatch]:
        streams = []
        for source in self._sources(selection.read_names):
            if source.start_ns is None or source.end_ns is None:
                continue
            if not selection.excludes(source.start_ns, source.end_ns):
                streams.append(_stream(source, selection, batch_rows))
        for batch in merge_sorted(streams):
            for start in range(0, batch.num_rows, batch_rows):
                yield batch.slice(start, batch_rows)

    def to_arrow(
        self, columns: Sequence[str] | None = None, start_ns: int | None = None, end_ns: int | None = None
    ) -> pa.Table:
        """Return the rows as one table; :meth:`scan` does the same in bounded memory."""
        selection = Selection.of(
            self.schema, columns, start_ns, end_ns, with_seq=False, filter=None, topic=self.name
        )
        return pa.Table.from_batches(self._scan(selection, BATCH_ROWS), schema=selection.output)

    def floor_ns(self, time_ns: int) -> int | None:
        """Return the greatest timestamp at or before the given time, None if there is none."""
        found = (source.floor_ns(time_ns) for source in self._sources([]))
        return max((f for f in found if f is not None), default=None)

    def _sources(self, names: list[str]) -> list[Part | SortedRows]:
        """Return what the topic's rows are read from."""
        for other in self._declared[1:]:
            self._declared[0].check_same_rows(other)
        return self._found(names)

    def _found(self, names: list[str]) -> list[Part | SortedRows]:
        """Return what holds the topic's rows now, in the order that decides between equal timestamps."""
        for _ in range(_ATTEMPTS):
            try:
                holders = self.bundle.holders(self.name)
                return [s for holder in holders for s in holder.sources(self.name, names)]
            except FileNotFoundError:  # sealed or discarded since the folder was opened
                self.bundle.reload()
        raise DeadlinePassed("the sequence kept changing while it was read", topic=self.name)


def _stream(source: Part | SortedRows, selection: Selection, batch_rows: int) -> SortedStream:
    assert source.start_ns is not None
    start_ns = source.start_ns if selection.start_ns is None else max(source.start_ns, selection.start_ns)
    return SortedStream(start_ns, lambda: source.batches(selection, batch_rows))


def _total(ledgers: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {key: sum(ledger.get(key, 0) for ledger in ledgers) for key in _LEDGER}
