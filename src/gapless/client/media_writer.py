"""Writing pictures into a topic that encodes them: what ``topic_create(…, media=…)`` returns."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from gapless.client.batching import BatchShaper
from gapless.client.topic_writer import TopicWriter
from gapless.errors import MediaFailed, RecordTooLarge, SchemaRefused, UsageError, ValueRefused
from gapless.model.message import row_reader
from gapless.model.ontology.images import Image
from gapless.model.outcome import TopicErrorPolicy
from gapless.store.declaration import TopicDeclaration
from gapless.store.handover import OverflowPolicy
from gapless.store.lane import GeneralLane
from gapless.store.media.encode import make_encoder
from gapless.store.media.encoder_thread import MAX_PENDING, EncoderLane, EncoderThread
from gapless.store.media.picture import Picture, PictureReader
from gapless.store.media.rows import EncodedImage, Media
from gapless.store.packing import check_time
from gapless.store.writer import TopicState

if TYPE_CHECKING:
    from gapless.client.sequence_writer import SequenceWriter


def media_of(media: Media | str, ontology_type: Any, topic: str) -> Media:
    """Return how the topic is encoded, or raise UsageError, SchemaRefused or MissingExtra."""
    if media not in tuple(Media):
        raise UsageError("unknown media", topic=topic, field="media", found=media, expected=", ".join(Media))
    if ontology_type is not Image:
        raise SchemaRefused(
            "only topics of plain images can be encoded",
            topic=topic,
            found=ontology_type,
            expected="ontology_type=Image",
            next_step="leave media out, or put the other columns into a topic of their own",
        )
    make_encoder(Media(media))  # what is not installed is missed now, not at the first picture
    return Media(media)


def stored_type(media: Media) -> tuple[dict[str, Any], pa.Schema]:
    """Return the ontology and schema of the encoded rows."""
    described = {
        "tag": EncodedImage.tag,
        "version": EncodedImage.version,
        "fingerprint": EncodedImage.fingerprint(),
    }
    return described, EncodedImage.schema().with_metadata({"media": str(media)})


class MediaLane:
    """One producer's way to the encoder: checks each picture at the push and stamps it."""

    def __init__(self, admission: GeneralLane, thread: EncoderThread, media: Media) -> None:
        self._admission = admission  # holds no rows: it knows the owner, the refusal and the policy's drops
        self._thread = thread
        self._pictures = PictureReader(admission.sequence, thread.topic, media)
        self.hand_over = admission.hand_over
        self.drop = admission.drop
        self.check_seq = admission.check_seq

    @property
    def unstamped_rows(self) -> int:
        """Pictures stamped by the sequence's clock."""
        return self._thread.lane.unstamped_rows

    @unstamped_rows.setter
    def unstamped_rows(self, rows: int) -> None:
        self._thread.lane.unstamped_rows = rows

    def push_row(self, timestamp_ns: Any, *values: Any) -> None:
        """Accept one image given as the column values of ``Image``, after the producer's seq if there is one."""
        self._admission.admit()
        seq = None
        if self._admission.declaration.producer_seq:
            seq, *rest = values or (None,)
            values = tuple(rest)
        if len(values) != len(Image.leaves()):
            raise self._refuse("a row has the wrong number of values", len(values), len(Image.leaves()))
        self._accept(timestamp_ns, self.check_seq(seq), self._pictures.of_image(values))

    def push_array(self, timestamp_ns: Any, array: Any, seq: int | None) -> bool:
        """Accept one image given as an array; return False if the one before stands in its place."""
        self._admission.admit()
        return self._accept(timestamp_ns, self.check_seq(seq), self._pictures.of_array(array))

    def push_batch(self, batch: pa.RecordBatch) -> None:
        """Accept the images of a batch of ``Image`` columns; all are checked before the first is taken."""
        self._admission.admit()
        columns = [batch.column(name) for name in Image.schema().names[1:]]
        pictures = []
        for row in range(batch.num_rows):
            data, *rest = (column[row] for column in columns)
            values = (np.frombuffer(data.as_buffer(), np.uint8), *(cell.as_py() for cell in rest))
            pictures.append(self._pictures.of_image(values))
        for picture in pictures:
            self._thread.check(picture)
            if picture.kind != pictures[0].kind:
                raise self._refuse(
                    "the pictures of a batch differ in size or kind", picture.kind, pictures[0].kind
                )
        seqs = batch.column("_seq").to_pylist() if "_seq" in batch.schema.names else [None] * len(pictures)
        for stamp, seq, picture in zip(batch.column(0).to_pylist(), seqs, pictures, strict=True):
            self._thread.submit(stamp, seq, picture, unstamped=False)

    def _accept(self, timestamp_ns: Any, seq: int | None, picture: Picture) -> bool:
        unstamped = timestamp_ns is None
        stamp = (
            self._admission.now_ns()
            if unstamped
            else check_time(timestamp_ns, self._admission.sequence, self._thread.topic)
        )
        return self._thread.submit(stamp, seq, picture, unstamped=unstamped)

    def _refuse(self, message: str, found: object, expected: object) -> ValueRefused:
        return ValueRefused(
            message,
            sequence=self._admission.sequence,
            topic=self._thread.topic,
            found=found,
            expected=expected,
        )


