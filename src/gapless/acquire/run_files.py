"""Where a run's devices put bytes that never cross a bridge: pictures into the sequence's containers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gapless.client.media_writer import MediaTopicWriter
from gapless.client.sequence_writer import SequenceWriter
from gapless.errors import UsageError
from gapless.model.ontology.images import Image


class PictureSink:
    """Takes one camera's pictures into its media topic; belongs to the thread that pushes first."""

    def __init__(self, topic: MediaTopicWriter) -> None:
        self._topic = topic

    def push(self, timestamp_ns: int, picture: Any) -> None:
        """Take one picture; it is copied, and durable once it is encoded."""
        self._topic.push_image(timestamp_ns, picture)


class SequenceFiles:
    """The run's files on an open sequence."""

    def __init__(self, sequence: SequenceWriter) -> None:
        self._sequence = sequence

    def frames(self, camera: str, media: str) -> PictureSink:
        """Return the sink of a camera's pictures; the topic has the camera's name."""
        topic = self._sequence.topic_create(camera, ontology_type=Image, media=media)
        if not isinstance(topic, MediaTopicWriter):
            raise UsageError("a camera's pictures are encoded", found=media, expected="png or mp4")
        return PictureSink(topic)

    def own_file(self, device: str, file_name: str, media_type: str) -> Path:
        """Return a path inside the bundle for a file that the device writes itself."""
        return self._sequence.growing_artifact(f"{device}/{file_name}", media_type)
