"""Notes of a sequence on their way to the server: gaps and artifacts, numbered, each of them once."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pyarrow as pa

from gapless.client.remote import protocol
from gapless.client.remote.connection import Connection
from gapless.client.remote.spool import Spool
from gapless.errors import (
    KeyRefused,
    NameTaken,
    NotFound,
    RecordingFailed,
    RightMissing,
    StateError,
    StorageFailed,
    UsageError,
    ValueRefused,
)
from gapless.model.names import fold, to_component
from gapless.store.frame import Kind
from gapless.store.handover import Command
from gapless.store.platform import PLATFORM

CHUNK_BYTES = 256 << 10
UNHEARD_CHUNKS = 64  # on the way at one time: 80 MB/s at a round trip of 200 ms
_SCHEMA = pa.schema([pa.field("data", pa.binary(), nullable=False)])
_KINDS = {Kind.GAP: "gap", Kind.ARTIFACT: "artifact"}
_REFUSALS = (UsageError, ValueRefused, NotFound, KeyRefused, RightMissing)  # nothing was noted then


@dataclass(frozen=True, slots=True)
class Note:
    """A gap or an artifact. ``source``: the file to upload, None where the document says all.

    ``announced``: each SHA-256 that the file has had when it was sent or spooled; which one came is not known.
    """

    kind: Kind
    document: dict[str, Any]
    source: Path | None = None
    announced: set[str] = field(default_factory=set, compare=False)

    def send(
        self,
        connection: Connection,
        name: str,
        uid: str,
        number: int,
        moved: Callable[[int], None] = lambda _size_bytes: None,
    ) -> None:
        """Send it as the note of this number; the server skips what it has already.

        ``moved(size_bytes)`` is called for each piece of a file that was read or sent.
        """
        if self.source is not None:
            upload(connection, name, uid, number, self, self.source, moved)
            return
        words = {"name": name, "uid": uid, "n": number, "kind": _KINDS[self.kind], "document": self.document}
        connection.action(protocol.NOTE, words)

    def keep(self, spool: Spool) -> None:
        """Record it in the spool."""
        if self.source is None:
            spool.note(self.kind, self.document)
        else:
            self.announced.add(digest(self.source))
            spool.add_artifact(self.source, self.document["name"], self.document["media_type"])

    def is_same_as(self, note: Note) -> bool:
        """Tell whether the other is the same: as far as this one's file was read, it had the bytes it has now."""
        if self != note or note.source is None or not self.announced:
            return self == note
        return self.announced == {digest(note.source)}


def lost_note(timestamp_ns: int, cause: str) -> Note:
    """Return what takes the number of a note that is lost: a gap of nobody knows how many rows."""
    unknown = dict.fromkeys(("first_seq", "count", "end_ns"))
    return Note(Kind.GAP, {"timestamp_ns": timestamp_ns, "topic": "*", "cause": cause} | unknown)


@dataclass(eq=False)
class Addition:
    """An artifact on its way.

    ``told``: whoever adds it knows that it is there, or that the server may have it, so its name is taken for good.
    """

    note: Note
    command: Command
    told: bool = False


@dataclass
class Moved:
    """How far files have come: bytes read or sent so far, again after a cut; how often, and when at last."""

    size_bytes: int = 0
    times: int = 0
    at_s: float = field(default_factory=time.monotonic)

    def __call__(self, size_bytes: int) -> None:
        """Hear of some more, or of a sign that those before were taken."""
        self.size_bytes += size_bytes
        self.times += 1
        self.at_s = time.monotonic()


