"""The writer of a recorder's camera: video on an encoder thread, masks and depth as images without loss.

There is exactly one picture for each row of the frame table, whatever the encoder does: a picture that it
has no room for waits, is replaced by the one before it and marked, or fails the episode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gapless.model.ontology.images import Image
from gapless.model.picture_summary import PictureSummary
from gapless.observe.recorder import Camera
from gapless.observe.writers.writer import Instant
from gapless.store.episode_rows import FrameFlag
from gapless.store.handover import OverflowPolicy
from gapless.store.media.frame_table import FRAME_TABLE, frame_table_of

if TYPE_CHECKING:
    from gapless.client.media_writer import MediaTopicWriter
    from gapless.client.sequence_writer import SequenceWriter
    from gapless.client.topic_writer import TopicWriter

_MAX_UNWRITTEN = 4  # a program that can wait does so, and a kill takes no more pictures than that
_REPEATED = int(FrameFlag.REPEATED_IMAGE)


class PictureWriter:
    """Writes one picture and its row for each instant."""

    def __init__(self, recorder: str, camera: Camera, on_full: OverflowPolicy, *, may_wait: bool) -> None:
        self.camera = camera
        self.topic = camera.spec.topic
        self.pictures = 0
        self.repeated = 0
        self.summary: PictureSummary
        self._recorder = recorder
        self._on_full = on_full
        self._may_wait = may_wait  # in real time a slow sync must not make the next ticks late
        self._writer: MediaTopicWriter
        self._table: TopicWriter

    def open(self, sequence: SequenceWriter) -> None:
        """Make the topic of the pictures, start its encoder, and make the topic of their rows."""
        spec = self.camera.spec
        metadata: dict[str, Any] = {
            **spec.metadata,
            "recorder": self._recorder,
            "version": spec.version,
            "height": spec.height,
            "width": spec.width,
            "pixels": spec.pixels,
        }
        self.pictures = self.repeated = 0
        self.summary = PictureSummary()
        self._writer = sequence.topic_create(
            self.topic,
            metadata,
            ontology_type=Image,
            media=spec.media,
            on_full=self._on_full,
            max_unwritten_frames=_MAX_UNWRITTEN if self._may_wait else None,
        )
        self._table = sequence.topic_create(
            frame_table_of(self.topic), {"recorder": self._recorder, "camera": self.topic}, schema=FRAME_TABLE
        )

    def append(self, instant: Instant) -> None:
        """Give the picture that the camera read last to the encoder, and write its row."""
        taken = self._writer.push_image(instant.time_ns, self.camera.picture)
        flags = instant.flags if taken else instant.flags | _REPEATED
        self._table.push_row(instant.time_ns, self.pictures, instant.captured_ns, flags)
        if taken:
            self.summary.add(self.pictures, self.camera.picture)
        self.pictures += 1
        self.repeated += not taken

    def gap(self, count: int | None, cause: str, start_ns: int, end_ns: int) -> None:
        """Record missing ticks, of the pictures and of their rows."""
        for writer in (self._writer, self._table):
            writer.gap(count, cause, start_ns=start_ns, end_ns=end_ns, durable=False)
