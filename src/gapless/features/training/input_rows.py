"""Where the rows of a model's inputs lie, entry by entry, with every unpinned run pinned."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gapless.errors import ArgumentRefused
from gapless.features.canonical import canonical_text
from gapless.features.entry import EntryKey
from gapless.features.frame import EntryPlan, InputSource, read_frame
from gapless.features.identity import RunOptions
from gapless.features.inputs import TopicInput
from gapless.features.pandas_frame import as_pandas
from gapless.features.result import Result
from gapless.features.run_folder import RunFolder
from gapless.features.table_source import TableSource, record_source

if TYPE_CHECKING:
    import pandas as pd

    from gapless.features.dataset import Dataset

PinnedItem = Result[str] | TopicInput
_DERIVED = "features/"


@dataclass(frozen=True)
class InputRows:
    """One input with its run pinned, and the rows of each entry that has some."""

    item: PinnedItem
    sources: Mapping[EntryKey, InputSource]

    @property
    def run(self) -> tuple[str, str] | None:
        """Storage and run id of a feature's output, None for a topic that was recorded."""
        return run_of(self.item)

    @property
    def name(self) -> str:
        """The topic, or the storage name of the feature."""
        return self.item.feature if isinstance(self.item, Result) else self.item.name

    def digest(self, keys: Sequence[EntryKey]) -> str:
        """Return what identifies the rows of some entries."""
        facts = [[*key, self.sources[key].source.digest()] for key in sorted(keys)]
        return hashlib.sha256(canonical_text(facts).encode()).hexdigest()


def pinned_item(document: Mapping[str, Any]) -> PinnedItem:
    """Return the input that was dumped."""
    return Result(**document) if "feature" in document else TopicInput(**document)


def input_rows(ds: Dataset, items: Sequence[Any]) -> list[InputRows]:
    """Return the rows of each input; NotFound for a feature that never ran, ArgumentRefused for no input."""
    return [_rows(ds, _pinned(ds, item)) for item in items]


def read_entry(ds: Dataset, rows: Sequence[InputRows], key: EntryKey) -> pd.DataFrame:
    """Return the frame of an entry with its inputs joined, as a feature would see it."""
    plan = EntryPlan(key, tuple(item.sources[key] for item in rows))
    return as_pandas(read_frame(plan, ds.columns, RunOptions()).table)


def _pinned(ds: Dataset, item: Any) -> PinnedItem:
    if isinstance(item, TopicInput):
        return item
    if item == "tracks":
        return TopicInput(ds.topic)
    if not isinstance(item, Result):
        raise ArgumentRefused('an input is "tracks", a TopicInput or a Result', found=repr(item))
    if item.run_id is not None and not ds.registry.has_run(item.feature, item.run_id):
        storage, run_id = ds.registry.storage_of(item.feature), item.run_id  # still to be computed
    else:
        storage, run_id = ds.resolve(item)
    return Result(feature=storage, run_id=run_id)


def run_of(item: PinnedItem) -> tuple[str, str] | None:
    """Return storage and run id of what an input is the output of, None for a topic that was recorded."""
    if isinstance(item, Result):
        return item.feature, str(item.run_id)
    if not item.name.startswith(_DERIVED):
        return None
    storage, _, run_id = item.name.removeprefix(_DERIVED).rpartition("@")
    return storage, run_id


def _rows(ds: Dataset, item: PinnedItem) -> InputRows:
    run = run_of(item)
    if run is None:
        assert isinstance(item, TopicInput)
        entries = ds.scope(topics=[item.name]).entries
        return InputRows(
            item, {key: _source(entry.topics[item.name], item) for key, entry in entries.items()}
        )
    storage, run_id = run
    folder = RunFolder.of(ds.root, storage, run_id).path
    topic = f"{_DERIVED}{storage}@{run_id}"
    records = ds.registry.entry_records([run])[run]
    found = {key: record_source(storage, topic, folder, r) for key, r in records.items() if r.file}
    return InputRows(item, {key: _source(table, item) for key, table in found.items()})


def _source(table: TableSource, item: PinnedItem) -> InputSource:
    if isinstance(item, Result):
        return InputSource(table)
    columns = tuple(item.columns) if item.columns is not None else None
    return InputSource(table, item.align, item.tolerance_ns, columns)
