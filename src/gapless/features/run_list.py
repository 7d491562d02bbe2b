"""Feature runs as a list to look through: what each run is, how its entries stand and how large they are.

Everything here reads the tables alone and needs no pandas. ``groups`` is everywhere what the reader may see:
None for all; else an entry counts only if its sequence is in the catalog and in one of these groups, and a run
without any such entry is not there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache

import msgspec

from gapless.catalog.feature_rows import RunTables
from gapless.features.entry import KnownEntry

Pair = tuple[str, str]  # (feature, run_id)
Place = tuple[str, str, str]  # (started_at, feature, run_id): where a page of the list begins
Groups = Collection[str] | None
_COLUMNS = (
    "feature, run_id, version, params_json, inputs_json, code_digest, state_digest, started_at, finished_at"
)
_SUMS = (
    "coalesce(sum(e.status='ok'), 0), coalesce(sum(e.status='empty'), 0), coalesce(sum(e.status='failed'), 0),"
    " coalesce(sum(e.n_rows), 0), coalesce(sum(json_extract(e.record, '$.bytes')), 0), max(e.recorded_ns)"
)


@dataclass(frozen=True, slots=True)
class ListedRun:
    """One run of a feature, by its storage name; times are ISO 8601 in UTC, ``finished_at`` "" until the end.

    ``ok``, ``empty`` and ``failed`` count its entries, ``rows`` and ``size_bytes`` are those of its outputs, and
    ``recorded_ns`` is when the last of them was recorded.
    """

    feature: str
    run_id: str
    version: str
    params_json: str | None
    inputs_json: str | None
    code_digest: str | None
    state_digest: str | None
    started_at: str
    finished_at: str
    ok: int
    empty: int
    failed: int
    rows: int
    size_bytes: int
    recorded_ns: int | None

    @property
    def place(self) -> Place:
        """Where it stands in the list."""
        return self.started_at, self.feature, self.run_id


@dataclass(frozen=True, slots=True)
class ListedEntry:
    """One entry of a run and what became of it."""

    group: str
    sequence: str
    record: KnownEntry


def list_runs(
    database: RunTables,
    *,
    groups: Groups = None,
    text: str = "",
    limit: int = 100,
    before: Place | None = None,
) -> list[ListedRun]:
    """Return at most ``limit`` runs, the newest start first, by one statement.

    ``text``: only features whose storage name holds it, whatever the case. ``before``: the runs after this place.
    """
    conditions, values = _conditions(groups, text)
    if before is not None:
        conditions.append("(r.started_at, r.feature, r.run_id) < (?, ?, ?)")
        values += before
    chosen = f"SELECT {_prefixed('r')} FROM feature_runs AS r{_where(conditions)}"
    order = "started_at DESC, feature DESC, run_id DESC"
    return _runs(database, f"{chosen} ORDER BY {order} LIMIT ?", [*values, limit], groups, order)


def count_runs(database: RunTables, *, groups: Groups = None, text: str = "") -> int:
    """Return how many runs the list has."""
    conditions, values = _conditions(groups, text)
    [(count,)] = database.rows(f"SELECT count(*) FROM feature_runs AS r{_where(conditions)}", values)
    return int(count)


def listed_run(database: RunTables, feature: str, run_id: str, *, groups: Groups = None) -> ListedRun | None:
    """Return one run as the list tells of it, None where the reader sees none."""
    conditions, values = _conditions(groups, "")
    conditions += ["r.feature=?", "r.run_id=?"]
    chosen = f"SELECT {_prefixed('r')} FROM feature_runs AS r{_where(conditions)}"
    found = _runs(database, chosen, [*values, feature, run_id], groups, "feature")
    return found[0] if found else None


def list_entries(
    database: RunTables,
    feature: str,
    run_id: str,
    *,
    groups: Groups = None,
    status: str = "",
    limit: int = 100,
    after: Pair | None = None,
) -> list[ListedEntry]:
    """Return at most ``limit`` entries of a run in the order of group and sequence, those after a key.

    ``status``: only entries that are ``ok``, ``empty`` or ``failed``.
    """
    conditions, values = ["e.feature=?", "e.run_id=?"], [feature, run_id]
    if status:
        conditions.append("e.status=?")
        values.append(status)
    if after is not None:
        conditions.append("(e.group_, e.sequence) > (?, ?)")
        values += after
    rows = database.rows(
        f"SELECT e.group_, e.sequence, e.record FROM feature_entries AS e{_where([*conditions, _seen(groups)])}"
        " ORDER BY e.group_, e.sequence LIMIT ?",
        [*values, *_values(groups), limit],
    )
    return [ListedEntry(group, sequence, _decoder().decode(text)) for group, sequence, text in rows]


def output_fields(database: RunTables, feature: str, run_id: str, *, groups: Groups = None) -> dict[str, str]:
    """Return the columns of a run's outputs with their Arrow types, as one entry that has rows tells."""
    rows = database.rows(
        "SELECT json_extract(e.record, '$.fields') FROM feature_entries AS e"
        f" WHERE e.feature=? AND e.run_id=? AND e.status='ok' AND {_seen(groups)} LIMIT 1",
        [feature, run_id, *_values(groups)],
    )
    return dict(json.loads(rows[0][0])) if rows and rows[0][0] else {}


