"""From a journal's segments to parts: the one path of normal ends, background sealing and recovery."""

from __future__ import annotations

import heapq
import json
from operator import attrgetter
from pathlib import Path
from typing import Any

from gapless.errors import IntegrityError
from gapless.store import journal
from gapless.store.carry import carry, to_carry
from gapless.store.closed_segment import Segment
from gapless.store.declaration import TopicDeclaration
from gapless.store.frame import Damage, Frame, Kind, read_payload, scan
from gapless.store.frame_index import FrameIndex, FrameRef
from gapless.store.layout import CARRIES, CUTS, Bundle, Cuts, carry_number
from gapless.store.platform import Platform
from gapless.store.topic_sealer import Progress, TopicSealer, read_bytes

_ROWS = (Kind.PACKED, Kind.ARROW, Kind.DROP)


class Sealer:
    """Holds a topic sealer for every topic and the list of segments still needed."""

    def __init__(self, bundle: Bundle, header: dict[str, Any], platform: Platform, cuts: Cuts = CUTS) -> None:
        self.bundle = bundle
        self.cuts = cuts
        self.header = header
        self.platform = platform
        self.topics: dict[int, TopicSealer] = {}
        self.segments: list[Segment] = []
        self.gaps: list[dict[str, Any]] = []  # declared by producers
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.notes = 0  # how many gaps and artifacts producers told of
        self.damage: list[dict[str, Any]] = []
        self.closing: dict[str, Any] | None = None
        self.generation = 0
        self._carries = 0
        self._unpublished = False  # declarations, gaps or artifacts were read that no published state holds

    @classmethod
    def resume(cls, bundle: Bundle, header: dict[str, Any], platform: Platform, cuts: Cuts = CUTS) -> Sealer:
        """Return a sealer that goes on from what parts.json says is complete."""
        sealer = cls(bundle, header, platform, cuts)
        saved = read_parts(bundle)
        if saved is not None:
            sealer.generation = saved["generation"]
            sealer.gaps = list(saved["gaps"])
            sealer.damage = list(saved["damage"])
            sealer.artifacts = dict(saved["artifacts"])
            sealer.notes = saved.get("notes", 0)
            for line in saved["topics"]:
                sealer.declare(
                    TopicDeclaration.from_json(line["declaration"]), Progress.from_json(line["progress"])
                )
        for line in journal.read_topics(bundle):
            sealer.declare(TopicDeclaration.from_json(line))
        sealer._carries = max((carry_number(path) for path in bundle.journal.glob(CARRIES)), default=0)
        return sealer

    def declare(self, declaration: TopicDeclaration, progress: Progress | None = None) -> None:
        """Make a topic known; declaring it twice changes nothing."""
        if declaration.index not in self.topics:
            self.topics[declaration.index] = TopicSealer(
                self.bundle, declaration, self.platform, progress, self.cuts
            )

    # -- segments in ---------------------------------------------------------------------------

    def read_segment(self, path: Path) -> dict[int, FrameIndex]:
        """Index one segment: note declarations, gaps, closing words and damage; return its frames of rows.

        They are listed by the topics' numbers; those of rows that a policy gave up are among them.
        """
        segment = Segment(path, {}, carried=path.name.startswith("carry"))
        rows: dict[int, FrameIndex] = {}
        for item in scan(path, self.header["nonce"]):
            if isinstance(item, Damage):
                segment.damaged = True
                self._note_damage(path, item)
            elif item.header.kind in _ROWS:
                self._note_rows(item, segment)
                rows.setdefault(item.header.topic, FrameIndex()).append(FrameRef.of(path, item))
            else:
                self._note(path, item, segment)
        self.segments.append(segment)
        self._unpublished |= segment.notes or segment.damaged
        return rows

    def _note_damage(self, path: Path, item: Damage) -> None:
        note = {"segment": path.name, "start": item.start, "end": item.end, "reason": item.reason}
        if item.header is not None and item.header.kind in _ROWS:
            note |= {"topic": item.header.topic, "first_seq": item.header.first_seq, "rows": item.header.rows}
        if note not in self.damage:
            self.damage.append(note)

    @staticmethod
    def _note_rows(item: Frame, segment: Segment) -> None:
        header = item.header
        end = header.first_seq + header.rows
        segment.reach[header.topic] = max(segment.reach.get(header.topic, 0), end)
        if header.kind == Kind.DROP:
            segment.drops = True
        else:
            segment.row_bytes += header.length

    def _note(self, path: Path, item: Frame, segment: Segment) -> None:
        header = item.header
        segment.notes |= header.kind != Kind.OPEN
        if header.kind == Kind.TOPIC:
            self.declare(TopicDeclaration.from_json(json.loads(read_payload(path, item))))
        elif header.kind in (Kind.GAP, Kind.ARTIFACT):
            self._note_told(item, json.loads(read_payload(path, item)))
        elif header.kind == Kind.CLOSE:
            self.closing = json.loads(read_payload(path, item))

    def _note_told(self, item: Frame, told: dict[str, Any]) -> None:
        """Take a gap or an artifact, each once; those of journals without numbers are told apart by what they say."""
        numbered, number = item.header.rows > 0, item.header.first_seq
        if numbered and number < self.notes:
            return
        if item.header.kind == Kind.ARTIFACT:
            self.artifacts[told.pop("name")] = told
        elif numbered or told not in self.gaps:
            self.gaps.append(told)
        if numbered:
            self.notes = number + 1

    def take(self, *segments: dict[int, FrameIndex]) -> None:
        """Give the frames of segments to their topics; rows that lie in several are taken once."""
        for index in sorted({index for rows in segments for index in rows}):
            topic = self.topics.get(index)
            if topic is None:
                raise IntegrityError(
                    "rows of a topic whose declaration is lost",
                    sequence=self.header["name"],
                    found=f"topic number {index}",
                )
            found = [rows[index].in_order() for rows in segments if index in rows]
            for frame in heapq.merge(*found, key=attrgetter("first_seq")):
                if frame.kind == Kind.DROP:
                    topic.drop(frame.first_seq, frame.rows, json.loads(read_bytes(frame))["cause"])
                else:
                    topic.add(frame)

    def add_segment(self, path: Path) -> None:
        """Take the next closed segment while recording goes on."""
        self.take(self.read_segment(path))

    def advance(self) -> bool:
        """Write what is full; when parts were completed, publish them and let segments go."""
        completed = False
        for topic in list(self.topics.values()):
            completed |= topic.advance()
        if completed:
            self.publish()
            self.forget_segments()
        return completed

    # -- published progress --------------------------------------------------------------------

    def publish(self) -> None:
        """Make the completed parts known, durably, in two copies so that one damaged bit costs nothing."""
        self.generation += 1
        self._unpublished = False
        state = {
            "generation": self.generation,
            "gaps": self.gaps,
            "damage": self.damage,
            "artifacts": self.artifacts,
            "notes": self.notes,
            "topics": [
                {"declaration": t.declaration.to_json(), "progress": t.done.to_json()}
                for t in list(self.topics.values())  # the writer thread may declare a topic meanwhile
            ],
        }
        for name in ("parts.json", "parts-copy.json"):
            journal.write_checked(self.bundle.journal / name, state, self.platform)

    def forget_segments(self) -> None:
        """Delete the segments whose every row is in a published part; damaged ones go to quarantine."""
        kept = [segment for segment in self.segments if self._needed(segment)]
        if len(kept) < len(self.segments) and self._unpublished:
            self.publish()
        for segment in self.segments:
            if segment in kept:
                continue
            if segment.damaged:
                self.quarantine(segment.path)
            else:
                self.platform.remove(segment.path)
        self.segments = self._carried(kept)
        self.platform.sync_directory(self.bundle.journal)

    def _needed(self, segment: Segment) -> bool:
        """Tell whether the segment holds rows that are in no published part."""
        return any(end > self.topics[index].done.consumed for index, end in segment.reach.items())

    def _carried(self, segments: list[Segment]) -> list[Segment]:
        """Return the segments with one carry segment in the place of those that are worth it."""
        live = self._live()
        chosen = to_carry([(segment, *live.get(segment.path, (0, 0))) for segment in segments])
        if not chosen:
            return segments
        self._carries += 1
        carried = carry(self, chosen, self._carries)
        self.publish()  # declarations and notes of the segments must outlive them
        for segment in chosen:
            self.platform.remove(segment.path)
        return [carried, *(segment for segment in segments if segment not in chosen)]

    def _live(self) -> dict[Path, tuple[int, int]]:
        """Return how many frames of each segment are needed, and their bytes."""
        live: dict[Path, tuple[int, int]] = {}
        for topic in list(self.topics.values()):
            for path, (frames, size) in topic.live.sizes().items():
                before = live.get(path, (0, 0))
                live[path] = before[0] + frames, before[1] + size
        return live

    def quarantine(self, path: Path) -> None:
        """Put a damaged segment aside, whole."""
        folder = self.bundle.journal / "quarantine"
        folder.mkdir(exist_ok=True)
        self.platform.replace(path, folder / path.name)
        self.platform.sync_directory(folder)

    @property
    def segment_bytes(self) -> int:
        """Bytes of segments that are not in parts yet."""
        return sum(s.path.stat().st_size for s in self.segments if s.path.exists())


def read_parts(bundle: Bundle) -> dict[str, Any] | None:
    """Return the newest whole copy of the published progress; IntegrityError when no copy is whole."""
    paths = [bundle.journal / name for name in ("parts.json", "parts-copy.json")]
    for last_look in (False, True):  # a first copy may be published between reading and looking
        copies = [c for c in map(journal.read_checked, paths) if c is not None]
        if copies:
            return max(copies, key=lambda c: int(c["generation"]))
        if not any(path.exists() for path in paths):
            return None
        if last_look:
            break
    raise IntegrityError(
        "both copies of the list of finished parts are damaged",
        found=str(paths[0]),
        next_step="restore journal/parts.json from a backup; the parts themselves are in topics/",
    )
