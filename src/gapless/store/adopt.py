"""Adoption: going on with the journal of a dead owner as if nothing had happened.

Everything durable counts as recorded: rows, rows given up, notes and their numbers. A frame that the owner
was writing when it died is cut off, its bytes are kept in ``journal/quarantine``; the producer sends those
rows again. Damage of what was durable stays damage and becomes gap rows, as in a recovery.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapless.errors import NotFound, SequenceSealed, StateError, StorageFailed
from gapless.store import journal
from gapless.store.frame import Frame, Kind, scan
from gapless.store.late_events import GUARD_LOCK, LATE_EVENTS, LATE_FRAMES
from gapless.store.layout import CARRIES, CUTS, Bundle, Cuts, segment_name
from gapless.store.packing import Layout
from gapless.store.platform import PLATFORM, Platform
from gapless.store.recover import keep_damaged, lost_durable, read_header, segment_paths
from gapless.store.sealer import Sealer
from gapless.store.topic_sealer import TopicSealer
from gapless.store.topic_state import TopicState
from gapless.store.watermark import read_watermark

AWAITED_NS = 3600 * 10**9
SPOOLED_AWAITED_NS = (
    7 * 24 * 3600 * 10**9
)  # a disk elsewhere holds the rest, however long the network is away
_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Adoption:
    """A journal that this process owns and whose rows it knows: ``BundleWriter(adopted=...)`` goes on in it.

    ``last_segment``: the number of the last segment there ever was; ``clock_base_ns``: what the sequence's
    clock adds to the boot-time clock from now on.
    """

    bundle: Bundle
    header: dict[str, Any]
    lock_fd: int
    sealer: Sealer
    last_segment: int
    clock_base_ns: int

    @classmethod
    def take(cls, bundle: Bundle, platform: Platform = PLATFORM, cuts: Cuts = CUTS) -> Adoption:
        """Own the open journal of a bundle and read what it holds, everything of it synced.

        Raises SequenceOwned while its owner lives, SequenceSealed and StateError where nothing can be added
        any more (ended, pending, or a guard has reported), NotFound, IntegrityError, StorageFailed.
        """
        lock_fd = _own(bundle, platform)
        try:
            return cls._read(bundle, lock_fd, platform, cuts)
        except OSError as error:
            platform.close(lock_fd)
            raise StorageFailed(
                "the disk refused to go on with a journal; it is as it was", found=str(error)
            ) from error
        except BaseException:
            platform.close(lock_fd)
            raise

    @classmethod
    def _read(cls, bundle: Bundle, lock_fd: int, platform: Platform, cuts: Cuts) -> Adoption:
        header = read_header(bundle)
        _refuse_ended(bundle, header["name"])
        _secure_tail(bundle, header, platform)
        journal.mend_topics(bundle, platform)
        sealer = Sealer.resume(bundle, header, platform, cuts)
        sealer.take(*[sealer.read_segment(path) for path in segment_paths(bundle)])
        for damage in sealer.damage:
            keep_damaged(bundle, damage, platform)
        base_ns = _clock_base(bundle, header, platform)
        _tell_lost(bundle, sealer, base_ns + platform.boot_ns())
        return cls(bundle, header, lock_fd, sealer, _last_segment(bundle), base_ns)

    def topics(self) -> list[TopicState]:
        """Return the state of every topic: what the journal holds is written and durable."""
        return [self._state(topic) for topic in self.sealer.topics.values()]

    def _state(self, topic: TopicSealer) -> TopicState:
        declaration = topic.declaration
        dropped, lost = topic.given_up
        gaps = (gap["count"] or 0 for gap in self.sealer.gaps if gap["topic"] == declaration.name)
        return TopicState(
            declaration,
            Layout.of(declaration),
            next_seq=topic.arrived,
            dropped=dropped,
            lost=lost,
            gapped=sum(gaps),
            durable_seq=topic.arrived,
            durable_dropped=dropped,
            internal_rows=topic.arrived,
        )

    def confirm(self) -> None:
        """The recording goes on: forget the last words of an owner that failed, and keep room for new ones."""
        platform = self.sealer.platform
        journal.reserve_last_words(self.bundle.journal, platform)
        journal.clear_closing(self.bundle, platform)
        (self.bundle.journal / LATE_FRAMES).unlink(missing_ok=True)

    def let_go(self) -> None:
        """Give the journal up again; it can be adopted or recovered."""
        self.sealer.platform.close(self.lock_fd)


def _own(bundle: Bundle, platform: Platform) -> int:
    """Return the descriptor of the journal's lock."""
    _refuse_sealed(bundle)
    try:
        lock_fd = platform.lock(bundle.lock)
    except FileNotFoundError:
        _refuse_sealed(bundle)
        raise NotFound("there is no journal to go on with", found=str(bundle.path)) from None
    try:
        _refuse_sealed(bundle)
    except SequenceSealed:
        platform.close(lock_fd)
        raise
    return lock_fd


def _refuse_sealed(bundle: Bundle) -> None:
    if bundle.manifest.exists():
        raise SequenceSealed("the sequence is sealed", found=str(bundle.path))


def _refuse_ended(bundle: Bundle, name: str) -> None:
    """Raise StateError for a journal whose end was decided, before anything of it is touched."""
    if bundle.pending.exists():
        raise StateError(
            "a pending sequence takes no more rows",
            sequence=name,
            next_step=f"`gapless seal {name}` keeps it, `gapless discard {name}` ends it",
        )
    if any((bundle.journal / file).exists() for file in (LATE_EVENTS, GUARD_LOCK)):
        raise StateError(
            "a guard watched over the sequence and ends it",
            sequence=name,
            next_step=f"`gapless recover {name}` seals it",
        )


