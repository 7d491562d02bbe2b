"""The registry: every feature run, what it recorded of each entry, what it was made from, who computes now.

In a store it lives in the catalog, which is a cache of the runs' folders; elsewhere in a file of its own.
Any number of processes and threads may use one registry at once.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from gapless.catalog.feature_folders import PROBLEM, read_feature_run, read_feature_runs
from gapless.catalog.feature_rows import (
    DELETE_RUN,
    FINISH_RUN,
    INSERT_DEPENDENCY,
    INSERT_RUN,
    RUN_COLUMNS,
    UPSERT_ENTRY,
    Row,
    entry_row,
)
from gapless.catalog.hand_journal import record_by_hand
from gapless.catalog.record_lines import read_object
from gapless.catalog.sqlite import Database
from gapless.errors import ArgumentRefused, IntegrityError, NotFound, StateError
from gapless.errors.extra import need
from gapless.features import claims
from gapless.features.entry import EntryKey, EntryRecord, KnownEntry
from gapless.features.registry_file import open_tables
from gapless.features.run_row import RunRow, identity_row, now_text
from gapless.model.names import to_component

if TYPE_CHECKING:
    import pandas as pd

    from gapless.catalog.catalog import Catalog
    from gapless.features.identity import RunIdentity

Pair = tuple[str, str]  # (feature, run_id)
WantedRun = tuple[str, str | None]  # without a run id: the newest one
_KEPT_ROWS = 20_000  # of some 1.5 kB each: more are decoded again every time
Known = TypeVar("Known", bound=KnownEntry)
_NEWEST = "ORDER BY finished_at='', started_at DESC, run_id DESC"
ENTRIES_OF = (  # of the runs in a text that wanted_text() gave
    "FROM json_each(?) AS wanted CROSS JOIN feature_entries AS e"
    " ON e.feature=json_extract(wanted.value, '$[0]') AND e.run_id=coalesce(json_extract(wanted.value, '$[1]'),"
    " (SELECT r.run_id FROM feature_runs AS r WHERE r.feature=json_extract(wanted.value, '$[0]')"
    f" {_NEWEST} LIMIT 1))"
)
_ENTRY_COLUMNS = ("feature", "run_id", "group", "sequence", "abs_path", "n_rows", "status")


class FeatureRegistry:
    """The registry at ``path``: a store, its ``features/`` folder, or a database file (made if absent).

    ``feature`` is everywhere the storage name of a feature. Raises NotFound for a folder that is not there.
    """

    def __init__(self, path: str | Path) -> None:
        self._database, self.root = open_tables(Path(path))
        self._last_known: tuple[list[Pair], list[Row], dict[Pair, dict[EntryKey, KnownEntry]]] = ([], [], {})

    @classmethod
    def in_catalog(cls, catalog: Catalog) -> Self:
        """Return the registry of a store over a catalog that is open: both use one connection."""
        registry = cls.__new__(cls)
        registry._database, registry.root = catalog.database, catalog.root
        registry._last_known = ([], [], {})
        return registry

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the database file; the next call opens it again."""
        self._database.close()

    @property
    def statements(self) -> int:
        """How many SQL statements ran so far."""
        return self._database.statements

    # -- recording by hand ---------------------------------------------------------------------

    def record_run_start(
        self,
        feature: str,
        run_id: str,
        version: str,
        params_hash: str,
        params_json: str | None = None,
        inputs_json: str | None = None,
    ) -> None:
        """Record that a run has begun; of a run that is known nothing changes."""
        row = (feature, run_id, version, params_hash, params_json, inputs_json, *[None] * 4, now_text(), "")
        self._by_hand("run", [row])

    def record_entry(
        self, feature: str, run_id: str, group: str, sequence: str, abs_path: str | Path, n_rows: int = 0
    ) -> None:
        """Record one computed entry; one that is known is replaced. sqlite3.IntegrityError without the run."""
        self.record_entries(feature, run_id, [(group, sequence, abs_path, n_rows)])

    def record_entries(
        self, feature: str, run_id: str, entries: Iterable[tuple[str, str, str | Path, int]]
    ) -> None:
        """Record entries (group, sequence, path, number of rows) as :meth:`record_entry` does: all or none."""
        self._by_hand("entry", [self._plain_entry(feature, run_id, *entry) for entry in entries])

    def record_dependency(
        self, feature: str, run_id: str, upstream_feature: str, upstream_run_id: str
    ) -> None:
        """Record that a run consumed another; sqlite3.IntegrityError if either is unknown."""
        with self._database.transaction():
            if not self.has_run(upstream_feature, upstream_run_id):
                raise sqlite3.IntegrityError(
                    f"FOREIGN KEY constraint failed: no run {upstream_run_id} of {upstream_feature}"
                )
            self._by_hand("dependency", [(feature, run_id, upstream_feature, upstream_run_id)])

    def mark_finished(self, feature: str, run_id: str) -> None:
        """Set the end of a run: the time in its manifest, else now unless it has one.

        Raises ArgumentRefused for an unknown run.
        """
        with self._database.transaction():
            row = self._known(feature, run_id)
            told = self._of_folder(feature, run_id, "manifest.json").get("finished_at")
            if told is not None:
                self._database.rows(FINISH_RUN, (told, feature, run_id))
            elif not row.finished:
                self._by_hand("finish", [(now_text(), feature, run_id)])

    def migrate_from_csv(self, features_root: str | Path | None = None) -> int:
        """Import ``<features_root>/<feature>/index.csv`` files; return how many entries are new.

        Nothing that is known changes, so it may be called again. Without a folder: the store's own.
        Raises ArgumentRefused for a file without the columns that name a run and an entry.
        """
        from gapless.features.csv_migration import read_index_files

        folder = features_root or (self.root and self.root / "features")
        if folder is None:
            raise ArgumentRefused("a registry outside of a store must be told where the index files are")
        before = self._count_entries()
        with self._database.transaction():
            for run, entries in read_index_files(Path(folder)):
                self._by_hand("run", [run])
                self._by_hand("new entry", [self._plain_entry(run[0], run[1], *entry) for entry in entries])
        return self._count_entries() - before

    # -- recording by the engine ---------------------------------------------------------------

    def begin_run(self, identity: RunIdentity, *, code_digest: str | None) -> None:
        """Record that a run has begun, and what it reads; a known run stays as it is.

        A run whose folder is there but not its row is taken over from the folder with all its entries.
        """
        run = (identity.storage, identity.run_id)
        folder = self._folder(*run)
        with self._database.transaction():
            if self.has_run(*run):
                return
            if folder is not None and self.root is not None and (folder / "identity.json").exists():
                problem = read_feature_run(self._database, self.root, folder)
                if problem:
                    raise IntegrityError("the folder of a run cannot be read", found=f"{folder}: {problem}")
                return
            self._database.rows(INSERT_RUN, identity_row(identity, code_digest, now_text()))
            self._database.many(INSERT_DEPENDENCY, [(*run, *pair) for pair in identity.upstream])

    def save_records(
        self, feature: str, run_id: str, records: Sequence[EntryRecord], *, owner: str | None = None
    ) -> None:
        """Record what became of entries, and give up the claims that ``owner`` has on them: all or none.

        Raises sqlite3.IntegrityError if the run has not begun.
        """
        folder = self._folder(feature, run_id)
        place = "" if folder is None or self.root is None else folder.relative_to(self.root).as_posix()
        with self._database.transaction():
            self._database.many(
                UPSERT_ENTRY,
                [entry_row(feature, run_id, place, record.to_json(), record.text) for record in records],
            )
            if owner is not None:
                self._release(feature, run_id, [record.entry_key for record in records], owner)

    def set_state(self, feature: str, run_id: str, state_digest: str | None) -> None:
        """Set the digest of what the run has learned; ArgumentRefused for an unknown run."""
        with self._database.transaction():
            self._known(feature, run_id)
            self._database.rows(
                "UPDATE feature_runs SET state_digest=? WHERE feature=? AND run_id=?",
                (state_digest or None, feature, run_id),
            )

    def reopen(self, feature: str, run_id: str) -> None:
        """Take the end of a run back; ArgumentRefused for an unknown run."""
        with self._database.transaction():
            self._known(feature, run_id)
            self._database.rows(FINISH_RUN, ("", feature, run_id))

    def forget_run(self, feature: str, run_id: str) -> None:
        """Forget a run, its entries, what it read, and all claims on it; files are untouched.

        That others read it stays known.
        """
        with self._database.transaction():
            row = self.run_row(feature, run_id)
            if row is not None and row.digest is None:
                self._by_hand("forget", [(feature, run_id)])
            self._database.rows(DELETE_RUN, (feature, run_id))
            self._database.rows("DELETE FROM feature_claims WHERE feature=? AND run_id=?", (feature, run_id))

    def rebuild(self) -> int:
        """Read everything again from the runs' folders and return the number of entries.

        Outside of a store there is nothing to read from, and nothing changes.
        """
        if self.root is None:
            return self._count_entries()
        return read_feature_runs(self._database, self.root)

    def problems(self) -> dict[str, str]:
        """Return the folders of runs that could not be read (paths in the store), and why."""
        rows = self._database.rows(
            "SELECT key, value FROM seen WHERE key LIKE ? ORDER BY key", (f"{PROBLEM}%",)
        )
        return {key.removeprefix(PROBLEM): why for key, why in rows}

    # -- claims --------------------------------------------------------------------------------

    def claim(
        self,
        feature: str,
        run_id: str,
        keys: Sequence[EntryKey],
        owner: str,
        alive: Callable[[str], bool],
    ) -> list[EntryKey]:
        """Return those keys that now belong to ``owner``, in the order given.

        No key ever has two owners that live; claims of dead ones are taken over. Raises StateError where
        no other process could see the claims.
        """
        with self._database.transaction():
            if isinstance(self._database, Database) and self._database.in_memory:
                raise StateError(
                    "no entry can be claimed: the catalog of this store cannot be written",
                    found=str(self._database.path),
                    next_step="make the store writable, or use the gapless release that wrote the catalog",
                )
            return claims.claim(self._database, (feature, run_id), keys, owner, alive)

    def is_claimed(self, feature: str, run_id: str, alive: Callable[[str], bool]) -> bool:
        """Tell whether an owner that lives computes entries of a run now."""
        rows = self._database.rows(
            "SELECT DISTINCT owner FROM feature_claims WHERE feature=? AND run_id=?", (feature, run_id)
        )
        return any(alive(owner) for (owner,) in rows)

    def release_entries(self, feature: str, run_id: str, keys: Sequence[EntryKey], owner: str) -> None:
        """Give up the claims that ``owner`` has on these entries of a run."""
        with self._database.transaction():
            self._release(feature, run_id, keys, owner)

    def release(self, owner: str) -> None:
        """Give up all claims of ``owner``."""
        self._database.rows("DELETE FROM feature_claims WHERE owner=?", (owner,))

    # -- asking --------------------------------------------------------------------------------

    def latest_run_id(self, feature: str) -> str:
        """Return the newest run: finished before unfinished, then by start, then the greatest run id.

        Raises ArgumentRefused, a ValueError, for an unknown feature.
        """
        found = self.newest_run_id(feature)
        if found is None:
            raise ArgumentRefused(
                "the registry has no run of this feature", found=feature, expected=self.list_features()
            )
        return found

    def newest_run_id(self, feature: str) -> str | None:
        """Return what :meth:`latest_run_id` does, and None for an unknown feature."""
        rows = self._database.rows(
            f"SELECT run_id FROM feature_runs WHERE feature=? {_NEWEST} LIMIT 1", (feature,)
        )
        return str(rows[0][0]) if rows else None

    def storage_of(self, feature: str) -> str:
        """Return the storage name that a feature's plain name stands for; an unknown name stands for itself.

        Raises ArgumentRefused if several storages could be meant.
        """
        begin = f"{feature}__from__"
        rows = self._database.rows(
            "SELECT DISTINCT feature FROM feature_runs WHERE feature=? OR substr(feature, 1, ?)=?"
            " ORDER BY feature",
            (feature, len(begin), begin),
        )
        names = [str(name) for (name,) in rows]
        if feature in names or not names:
            return feature
        if len(names) > 1:
            raise ArgumentRefused(
                "several outputs of this feature exist: name one", found=feature, expected=names
            )
        return names[0]

    def has_run(self, feature: str, run_id: str) -> bool:
        """Tell whether a run is known."""
        return self.run_row(feature, run_id) is not None

    def run_is_finished(self, feature: str, run_id: str) -> bool:
        """Tell whether a run is known and finished."""
        row = self.run_row(feature, run_id)
        return row is not None and row.finished

    def run_row(self, feature: str, run_id: str) -> RunRow | None:
        """Return what is known of a run, None if nothing is."""
        rows = self._database.rows(
            f"SELECT {', '.join(RUN_COLUMNS)} FROM feature_runs WHERE feature=? AND run_id=?",
            (feature, run_id),
        )
        return RunRow(*rows[0]) if rows else None

    def list_features(self) -> list[str]:
        """Return the names of all features that have a run, in order."""
        return [
            name for (name,) in self._database.rows("SELECT DISTINCT feature FROM feature_runs ORDER BY 1")
        ]

    def list_runs(self, feature: str) -> pd.DataFrame:
        """Return the runs of a feature, one row each, the newest first; its columns are those of RunRow."""
        need("pandas", extra="features")
        import pandas as pd

        rows = self._database.rows(
            f"SELECT {', '.join(RUN_COLUMNS)} FROM feature_runs WHERE feature=? {_NEWEST}", (feature,)
        )
        return pd.DataFrame(rows, columns=list(RUN_COLUMNS))

    def list_entries(self, feature: str, run_id: str | None = None) -> pd.DataFrame:
        """Return the entries of a feature, or of one run, one row each, in order of run, group and sequence."""
        need("pandas", extra="features")
        import pandas as pd

        rows = self._database.rows(
            "SELECT feature, run_id, group_, sequence, path, n_rows, status FROM feature_entries"
            f" WHERE feature=?{'' if run_id is None else ' AND run_id=?'} ORDER BY run_id, group_, sequence",
            (feature,) if run_id is None else (feature, run_id),
        )
        found = [(*row[:4], self._absolute(row[4]), *row[5:]) for row in rows]
        return pd.DataFrame(found, columns=list(_ENTRY_COLUMNS))

    def entry_count(self, feature: str, run_id: str) -> int:
        """Return how many entries of a run are recorded, without the failed ones."""
        [(count,)] = self._database.rows(
            "SELECT count(*) FROM feature_entries WHERE feature=? AND run_id=? AND status<>'failed'",
            (feature, run_id),
        )
        return int(count)

    def pending_entries(self, feature: str, run_id: str, all_entries: set[EntryKey]) -> list[EntryKey]:
        """Return the entries that a run lacks or failed at, in order."""
        rows = self._database.rows(
            "SELECT group_, sequence FROM feature_entries WHERE feature=? AND run_id=? AND status<>'failed'",
            (feature, run_id),
        )
        return sorted(set(all_entries) - {(group, sequence) for group, sequence in rows})

    def entry_records(self, runs: Sequence[Pair]) -> dict[Pair, dict[EntryKey, EntryRecord]]:
        """Return what is recorded of the entries of each run, by one statement however many there are."""
        return _decoded(runs, self._entry_rows(runs), _whole_decoder())

    def known_entries(self, runs: Sequence[Pair]) -> dict[Pair, dict[EntryKey, KnownEntry]]:
        """Return of each entry what :meth:`entry_records` does, without its columns and statistics.

        While the registry says what it said the last time the same objects come again: they must not be altered.
        """
        return self.known_of(runs, self._entry_rows(runs))

    def known_of(self, runs: Sequence[Pair], rows: list[Row]) -> dict[Pair, dict[EntryKey, KnownEntry]]:
        """Return what :meth:`known_entries` does of storage, run id and record of each entry of the runs."""
        asked, said, known = self._last_known
        if asked != runs or said != rows:
            known = _decoded(runs, rows, _known_decoder())
            self._last_known = (list(runs), rows, known) if len(rows) <= _KEPT_ROWS else ([], [], {})
        return known

    def recorded_since(
        self, feature: str, run_id: str, keys: Sequence[EntryKey], since_ns: int
    ) -> dict[EntryKey, EntryRecord]:
        """Return the records of these entries that were made at ``since_ns`` (since 1970) or later."""
        rows = self._database.rows(
            "SELECT e.record FROM json_each(?) AS key CROSS JOIN feature_entries AS e ON e.feature=? AND e.run_id=?"
            " AND e.group_=json_extract(key.value, '$[0]') AND e.sequence=json_extract(key.value, '$[1]')"
            " AND e.recorded_ns>=?",
            (msgspec.json.encode(keys).decode(), feature, run_id, since_ns),
        )
        records = [_whole_decoder().decode(text) for (text,) in rows]
        return {record.entry_key: record for record in records}

    def get_dependencies(self, feature: str, run_id: str) -> list[Pair]:
        """Return the runs that a run has read, in order."""
        rows = self._database.rows(
            "SELECT upstream_feature, upstream_run_id FROM dependencies WHERE feature=? AND run_id=? ORDER BY 1, 2",
            (feature, run_id),
        )
        return [(name, upstream) for name, upstream in rows]

    # -- lineage -------------------------------------------------------------------------------

    def lineage(self, feature: str, run_id: str, *, deep: bool = False) -> dict[str, Any]:
        """Return what a run was made from: ``{"feature", "run_id", "upstream": [the same, …]}``.

        A run that many read stands under each of them; one that would contain itself has ``"cycle": True``
        and one that was told in full elsewhere in a very large tree ``"repeated": True``. ``deep`` adds to
        the root ``"sequences"`` with group, content digest and calibration, and ``"models"`` trained on it, and
        to a run that predicts ``"predicts_with"``: its models as :meth:`model_lineage` gives them, and raises
        NotFound for an unknown run.
        """
        from gapless.features.lineage import lineage_of

        return lineage_of(self._database, self.root, feature, run_id, deep=deep)

    def model_lineage(self, name: str, run_id: str | None = None) -> dict[str, Any]:
        """Return what a training was made from: ``{"model", "run_id", "status", "labels", "upstream", "sequences"}``.

        Without a run id: the newest finished one. Raises NotFound for a model that was never trained.
        """
        from gapless.features.lineage import lineage_of_model

        if self.root is None:
            raise NotFound("a registry outside of a store knows no models", found=name)
        return lineage_of_model(self._database, self.root, name, run_id)

    def impact(self, sequence: str) -> list[dict[str, Any]]:
        """Return what a change of a sequence touches: entries of runs, and models, each with a reason.

        Runs that learned from the sequence are touched as a whole, and so is what was made from those.
        """
        from gapless.features.impact import impact_of

        return impact_of(self._database, self.root, sequence)

    def open_lineage(self, feature: str, run_id: str) -> dict[str, Any]:
        """Return the run as an OpenLineage RunEvent; ArgumentRefused for an unknown run."""
        from gapless.features.open_lineage import run_event

        return run_event(self._database, self.root, self._known(feature, run_id))

    # -- inside --------------------------------------------------------------------------------

    def _entry_rows(self, runs: Sequence[Pair]) -> list[Row]:
        """Return storage, run id and record of each entry of the runs."""
        if not runs:
            return []
        return self._database.rows(f"SELECT e.feature, e.run_id, e.record {ENTRIES_OF}", (wanted_text(runs),))

    def _by_hand(self, kind: str, rows: Sequence[Row]) -> None:
        record_by_hand(self._database, self.root, kind, rows)

    def _plain_entry(
        self, feature: str, run_id: str, group: str, sequence: str, path: str | Path, n_rows: int
    ) -> Row:
        record = EntryRecord(group, sequence, "ok", key="", n_rows=int(n_rows), recorded_ns=time.time_ns())
        row = entry_row(feature, run_id, "", record.to_json())
        return (*row[:4], self._relative(path), *row[5:])

    def _release(self, feature: str, run_id: str, keys: Sequence[EntryKey], owner: str) -> None:
        claims.release_keys(self._database, (feature, run_id), keys, owner)

    def _known(self, feature: str, run_id: str) -> RunRow:
        row = self.run_row(feature, run_id)
        if row is None:
            raise ArgumentRefused("the registry knows no such run", found=f"{feature} {run_id}")
        return row

    def _count_entries(self) -> int:
        [(count,)] = self._database.rows("SELECT count(*) FROM feature_entries")
        return int(count)

    def _folder(self, feature: str, run_id: str) -> Path | None:
        if self.root is None:
            return None
        return self.root / "features" / to_component(feature) / to_component(run_id)

    def _of_folder(self, feature: str, run_id: str, name: str) -> dict[str, Any]:
        folder = self._folder(feature, run_id)
        return {} if folder is None else read_object(folder / name)

    def _relative(self, path: str | Path) -> str:
        """Return a path inside of the store as one relative to it, any other as it is."""
        whole = Path(path)
        if self.root is not None and whole.is_absolute() and whole.is_relative_to(self.root.absolute()):
            return whole.relative_to(self.root.absolute()).as_posix()
        return str(path)

    def _absolute(self, path: str) -> str:
        return path if not path or self.root is None else str(self.root.absolute() / path)


