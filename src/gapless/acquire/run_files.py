"""Where a run's devices put bytes that never cross a bridge: pictures into the sequence's containers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gapless.acquire.adapter import FrameSink
from gapless.client.media_writer import MediaTopicWriter
from gapless.client.sequence_writer import SequenceWriter
from gapless.model.ontology.images import Image


class PictureSink:
    """Takes one camera's pictures into its media topic; belongs to the thread that pushes first."""

    def __init__(self, topic: MediaTopicWriter) -> None:
        self._topic = topic

    def push(self, timestamp_ns: int, picture: Any) -> None:
        """Take one picture; it is copied, and durable once it is encoded."""
        self._topic.push_image(timestamp_ns, picture)


class LeftOut:
    """Takes the pictures of a camera that the recording plan leaves out, and keeps none."""

    def push(self, timestamp_ns: int, picture: Any) -> None:
        """Forget one picture."""


class SequenceFiles:
    """The run's files on an open sequence. ``keeps`` tells which cameras' pictures are recorded."""

    def __init__(
        self, sequence: SequenceWriter, *, keeps: Callable[[str], bool] = lambda _camera: True
    ) -> None:
        self._sequence = sequence
        self._keeps = keeps

    def frames(self, camera: str, media: str) -> FrameSink:
        """Return the sink of a camera's pictures; the topic has the camera's name.

        Raises UsageError for an unknown ``media``, MissingExtra, NameTaken for a second sink of a camera.
        """
        if not self._keeps(camera):
            return LeftOut()
        topic = self._sequence.topic_create(camera, ontology_type=Image, media=media)
        assert isinstance(topic, MediaTopicWriter)  # media is a name: None makes plain topics
        return PictureSink(topic)

    def own_file(self, device: str, file_name: str, media_type: str) -> Path:
        """Return a path inside the bundle for a file that the device writes itself.

        Kept whatever the recording plan says: a program must write somewhere. Raises NameTaken.
        """
        return self._sequence.growing_artifact(f"{device}/{file_name}", media_type)


__all__ = ["LeftOut", "PictureSink", "SequenceFiles"]
