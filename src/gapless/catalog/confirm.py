"""Deciding by rows whether a sequence matches: statistics first, then as few files as possible."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gapless.catalog.content_scan import SealedTopic, scan_topic
from gapless.catalog.runs import RunBuilder, Runs
from gapless.catalog.sqlite import Row
from gapless.errors import IntegrityError, NotFound
from gapless.model.evaluate import property_holds
from gapless.model.glob import glob_match
from gapless.model.names import RESERVED_TOPICS
from gapless.model.normal_form import Alternative, RowGroup
from gapless.store.reader import BundleReader, TopicReader, open_bundle

MakeBuilder = Callable[[], RunBuilder]
Matches = dict[str, tuple[str | None, list[Runs]]]  # topic -> ontology tag, runs of each group it matched


@dataclass(slots=True)
class Settled:
    """The alternatives that a sequence really matches, and the topics that show it."""

    places: list[int] = field(default_factory=list)
    topics: Matches = field(default_factory=dict)

    def add(self, name: str, tag: str | None, runs: Runs) -> None:
        """Add the runs of a topic for one group."""
        self.topics.setdefault(name, (tag, []))[1].append(runs)


class SealedSequence:
    """The topics of one sealed sequence that a query must look into, and for which of its groups."""

    def __init__(self, bundle: Path, builder: MakeBuilder = RunBuilder) -> None:
        self._bundle = bundle
        self._builder = builder
        self._topics: dict[int, SealedTopic] = {}
        self._meant: dict[tuple[int, int], list[int]] = {}

    def add(self, place: int, number: int, group: RowGroup, row: Row) -> None:
        """Take one part of a topic that group ``number`` of alternative ``place`` means."""
        _, topic_id, name, tag, fields, folder, entry, stats = row
        topic = self._topics.get(topic_id)
        if topic is None:
            topic = SealedTopic(self._bundle, name, tag, json.loads(fields), builder=self._builder)
            self._topics[topic_id] = topic
        if group not in topic.groups:
            topic.groups.append(group)
        topic.parts[(folder, entry)] = stats
        meant = self._meant.setdefault((place, number), [])
        if topic_id not in meant:
            meant.append(topic_id)

    def settle(self, alternatives: Sequence[Alternative], places: Iterable[int]) -> Settled:
        """Return which of the alternatives match; rows are read only where statistics leave it open.

        None of them for a sequence that was discarded since the catalog last looked.
        """
        try:
            return self._settle(alternatives, places)
        except (IntegrityError, NotFound):
            if (self._bundle / "manifest.json").exists():
                raise
            return Settled()

    def _settle(self, alternatives: Sequence[Alternative], places: Iterable[int]) -> Settled:
        settled = Settled()
        possible = []
        for place in places:
            if not alternatives[place].groups:
                settled.places.append(place)
            elif all(self._may_match(place, n, g) for n, g in enumerate(alternatives[place].groups)):
                possible.append(place)
        needed = {
            t
            for place in possible
            for n in range(len(alternatives[place].groups))
            for t in self._meant[place, n]
        }
        runs = {topic_id: self._topics[topic_id].runs() for topic_id in sorted(needed)}
        for place in possible:
            found: list[tuple[SealedTopic, Runs]] = []
            for number, group in enumerate(alternatives[place].groups):
                topics = [(self._topics[t], runs[t]) for t in self._meant[place, number]]
                matching = [(t, r[t.groups.index(group)]) for t, r in topics if len(r[t.groups.index(group)])]
                if not matching:
                    break
                found += matching
            else:
                settled.places.append(place)
                for topic, run in found:
                    settled.add(topic.name, topic.ontology_tag, run)
        return settled

    def _may_match(self, place: int, number: int, group: RowGroup) -> bool:
        return any(self._topics[t].may_match(group) for t in self._meant.get((place, number), ()))


class UnsealedSequence:
    """One open or pending sequence; what it holds now is known only to its reader."""

    def __init__(self, bundle: Path, created_ns: int, builder: MakeBuilder = RunBuilder) -> None:
        self._bundle = bundle
        self._created_ns = created_ns
        self._builder = builder

    def settle(self, alternatives: Sequence[Alternative], places: Iterable[int]) -> Settled:
        """Return which of the alternatives match the rows that are durable now."""
        wanted = list(places)
        settled = Settled()
        try:
            bundle = open_bundle(self._bundle)
            topics = _topics_meant(bundle, [g for p in wanted for g in alternatives[p].groups])
            allowed = {p: [t for t in topics if self._allows(alternatives[p], t)] for p in wanted}
            runs: dict[str, dict[RowGroup, Runs]] = {}
            for topic in topics:
                groups = [
                    g
                    for p in wanted
                    if topic in allowed[p]
                    for g in alternatives[p].groups
                    if _means(g, topic)
                ]
                runs[topic.name] = _scan(topic, list(dict.fromkeys(groups)), self._builder)
        except (FileNotFoundError, NotFound):  # discarded since the catalog last looked
            return settled
        for place in wanted:
            _settle_one(settled, place, alternatives[place], allowed[place], runs)
        return settled

    def _allows(self, alternative: Alternative, topic: TopicReader) -> bool:
        if not alternative.topic:
            return True
        properties: dict[str, object] = {
            "name": topic.name, "ontology_tag": topic.ontology.get("tag"), "created_ns": self._created_ns,
            "rows": topic.rows, "start_ns": topic.start_ns, "end_ns": topic.end_ns,
        }  # fmt: skip
        return all(
            property_holds(c.predicate, properties, topic.metadata) == c.wanted for c in alternative.topic
        )


def unsealed_topics(bundle: Path) -> dict[str, str | None]:
    """Return the topics of an unsealed sequence with their ontology tags; none if it is gone."""
    try:
        return {name: reader.ontology.get("tag") for name, reader in open_bundle(bundle).topics.items()}
    except (FileNotFoundError, NotFound):
        return {}


def _settle_one(
    settled: Settled, place: int, alternative: Alternative, allowed: list[TopicReader],
    runs: dict[str, dict[RowGroup, Runs]],
) -> None:  # fmt: skip
    found: list[tuple[TopicReader, Runs]] = []
    for group in alternative.groups:
        matching = [(t, runs[t.name][group]) for t in allowed if len(runs[t.name].get(group, Runs()))]
        if not matching:
            return
        found += matching
    if alternative.topic and not alternative.groups:
        users = [topic for topic in allowed if not topic.name.startswith("_")]
        if not users:
            return
        for topic in users:
            settled.topics.setdefault(topic.name, (topic.ontology.get("tag"), []))
    settled.places.append(place)
    for topic, run in found:
        settled.add(topic.name, topic.ontology.get("tag"), run)


def _topics_meant(bundle: BundleReader, groups: Sequence[RowGroup]) -> list[TopicReader]:
    """Return the readers of the user's topics and of the reserved ones that a group names."""
    readers = list(bundle.topics.values())
    for name in RESERVED_TOPICS:
        if any(g.topic_glob.startswith("_") and glob_match(g.topic_glob, name) for g in groups):
            try:
                readers.append(bundle.topic(name))
            except NotFound:  # nothing was written there
                continue
    return readers


def _means(group: RowGroup, reader: TopicReader) -> bool:
    """Return whether a topic belongs to a group, by the same rule as in SQL."""
    if group.tag is not None:
        return reader.ontology.get("tag") == group.tag and not reader.name.startswith("_")
    if reader.name.startswith("_") and not group.topic_glob.startswith("_"):
        return False
    known = {"timestamp_ns", *reader.schema.names}
    return glob_match(group.topic_glob, reader.name) and all(path in known for path in group.paths)


def _scan(reader: TopicReader, groups: list[RowGroup], builder: MakeBuilder) -> dict[RowGroup, Runs]:
    """Return the runs of each group over one pass, so that all see the same rows."""
    if not groups:
        return {}
    builders = [builder() for _ in groups]
    fields = {"timestamp_ns": "int64"} | {column.name: str(column.type) for column in reader.schema}
    scan_topic(reader, fields, groups, builders)
    return {group: made.runs() for group, made in zip(groups, builders, strict=True)}
