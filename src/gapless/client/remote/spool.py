"""A local store that takes the rest of a sequence while its server is away, to be delivered later.

What is spooled is a journal like any other, never sealed here: a topic's rows keep the arrival numbers they
have on the server, because the rows that the server accepted before stand there as one count of rows given
up, for the cause ``accepted by the server``. A kill leaves what a kill leaves of any journal.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gapless.client.artifact import Artifacts
from gapless.client.remote.lane_parcel import Parcel
from gapless.client.remote.lane_sender import LaneSender
from gapless.errors import GaplessError, IntegrityError, NameRefused, NameTaken, NotFound, StorageFailed
from gapless.model.names import from_component
from gapless.store import journal
from gapless.store.durability import Durability
from gapless.store.folder import TRASH_HOURS, FolderStore
from gapless.store.frame import Kind
from gapless.store.handover import Command
from gapless.store.layout import Bundle
from gapless.store.platform import Platform
from gapless.store.recover import read_header
from gapless.store.writer import BundleWriter, TopicState

ACCEPTED = "accepted by the server"
KEY = "spool"  # of a header: {"to": URL, "notes": how many notes the server has}
DAMAGED_WORD = "damaged"  # of a tombstone: something that was durable here could not be delivered
_REQUEST = "delivery.json"
_ARRIVED = "arrived.json"
_DAMAGED = "damaged.json"
_NAME = "name.json"
_SHORTENED_BYTES = 40
_ON_THEIR_WAY: set[tuple[str, str]] = set()  # bundles that this process delivers: the store's uid, the folder


class Offered(NamedTuple):
    """How much a sequence was offered in all, as its recorder counted when it ended; nothing where it died."""

    topics: dict[str, int]
    notes: int


class Spool:
    """The rest of one sequence, as an open bundle in the store ``folder``. Owned until released."""

    def __init__(
        self, folder: Path, header: dict[str, Any], *, to: str, notes: int, durability: Durability
    ) -> None:
        self.next_note = notes  # the number of the next gap or artifact that is kept here
        with _disk(str(header["name"])):
            store = SpoolStore(folder)
            self._writer = BundleWriter(
                _reserve(store, header),
                header | {KEY: {"to": to, "notes": notes}},
                durability=durability,
                platform=store.platform,
                background_seal=False,
            )
        self._artifacts = Artifacts()
        self._lock = threading.Lock()
        self._ways: dict[int, SpoolWay] = {}

    @property
    def bundle(self) -> Bundle:
        """Where the rest of the sequence is."""
        return self._writer.bundle

    def way(self, sender: LaneSender) -> SpoolWay:
        """Return the way of a topic's parcels into the spool; the first one of a topic declares it."""
        index = sender.state.declaration.index
        with self._lock:
            way = self._ways.get(index)
            if way is None:
                way = self._ways[index] = SpoolWay(self._writer, sender)
            way.begin()
            return way

    def note(self, kind: Kind, document: dict[str, Any]) -> None:
        """Record a gap or an artifact's address, durably."""
        self._writer.note(kind, document)
        self.next_note += 1

    def add_artifact(self, path: str | os.PathLike[str], name: str, media_type: str) -> None:
        """Copy a file into the spool, durably."""
        self._artifacts.add(self._writer, path, name, media_type)
        self.next_note += 1

    def close(self, closing: dict[str, Any]) -> None:
        """Take no more; what was taken is durable."""
        self._writer.close(closing)

    def request(self, action: str, document: dict[str, Any], offered: dict[str, Any]) -> None:
        """Keep what the server is to be asked when it has everything: ``offered`` rows by topic, and notes."""
        words = {"action": action, "request": document, "offered": offered}
        with _disk(str(self._writer.header["name"])):
            journal.write_checked(self.bundle.journal / _REQUEST, words, self._writer.platform)

    def note_arrival(self) -> None:
        """Note durably that the server has everything: all that is left is to end the sequence there."""
        header = self._writer.header
        with _disk(str(header["name"])):
            note_arrival(self.bundle, self._writer.platform, str(header["uid"]))

    def release(self) -> None:
        """Give up the ownership: it may be delivered. What a failed recording left unclosed is made durable first.

        Raises DeadlinePassed or StorageFailed where the disk hinders that; the ownership is given up all the same.
        """
        if self._writer.failure is None:
            self._writer.let_go()
        else:
            self._writer.release()

    def abandon_in_child(self) -> None:
        """In a forked child: drop the inherited lock."""
        self._writer.abandon_in_child()


