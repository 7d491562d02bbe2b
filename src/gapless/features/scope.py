"""Which sequences a feature is computed for, and where the rows of their topics lie: one statement of SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gapless.catalog.sqlite import Database
from gapless.errors import ArgumentRefused, NotFound
from gapless.features.entry import EntryKey
from gapless.features.table_source import TableSource, topic_files

_SQL = (
    "SELECT s.component, s.name, s.grp, s.stamp, t.name, p.folder, p.entry"
    " FROM sequence s JOIN topic t ON t.sequence_id=s.id LEFT JOIN part p ON p.topic_id=t.id"
    " WHERE s.state='sealed' AND s.outcome='completed' AND s.problem IS NULL"
    " AND t.name IN (SELECT value FROM json_each(?))"
    " ORDER BY coalesce(s.grp, ''), s.name, t.name, p.position"
)


@dataclass(slots=True)
class ScopeEntry:
    """One sealed, completed sequence and its topics that were asked for."""

    group: str
    sequence: str
    component: str
    topics: dict[str, TableSource] = field(default_factory=dict)

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


def read_scope(database: Database, sequences: Path, topics: Sequence[str], only: set[str] | None) -> Scope:
    """Return all sealed and completed sequences that have one of the topics, by one SQL statement."""
    grouped: dict[EntryKey, tuple[str, dict[str, list[tuple[str, dict[str, Any], int]]]]] = {}
    seals: dict[str, Sequence[int]] = {}
    for component, name, group, stamp, topic, folder, part in database.rows(
        _SQL, (msgspec.json.encode(sorted(set(topics))).decode(),)
    ):
        if only is not None and name not in only:
            continue
        if component not in seals:
            seals[component] = _seal_times(stamp)
        _, held = grouped.setdefault((group or "", name), (component, {}))
        files = held.setdefault(topic, [])
        if part is not None:
            files.append((folder, msgspec.json.decode(part), _sealed_ns(seals[component], folder)))
    entries: dict[EntryKey, ScopeEntry] = {}
    for key, (component, held) in grouped.items():
        sources = {
            topic: TableSource(topic, topic, topic, topic_files(f"{sequences}/{component}", files))
            for topic, files in held.items()
        }
        entries[key] = ScopeEntry(key[0], key[1], component, sources)
    return Scope(entries)


def existing_entries(database: Database) -> list[EntryKey]:
    """Return group and name of all sealed and completed sequences."""
    rows = database.rows(
        "SELECT coalesce(grp, ''), name FROM sequence WHERE state='sealed' AND outcome='completed' ORDER BY 1, 2"
    )
    return [(group, name) for group, name in rows]


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


def _seal_times(stamp: str) -> list[int]:
    """Return when the manifests of a bundle were written: of the base, then of its layers by their number.

    The stamp is ``sealed;<manifest>;<annotations>;<manifest of each layer>``, each ``mtime:size:inode``.
    """
    _, base, _, *layers = stamp.split(";")
    return [0 if item == "-" else int(item.partition(":")[0]) for item in (base, *layers)]


def _sealed_ns(times: Sequence[int], folder: str) -> int:
    """Return the time of the manifest of a folder: layers are numbered from 1, without holes."""
    place = int(folder.removeprefix("layers/")[:5]) if folder else 0
    return times[place] if place < len(times) else 0
