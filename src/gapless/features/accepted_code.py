"""Changed source code that a person declared equivalent: kept in ``state.db``, which no reindex touches."""

from __future__ import annotations

import time
from pathlib import Path

from gapless.catalog.state_database import StateDatabase, look
from gapless.features.writable import check_writable

_TABLE = (
    "CREATE TABLE IF NOT EXISTS accepted_code (feature TEXT NOT NULL, run_id TEXT NOT NULL,"
    " digest TEXT NOT NULL, accepted_ns INTEGER NOT NULL, PRIMARY KEY (feature, run_id, digest)) STRICT"
)


def accept_code(root: Path, storage: str, run_id: str, digests: set[str]) -> None:
    """Make it durable that outputs made by an older source are as good as those of a newer one: ``"older>newer"``."""
    check_writable(root)
    with StateDatabase(root) as database:
        database.ensure(_TABLE)
        with database.transaction():
            for digest in sorted(digests):
                database.rows(
                    "INSERT OR IGNORE INTO accepted_code VALUES (?,?,?,?)",
                    (storage, run_id, digest, time.time_ns()),
                )


def accepted_code(root: Path) -> dict[tuple[str, str], frozenset[str]]:
    """Return the accepted pairs of digests of each run; nothing is created."""
    found: dict[tuple[str, str], set[str]] = {}
    for storage, run_id, digest in look(root, "SELECT feature, run_id, digest FROM accepted_code"):
        found.setdefault((storage, run_id), set()).add(digest)
    return {pair: frozenset(digests) for pair, digests in found.items()}
