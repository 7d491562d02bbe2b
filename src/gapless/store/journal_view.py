"""A look at an open journal from outside: what is durable now, without a lock and without writing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from gapless.errors import IntegrityError
from gapless.model.ledger import Ledger
from gapless.store import journal
from gapless.store.declaration import TopicDeclaration
from gapless.store.frame import Damage, Frame, Kind, read_payload, scan
from gapless.store.frame_index import FrameRef
from gapless.store.layout import Bundle, segment_name
from gapless.store.packing import Layout
from gapless.store.recover import read_header, segment_paths
from gapless.store.sealer import read_parts
from gapless.store.topic_sealer import read_frame
from gapless.store.watermark import read_watermark


class Position(NamedTuple):
    """How far a reader has come in a topic: the arrival number of the next row."""

    next_seq: int


@dataclass(frozen=True, slots=True)
class _Indexed:
    """One segment's frames as far as they were durable when it was looked at."""

    end: int
    frames: dict[int, list[FrameRef]]
    dropped: dict[int, list[tuple[int, int]]]  # first arrival number and count of rows given up
    damage: list[Damage]  # spans that were durable once, so their rows are lost, not late


class JournalView:
    """What an open or pending bundle holds up to the last sync; :meth:`refresh` looks again."""

    def __init__(self, journal_dir: Path) -> None:
        self._bundle = Bundle(journal_dir.parent)
        self.sequence = read_header(self._bundle)
        self.topics: dict[str, TopicDeclaration] = {}
        self.parts: dict[str, list[dict[str, Any]]] = {}
        self.consumed: dict[str, int] = {}
        self._dropped: dict[str, int] = {}  # in what the parts were made from
        self.closed: dict[str, Any] | None = None
        self._segments: dict[str, _Indexed] = {}
        self._generation = -1
        self._position: tuple[int, int] | None = None
        self.refresh()

    @classmethod
    def open(cls, journal_dir: Path) -> JournalView:
        """Return a view of the journal as it is now; FileNotFoundError when it is gone (sealed meanwhile)."""
        return cls(journal_dir)

    def refresh(self) -> bool:
        """Look again; return whether there is anything new. FileNotFoundError when the journal is gone."""
        if not self._bundle.journal.exists():
            raise FileNotFoundError(self._bundle.journal)
        changed = False
        while True:  # parts published meanwhile may have taken segments away: look until nothing moved
            changed |= self._read_parts()
            changed |= self._read_segments()
            saved = read_parts(self._bundle)
            if saved is None or saved["generation"] == self._generation:
                return changed

    def _read_segments(self) -> bool:
        changed = False
        mark = read_watermark(self._bundle.journal / "watermark")
        present = segment_paths(self._bundle)
        names = {path.name for path in present}
        self._segments = {name: known for name, known in self._segments.items() if name in names}
        for path in present:
            stop, durable = None, False
            if mark is not None and not path.name.startswith("carry"):
                if path.name > segment_name(mark.segment):
                    continue
                durable = True
                if path.name == segment_name(mark.segment):
                    stop = mark.offset
            changed |= self._read_segment(path, stop, durable)
        return changed

    def _read_parts(self) -> bool:
        for line in journal.read_topics(self._bundle):
            self._declare(TopicDeclaration.from_json(line))
        saved = read_parts(self._bundle)
        if saved is None or saved["generation"] == self._generation:
            return False
        self._generation = saved["generation"]
        for line in saved["topics"]:
            declaration = TopicDeclaration.from_json(line["declaration"])
            self._declare(declaration)
            self.parts[declaration.name] = line["progress"]["parts"]
            self.consumed[declaration.name] = line["progress"]["consumed"]
            self._dropped[declaration.name] = line["progress"]["dropped"]
        return True

    def _declare(self, declaration: TopicDeclaration) -> None:
        self.topics.setdefault(declaration.name, declaration)

    def _read_segment(self, path: Path, stop: int | None, durable: bool) -> bool:
        known = self._segments.get(path.name) or _Indexed(0, {}, {}, [])
        try:
            items = list(scan(path, self.sequence["nonce"], known.end, stop))
        except FileNotFoundError:  # sealed into parts a moment ago: the next refresh sees them
            return False
        end = known.end
        damage = [d for d in known.damage if d.end <= known.end]  # what lies behind is looked at again
        torn: list[Damage] = []  # nothing whole follows: lost only if it was durable
        for item in items:
            if isinstance(item, Damage):
                torn.append(item)
                continue
            damage, torn = damage + torn, []
            end = item.end
            self._index(path, item, known)
        if durable:
            damage += torn
        changed = end != known.end or damage != known.damage
        if changed:
            self._segments[path.name] = _Indexed(end, known.frames, known.dropped, damage)
        return changed

    def _index(self, path: Path, item: Frame, known: _Indexed) -> None:
        header = item.header
        if header.kind in (Kind.PACKED, Kind.ARROW):
            known.frames.setdefault(header.topic, []).append(FrameRef.of(path, item))
        elif header.kind == Kind.DROP:
            known.dropped.setdefault(header.topic, []).append((header.first_seq, header.rows))
        elif header.kind == Kind.TOPIC:
            self._declare(TopicDeclaration.from_json(json.loads(read_payload(path, item))))
        elif header.kind == Kind.CLOSE:
            self.closed = json.loads(read_payload(path, item))

    def batches(self, topic: str, after: Position | None = None) -> Iterator[tuple[Position, pa.RecordBatch]]:
        """Yield the topic's journal rows that are not in :attr:`parts`, in arrival order, ``_seq`` last.

        ``after`` leaves out rows seen before. FileNotFoundError when a segment became parts meanwhile:
        refresh and go on with the last position.
        """
        declaration = self.topics[topic]
        layout = Layout.of(declaration)
        at = max(self.consumed.get(topic, 0), after.next_seq if after is not None else 0)
        for frame, skip in self._pending(declaration, at):
            batch = read_frame(frame, declaration, layout)
            at = frame.end_seq
            yield Position(at), batch.slice(skip)
        self._refuse_damage(declaration, at)

    def _pending(
        self, declaration: TopicDeclaration, at: int, *, holes: bool = False
    ) -> Iterator[tuple[FrameRef, int]]:
        """Yield the frames from an arrival number on, each with the number of rows to skip in it.

        A carried copy and its original give each row once. Missing numbers raise IntegrityError, unless
        ``holes`` are allowed.
        """
        spans: list[tuple[int, int, FrameRef | None]] = []
        for segment in self._segments.values():
            spans += [(f.first_seq, f.end_seq, f) for f in segment.frames.get(declaration.index, [])]
            spans += [(first, first + n, None) for first, n in segment.dropped.get(declaration.index, [])]
        for first, end, frame in sorted(spans, key=lambda span: span[:2]):
            if end <= at:
                continue
            if first > at and not holes:
                raise self._lost(declaration.name, f"arrival numbers {at} to {first - 1} are missing")
            if frame is not None:
                yield frame, max(0, at - first)
            at = end

    def _refuse_damage(self, declaration: TopicDeclaration, at: int) -> None:
        """Raise IntegrityError where damaged bytes may have held rows of the topic behind the last whole frame."""
        for name, segment in self._segments.items():
            for item in segment.damage:
                header = item.header
                if header is not None and (
                    header.kind not in (Kind.PACKED, Kind.ARROW, Kind.DROP)
                    or header.topic != declaration.index
                    or header.first_seq + header.rows <= at
                ):
                    continue
                raise self._lost(
                    declaration.name, f"{item.reason} in bytes {item.start} to {item.end} of {name}"
                )

    def _lost(self, topic: str, found: str) -> Exception:
        if self._bundle.manifest.exists() or not self._bundle.journal.exists():
            return FileNotFoundError(self._bundle.journal)  # sealed or discarded while we looked
        return IntegrityError(
            "durable rows of an unsealed sequence are damaged",
            sequence=self.sequence["name"],
            topic=topic,
            found=found,
            next_step="`gapless recover NAME` saves every whole frame and names what is lost in _gaps",
        )

    @property
    def ledger(self) -> dict[str, Ledger]:
        """What each topic holds durably so far; rows not durable yet are not counted."""
        out = {}
        for name, declaration in self.topics.items():
            rows = sum(p["rows"] for p in self.parts.get(name, []))
            consumed = self.consumed.get(name, 0)
            rows += sum(frame.rows - skip for frame, skip in self._pending(declaration, consumed, holes=True))
            dropped = self._dropped.get(name, 0) + sum(
                n
                for segment in self._segments.values()
                for first, n in segment.dropped.get(declaration.index, [])
                if first >= consumed
            )
            out[name] = Ledger(rows + dropped, rows, dropped, 0)
        return out