def seen_runs(database: RunTables, runs: Collection[Pair], groups: Groups) -> set[Pair]:
    """Return those of the runs that the reader sees."""
    if groups is None:
        return set(runs)
    rows = database.rows(
        "SELECT DISTINCT e.feature, e.run_id FROM json_each(?) AS pair CROSS JOIN feature_entries AS e"
        " ON e.feature=json_extract(pair.value, '$[0]') AND e.run_id=json_extract(pair.value, '$[1]')"
        f" WHERE {_seen(groups)}",
        [json.dumps(sorted(runs)), *_values(groups)],
    )
    return {(feature, run_id) for feature, run_id in rows}


def running_runs(database: RunTables, alive: Callable[[str], bool]) -> set[Pair]:
    """Return the runs of which an owner that lives computes entries now."""
    rows = database.rows("SELECT DISTINCT feature, run_id, owner FROM feature_claims")
    living = {owner for owner in {row[2] for row in rows} if alive(owner)}
    return {(feature, run_id) for feature, run_id, owner in rows if owner in living}


def seen_sequences(database: RunTables, names: Collection[str], groups: Groups) -> set[str]:
    """Return those of the sequences that the reader sees: all of them without groups, also what is gone."""
    if groups is None:
        return set(names)
    rows = database.rows(
        "SELECT name FROM sequence WHERE name IN (SELECT value FROM json_each(?))"
        " AND grp IN (SELECT value FROM json_each(?))",
        [json.dumps(sorted(names)), *_values(groups)],
    )
    return {name for (name,) in rows}


# -- statements --------------------------------------------------------------------------------


def _runs(
    database: RunTables, chosen: str, values: list[object], groups: Groups, order: str
) -> list[ListedRun]:
    """Return the chosen runs with the sums over their entries."""
    rows = database.rows(
        f"WITH p AS ({chosen}) SELECT {_prefixed('p')}, {_SUMS} FROM p LEFT JOIN feature_entries AS e"
        f" ON e.feature=p.feature AND e.run_id=p.run_id AND {_seen(groups)}"
        f" GROUP BY p.feature, p.run_id ORDER BY {', '.join(f'p.{word}' for word in order.split(', '))}",
        [*values, *_values(groups)],
    )
    return [ListedRun(*row) for row in rows]


def _conditions(groups: Groups, text: str) -> tuple[list[str], list[object]]:
    conditions: list[str] = []
    values: list[object] = []
    if groups is not None:
        conditions.append(
            "EXISTS (SELECT 1 FROM feature_entries AS e WHERE e.feature=r.feature AND e.run_id=r.run_id"
            f" AND {_seen(groups)})"
        )
        values += _values(groups)
    if text:
        conditions.append("instr(lower(r.feature), lower(?)) > 0")
        values.append(text)
    return conditions, values


def _seen(groups: Groups) -> str:
    """Return the condition under which the reader sees the entry ``e``."""
    if groups is None:
        return "1"
    return (
        "EXISTS (SELECT 1 FROM sequence AS s WHERE s.name=e.sequence AND s.grp=e.group_"
        " AND s.grp IN (SELECT value FROM json_each(?)))"
    )


def _values(groups: Groups) -> list[object]:
    return [] if groups is None else [json.dumps(sorted(groups))]


def _where(conditions: list[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _prefixed(alias: str) -> str:
    return ", ".join(f"{alias}.{name}" for name in _COLUMNS.split(", "))


@cache
def _decoder() -> msgspec.json.Decoder[KnownEntry]:
    return msgspec.json.Decoder(KnownEntry)
