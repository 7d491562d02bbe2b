"""The rows of the tables of feature runs, and the statements that write them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from gapless.catalog.record_lines import canonical_json

Row = tuple[Any, ...]
RUN_COLUMNS = (
    "feature",
    "run_id",
    "version",
    "params_hash",
    "params_json",
    "inputs_json",
    "digest",
    "document",
    "state_digest",
    "code_digest",
    "started_at",
    "finished_at",
)
ENTRY_COLUMNS = "feature, run_id, group_, sequence, path, n_rows, status, key, record, recorded_ns"
ENTRY_SET = (
    "SET path=excluded.path, n_rows=excluded.n_rows, status=excluded.status, key=excluded.key,"
    " record=excluded.record, recorded_ns=excluded.recorded_ns, indexed=0"
)
INSERT_RUN = f"INSERT OR IGNORE INTO feature_runs ({', '.join(RUN_COLUMNS)}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
UPSERT_ENTRY = (
    f"INSERT INTO feature_entries ({ENTRY_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)"
    f" ON CONFLICT (feature, run_id, group_, sequence) DO UPDATE {ENTRY_SET}"
)
INSERT_DEPENDENCY = "INSERT OR IGNORE INTO dependencies VALUES (?,?,?,?)"
FINISH_RUN = "UPDATE feature_runs SET finished_at=? WHERE feature=? AND run_id=?"
DELETE_RUN = "DELETE FROM feature_runs WHERE feature=? AND run_id=?"  # with its entries and dependencies


class RunTables(Protocol):
    """A database that has the tables of feature runs."""

    @property
    def statements(self) -> int:
        """How many statements ran so far."""

    def close(self) -> None:
        """Release the file."""

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Run one statement and return its rows."""

    def many(self, sql: str, parameters: Sequence[Sequence[object]]) -> None:
        """Run one statement for each set of parameters; only inside a transaction."""

    def transaction(self) -> AbstractContextManager[None]:
        """Make what runs inside happen as a whole or not at all."""


def entry_row(feature: str, run_id: str, place: str, record: dict[str, Any], text: str | None = None) -> Row:
    """Return the parameters of ``UPSERT_ENTRY`` for a record whose file lies in the folder ``place``.

    ``text`` is the record as canonical JSON, where it is known already.
    """
    file = record.get("file", "")
    return (
        feature,
        run_id,
        record["group"],
        record["sequence"],
        f"{place}/{file}" if file and place else file,
        record.get("n_rows", 0),
        record["status"],
        record["key"],
        canonical_json(record) if text is None else text,
        record.get("recorded_ns", 0),
    )
