"""What a data set reads from the catalog at one look: everything once, and shared by all who look meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gapless.catalog.look import Look
from gapless.catalog.sqlite import Row
from gapless.client.client import Client
from gapless.features.entry import EntryKey
from gapless.features.registry import ENTRIES_OF, WantedRun, wanted_text
from gapless.features.scope import (
    SCOPE_COLUMNS,
    SCOPE_SELECT,
    Scope,
    SealedSequences,
    existing_topics,
    names_text,
    read_sequences,
)
from gapless.features.seen_survey import SeenSurvey

_SELECT = (
    f"{SCOPE_SELECT} UNION ALL SELECT 'entry', e.feature, e.run_id, e.record{', NULL' * (SCOPE_COLUMNS - 4)}"
    f" {ENTRIES_OF}"
)


@dataclass
class CatalogReads:
    """What the catalog says at ``look``; nothing that it gives may be altered.

    ``seen_surveys`` are the surveys that found a run complete, by storage and run id.
    """

    look: Look
    client: Client
    where: tuple[Any, ...]
    seen_surveys: dict[tuple[str, str], SeenSurvey] = field(default_factory=dict)
    _read: list[SealedSequences] = field(default_factory=list)
    _scopes: dict[frozenset[str], Scope] = field(default_factory=dict)

    @classmethod
    def first(
        cls, client: Client, where: tuple[Any, ...], topics: frozenset[str], runs: Sequence[WantedRun]
    ) -> tuple[CatalogReads, list[Row]]:
        """Return what the catalog says of sequences with these topics, and storage, run id and record of the
        entries of these runs: one statement where the catalog agrees with the folders.
        """
        parameters = (names_text(topics), wanted_text(runs))
        look, rows = client.catalog.look_and_read(_SELECT, parameters, SCOPE_COLUMNS)
        held = SealedSequences(topics, client.path / "sequences", rows["sequence"])
        return cls(look, client, where, _read=[held]), [row[1:4] for row in rows["entry"]]

    def scope(self, topics: frozenset[str]) -> Scope:
        """Return the sequences found by the query that have all of the topics."""
        if topics not in self._scopes:
            only = {item.name for item in self.client.query(*self.where)} if self.where else None
            self._scopes[topics] = self._sequences(topics).scope(topics, only)
        return self._scopes[topics]

    def _sequences(self, topics: frozenset[str]) -> SealedSequences:
        for held in self._read:
            if topics <= held.topics:
                return held
        folder = self.client.path / "sequences"
        self._read.append(read_sequences(self.client.catalog.database, folder, topics))
        return self._read[-1]

    @cached_property
    def existing(self) -> list[EntryKey]:
        """Group and sequence of every sealed and completed sequence, whatever its topics."""
        return self._sequences(frozenset()).keys

    @cached_property
    def topics(self) -> list[str]:
        """The topics that sealed and completed sequences have, in order."""
        return existing_topics(self.client.catalog.database)
