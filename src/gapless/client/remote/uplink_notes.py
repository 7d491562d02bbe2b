"""Notes of a sequence on their way to the server: gaps and artifacts, numbered, each of them once."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pyarrow as pa

from gapless.client.remote import protocol
from gapless.client.remote.connection import Connection
from gapless.client.remote.spool import Spool
from gapless.errors import NameTaken, NotFound
from gapless.model.names import fold, to_component
from gapless.store.frame import Kind
from gapless.store.handover import Command

CHUNK_BYTES = 1 << 20
_SCHEMA = pa.schema([pa.field("data", pa.binary(), nullable=False)])
_KINDS = {Kind.GAP: "gap", Kind.ARTIFACT: "artifact"}


@dataclass(frozen=True, slots=True)
class Note:
    """A gap or an artifact. ``source``: the file to upload, None where the document says all."""

    kind: Kind
    document: dict[str, Any]
    source: Path | None = None

    def send(self, connection: Connection, name: str, uid: str, number: int) -> None:
        """Send it as the note of this number; the server skips what it has already."""
        if self.source is not None:
            upload(connection, name, uid, number, self.document, self.source)
            return
        words = {"name": name, "uid": uid, "n": number, "kind": _KINDS[self.kind], "document": self.document}
        connection.action(protocol.NOTE, words)

    def keep(self, spool: Spool) -> None:
        """Record it in the spool."""
        if self.source is None:
            spool.note(self.kind, self.document)
        else:
            spool.add_artifact(self.source, self.document["name"], self.document["media_type"])


class NoteSender:
    """Sends notes in their order on a thread of its own, which begins with the first.

    ``attempt(call)`` calls with a connection until that succeeds, and returns False when the spool has taken
    over instead; ``fail`` is told of a refusal that nobody waits for.
    """

    def __init__(
        self,
        name: str,
        uid: str,
        attempt: Callable[[Callable[[Connection], None]], bool],
        spool: Callable[[], Spool | None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self.accepted = 0
        self._name = name
        self._uid = uid
        self._attempt = attempt
        self._spool = spool
        self._fail = fail
        self._queue: SimpleQueue[tuple[Note | None, Command] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._artifacts: set[str] = set()  # folded names

    def put(self, note: Note, *, waited_for: bool) -> Command:
        """Queue a note; the command is done when it is durable where the sequence is.

        A refusal is the command's error if somebody waits for it, and ends the recording otherwise.
        """
        command = Command("note", waited_for)
        with self._lock:
            self._queue.put((note, command))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name=f"gapless-notes-{self._name}", daemon=True
                )
                self._thread.start()
        return command

    def put_fence(self) -> Command:
        """Return a command that is done when everything queued before it is."""
        command = Command("notes")
        with self._lock:
            if self._thread is None:
                command.done.set()
            else:
                self._queue.put((None, command))
        return command

    def artifact(self, path_or_uri: str | os.PathLike[str], name: str | None, media_type: str) -> Note:
        """Return the note of a file or an address. Raises NotFound, NameTaken, NameRefused."""
        text = os.fspath(path_or_uri)
        if "://" in text and not text.startswith("file://"):
            name = name or text.rsplit("/", 1)[-1] or text
            entry: dict[str, Any] = {"media_type": media_type, "uri": text, "bytes": None, "sha256": None}
            source = None
        else:
            source = Path(text.removeprefix("file://"))
            if not source.is_file():
                raise NotFound("there is no such file to add", sequence=self._name, found=str(source))
            name = name or source.name
            to_component(name)
            entry = {"media_type": media_type}
        if fold(name) in self._artifacts:
            raise NameTaken("the sequence has an artifact of that name", sequence=self._name, found=name)
        self._artifacts.add(fold(name))
        return Note(Kind.ARTIFACT, {"name": name, **entry}, source)

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
                if note is not None:
                    self._deliver(note)
                    self.accepted += 1
            except BaseException as error:  # noqa: BLE001 - the thread's boundary: a caller or the recording raises it
                command.error = error
                if note is not None:
                    self._artifacts.discard(fold(note.document.get("name", "")))
                if not command.argument:
                    self._fail(error)
            command.done.set()

    def _deliver(self, note: Note) -> None:
        number = self.accepted
        sent = self._attempt(lambda connection: note.send(connection, self._name, self._uid, number))
        spool = self._spool()
        if spool is not None and (not sent or number >= spool.notes):
            note.keep(spool)  # also one that reached the server while the spool was made: it counts once


def upload(
    connection: Connection, name: str, uid: str, number: int, document: dict[str, Any], source: Path
) -> None:
    """Upload a file; it is durable and noted on return, and a broken upload leaves nothing."""
    command = {
        protocol.KIND: protocol.ARTIFACT,
        "name": name,
        "uid": uid,
        "artifact": document["name"],
        "media_type": document["media_type"],
        "sha256": digest(source),
        "n": number,
    }
    stream = connection.put(command, _SCHEMA)
    for chunk in _chunks(source):
        stream.write(pa.record_batch([pa.array([chunk], pa.binary())], schema=_SCHEMA))
    stream.finish()


def digest(source: Path) -> str:
    """Return the SHA-256 of a file."""
    found = hashlib.sha256()
    for chunk in _chunks(source):
        found.update(chunk)
    return found.hexdigest()


def _chunks(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
