"""The outputs of feature runs among the topics of their sequences, so that queries find them.

An entry becomes rows of ``topic``, ``part`` and ``topic_range`` when a query first wants topics; the record
in the catalog says all that is needed, so no file is opened. Its topic goes when its entry, its run or its
sequence goes, and is made anew when either is written again.
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

from gapless.catalog.bundle_facts import TopicFacts
from gapless.catalog.content_index import add_topic
from gapless.catalog.metadata_index import add_metadata
from gapless.catalog.sqlite import Database, Row
from gapless.store.derived import feature_topic, is_topic, part_entry

_BATCH = 500  # entries per transaction: other processes wait no longer than that
_FROM_BUNDLE = PurePosixPath("../..")  # from a bundle to the store
_UNINDEXED = (
    "SELECT e.feature, e.run_id, e.group_, e.sequence, e.path, e.record, s.id"
    " FROM (SELECT * FROM feature_entries WHERE indexed=0 LIMIT ?) e"
    " LEFT JOIN sequence s ON s.name=e.sequence AND coalesce(s.grp, '')=e.group_ AND s.state='sealed'"
    " AND s.created_ns<=e.recorded_ns"  # else it was computed from another sequence of that name
    " ORDER BY e.feature, e.run_id, e.sequence"
)
_INDEXED = "UPDATE feature_entries SET indexed=1 WHERE feature=? AND run_id=? AND group_=? AND sequence=?"


def index_derived(database: Database, *, batch: int = _BATCH) -> int:
    """Bring the topics of feature runs up to date; return how many entries were looked at.

    Without anything new this is one look at an index. Interrupted, the next call goes on from there.
    """
    looked = 0
    while database.rows("SELECT 1 FROM feature_entries WHERE indexed=0 LIMIT 1"):
        with database.transaction():
            entries = database.rows(_UNINDEXED, (batch,))
            for entry in entries:
                _index(database, entry)
            database.many(_INDEXED, [entry[:4] for entry in entries])
        looked += len(entries)
    if looked:
        _sweep(database)
    return looked


def index_again(database: Database, sequence: str) -> None:
    """Let the entries of a sequence be indexed anew: its topics were dropped; inside a transaction."""
    database.rows("UPDATE feature_entries SET indexed=0 WHERE sequence=? AND indexed=1", (sequence,))


def _index(database: Database, entry: Row) -> None:
    key, (path, text, sequence_id) = entry[:4], entry[4:]
    database.rows("DELETE FROM topic WHERE feature=? AND run_id=? AND entry_group=? AND entry=?", key)
    topic = _topic(key[0], key[1], path, json.loads(text))
    if topic is None or sequence_id is None:
        return
    facts, stats = topic
    [(position,)] = database.rows(
        "SELECT coalesce(max(position), -1) + 1 FROM topic WHERE sequence_id=?", (sequence_id,)
    )
    topic_id = add_topic(database, sequence_id, position, facts, [stats])
    database.rows("UPDATE topic SET feature=?, run_id=?, entry_group=?, entry=? WHERE id=?", (*key, topic_id))
    add_metadata(database, "topic", topic_id, facts.metadata)


def _topic(
    feature: str, run_id: str, path: str, record: dict[str, Any]
) -> tuple[TopicFacts, dict[str, Any]] | None:
    """Return an entry as a topic with its statistics; None for one without rows in time in the store."""
    if not is_topic(record) or not path.startswith("features/"):
        return None
    facts = TopicFacts(
        feature_topic(feature, run_id),
        None,
        record["recorded_ns"],
        {"feature": feature, "run_id": run_id},
        record["fields"],
        [(str(_FROM_BUNDLE / PurePosixPath(path).parent), part_entry(record))],
    )
    return facts, record["stats"]


def _sweep(database: Database) -> None:
    """Drop the metadata of topics that were replaced or went with their runs; no query meets it."""
    with database.transaction():
        database.rows(
            "DELETE FROM metadata_value WHERE owner NOT IN (SELECT id FROM topic)"
            " AND path_id IN (SELECT id FROM metadata_path WHERE scope='topic' AND path IN ('feature', 'run_id'))"
        )
