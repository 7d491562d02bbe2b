"""The sequences of a store as one data set: which belong to it, what columns are called, where runs lie."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gapless.client.client import Client, connect, local_path
from gapless.errors import ArgumentRefused, ArtifactMissing, NotFound, UsageError
from gapless.features.apply import DatasetAddress, as_frame
from gapless.features.artifact import ArtifactSpec
from gapless.features.catalog_reads import CatalogReads
from gapless.features.columns import Columns
from gapless.features.entry import EntryKey, EntryRecord, KnownEntry
from gapless.features.frame import EntryPlan, InputSource, read_frame
from gapless.features.identity import RunOptions
from gapless.features.inputs import TopicInput
from gapless.features.labels_source import FeatureLabelsSource
from gapless.features.registry import FeatureRegistry, Pair, WantedRun
from gapless.features.result import Result
from gapless.features.run_folder import RunFolder
from gapless.features.scope import Scope
from gapless.features.table_source import TableSource, record_source


class Dataset:
    """All sealed and completed sequences of a store that have a topic, or those of them a query finds.

    ``columns`` are the names of meta columns, ``topic`` is what ``"tracks"`` means, ``where`` a query
    expression or a list of them. ``store`` is a folder, a ``file://`` URL or a client, which stays yours.
    Raises NotFound for a folder that holds no store.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | Client,
        columns: Columns | None = None,
        topic: str = "tracks",
        where: Any = None,
    ) -> None:
        self._owned = not isinstance(store, Client)
        self.client: Client = store if isinstance(store, Client) else _connected(store)
        self.columns = columns or Columns()
        self.topic = topic
        self.where: tuple[Any, ...] = (
            () if where is None else tuple(where) if isinstance(where, list | tuple) else (where,)
        )
        self._registry: FeatureRegistry | None = None
        self._reads: CatalogReads | None = None

    def __repr__(self) -> str:
        return f"<Dataset {self.root} topic={self.topic!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the client, and with it the registry, if the data set opened it."""
        self._reads = self._registry = None
        if self._owned:
            self.client.close()

    @property
    def root(self) -> Path:
        """The store's folder."""
        return self.client.path

    @property
    def features_root(self) -> Path:
        """The folder of feature runs."""
        return self.root / "features"

    @property
    def models_root(self) -> Path:
        """The folder of model runs."""
        return self.root / "models"

    @property
    def registry(self) -> FeatureRegistry:
        """The registry of feature runs in the store's catalog."""
        if self._registry is None:
            self._registry = FeatureRegistry.in_catalog(self.client.catalog)
        return self._registry

    @property
    def address(self) -> DatasetAddress:
        """What another process needs to open this data set."""
        return DatasetAddress(self.root, self.columns, self.topic, self.where)

    # -- which sequences -----------------------------------------------------------------------

    def scope(
        self,
        groups: Iterable[str] | None = None,
        sequences: Iterable[str] | None = None,
        *,
        topics: Sequence[str] | None = None,
    ) -> Scope:
        """Return the sequences that have all of the topics, in the order of groups and names.

        Raises ArgumentRefused for an empty list of names, NotFound for a name that does not belong to it.
        """
        scope = self.reads().scope(frozenset([self.topic] if topics is None else topics))
        return scope if groups is None and sequences is None else scope.narrowed(groups, sequences)

    def existing(self) -> list[EntryKey]:
        """Return group and sequence of every sealed and completed sequence of the store, whatever its topics."""
        return list(self.reads().existing)

    def topics(self) -> list[str]:
        """Return the topics that sealed and completed sequences of the store have, in order."""
        return list(self.reads().topics)

    @property
    def was_read(self) -> bool:
        """Whether something of the catalog is known, or one statement could not tell it: with a query."""
        return self._reads is not None or bool(self.where)

    def first_reads(
        self, topics: frozenset[str], runs: Sequence[WantedRun]
    ) -> tuple[CatalogReads, dict[Pair, dict[EntryKey, KnownEntry]]]:
        """Return what :meth:`reads` does, and what is recorded of the entries of runs, by one statement.

        A run id None stands for the newest run.
        """
        self._reads, rows = CatalogReads.first(self.client, self.where, topics, runs)
        told = [(feature, run_id) for feature, run_id in runs if run_id is not None]
        found = [(row[0], row[1]) for row in rows]
        return self._reads, self.registry.known_of(list(dict.fromkeys([*told, *found])), rows)

    def reads(self) -> CatalogReads:
        """Return what is read from the catalog now: the same for as long as neither it nor a folder changes.

        With a query, whose answer depends on more than the catalog, everything is read anew.
        """
        look = self.client.catalog.look()
        kept = self._reads
        if kept is None or kept.look is not look or self.where:
            kept = self._reads = CatalogReads(look, self.client, self.where)
        return kept

    def entries(self) -> list[EntryKey]:
        """Return group and sequence of every sequence in the data set."""
        return self.scope().keys

    def key_of(self, sequence: str, group: str | None = None) -> EntryKey:
        """Return the entry of a sequence; NotFound if it does not belong, or to another group."""
        for key in self.entries():
            if key[1] == sequence:
                if group is not None and key[0] != group:
                    raise NotFound(
                        "the sequence is in another group", sequence=sequence, found=key[0], expected=group,
                        next_step="give the group that the sequence was recorded with",
                    )  # fmt: skip
                return key
        raise NotFound(
            "the sequence does not belong to the data set", sequence=sequence,
            expected=f"a sealed, completed sequence with the topic {self.topic!r}",
        )  # fmt: skip

    # -- what is computed ----------------------------------------------------------------------

    def run_feature(self, feature: Any, **options: Any) -> Result[str]:
        """Compute a feature over the data set; the same as :func:`run_feature` with this data set."""
        from gapless.features.run import run_feature

        return run_feature(self, feature, **options)

    def run_folder(self, result: Result[Any]) -> RunFolder:
        """Return the folder of a run; NotFound where there is none. Without a run id: the latest run."""
        storage, run_id = self.resolve(result)
        folder = RunFolder.of(self.root, storage, run_id)
        if not folder.path.is_dir():
            raise NotFound("there is no such feature run", found=f"{storage} {run_id}",
                           next_step="`gapless features list` lists the runs")  # fmt: skip
        return folder

    def resolve(self, result: Result[Any] | FeatureLabelsSource) -> tuple[str, str]:
        """Return storage name and run id of a result; NotFound for a feature that never ran.

        A plain feature name stands for the only storage of that feature.
        """
        storage = self.registry.storage_of(result.feature)
        if result.run_id is not None:
            return storage, result.run_id
        latest = self.registry.newest_run_id(storage)
        if latest is None:
            raise NotFound("the feature has no run yet", found=result.feature,
                           next_step="run it first, or name a run id")  # fmt: skip
        return storage, latest

    def run_root(self, result: Result[Any]) -> Path:
        """Return the folder of a run."""
        return self.run_folder(result).path

    def state_root(self, result: Result[Any]) -> Path:
        """Return the folder of what a run learned."""
        return self.run_folder(result).state

    def artifact_path(self, spec: ArtifactSpec[Any, Any]) -> Path:
        """Return the one file that an artifact's pattern matches in its run; ArtifactMissing otherwise."""
        folder = self.run_folder(spec)
        found = sorted(p for place in (folder.state, folder.path) for p in place.glob(spec.pattern))
        if len(found) == 1:
            return found[0]
        in_state = [path for path in found if path.parent == folder.state]
        if len(in_state) == 1:
            return in_state[0]
        raise ArtifactMissing(
            f"{len(found)} files of the run match the artifact's pattern, not one",
            found=[path.name for path in found][:5], expected=spec.pattern,
        )  # fmt: skip

    def entry_records(self, result: Result[Any]) -> dict[EntryKey, EntryRecord]:
        """Return what is recorded of each entry of a run."""
        pair = self.resolve(result)
        latest: dict[str, EntryRecord] = {}
        for record in self.registry.entry_records([pair])[pair].values():
            known = latest.get(
                record.sequence
            )  # recorded again in another group: the file is the later one's
            if known is None or known.recorded_ns < record.recorded_ns:
                latest[record.sequence] = record
        return {record.entry_key: record for record in latest.values()}

    def entry_path(self, result: Result[Any], sequence: str) -> Path:
        """Return the Parquet file of one entry; NotFound where it has none."""
        for (_, name), record in self.entry_records(result).items():
            if name == sequence and record.file:
                return self.run_folder(result).path / record.file
        raise NotFound("the run has no output for the sequence", sequence=sequence,
                       found=f"{result.feature} {result.run_id or '(latest)'}",
                       next_step="`gapless features why` tells what became of the entry")  # fmt: skip

    # -- frames --------------------------------------------------------------------------------

    def source(self, key: EntryKey, item: Any = "tracks") -> TableSource:
        """Return where the rows of one input of one entry lie."""
        if isinstance(item, Result):
            storage, run_id = self.resolve(item)
            topic = f"features/{storage}@{run_id}"
            record = self.registry.entry_records([(storage, run_id)])[storage, run_id].get(key)
            if record is None or record.status == "failed":
                raise NotFound("the run has no output for the sequence", sequence=key[1], topic=topic)
            return record_source(storage, topic, RunFolder.of(self.root, storage, run_id).path, record)
        if isinstance(item, TopicInput):
            name = item.name
        elif item == "tracks":
            name = self.topic
        else:
            raise UsageError('an input is "tracks", a TopicInput or a Result', found=repr(item))
        scope = self.scope(topics=[name])
        if key not in scope.entries:
            raise NotFound("the sequence has no such topic", sequence=key[1], topic=name)
        return scope.entries[key].topics[name]

    def frame(
        self,
        sequence: str,
        item: Any = "tracks",
        *,
        columns: Sequence[str] | None = None,
        frame_type: str = "pandas",
        group: str | None = None,
    ) -> Any:
        """Return the frame of one input of one sequence as a feature would see it.

        ``columns``: data columns to read, None all; meta columns always come. ``frame_type``: ``pandas``,
        ``polars`` or ``arrow``.
        """
        key = self.key_of(sequence, group)
        plan = EntryPlan(key, (InputSource(self.source(key, item)),))
        return as_frame(read_frame(plan, self.columns, RunOptions(), columns).table, frame_type)

    def results(self, result: Result[Any], *, frame_type: str = "pandas") -> Iterator[tuple[EntryKey, Any]]:
        """Yield the outputs of a run, one entry at a time; entries without rows are left out."""
        storage, run_id = self.resolve(result)
        folder = RunFolder.of(self.root, storage, run_id).path
        pinned: Result[str] = Result(feature=storage, run_id=run_id)
        for key, record in sorted(self.entry_records(pinned).items()):
            if record.file:
                source = record_source(storage, f"features/{storage}@{run_id}", folder, record)
                plan = EntryPlan(key, (InputSource(source),))
                yield key, as_frame(read_frame(plan, self.columns, RunOptions()).table, frame_type)


def _connected(store: str | os.PathLike[str]) -> Client:
    """Return a client of a store that is there: one with nothing in it has nothing to compute."""
    root = local_path(store)
    if not (root / "gapless.json").exists() and not (root / "sequences").is_dir():
        raise NotFound(
            "there is no store in the folder", found=str(root),
            next_step="name the folder of a store; gapless.connect(folder) makes one, `gapless demo` fills one",
        )  # fmt: skip
    return connect(store)


def checked_dataset(ds: Any) -> Dataset:
    """Return the data set, or raise ArgumentRefused for something else."""
    if not isinstance(ds, Dataset):
        raise ArgumentRefused(
            "the first argument is a data set", found=type(ds).__name__, expected="Dataset(store)"
        )
    return ds