class SpoolWay:
    """The way of one topic into the spool. Used by the topic's sender thread; durable rows are told by the store's."""

    def __init__(self, writer: BundleWriter, sender: LaneSender) -> None:
        self.next_seq = 0
        self.broken: GaplessError | None = None
        self._sender = sender
        self._writer = writer
        self._state: TopicState = writer.declare(sender.state.declaration)
        self._lane = writer.lane(self._state)
        accepted = sender.unaccepted.accepted_seq
        if accepted:
            self._drop(Parcel(0, accepted, cause=ACCEPTED))
        self._state.on_durable.append(self._durable)

    def begin(self) -> None:
        """Go on where the topic's accepted rows end; called by the topic's sender."""
        self.next_seq = self._sender.unaccepted.accepted_seq
        self._lane.owner = None

    def _durable(self, _rows: int) -> None:
        self._sender.accept(max(self._state.durable_seq, self._sender.unaccepted.accepted_seq))

    def send(self, parcel: Parcel) -> None:
        """Put a parcel into the journal; waits while the disk is behind."""
        if parcel.batch is None:
            self._drop(parcel)
            return
        self._lane.unstamped_rows += parcel.unstamped
        self._lane.push_batch(parcel.batch)

    def _drop(self, parcel: Parcel) -> None:
        for piece in parcel.pieces():
            self._lane.drop(piece.rows, piece.cause)

    def sync(self) -> None:
        """Ask for a sync now."""
        self._writer.hand_over.queue.put(Command("flush"))

    def finish(self, timeout_s: float) -> None:
        """Nothing to do: the journal is closed when all topics have ended."""

    def cut(self) -> None:
        """Nothing to do: the disk answers within the store's deadline."""

    def leave(self) -> None:
        """Nothing to give back."""


@contextmanager
def _disk(sequence: str) -> Iterator[None]:
    """Raise what the disk refuses inside as StorageFailed."""
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            "the disk refused the spool of a sequence", sequence=sequence, found=str(error)
        ) from error


def _reserve(store: SpoolStore, header: dict[str, Any]) -> Bundle:
    """Return a new folder, named as the sequence unless that name is taken here by another recording."""
    base = header["base"]
    name = header["name"] if base is None else f"{base['name']}+{header['name']}"
    try:
        return store.reserve(name)
    except NameTaken:
        name = f"{name}+{header['uid'][:8]}"
    except NameRefused:  # too long: two names in one
        return store.reserve(_shortened(name, str(header["uid"])))
    try:
        return store.reserve(name)
    except NameRefused:
        return store.reserve(_shortened(name, str(header["uid"])))


def _shortened(name: str, uid: str) -> str:
    """Return the beginning of a name, and the uid: together they have room in a path however they are encoded."""
    return f"{name.encode()[:_SHORTENED_BYTES].decode(errors='ignore')}+{uid}"


def requested(bundle: Bundle) -> dict[str, Any] | None:
    """Return what the server is to be asked at the end; None where the recorder died before it knew."""
    return journal.read_checked(bundle.journal / _REQUEST)


def offered(request: dict[str, Any] | None) -> Offered:
    """Return what the server must have when it is asked this."""
    told = {} if request is None else request.get("offered") or request["request"]
    return Offered(dict(told.get("topics", {})), int(told.get("notes", 0)))


def name_in(bundle: Bundle) -> str:
    """Return the name of a sequence, or of a layer behind its base's, as it lies in the spool."""
    return from_component(bundle.path.name)


def recorded_for(bundle: Bundle) -> str:
    """Return the URL of the server that a sequence was recorded for."""
    return str(read_header(bundle)[KEY]["to"])


def note_arrival(bundle: Bundle, platform: Platform, uid: str) -> None:
    """Note durably that the server has accepted everything, in the recording of this uid: only its end is left."""
    words = {"arrived_ns": platform.wall_ns(), "uid": uid}
    journal.write_checked(bundle.journal / _ARRIVED, words, platform)


def has_arrived(bundle: Bundle, uid: str) -> bool:
    """Tell whether everything was accepted by the server in an earlier attempt, in the recording of this uid.

    A note without a uid is of the one that the spool began with.
    """
    noted = journal.read_checked(bundle.journal / _ARRIVED)
    return noted is not None and (noted.get("uid") or read_header(bundle)["uid"]) == uid


def note_damage(bundle: Bundle, platform: Platform) -> None:
    """Note durably that something that was durable here cannot be delivered, whatever a later attempt meets."""
    if not has_damage(bundle):
        words = {"noted_ns": platform.wall_ns()}
        journal.write_checked(bundle.journal / _DAMAGED, words, platform)


def has_damage(bundle: Bundle) -> bool:
    """Tell whether this attempt or an earlier one met a loss."""
    return (bundle.journal / _DAMAGED).exists()


def note_name(bundle: Bundle, name: str | None, platform: Platform, uid: str | None = None) -> None:
    """Note durably under which name the server is asked for the sequence from now on, by every later attempt.

    With a ``uid`` it is a sequence of its own there. None for the name takes the note back: its own counts again.
    """
    path = bundle.journal / _NAME
    if name is not None:
        words = {"name": name} if uid is None else {"name": name, "uid": uid}
        journal.write_checked(path, words, platform)
    elif path.exists():
        platform.remove(path)
        platform.sync_directory(bundle.journal)


