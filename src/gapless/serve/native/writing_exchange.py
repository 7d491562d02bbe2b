"""An exchange that carries one topic's rows up, and down how far they are durable."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import psutil

from gapless.client.remote import protocol
from gapless.errors import GaplessError
from gapless.serve.native.reading_question import Question
from gapless.serve.refusal import reworded
from gapless.serve.visible import below
from gapless.store.handover import Command

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from pyarrow import flight

    from gapless.serve.call import Call
    from gapless.serve.native.writing_lane import IncomingLane
    from gapless.serve.native.writing_sequence import IncomingSequence
    from gapless.serve.served import Served

_LOOK_S: Final = 0.5  # how soon a failure of the recording is told
_HEARTBEAT_S: Final = 10.0  # a word now and then finds a connection that is half open
_JOIN_S: Final = 10.0  # for the client to take the last word
_CUT_S: Final = 1.0  # for a closed connection to end a write


class Acknowledger:
    """Tells one client what is durable, from a thread of its own: a client that does not listen holds up nobody.

    Words: ``{"accepted": seq}`` after syncs and now and then, ``{"failed": error}`` when the recording broke.
    """

    def __init__(
        self,
        root: Path,
        sequence: IncomingSequence,
        lane: IncomingLane,
        writer: flight.MetadataRecordBatchWriter,
    ) -> None:
        self.error: BaseException | None = None  # why nothing can be told any more
        self._root = root
        self._sequence = sequence
        self._lane = lane
        self._writer = writer
        self._wake = threading.Event()
        self._asked = False
        self._ending = False
        self._thread = threading.Thread(
            target=self._run, name=f"gapless-accept-{lane.declaration.name}", daemon=True
        )

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def wake(self) -> None:
        """There may be something new to tell; called on the recording's thread."""
        self._wake.set()

    def ask(self) -> None:
        """Tell how far it is, also if that was told before."""
        self._asked = True
        self._wake.set()

    def finish(self, call: Call) -> None:
        """Tell the last of it and end; a client that does not take it loses its connection.

        On return no thread is inside the stream, whatever happens: the transport frees it when its call ends.
        """
        self._ending = True
        self.ask()
        try:
            self._thread.join(_JOIN_S)
            while self._thread.is_alive():
                self._cut(call)
                self._thread.join(_CUT_S)
        finally:
            self._thread.join()

    def _cut(self, call: Call) -> None:
        try:
            call.cut()
        except (OSError, psutil.Error) as error:  # such as no file number to look with; the next may have one
            self.error = error

    def _run(self) -> None:
        told, told_s = -1, time.monotonic()
        try:
            while True:
                self._wake.wait(_LOOK_S)
                self._wake.clear()
                ending, asked, self._asked = self._ending, self._asked, False
                seq, now_s = self._lane.durable_seq, time.monotonic()
                if seq != told or asked or now_s - told_s > _HEARTBEAT_S:
                    self._tell({"accepted": seq})
                    told, told_s = seq, now_s
                failure = self._sequence.recording.failure
                if failure is not None:
                    shown = reworded(failure, lambda text: below(self._root, text))
                    self._tell({"failed": json.loads(protocol.encode_error(shown))})
                if ending or failure is not None:
                    return
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: the client is gone, its exchange ends
            self.error = error

    def _tell(self, words: dict[str, Any]) -> None:
        self._writer.write_metadata(protocol.encode(words))


class LaneExchange:
    """Holds one exchange from its first word to its last."""

    def __init__(self, served: Served, sequence: IncomingSequence, lane: IncomingLane) -> None:
        self._served = served
        self._sequence = sequence
        self._lane = lane
        self._synced_seq = -1  # the rows below it are part of a sync that was asked for

    def hold(
        self,
        call: Call,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.MetadataRecordBatchWriter,
    ) -> None:
        """Take rows until the client has no more; what was taken is durable when it hears the last word."""
        teller = Acknowledger(self._served.root, self._sequence, self._lane, writer)
        next_seq = self._lane.take_over(self, teller.wake)
        try:
            writer.write_metadata(protocol.encode({"next_seq": next_seq}))
            teller.start()
            try:
                self._take_all(reader, teller)
                self._sequence.flush()
            finally:
                teller.finish(call)
        except GaplessError as error:
            raise self._sequence.reason(error) from error
        finally:
            self._lane.leave(self)
            self._sequence.touch()

    def _take_all(self, reader: flight.MetadataRecordBatchReader, teller: Acknowledger) -> None:
        name, topic = self._sequence.name, self._lane.declaration.name
        for chunk in reader:
            self._sequence.touch()
            words = Question({} if chunk.app_metadata is None else protocol.decode(chunk.app_metadata))
            if chunk.data is not None:
                self._lane.check_schema(chunk.data.schema)
                self._served.limits.check_batch(chunk.data, sequence=name, topic=topic)
                self._push(words, chunk.data)
            elif "drop" in words.document:
                cause = words.maybe_text("cause") or "dropped"
                self._lane.drop(self, words.whole("first_seq"), words.whole("drop"), cause)
            if words.document.get("sync"):
                self._sync()
                teller.ask()

    def _sync(self) -> None:
        """Ask for a sync, unless one that covers every row was asked for: requests cost memory until they are met."""
        if self._synced_seq != self._lane.next_seq:
            self._synced_seq = self._lane.next_seq
            self._sequence.recording.hand_over.queue.put(Command("flush"))

    def _push(self, words: Question, batch: pa.RecordBatch) -> None:
        unstamped = words.maybe_whole("unstamped") or 0
        new = self._lane.push(self, words.whole("first_seq"), batch, unstamped)
        self._served.metrics.add("gapless_received_rows_total", new)
        self._served.metrics.add("gapless_received_bytes_total", batch.nbytes)
