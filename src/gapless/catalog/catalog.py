"""Every sequence of a store, findable by name, property, metadata and content.

The catalog is a cache: deleting ``catalog.db`` at any time loses nothing, a damaged file is rebuilt, and
any number of processes may use it at once.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.catalog.annotations import Annotation
from gapless.catalog.bundle_facts import CLIENT_AWAY, OWNER_GONE, bundle_state, owner_alive, read_bundle
from gapless.catalog.content_index import complete_statistics
from gapless.catalog.feature_folders import feature_runs_read, read_feature_runs
from gapless.catalog.look import Look, store_stamps
from gapless.catalog.reconcile import Changes, agreed, forget, reconcile, standing, upsert
from gapless.catalog.schema import FEATURE_TABLES
from gapless.catalog.sqlite import Database, Row
from gapless.errors import NotFound, StateError, UsageError
from gapless.store.layout import Bundle
from gapless.store.platform import PLATFORM
from gapless.store.tombstone import read_tombstones

if TYPE_CHECKING:
    from gapless.catalog.answer import QueryAnswer
    from gapless.catalog.runs import RunBuilder

COLUMNS = (  # of a row that Catalog.row_of takes; s is the sequence
    "s.name, s.component, s.state, s.outcome, s.grp, s.created_ns, s.sealed_ns, s.start_ns, s.end_ns, s.rows,"
    " s.bytes, s.topics, s.layers, s.content_digest, s.unsealed, s.metadata, s.ledger, s.problem"
)
_ORDERS = {
    "created": "s.created_ns",
    "name": "s.name",
    "rows": "s.rows",
    "bytes": "s.bytes",
    "sealed": "s.sealed_ns",
}
_OFFSET_DIGITS = 18  # what SQLite counts with has 19
_LIKE = {"\\": "\\\\", "%": "\\%", "_": "\\_"}


@dataclass(frozen=True, slots=True)
class SequenceRow:
    """What the catalog knows of one sequence; figures of an unsealed one are 0 until it is sealed."""

    name: str
    component: str
    path: Path
    state: str
    outcome: str | None
    group: str | None
    created_ns: int
    sealed_ns: int | None
    start_ns: int | None
    end_ns: int | None
    rows: int
    size_bytes: int
    topics: int
    layers: int
    content_digest: str | None
    metadata: dict[str, Any]
    ledger: dict[str, int]
    problem: str | None
    owner_alive: bool
    unsealed_layers: tuple[tuple[str, str], ...] = ()
    awaited_until_ns: int | None = None  # until when a client on another machine may come back to it

    @property
    def status(self) -> str:
        """The state in words: a writer that died reads ``open, owner gone``; an unsealed layer is named.

        One on another machine that may come back reads ``open, client away``.
        """
        own = self.state
        if self.state == "open" and not self.owner_alive:
            own = _ownerless(self.awaited_until_ns)
        waiting = sorted({state for _, state in self.unsealed_layers})
        return f"{own}, layer {waiting[0]}" if waiting else own

    @property
    def duration_ns(self) -> int | None:
        """From the first to the last row."""
        return None if self.start_ns is None or self.end_ns is None else self.end_ns - self.start_ns


@dataclass(frozen=True, slots=True)
class FoundAnnotation:
    """An annotation and the sequence it belongs to."""

    sequence: str
    annotation: Annotation


class Catalog:
    """The catalog of the store in a folder."""

    def __init__(self, store_root: Path) -> None:
        self.root = Path(store_root)
        self.sequences_path = self.root / "sequences"
        self._look: Look | None = None
        self._database = Database(
            self.root / "catalog.db", refill=self.reconcile, opened=self._know_feature_runs
        )

    def __enter__(self) -> Catalog:
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

    @property
    def database(self) -> Database:
        """The database file, for the registry of feature runs."""
        return self._database

    # -- keeping up ----------------------------------------------------------------------------

    def reconcile(self, *, quick: bool = False) -> Changes:
        """Make the catalog agree with the folders; ``quick`` trusts sealed bundles that are known."""
        return reconcile(self._database, self.root, quick=quick)

    def look(self) -> Look:
        """Make the catalog agree with the folders, as a quick reconciling does, and return how both stand.

        The same object comes again for as long as neither changes: what was read from the catalog after it was
        returned is then what would be read now, and finding that out takes no SQL.
        """
        if self._look is None or not self._look.holds():
            stamps = store_stamps(
                self.root
            )  # before anything is read: what changes meanwhile is seen next time
            unsealed = self.reconcile(quick=True).unsealed
            self._look = Look(self.root, (None,) if self._database.in_memory else stamps, unsealed)
        return self._look

    def look_and_read(
        self, select: str, parameters: Sequence[object], width: int
    ) -> tuple[Look, Mapping[str, list[Row]]]:
        """Return how folders and catalog stand, and the rows of a SELECT of ``width`` columns at that moment.

        The rows come by the word in their first column, which is neither ``seen`` nor ``unsealed``. Where the
        catalog agrees with the folders it is one statement, else the SELECT runs again after reconciling.
        """
        stamps = store_stamps(self.root)  # before anything is read, as in look()
        found = _by_kind(self._database.rows(f"{select} UNION ALL {standing(width)}", parameters))
        seen = {row[1]: row[2] for row in found["seen"]}
        unsealed = {row[1]: row[2] for row in found["unsealed"]}
        if not agreed(self.root, seen, unsealed):
            return self.look(), _by_kind(self._database.rows(select, parameters))
        self._look = Look(self.root, (None,) if self._database.in_memory else stamps, unsealed)
        return self._look, found

    def upsert(
        self, bundle_path: Path, stats: Mapping[str, Sequence[Mapping[str, Mapping[str, Any]]]] | None = None
    ) -> None:
        """Put a bundle, new or changed, into the catalog in one transaction; one that is gone is forgotten.

        ``stats`` are the ``gapless.stats`` of each topic's parts in their order, as the sealer has them at
        hand; for topics without them the footers are read by the first query that needs them.
        """
        facts = read_bundle(Path(bundle_path))
        if facts is None:
            forget(self._database, Path(bundle_path).name)
        else:
            upsert(self._database, facts, stats)

    def forget(self, name: str) -> None:
        """Drop a sequence from the catalog; its files are untouched."""
        for (component,) in self._database.rows("SELECT component FROM sequence WHERE name=?", (name,)):
            forget(self._database, component)

    def reindex(self) -> Changes:
        """Empty the catalog and fill it again from manifests, footers, layers and annotations.

        Raises StateError where the file cannot be written.
        """
        with self._database.transaction():
            pass  # opens the file; one that cannot be written is replaced by memory
        if self._database.in_memory:
            raise StateError(
                "the catalog cannot be written in this store",
                found=str(self._database.path),
                next_step="make the store's folder writable, or use the gapless release that wrote the catalog",
            )
        self._database.clear(keep=FEATURE_TABLES)
        read_feature_runs(self._database, self.root)
        changes = self.reconcile()
        complete_statistics(self._database, self.sequences_path)
        return changes

    def _know_feature_runs(self) -> None:
        if not feature_runs_read(self._database):
            read_feature_runs(self._database, self.root)

    # -- listing -------------------------------------------------------------------------------

    def sequences(
        self,
        state: str | None = None,
        group: str | None = None,
        outcome: str | None = None,
        limit: int | None = None,
        order: str = "created",
        *,
        groups: Collection[str] | None = None,
    ) -> list[SequenceRow]:
        """Return the sequences in order of created, name, rows, bytes or sealed; ``-`` before it: descending.

        With a limit the order decides which ones are returned. ``groups``: those of these groups only. One
        statement, however many there are.
        """
        key = _ORDERS.get(order.removeprefix("-"))
        if key is None:
            raise UsageError("sequences cannot be ordered by this", found=order, expected=", ".join(_ORDERS))
        way = " DESC" if order.startswith("-") else ""
        wanted = [
            (c, v) for c, v in (("state", state), ("grp", group), ("outcome", outcome)) if v is not None
        ]
        where = " AND ".join(f"s.{column}=?" for column, _ in wanted) or "1"
        parameters: list[object] = [value for _, value in wanted]
        if groups is not None:
            where += " AND s.grp IN (SELECT value FROM json_each(?))"
            parameters.append(json.dumps(sorted(groups)))
        rows = self._database.rows(
            f"SELECT {COLUMNS} FROM sequence s WHERE {where} ORDER BY {key}{way}, s.name{way} LIMIT ?",
            (*parameters, -1 if limit is None else limit),
        )
        return [self.row_of(row) for row in rows]

    def sequence(self, ref: str) -> SequenceRow:
        """Return the sequence of a name, a unique beginning of one, ``@last``, ``@last-1``.

        Raises NotFound, and UsageError naming the candidates for a beginning of several names.
        """
        if ref.startswith("@"):
            return self._recent(ref)
        exact = self._database.rows(f"SELECT {COLUMNS} FROM sequence s WHERE s.name=?", (ref,))
        if exact:
            return self.row_of(exact[0])
        pattern = "".join(_LIKE.get(char, char) for char in ref) + "%"
        found = self._database.rows(
            f"SELECT {COLUMNS} FROM sequence s WHERE s.name LIKE ? ESCAPE '\\' AND substr(s.name, 1, ?)=?"
            " ORDER BY s.name LIMIT 6",
            (pattern, len(ref), ref),
        )
        if len(found) == 1 and ref:
            return self.row_of(found[0])
        if found and ref:
            names = ", ".join(row[0] for row in found[:5]) + (", …" if len(found) > 5 else "")
            raise UsageError("several sequences begin like this", sequence=ref, found=names,
                             next_step="write more of the name")  # fmt: skip
        raise NotFound("there is no such sequence", sequence=ref)

    def _recent(self, ref: str) -> SequenceRow:
        word, _, back = ref.partition("-")
        if word != "@last" or (ref != "@last" and not back.isdecimal()):
            raise NotFound("there is no such reference", sequence=ref, expected="@last, @last-1, @last-2, …")
        rows = self._database.rows(
            f"SELECT {COLUMNS} FROM sequence s ORDER BY s.created_ns DESC, s.name DESC LIMIT 1 OFFSET ?",
            (int(back[:_OFFSET_DIGITS] or 0),),
        )
        if not rows or len(back) > _OFFSET_DIGITS:
            raise NotFound("the store does not hold that many sequences", sequence=ref)
        return self.row_of(rows[0])

    def discarded(self) -> list[dict[str, Any]]:
        """Return the tombstones of discarded sequences, oldest first.

        One that is damaged has what is left of it, and ``unreadable``: which file, why, and what to do. They are
        read from their files each time, so that damage is told whenever it came.
        """
        return [stone.words for stone in read_tombstones(self.root)]

    def groups(self) -> dict[str | None, int]:
        """Return how many sequences each group has."""
        return dict(self._database.rows("SELECT grp, count(*) FROM sequence GROUP BY grp ORDER BY grp"))

    def annotations(
        self, name: str | None = None, kind: str | None = None, sequence: str | None = None
    ) -> list[FoundAnnotation]:
        """Return annotations whose name and kind match the globs, by sequence and time."""
        wanted = [("glob_match(?, a.name)", name), ("glob_match(?, a.kind)", kind), ("s.name=?", sequence)]
        held = [(sql, value) for sql, value in wanted if value is not None]
        where = " AND ".join(sql for sql, _ in held) or "1"
        rows = self._database.rows(
            "SELECT s.name, a.id, a.start_ns, a.end_ns, a.name, a.kind, a.author, a.confidence, a.created_ns"
            f" FROM annotation a JOIN sequence s ON s.id=a.sequence_id WHERE {where}"
            " ORDER BY s.created_ns, s.name, a.start_ns, a.id",
            tuple(value for _, value in held),
        )
        return [FoundAnnotation(row[0], Annotation(*row[1:])) for row in rows]

    # -- querying ------------------------------------------------------------------------------

    def query(
        self,
        *queries: object,
        order: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        builder: Callable[[], RunBuilder] | None = None,
    ) -> QueryAnswer:
        """Return the sequences that satisfy every query: expressions, builders or query text.

        ``order`` is ``created`` (the default), ``name``, ``rows``, ``start_ns`` or another column of the table
        of sequences, ``-`` before it for descending; ``cursor`` is the ``next_cursor`` of an answer that a
        limit cut off. ``builder`` makes what takes the rows of each topic; it may hold less than all runs, and
        what it raises ends the query.
        """
        from gapless.catalog.query import answer_query
        from gapless.model.query_builders import as_expression, joined

        expression = joined(tuple(as_expression(query) for query in queries))
        return answer_query(
            self._database, self.sequences_path, expression,
            order=order, limit=limit, cursor=cursor, builder=builder,
        )  # fmt: skip

    def row_of(self, row: Row) -> SequenceRow:
        """Return what a row of :data:`COLUMNS` says, with what only the files tell of an unsealed one."""
        name, component, state, *_ = row
        path = self.sequences_path / component
        alive = state != "sealed" and owner_alive(path)
        unsealed, metadata, ledger, problem = row[-4:]
        layers = tuple(_layer_states(path, json.loads(unsealed))) if unsealed != "[]" else ()
        awaited_ns = _awaited_until_ns(path) if state == "open" and not alive else None
        known = (*row[2:-4], json.loads(metadata), json.loads(ledger), problem, alive, layers, awaited_ns)
        return SequenceRow(name, component, path, *known)


def _by_kind(rows: Sequence[Row]) -> Mapping[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[0]].append(row)
    return found


def _layer_states(bundle: Path, folders: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield folder and state, in words, of the layers that are not sealed at this moment."""
    for folder in folders:
        path = bundle / "layers" / folder
        state = bundle_state(path)
        if state == "open" and not owner_alive(path):
            yield folder, _ownerless(_awaited_until_ns(path))
        elif state in ("open", "pending"):
            yield folder, state


def _ownerless(awaited_ns: int | None) -> str:
    return OWNER_GONE if awaited_ns is None else CLIENT_AWAY


def _awaited_until_ns(folder: Path) -> int | None:
    """Return until when a client on another machine may come back to what nobody writes; None for nobody."""
    from gapless.store.adopt import awaited_until_ns  # what `ls` and `show` of sealed sequences do not need

    until_ns = awaited_until_ns(Bundle(folder))
    return until_ns if until_ns is not None and PLATFORM.wall_ns() < until_ns else None
