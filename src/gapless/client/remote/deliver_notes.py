"""The gaps and artifacts of a spool on their way to the server: each under its number, a lost one told as a gap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gapless.client.remote.connection import Connection
from gapless.client.remote.spool import KEY
from gapless.client.remote.uplink_notes import Note, digest, lost_note
from gapless.store.frame import Kind
from gapless.store.layout import Bundle

DAMAGED = "the spool is damaged"


class SpooledNotes:
    """Sends the notes of one bundle in order; those that the server has are passed over.

    What the spool does not have any more takes its number as a gap, so that the server's count is whole and
    the loss can be read there. ``elsewhere``: that many of the numbers are of another sequence, of which this
    one has the rest.
    """

    def __init__(
        self,
        bundle: Bundle,
        connection: Connection,
        header: dict[str, Any],
        known: int,
        on_loss: Callable[[], None],
        elsewhere: int = 0,
    ) -> None:
        self.sent = int(header[KEY]["notes"])  # those before are not in the spool
        self.known = elsewhere + known  # how many the server had at the beginning
        self._elsewhere = elsewhere
        self._first = self.sent
        self._bundle = bundle
        self._connection = connection
        self._header = header
        self._on_loss = on_loss

    def send(self, number: int, kind: Kind, document: dict[str, Any]) -> None:
        """Send the note that has this number in the spool; the notes missing before it are told as lost."""
        self.fill(self._first + number)
        if "path" not in document:
            self._send(Note(kind, document))
            return
        source = self._bundle.path / document["path"]
        if not source.is_file() or digest(source) != document["sha256"]:
            self.lose(f"{DAMAGED}: artifact {document['name']!r} is lost")
            return
        told = {"name": document["name"], "media_type": document["media_type"]}
        self._send(Note(kind, told, source))

    def fill(self, number: int) -> None:
        """Tell every note below this number that was not sent as lost."""
        while self.sent < number:
            self.lose(f"{DAMAGED}: a gap or an artifact is lost")

    def lose(self, cause: str) -> None:
        """Tell of a loss, as the next note: a gap of nobody knows how many rows. What the server has is no loss."""
        if self.sent >= self.known:
            self._on_loss()
        self.tell(cause)

    def tell(self, cause: str) -> None:
        """Say as the next note that something is not here: a gap of nobody knows how many rows."""
        self._send(lost_note(self._header["opened_ns"], cause))

    def _send(self, note: Note) -> None:
        number, self.sent = self.sent, self.sent + 1
        if number >= self.known:
            header = self._header
            note.send(self._connection, header["name"], header["uid"], number - self._elsewhere)
