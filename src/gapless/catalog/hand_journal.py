"""What was recorded in a store's registry by hand: no run's folder tells of it, so it has a journal.

The journal is ``features/recorded.jsonl``, one line ``{"kind", "rows"}`` for each call. Reading it again
comes after the folders of runs, which know better about their own runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gapless.catalog.feature_rows import (
    DELETE_RUN,
    ENTRY_COLUMNS,
    ENTRY_SET,
    FINISH_RUN,
    INSERT_DEPENDENCY,
    INSERT_RUN,
    UPSERT_ENTRY,
    Row,
    RunTables,
)
from gapless.catalog.record_lines import append_record, read_records

RECORD = {
    "run": INSERT_RUN,
    "entry": UPSERT_ENTRY,
    "new entry": UPSERT_ENTRY.partition(" DO UPDATE ")[0] + " DO NOTHING",
    "dependency": INSERT_DEPENDENCY,
    "finish": FINISH_RUN,
    "forget": DELETE_RUN,
}
_IF_KNOWN = "WHERE EXISTS (SELECT 1 FROM feature_runs WHERE feature=?1 AND run_id=?2)"
_ENTRY = f"INSERT INTO feature_entries ({ENTRY_COLUMNS}) SELECT ?1,?2,?3,?4,?5,?6,?7,?8,?9,?10 {_IF_KNOWN}"
_CONFLICT = "ON CONFLICT (feature, run_id, group_, sequence) DO"
_READ_AGAIN = {
    "run": INSERT_RUN,
    "entry": f"{_ENTRY} {_CONFLICT} UPDATE {ENTRY_SET} WHERE excluded.recorded_ns >= recorded_ns",
    "new entry": f"{_ENTRY} {_CONFLICT} NOTHING",
    "dependency": f"INSERT OR IGNORE INTO dependencies SELECT ?1,?2,?3,?4 {_IF_KNOWN}",
    "finish": f"{FINISH_RUN} AND digest IS NULL",
    "forget": f"{DELETE_RUN} AND digest IS NULL",
}


def record_by_hand(database: RunTables, root: Path | None, kind: str, rows: Sequence[Row]) -> None:
    """Write rows of a kind of ``RECORD``, and in a store the line that keeps them: both or neither."""
    if not rows:
        return
    with database.transaction():
        database.many(RECORD[kind], rows)
        if root is not None:
            append_record(_journal(root), {"kind": kind, "rows": rows})


def read_by_hand(database: RunTables, root: Path) -> None:
    """Write again what the journal holds; inside a transaction."""
    for line in read_records(_journal(root)):
        database.many(_READ_AGAIN[line["kind"]], line["rows"])


def _journal(root: Path) -> Path:
    return root / "features" / "recorded.jsonl"