def noted_name(bundle: Bundle, header: dict[str, Any]) -> str | None:
    """Return the other name that was noted for the server, None where none was.

    Raises IntegrityError for a note that is damaged: under its own name the sequence might begin there once more.
    """
    path = bundle.journal / _NAME
    noted = journal.read_checked(path)
    if noted is not None:
        return str(noted["name"])
    if not path.exists():
        return None
    own, old = str(header["name"]), name_in(bundle)
    raise IntegrityError(
        "the note of the name that the sequence has on the server is damaged",
        sequence=old,
        found=str(path),
        next_step=f"look on the server for the uid {header['uid']}. If nothing there has it, delete the file. If a "
        f"sequence has it, deliver with --rename {shlex.quote(old)}=ITS-NAME once the file is deleted, and "
        f"only while {own!r} is another recording's there",
    )


def noted_uid(bundle: Bundle) -> str | None:
    """Return the uid that was noted with the other name; None where it is the recording's own."""
    noted = journal.read_checked(bundle.journal / _NAME)
    return None if noted is None else noted.get("uid")


def name_there(bundle: Bundle, header: dict[str, Any]) -> str:
    """Return the name that the sequence has on the server: its own, or the one that was noted.

    Raises IntegrityError for a note that is damaged.
    """
    return noted_name(bundle, header) or str(header["name"])


class SpoolStore(FolderStore):
    """The store of a spool. Its bundles lie beside the sequences of the folder, where no recovery seals them."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.sequences = root / "spool"

    def waiting(self) -> list[Bundle]:
        """Return what is to be delivered and has no live recorder, in order of the names."""
        found = (self.bundle(name) for name in self.names())
        return [b for b in found if (b.journal / "open.json").exists() and not self.owner_alive(b)]

    @contextmanager
    def on_its_way(self, bundle: Bundle) -> Iterator[None]:
        """Own a bundle while it is delivered. Raises SequenceOwned while its recorder, or somebody else, does."""
        fd, mark = self.platform.lock(bundle.lock), (self.uid, bundle.path.name)
        _ON_THEIR_WAY.add(mark)
        try:
            yield
        finally:
            _ON_THEIR_WAY.discard(mark)
            self.platform.close(fd)

    def is_on_its_way(self, bundle: Bundle) -> bool:
        """Tell whether this process delivers it at the moment."""
        return (self.uid, bundle.path.name) in _ON_THEIR_WAY

    def waiting_for(self, url: str) -> list[str]:
        """Return the names in the spool of what was recorded for this server, has ended and is not there yet.

        What is on its way at the moment counts, and what cannot be read; what is still being recorded does not.
        """
        return [name for name in self.names() if self._waits_for(name, url)]

    def _waits_for(self, name: str, url: str) -> bool:
        try:
            bundle = self.bundle(name)
        except NotFound:  # it came to the server this moment
            return False
        try:
            header = read_header(bundle) if (bundle.journal / "open.json").exists() else {}
            if not header or header[KEY]["to"] != url:
                return False
            is_ours = header["producer"]["pid"] == os.getpid() and requested(bundle) is not None
            return is_ours or self.is_on_its_way(bundle) or not self.owner_alive(bundle)
        except FileNotFoundError:  # so did this
            return False
        except IntegrityError:  # so did this, or nobody can tell for which server it is
            return bundle.path.exists() and (self.is_on_its_way(bundle) or not self.owner_alive(bundle))

    def purge_delivered(self) -> list[Path]:
        """Delete what was delivered whole more than 24 hours ago; return what the disk does not let go.

        Everything else in the trash stays until `gapless gc`: what was damaged here, what somebody discarded
        in a folder that is a store too, and whatever has no readable tombstone. What died an hour ago or more
        before there was anything to deliver is deleted, too.
        """
        limit_ns = self.platform.wall_ns() - TRASH_HOURS * 3_600_000_000_000
        refused: list[Path] = []
        try:
            trashed = sorted(self.trash.iterdir()) if self.trash.is_dir() else []
            half_made = self.abandoned()
        except OSError:
            return [self.trash]
        for path in [*half_made, *trashed]:
            try:
                if path in half_made or _delivered_whole_ns(path) <= limit_ns:
                    self.purge(path)
            except OSError:
                refused.append(path)
        return refused


def _delivered_whole_ns(trashed: Path) -> float:
    """Return when a bundle was put into the trash; never (infinity) unless it was delivered without a loss."""
    try:
        words = json.loads((trashed / "tombstone.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return math.inf
    if not isinstance(words, dict) or "delivered_to" not in words or words.get(DAMAGED_WORD) is not False:
        return math.inf
    since_ns = words.get("discarded_ns")
    return since_ns if isinstance(since_ns, int) else math.inf
