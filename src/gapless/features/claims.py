"""Claims: which process computes which entry, so that none is computed by two at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

from gapless.catalog.feature_rows import RunTables
from gapless.features.entry import EntryKey


def claim(
    database: RunTables,
    run: tuple[str, str],
    keys: Sequence[EntryKey],
    owner: str,
    alive: Callable[[str], bool],
) -> list[EntryKey]:
    """Return the keys that now belong to ``owner``, in the order given; each has one living owner at most.

    What a dead owner had claimed is taken over. Inside a transaction, which keeps other processes out.
    """
    rows = database.rows(
        "SELECT group_, sequence, owner FROM feature_claims WHERE feature=? AND run_id=?", run
    )
    holders = {(group, sequence): holder for group, sequence, holder in rows}
    others = {holders[key] for key in keys if key in holders} - {owner}
    living = {other for other in others if alive(other)}
    ours = [key for key in dict.fromkeys(keys) if holders.get(key) not in living]
    now_ns = time.time_ns()
    database.many(
        "INSERT OR REPLACE INTO feature_claims (feature, run_id, group_, sequence, owner, claimed_ns)"
        " VALUES (?,?,?,?,?,?)",
        [(*run, *key, owner, now_ns) for key in ours if holders.get(key) != owner],
    )
    return ours


def release_keys(database: RunTables, run: tuple[str, str], keys: Sequence[EntryKey], owner: str) -> None:
    """Give up claims of an owner; what others hold stays theirs. Inside a transaction."""
    database.many(
        "DELETE FROM feature_claims WHERE feature=? AND run_id=? AND group_=? AND sequence=? AND owner=?",
        [(*run, *key, owner) for key in keys],
    )


def claimed_now(
    database: RunTables, runs: Sequence[tuple[str, str]], alive: Callable[[str], bool]
) -> dict[tuple[str, str], set[EntryKey]]:
    """Return of each run the entries that an owner that lives computes now, by one statement."""
    rows = database.rows(
        "SELECT c.feature, c.run_id, c.group_, c.sequence, c.owner FROM json_each(?) AS pair"
        " CROSS JOIN feature_claims AS c ON c.feature=json_extract(pair.value, '$[0]')"
        " AND c.run_id=json_extract(pair.value, '$[1]')",
        (json.dumps(sorted(set(runs))),),
    )
    living = {owner for owner in {row[4] for row in rows} if alive(owner)}
    found: dict[tuple[str, str], set[EntryKey]] = {}
    for feature, run_id, group, sequence, owner in rows:
        if owner in living:
            found.setdefault((feature, run_id), set()).add((group, sequence))
    return found