class NoteSender:
    """Sends notes in their order on a thread of its own, which begins with the first.

    ``attempt(call)`` calls with a connection until that succeeds, and returns False when the spool has taken
    over instead; ``count(connection)`` asks how many notes the server has; ``fail`` is told of a refusal that
    nobody waits for. A number is used again only when it is certain that no note has it.
    """

    def __init__(
        self,
        name: str,
        uid: str,
        attempt: Callable[[Callable[[Connection], None]], bool],
        count: Callable[[Connection], int],
        spool: Callable[[], Spool | None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self.accepted = 0
        self.counting = threading.Lock()  # held while the number above decides what a new spool begins with
        self.moved = Moved()
        self.is_copying = False  # into the spool: that takes as long as the disk needs, as in a folder
        self._name = name
        self._uid = uid
        self._attempt = attempt
        self._count = count
        self._spool = spool
        self._fail = fail
        self._unsure = False  # whether the server may have one note more than is known
        self._unanswered: Note | None = None  # the one that it may be
        self._there: list[Note] = []  # those that the server had though nobody heard that it took them
        self._queue: SimpleQueue[tuple[Note | None, Command] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._files: dict[str, Addition] = {}  # by folded name
        self._unheard: list[tuple[Note, Command]] = []  # on their way, though their callers gave up waiting

    def put(self, note: Note, *, waited_for: bool) -> Command:
        """Queue a note; the command is done when it is durable where the sequence is.

        A refusal is the command's error if somebody waits for it, and ends the recording otherwise. A note that
        :meth:`give_up` was called with is not queued again: the command is that of the first time, and waited
        for as this call says.
        """
        command = Command("note", waited_for)
        with self._lock:
            known = self._taken_up(note, waited_for)
            if known is not None:
                return known
            self._queue.put((note, command))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name=f"gapless-notes-{self._name}", daemon=True
                )
                self._thread.start()
        return command

    def give_up(self, note: Note, command: Command) -> None:
        """Hear that a caller waits no longer for a note; the same note once more is that one."""
        with self._lock:
            self._unheard.append((note, command))

    def _taken_up(self, note: Note, waited_for: bool) -> Command | None:
        for place, (known, command) in enumerate(self._unheard):
            if known == note:
                del self._unheard[place]
                command.argument = waited_for  # before the look: a refusal that it does not see yet sees this
                return command if command.error is None else None
        return None

    def put_fence(self) -> Command:
        """Return a command that is done when everything queued before it is."""
        command = Command("notes")
        with self._lock:
            if self._thread is None:
                command.done.set()
            else:
                self._queue.put((None, command))
        return command

    def add(self, path_or_uri: str | os.PathLike[str], name: str | None, media_type: str) -> Addition:
        """Queue a file or an address; the one that is under way already if an earlier call gave up waiting for it.

        Raises NotFound, NameTaken, NameRefused.
        """
        note = self._artifact(path_or_uri, name, media_type)
        key = fold(note.document["name"])
        known = self._files.get(key)
        if known is not None and (known.told or known.command.error is None):
            if known.told or not known.note.is_same_as(note):
                raise NameTaken(
                    "the sequence has an artifact of that name",
                    sequence=self._name,
                    found=note.document["name"],
                )
            return known
        added = self._files[key] = Addition(note, self.put(note, waited_for=True))
        return added

    def _artifact(self, path_or_uri: str | os.PathLike[str], name: str | None, media_type: str) -> Note:
        text = os.fspath(path_or_uri)
        if "://" in text and not text.startswith("file://"):
            name = name or text.rsplit("/", 1)[-1] or text
            entry: dict[str, Any] = {"media_type": media_type, "uri": text, "bytes": None, "sha256": None}
            return Note(Kind.ARTIFACT, {"name": name, **entry})
        source = Path(text.removeprefix("file://"))
        if not source.is_file():
            raise NotFound("there is no such file to add", sequence=self._name, found=str(source))
        name = name or source.name
        to_component(name)
        return Note(Kind.ARTIFACT, {"name": name, "media_type": media_type}, source)

    def stop(self, timeout_s: float) -> None:
        """End the thread when it has sent what is queued, or given up."""
        with self._lock:
            thread = self._thread
            self._queue.put(None)
        if thread is not None:
            thread.join(timeout_s)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            note, command = item
            try:
                self._settle()
                if note is not None:
                    self._deliver(note)
            except BaseException as error:  # noqa: BLE001 - the thread's boundary: a caller or the recording raises it
                command.error = error
                if note is not None and not command.argument:
                    self._fail(error)
            command.done.set()

    def _settle(self) -> None:
        """Learn how many notes the server has, where an answer was lost. Raises what hinders that."""
        if not self._unsure:
            return
        if not self._attempt(self._recount):
            raise self._lost_count()
        self._unsure = False

    def _recount(self, connection: Connection) -> None:
        found = self._count(connection)
        if found not in (self.accepted, self.accepted + 1):
            raise StateError(
                "the server's notes are not those that it was sent",
                sequence=self._name,
                found=f"{found} notes",
                expected=f"{self.accepted} or {self.accepted + 1}",
            )
        if found > self.accepted and self._unanswered is not None:
            self._there.append(self._unanswered)
        with self.counting:
            self.accepted = found

    def _deliver(self, note: Note) -> None:
        if note.kind == Kind.GAP and note in self._there:
            self._there.remove(note)
            return  # told again behind an answer that was lost
        number = self.accepted
        try:
            sent = self._attempt(lambda connection: self._send(connection, note, number))
        except NameTaken:
            if not any(known.is_same_as(note) for known in self._there):
                raise
            return  # it was counted already
        with self.counting:
            spool = self._spool()
            if spool is None:
                self.accepted += 1
        if spool is not None:  # also one that reached the server while the spool was made: it counts once
            self._unsure |= sent
            self._keep(note, number, spool)
            self.accepted += 1
        self._unsure = False

    def _send(self, connection: Connection, note: Note, number: int) -> None:
        try:
            note.send(connection, self._name, self._uid, number, self.moved)
        except BaseException as error:
            if not isinstance(error, _REFUSALS):
                self._unsure = True
                self._unanswered = None if isinstance(error, StateError) else note
            raise

    def _keep(self, note: Note, number: int, spool: Spool) -> None:
        if number != spool.next_note:
            raise self._lost_count()
        self.is_copying = True
        try:
            note.keep(spool)
        except (NotFound, NameTaken, StorageFailed, OSError):
            if self._unsure and note.source is not None:
                self._give_up(note.document["name"], spool)
            raise
        finally:
            self.is_copying = False
            self.moved(0)

    def _give_up(self, artifact: str, spool: Spool) -> None:
        """Let a gap take the number of a file that only the server may have, so that the next note is none of its."""
        lost = f"artifact {artifact!r} could not be kept in the spool"
        lost_note(PLATFORM.wall_ns(), lost).keep(spool)
        self.accepted += 1
        self._unsure = False
        self._files[fold(artifact)].told = True

    def _lost_count(self) -> RecordingFailed:
        return RecordingFailed(
            "the server went away before it said whether it has the last note",
            sequence=self._name,
            next_step="end the sequence; what was accepted is on the server, the rest in the spool",
        )


def upload(
    connection: Connection,
    name: str,
    uid: str,
    number: int,
    note: Note,
    source: Path,
    moved: Callable[[int], None],
) -> None:
    """Upload a note's file; it is durable and noted on return, and a broken upload leaves nothing.

    The server answers each chunk, so that ``moved`` tells to the end whether the file gets on.
    """
    try:
        sha256 = digest(source, moved)
        note.announced.add(sha256)
        command = {
            protocol.KIND: protocol.ARTIFACT,
            "name": name,
            "uid": uid,
            "artifact": note.document["name"],
            "media_type": note.document["media_type"],
            "sha256": sha256,
            "n": number,
            "answers": True,
        }
        stream = connection.put(command, _SCHEMA)
        for sent, chunk in enumerate(_chunks(source)):
            stream.write(pa.record_batch([pa.array([chunk], pa.binary())], schema=_SCHEMA))
            moved(len(chunk))
            if sent >= UNHEARD_CHUNKS and stream.receive() is None:
                break  # the server takes no more: the end says why
        stream.finish(lambda: moved(0))
    except OSError as error:
        raise StorageFailed(
            "a file that is to be added cannot be read", sequence=name, found=str(error)
        ) from error


def digest(source: Path, moved: Callable[[int], None] = lambda _size_bytes: None) -> str:
    """Return the SHA-256 of a file, or raise StorageFailed where it cannot be read."""
    found = hashlib.sha256()
    try:
        for chunk in _chunks(source):
            found.update(chunk)
            moved(len(chunk))
    except OSError as error:
        raise StorageFailed("a file that is to be added cannot be read", found=str(error)) from error
    return found.hexdigest()


def _chunks(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
