"""What a data set reads from the catalog at one look: everything once, and shared by all who look meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gapless.catalog.look import Look
from gapless.client.client import Client
from gapless.features.entry import EntryKey
from gapless.features.scope import Scope, existing_entries, existing_topics, read_scope
from gapless.features.seen_survey import SeenSurvey


@dataclass
class CatalogReads:
    """What the catalog says at ``look``; nothing that it gives may be altered.

    ``seen_surveys`` are the surveys that found a run complete, by storage and run id.
    """

    look: Look
    client: Client
    where: tuple[Any, ...]
    seen_surveys: dict[tuple[str, str], SeenSurvey] = field(default_factory=dict)
    _scopes: dict[frozenset[str], Scope] = field(default_factory=dict)

    def scope(self, topics: frozenset[str]) -> Scope:
        """Return the sequences found by the query that have all of the topics."""
        if topics not in self._scopes:
            only = {item.name for item in self.client.query(*self.where)} if self.where else None
            folder = self.client.path / "sequences"
            found = read_scope(self.client.catalog.database, folder, sorted(topics), only)
            whole = {key: entry for key, entry in found.entries.items() if topics <= entry.topics.keys()}
            self._scopes[topics] = Scope(whole)
        return self._scopes[topics]

    @cached_property
    def existing(self) -> list[EntryKey]:
        """Group and sequence of every sealed and completed sequence, whatever its topics."""
        return existing_entries(self.client.catalog.database)

    @cached_property
    def topics(self) -> list[str]:
        """The topics that sealed and completed sequences have, in order."""
        return existing_topics(self.client.catalog.database)