class MediaTopicWriter(TopicWriter):
    """Pushes pictures into one topic; a thread of the topic encodes them and pushes the rows.

    When a push returns, the picture is the recorder's and its array may be changed. It becomes durable
    after it was encoded: ``flush()`` waits for both. When the encoder fails, the next push, flush or close
    of the topic raises MediaFailed; no other format is ever written instead.
    """

    def __init__(
        self,
        sequence: SequenceWriter,
        state: TopicState,
        on_error: TopicErrorPolicy,
        media: Media,
        thread: EncoderThread,
    ) -> None:
        super().__init__(sequence, state, Image, on_error)
        self.media = media
        self._thread = thread
        admission = self._lane
        assert isinstance(admission, GeneralLane)
        self._media_lane = MediaLane(admission, thread, media)
        self._lane = self._media_lane  # type: ignore[assignment] # has what a topic writer uses of a lane
        self._push_row = self._media_lane.push_row
        if on_error is TopicErrorPolicy.Raise:
            self.push_row = self._media_lane.push_row  # type: ignore[method-assign] # as the superclass does
        stored = state.declaration
        self.schema = Image.schema()
        self._shaper = BatchShaper(
            sequence.name,
            TopicDeclaration(
                stored.index, stored.name, self.schema, {}, stored.metadata, producer_seq=stored.producer_seq
            ),
        )
        columns = list(self.schema)[1:]
        self._read = row_reader(Image, [c.name for c in columns], [c.nullable for c in columns])

    @classmethod
    def start(
        cls,
        sequence: SequenceWriter,
        state: TopicState,
        on_error: TopicErrorPolicy,
        media: Media,
        *,
        on_full: OverflowPolicy,
        max_pending: int = MAX_PENDING,
        max_unwritten: int | None = None,
    ) -> MediaTopicWriter:
        """Start the topic's encoder and return the first writer into it."""
        writer = sequence._writer
        lane = EncoderLane(writer.hand_over_of(state), state.declaration, writer.now_ns)
        header = writer.header
        thread = EncoderThread(
            make_encoder(media),
            lane,
            stream="" if header["base"] is None else header["name"],
            max_pending=max_pending,
            max_unwritten=max_unwritten,
            overflow=on_full,
            gate=sequence._client.encoder_gate,
        )
        state.lanes.append(lane)
        return cls(sequence, state, on_error, media, thread)

    def push_image(self, timestamp_ns: int | None, array: Any, *, seq: int | None = None) -> bool:
        """Record one picture given as an array: uint8 ``[h, w, 3]`` (RGB) or ``[h, w]``; png also uint16 ``[h, w]``,
        which is all that ffv1 takes.

        The array is copied once, or kept without a copy if it is read-only. Waits for room when
        ``max_pending_frames`` pictures wait for the encoder. Returns False if, under ``on_full="repeat"``, the
        picture before is shown again in its place; True otherwise.
        """
        try:
            return self._media_lane.push_array(timestamp_ns, array, seq)
        except (ValueRefused, RecordTooLarge) as error:
            self._refused(error, timestamp_ns, [array])
            return True

    @property
    def pending_frames(self) -> int:
        """Pictures accepted and not encoded yet."""
        return self._thread.pending

    @property
    def blocked_ns(self) -> int:
        """How long pushes have waited for the encoder."""
        return self._thread.blocked_ns

    def flush(self, timeout_s: float | None = None) -> None:
        """Return when every picture pushed before the call is encoded and durable. Works from any thread."""
        self._sequence._check_active()
        limit_s = self._sequence.deadline_s if timeout_s is None else timeout_s
        give_up = time.monotonic() + limit_s
        self._thread.drain(limit_s)
        super().flush(max(0.0, give_up - time.monotonic()))

    def lane(self) -> TopicWriter:
        """Return a writer into the same topic and encoder for use from another thread."""
        self._sequence._check_active()
        other = MediaTopicWriter(self._sequence, self._state, self.on_error, self.media, self._thread)
        other.status = self.status
        return other

    def _close(self) -> None:
        failure = self._thread.close(self._sequence.deadline_s)
        super()._close()
        if failure is not None:
            raise failure


class EncoderThreads:
    """The encoders of one sequence: ended before its journal is."""

    def __init__(self) -> None:
        self._threads: list[EncoderThread] = []

    def start(
        self,
        sequence: SequenceWriter,
        state: TopicState,
        on_error: TopicErrorPolicy,
        media: Media,
        *,
        on_full: OverflowPolicy,
        max_pending: int = MAX_PENDING,
        max_unwritten: int | None = None,
    ) -> MediaTopicWriter:
        """Start the encoder of a new topic and return the first writer into it."""
        topic = MediaTopicWriter.start(
            sequence,
            state,
            on_error,
            media,
            on_full=on_full,
            max_pending=max_pending,
            max_unwritten=max_unwritten,
        )
        self._threads.append(topic._thread)
        return topic

    def drain(self, timeout_s: float) -> MediaFailed | None:
        """Wait until all that was pushed before is encoded; return the first encoder's failure not told of yet."""
        give_up = time.monotonic() + timeout_s
        failures: list[MediaFailed] = []
        for thread in self._threads:
            known = thread.told
            try:
                thread.drain(max(0.0, give_up - time.monotonic()))
            except MediaFailed as failure:
                if not known:
                    failures.append(failure)
        return _first(failures)

    def close(self, timeout_s: float) -> MediaFailed | None:
        """End all encoders; return the first failure that no caller has heard of."""
        unheard = [thread.close(timeout_s) for thread in self._threads]
        return _first(failure for failure in unheard if isinstance(failure, MediaFailed))


def _first(failures: Iterable[MediaFailed]) -> MediaFailed | None:
    return next(iter(failures), None)
