"""Which sequences a feature is computed for, and where the rows of their topics lie: one statement of SQL."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from gapless.catalog.sqlite import Database, Row
from gapless.errors import ArgumentRefused, NotFound
from gapless.features.entry import EntryKey
from gapless.features.table_source import TableSource, part_file

# A row for each part of the topics asked for, and one for a sequence that has none of them.
SCOPE_SELECT = (
    "SELECT 'sequence', coalesce(s.grp, ''), s.name, t.name, p.position, s.component, s.stamp, p.folder, p.entry"
    " FROM sequence s LEFT JOIN topic t ON t.sequence_id=s.id AND s.problem IS NULL"
    " AND t.name IN (SELECT value FROM json_each(?)) LEFT JOIN part p ON p.topic_id=t.id"
    " WHERE s.state='sealed' AND s.outcome='completed'"
)
SCOPE_COLUMNS = 9


class ScopeEntry(Struct, gc=False):
    """One sealed, completed sequence and its topics that were asked for."""

    group: str
    sequence: str
    component: str
    topics: dict[str, TableSource] = {}

    @property
    def key(self) -> EntryKey:
        """Group and sequence."""
        return self.group, self.sequence


@dataclass(slots=True)
class Scope:
    """The sequences of a data set in the order of their groups and names."""

    entries: dict[EntryKey, ScopeEntry]

    @property
    def keys(self) -> list[EntryKey]:
        """Group and sequence of every entry."""
        return list(self.entries)

    def narrowed(self, groups: Iterable[str] | None, sequences: Iterable[str] | None) -> Scope:
        """Return the entries of the named groups and sequences.

        Raises ArgumentRefused for an empty list, which never means "all", and NotFound for an unknown name.
        """
        wanted_groups = _checked("groups", groups)
        wanted = _checked("sequences", sequences)
        known_groups = {group for group, _ in self.entries}
        known = {sequence for _, sequence in self.entries}
        for what, names, there in (
            ("group", wanted_groups, known_groups),
            ("sequence", wanted, known),
        ):
            missing = sorted(set(names or ()) - there)
            if missing:
                raise NotFound(
                    f"the data set has no {what} of that name",
                    found=missing[0],
                    expected=", ".join(sorted(there)[:8]) or None,
                    next_step="`gapless ls` lists sequences; only completed ones with the topic belong to it",
                )
        kept = {
            key: entry
            for key, entry in self.entries.items()
            if (wanted_groups is None or key[0] in wanted_groups) and (wanted is None or key[1] in wanted)
        }
        if not kept and self.entries:
            raise NotFound(
                "no sequence of the data set is in the named groups", found=wanted, expected=wanted_groups
            )
        return Scope(kept)


def neighbours(keys: Sequence[EntryKey]) -> dict[EntryKey, tuple[EntryKey | None, EntryKey | None]]:
    """Return for each entry the one before and the one after it in its group; keys are in order."""
    found: dict[EntryKey, tuple[EntryKey | None, EntryKey | None]] = {}
    for place, key in enumerate(keys):
        before = keys[place - 1] if place and keys[place - 1][0] == key[0] else None
        after = keys[place + 1] if place + 1 < len(keys) and keys[place + 1][0] == key[0] else None
        found[key] = before, after
    return found


def _checked(name: str, values: Iterable[str] | None) -> list[str] | None:
    if values is None:
        return None
    if isinstance(values, str):
        raise ArgumentRefused(f"{name} is a list of names", found=values, expected=[values])
    names = list(values)
    if not names:
        raise ArgumentRefused(
            f"{name} is empty, which selects nothing",
            found=names,
            expected="at least one name, or None for all",
        )
    return names


class SealedSequences:
    """The sealed and completed sequences of a store, and where the rows of some of their topics lie.

    ``rows`` are those of ``SCOPE_SELECT`` for the topics.
    """

    def __init__(self, topics: frozenset[str], sequences: Path, rows: list[Row]) -> None:
        self.topics = topics
        self.keys: list[EntryKey] = []
        self._entries: dict[EntryKey, ScopeEntry] = {}
        folder_path = str(sequences)
        rows.sort()  # by group, name, topic and place of the part
        for _, group, name, topic, _, component, stamp, folder, part in rows:
            key = (group, name)
            if not self.keys or self.keys[-1] != key:
                self.keys.append(key)
            if topic is None:
                continue
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = ScopeEntry(group, name, component, {})
            held = entry.topics.get(topic)
            files = () if held is None else held.files
            if part is not None:
                bundle = f"{folder_path}/{component}"
                files = (*files, part_file(bundle, folder, part, _sealed_ns(stamp, folder)))
            entry.topics[topic] = TableSource(topic, topic, topic, files)

    def scope(self, topics: frozenset[str], only: Container[str] | None) -> Scope:
        """Return the sequences that have all of these topics; ``only`` those of these names."""
        if only is None and len(topics) == 1 and topics == self.topics:
            return Scope(self._entries)
        return Scope(
            {
                key: entry
                for key, entry in self._entries.items()
                if frozenset() < topics <= entry.topics.keys() and (only is None or key[1] in only)
            }
        )


def read_sequences(database: Database, sequences: Path, topics: frozenset[str]) -> SealedSequences:
    """Return all sealed and completed sequences, by one SQL statement."""
    return SealedSequences(topics, sequences, database.rows(SCOPE_SELECT, (names_text(topics),)))


def names_text(topics: Iterable[str]) -> str:
    """Return the parameter of ``SCOPE_SELECT``."""
    return msgspec.json.encode(sorted(topics)).decode()


def existing_topics(database: Database) -> list[str]:
    """Return the names of the topics that people recorded in sealed and completed sequences, in order."""
    rows = database.rows(
        "SELECT DISTINCT t.name FROM topic t JOIN sequence s ON t.sequence_id=s.id"
        " WHERE s.state='sealed' AND s.outcome='completed' AND s.problem IS NULL"
        " AND substr(t.name, 1, 1) <> '_' ORDER BY 1"  # those are what gapless says about its own work
    )
    return [name for (name,) in rows]


def absent_topic(wanted: Iterable[str], there: Sequence[str]) -> NotFound | None:
    """Return the error for the first topic that is not among those there are; None if all are, or none is yet."""
    missing = [name for name in wanted if name not in there] if there else []
    if not missing:
        return None
    return NotFound(
        f"no sealed, completed sequence has the topic {missing[0]!r}", expected=", ".join(there),
        next_step="name a topic that is there: `gapless ls` and `gapless tree NAME` tell them",
    )  # fmt: skip


def _sealed_ns(stamp: str, folder: str) -> int:
    """Return when the manifest of a bundle's folder was written: "" or that of a layer.

    The stamp is ``sealed;<manifest>;<annotations>;<manifest of each layer>``, each ``mtime:size:inode``; layers
    are numbered from 1, without holes.
    """
    place = 2 + int(folder.removeprefix("layers/")[:5]) if folder else 1
    item = stamp.split(";")[place : place + 1]
    return int(item[0].partition(":")[0]) if item and item[0] != "-" else 0