def open_registry(features_root: str | Path, migrate_csv: bool = True) -> FeatureRegistry:
    """Open the registry of a store, given the store, its ``features/`` folder or a database file.

    ``migrate_csv``: a registry that knows no run yet imports the ``index.csv`` files of the folder.
    """
    registry = FeatureRegistry(features_root)
    if migrate_csv and registry.root is not None and not registry.list_features():
        registry.migrate_from_csv()
    return registry


def wanted_text(runs: Iterable[WantedRun]) -> str:
    """Return the parameter of ``ENTRIES_OF``."""
    return msgspec.json.encode(list(dict.fromkeys(runs))).decode()


def _decoded(
    runs: Sequence[Pair], rows: Sequence[Row], decoder: msgspec.json.Decoder[Known]
) -> dict[Pair, dict[EntryKey, Known]]:
    found: dict[Pair, dict[EntryKey, Known]] = {pair: {} for pair in runs}
    for feature, run_id, text in rows:
        record = decoder.decode(text)
        found[feature, run_id][record.group, record.sequence] = record
    return found


@cache
def _whole_decoder() -> msgspec.json.Decoder[EntryRecord]:
    return msgspec.json.Decoder(EntryRecord)


@cache
def _known_decoder() -> msgspec.json.Decoder[KnownEntry]:
    return msgspec.json.Decoder(KnownEntry)


__all__ = ["FeatureRegistry", "open_registry"]
