"""Making the catalog agree with the folders: what is new, changed or gone since it last looked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gapless.catalog.bundle_facts import BundleFacts, bundle_stamp, read_bundle, without_annotations
from gapless.catalog.content_index import add_topic
from gapless.catalog.derived_index import index_again
from gapless.catalog.look import directory_stamp
from gapless.catalog.metadata_index import add_metadata, remove_metadata
from gapless.catalog.sqlite import Database
from gapless.model.names import name_of

_BATCH = 500  # bundles per transaction: other processes wait no longer than that
Stats = Mapping[str, Sequence[Mapping[str, Mapping[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Changes:
    """How many bundles a look at the folders found new or changed, and gone; the stamps of the unsealed ones."""

    read: int = 0
    gone: int = 0
    unsealed: Mapping[str, str | None] = field(default_factory=dict)


def reconcile(database: Database, root: Path, *, quick: bool = False) -> Changes:
    """Make the catalog agree with the store's folders; interrupted, the next look goes on from there.

    ``quick`` trusts sealed bundles that are known and looks only at unsealed ones and at the names in
    ``sequences/``. A look reads no data: statistics are taken from the footers by the first query that
    needs them.
    """
    seen: dict[str, str] = dict(database.rows("SELECT key, value FROM seen WHERE key='sequences'"))
    sequences = root / "sequences"
    signature = directory_stamp(sequences)
    unchanged = quick and signature is not None and seen.get("sequences") == signature
    only = " WHERE state<>'sealed'" if unchanged else ""
    known: dict[str, str] = dict(database.rows(f"SELECT component, stamp FROM sequence{only}"))
    names = set(known) if unchanged else _names(sequences)
    looked = {n for n in names if not (quick and known.get(n, "").startswith("sealed;"))}
    stamps = {name: bundle_stamp(sequences / name) for name in sorted(looked)}
    changed = [name for name, stamp in stamps.items() if stamp is not None and stamp != known.get(name)]
    gone = sorted(name for name in known if name not in names or stamps.get(name, "") is None)
    read = _read_all(database, sequences, changed)
    for start in range(0, len(gone), _BATCH):
        with database.transaction():
            for component in gone[start : start + _BATCH]:
                if bundle_stamp(sequences / component) is None:  # else it came back meanwhile
                    forget(database, component)
    # A name without files yet is a recording about to begin: look at the names again next time.
    _remember(database, "sequences", seen.get("sequences"), None if None in stamps.values() else signature)
    unsealed = {n: s for n, s in stamps.items() if s is None or not s.startswith("sealed;")}
    return Changes(read, len(gone), unsealed)


def standing(width: int) -> str:
    """Return a SELECT of what the catalog believes of the folders, for :func:`agreed`; rows of ``width`` columns.

    They begin with ``seen``, key and value, or with ``unsealed``, component and stamp; the rest is NULL.
    """
    rest = ", NULL" * (width - 3)
    return (
        f"SELECT 'seen', key, value{rest} FROM seen WHERE key='sequences'"
        f" UNION ALL SELECT 'unsealed', component, stamp{rest} FROM sequence WHERE state<>'sealed'"
    )


def agreed(root: Path, seen: Mapping[str, str], unsealed: Mapping[str, str]) -> bool:
    """Tell whether a quick reconciling would find nothing to do; False where stats alone cannot tell.

    ``seen`` are the signatures of the folders, ``unsealed`` stamps by component, as the catalog has them.
    """
    signature = directory_stamp(root / "sequences")
    if signature is None or seen.get("sequences") != signature:
        return False
    return all(bundle_stamp(root / "sequences" / name) == stamp for name, stamp in unsealed.items())


def upsert(database: Database, facts: BundleFacts, stats: Stats | None = None) -> None:
    """Put what a bundle's files say into every table, in one transaction.

    A recording keeps its id, and its topics theirs when nothing but annotations changed, so that a query that
    is being answered, or an answer whose topics nobody has looked at yet, still finds them.
    """
    with database.transaction():
        for (other,) in database.rows(
            "SELECT component FROM sequence WHERE name=? AND component<>?", (facts.name, facts.component)
        ):
            forget(database, other)  # two spellings of one folder name: only one can be found by it
        known = database.rows(
            "SELECT created_ns, stamp, problem FROM sequence WHERE component=?", (facts.component,)
        )
        if known and known[0][0] != facts.created_ns:  # another recording under the same name
            forget(database, facts.component)
        same = stats is None and bool(known) and _same_topics(facts, *known[0])
        sequence_id = _put_sequence(database, facts)
        if not same:
            _put_topics(database, sequence_id, facts, stats)
        _put_annotations(database, sequence_id, facts)


def _same_topics(facts: BundleFacts, created_ns: int, stamp: str, problem: str | None) -> bool:
    """Tell whether a row of the catalog was made of the same files, annotations aside."""
    whole = problem is None and facts.problem is None and created_ns == facts.created_ns
    return whole and without_annotations(stamp) == without_annotations(facts.stamp)


def _put_sequence(database: Database, facts: BundleFacts) -> int:
    """Add or renew the row of a sequence and return its id."""
    users = [topic for topic in facts.topics.values() if not topic.reserved]
    values = {
        "name": facts.name,
        "component": facts.component,
        "state": facts.state,
        "outcome": facts.outcome,
        "grp": facts.group,
        "created_ns": facts.created_ns,
        "sealed_ns": facts.sealed_ns,
        "start_ns": min((t.start_ns for t in users if t.start_ns is not None), default=None),
        "end_ns": max((t.end_ns for t in users if t.end_ns is not None), default=None),
        "rows": sum(t.rows for t in users),
        "bytes": facts.size_bytes,
        "topics": len(users),
        "layers": facts.layers,
        "unsealed": json.dumps(facts.unsealed),
        "content_digest": facts.content_digest,
        "metadata": json.dumps(facts.metadata, ensure_ascii=False),
        "ledger": json.dumps(facts.ledger),
        "problem": facts.problem,
        "stamp": facts.stamp,
    }
    columns, marks = ", ".join(values), ",".join("?" * len(values))
    renewed = ", ".join(f"{column}=excluded.{column}" for column in values)
    [(sequence_id,)] = database.rows(
        f"INSERT INTO sequence ({columns}) VALUES ({marks})"
        f" ON CONFLICT (component) DO UPDATE SET {renewed} RETURNING id",
        tuple(values.values()),
    )
    return int(sequence_id)


def _put_topics(database: Database, sequence_id: int, facts: BundleFacts, stats: Stats | None) -> None:
    """Replace metadata and topics of a sequence."""
    _remove_topics(database, sequence_id)
    add_metadata(database, "sequence", sequence_id, facts.metadata)
    for position, topic in enumerate(facts.topics.values()):
        known = None if stats is None else stats.get(topic.name)
        topic_id = add_topic(database, sequence_id, position, topic, known)
        add_metadata(database, "topic", topic_id, topic.metadata)
    index_again(database, facts.name)


def _put_annotations(database: Database, sequence_id: int, facts: BundleFacts) -> None:
    """Replace the annotations of a sequence."""
    database.rows("DELETE FROM annotation WHERE sequence_id=?", (sequence_id,))
    database.many(
        "INSERT OR REPLACE INTO annotation (sequence_id, id, start_ns, end_ns, name, kind, author,"
        " confidence, created_ns) VALUES (?,?,?,?,?,?,?,?,?)",
        [
            (sequence_id, a.id, a.start_ns, a.end_ns, a.name, a.kind, a.author, a.confidence, a.created_ns)
            for a in facts.annotations
        ],
    )


def forget(database: Database, component: str) -> None:
    """Drop all that is known of one bundle."""
    with database.transaction():
        for (sequence_id,) in database.rows("SELECT id FROM sequence WHERE component=?", (component,)):
            _remove_topics(database, sequence_id)
            database.rows("DELETE FROM sequence WHERE id=?", (sequence_id,))


def _remove_topics(database: Database, sequence_id: int) -> None:
    """Drop metadata and topics of a sequence, with all that belongs to them."""
    owner = (sequence_id,)
    remove_metadata(database, "topic", "SELECT id FROM topic WHERE sequence_id=?", owner)
    remove_metadata(database, "sequence", "?", owner)
    database.rows("DELETE FROM topic WHERE sequence_id=?", owner)


def _read_all(database: Database, sequences: Path, components: Sequence[str]) -> int:
    read = 0
    for start in range(0, len(components), _BATCH):
        facts = [read_bundle(sequences / component) for component in components[start : start + _BATCH]]
        with database.transaction():
            for each in facts:
                if each is not None:
                    upsert(database, each)
                    read += 1
    return read


def _names(sequences: Path) -> set[str]:
    try:
        with os.scandir(sequences) as entries:
            return {e.name for e in entries if e.is_dir() and name_of(e.name) is not None}
    except FileNotFoundError:
        return set()


def _remember(database: Database, key: str, seen: str | None, value: str | None) -> None:
    if value is None:
        if seen is not None:
            database.rows("DELETE FROM seen WHERE key=?", (key,))
    elif seen != value:
        database.rows("INSERT OR REPLACE INTO seen (key, value) VALUES (?, ?)", (key, value))
