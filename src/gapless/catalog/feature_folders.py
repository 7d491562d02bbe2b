"""The rows of feature runs, read again from the folders of the runs.

A run's folder tells everything its rows do, so no run is lost with the catalog file. A folder that cannot
be read gets no rows; why is kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gapless.catalog.feature_rows import (
    DELETE_RUN,
    INSERT_DEPENDENCY,
    INSERT_RUN,
    UPSERT_ENTRY,
    Row,
    RunTables,
    entry_row,
)
from gapless.catalog.hand_journal import read_by_hand
from gapless.catalog.record_lines import canonical_json, read_object, read_records

PROBLEM = "feature problem "  # begins the keys of `seen` that name unreadable folders
_READ = "features"


def feature_runs_read(database: RunTables) -> bool:
    """Tell whether the tables hold what the folders say, or must still be filled."""
    return bool(database.rows("SELECT 1 FROM seen WHERE key=?", (_READ,)))


def read_feature_runs(database: RunTables, root: Path) -> int:
    """Replace all rows of feature runs by what the folders of the store say; return how many entries.

    One transaction: others see the rows before or the rows after. Claims stay.
    """
    with database.transaction():
        database.rows("DELETE FROM feature_runs")  # entries and dependencies go with them
        database.rows("DELETE FROM seen WHERE key LIKE ?", (f"{PROBLEM}%",))
        for identity in sorted((root / "features").glob("*/*/identity.json")):
            problem = read_feature_run(database, root, identity.parent)
            if problem:
                key = PROBLEM + identity.parent.relative_to(root).as_posix()
                database.rows("INSERT OR REPLACE INTO seen (key, value) VALUES (?, ?)", (key, problem))
        read_by_hand(database, root)
        database.rows("INSERT OR REPLACE INTO seen (key, value) VALUES (?, '')", (_READ,))
        [(count,)] = database.rows("SELECT count(*) FROM feature_entries")
    return int(count)


def read_feature_run(database: RunTables, root: Path, folder: Path) -> str:
    """Replace the rows of one run by what its folder says; return why it cannot be read, "" if it can."""
    try:
        run, entries, upstream = _folder_rows(root, folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    with database.transaction():
        database.rows(DELETE_RUN, run[:2])
        database.rows(INSERT_RUN, run)
        database.many(UPSERT_ENTRY, entries)
        database.many(INSERT_DEPENDENCY, upstream)
    return ""


def _folder_rows(root: Path, folder: Path) -> tuple[Row, list[Row], list[Row]]:
    """Return the rows of a run, its entries and its dependencies."""
    identity = read_object(folder / "identity.json")
    run = _run_row(identity, folder)
    if not all(isinstance(value, str) for value in (*run[:4], run[10], run[11])):
        raise ValueError("identity.json or manifest.json holds something else than text")
    place = folder.relative_to(root).as_posix()
    latest = {(r["group"], r["sequence"]): r for r in read_records(folder / "entries.jsonl")}
    entries = [entry_row(run[0], run[1], place, record) for record in latest.values()]
    upstream = [(run[0], run[1], str(feature), str(run_id)) for feature, run_id in identity["upstream"]]
    return run, entries, upstream


def _run_row(identity: dict[str, Any], folder: Path) -> Row:
    state = read_object(folder / "state.json") if (folder / "state").is_dir() else {}
    return (
        identity["feature"],
        identity["run_id"],
        identity["version"],
        identity["params_hash"],
        identity["params_json"],
        identity["inputs_json"],
        identity["digest"],
        canonical_json(identity["document"]),
        state.get("digest"),
        identity["code_digest"],
        identity["started_at"],
        read_object(folder / "manifest.json").get("finished_at", ""),
    )