def _secure_tail(bundle: Bundle, header: dict[str, Any], platform: Platform) -> None:
    """Make a durable copy of the last segment's whole frames, without what the owner died in.

    A copy, since pages of a failed sync look clean: syncing them again would prove nothing.
    """
    last = _last_path(bundle)
    if last is None:
        return
    end, ended = _whole(bundle, last, header["nonce"])
    if ended:
        raise StateError(
            "the recording was ended; nothing can be added",
            sequence=header["name"],
            next_step=f"`gapless recover {header['name']}` seals it as it ended",
        )
    size = last.stat().st_size
    if end < size:
        keep_damaged(bundle, {"segment": last.name, "start": end, "end": size}, platform)
    _copy_durably(last, end, platform)


def is_ended(bundle: Bundle) -> bool:
    """Tell whether a journal holds the closing words of its owner: it can be sealed as it ended, not adopted."""
    last = _last_path(bundle)
    return last is not None and _whole(bundle, last, read_header(bundle)["nonce"])[1]


def _last_path(bundle: Bundle) -> Path | None:
    """Return the segment that was written last."""
    numbered = [path for path in segment_paths(bundle) if not path.match(CARRIES)]
    return numbered[-1] if numbered else None


def _whole(bundle: Bundle, path: Path, nonce: int) -> tuple[int, bool]:
    """Return where what is certain of the last segment ends, and whether there are closing words in it.

    A frame that is not whole and was never synced ends it, whatever follows: a loss of power may keep later
    frames and not that one, and its rows were never called durable, so their producer still has them. Damage
    of what was durable once is in the middle.
    """
    durable = _durable_bytes(bundle, path)
    end, ended = 0, False
    for item in scan(path, nonce):
        if isinstance(item, Frame):
            end = item.end
            ended |= item.header.kind == Kind.CLOSE
        elif item.end > durable:
            break
    return end, ended


def _durable_bytes(bundle: Bundle, path: Path) -> int:
    """Return how much of the last segment the watermark calls durable."""
    mark = read_watermark(bundle.journal / "watermark")
    return mark.offset if mark is not None and segment_name(mark.segment) == path.name else 0


def is_awaited(bundle: Bundle, platform: Platform) -> bool:
    """Tell whether a program on another machine may still go on with an ownerless journal."""
    until_ns = awaited_until_ns(bundle)
    return until_ns is not None and platform.wall_ns() < until_ns


def awaited_until_ns(bundle: Bundle) -> int | None:
    """Return until when an ownerless journal is kept for a program on another machine; None for any other.

    It is given an hour from the last write before anybody recovers the journal without being asked to, and a
    week where the program has a spool.
    """
    header = journal.read_checked(bundle.journal / "open.json") or {}
    if not header.get("remote"):
        return None
    try:
        written_ns = max((path.stat().st_mtime_ns for path in segment_paths(bundle)), default=0)
    except FileNotFoundError:  # it is being sealed or discarded
        return None
    return written_ns + (SPOOLED_AWAITED_NS if header.get("spooled") is True else AWAITED_NS)


def _copy_durably(path: Path, end: int, platform: Platform) -> None:
    """Replace a file by a synced copy of its first ``end`` bytes."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    fd = platform.create(partial)
    try:
        with path.open("rb") as file:
            while left := end - file.tell():
                platform.write(fd, [file.read(min(_COPY_BYTES, left))])
        platform.data_sync(fd)
    finally:
        platform.close(fd)
    platform.replace(partial, path)
    platform.sync_directory(path.parent)


def _tell_lost(bundle: Bundle, sealer: Sealer, now_ns: int) -> None:
    """Note what was durable once and is not there any more: the watermark that says so is about to move."""
    lost = lost_durable(bundle)
    if lost is None or lost in sealer.damage:
        return
    sealer.damage.append(lost)
    sealer.gaps.append(
        {
            "timestamp_ns": now_ns,
            "topic": "*",
            "first_seq": None,
            "count": None,
            "end_ns": None,
            "cause": "damaged",
        }
    )
    sealer.publish()


def _last_segment(bundle: Bundle) -> int:
    """Return the highest number that a segment has had, those in quarantine included."""
    mark = read_watermark(bundle.journal / "watermark")
    places = (bundle.journal, bundle.journal / "quarantine")
    names = [path.name[:8] for place in places for path in place.glob("[0-9]*")]
    return max([mark.segment if mark is not None else 0, *map(int, filter(str.isdigit, names))])


def _clock_base(bundle: Bundle, header: dict[str, Any], platform: Platform) -> int:
    """Return what the sequence's clock adds to the boot-time clock; after a reboot it is taken anew.

    The clock then goes on from the wall clock, and never from before the last sync.
    """
    clock = header["clock"]
    base_ns: int = clock["wall_ns"] - clock["boot_ns"]
    mark = read_watermark(bundle.journal / "watermark")
    known_ns = mark.boot_ns if mark is not None else clock["boot_ns"]
    boot_ns = platform.boot_ns()
    if header["producer"]["boot_id"] == platform.boot_id() and boot_ns >= known_ns:
        return base_ns
    return max(platform.wall_ns(), base_ns + known_ns) - boot_ns
