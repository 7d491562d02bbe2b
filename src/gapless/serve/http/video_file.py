"""A topic of pictures as one video file that browsers play: its packets as they were stored, not encoded again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from gapless.errors import NotFound, SequenceOpen
from gapless.store.media.packets import packets
from gapless.store.media.remux import write_container

if TYPE_CHECKING:
    from pathlib import Path

    from gapless.serve.http.picture_index import PictureIndex
    from gapless.serve.http.video_cache import VideoCache
    from gapless.store.reader import TopicReader

MEDIA_TYPE: Final = "video/mp4"
_PLAYED: Final = "h264"


def has_video(reader: TopicReader, index: PictureIndex) -> bool:
    """Tell whether a topic has a video file: H.264 pictures of one size, and no more to come."""
    if index.encoding != _PLAYED or not _sealed(reader):
        return False
    if not index.decodable.any():
        return False
    return all(bool(sizes.min() == sizes.max()) for sizes in (index.width, index.height))


def video_of(reader: TopicReader, index: PictureIndex, cache: VideoCache) -> tuple[Path, str]:
    """Return the video file of a topic and what changes when its bytes would.

    Raises NotFound for pictures that are no video, SequenceOpen while more may come, LimitReached where there
    is no room for it.
    """
    if index.encoding == _PLAYED and not _sealed(reader):
        raise SequenceOpen(
            "there is no video file before the sequence is sealed",
            sequence=reader.bundle.name, topic=reader.name, next_step="…/picture shows its pictures meanwhile",
        )  # fmt: skip
    if not has_video(reader, index):
        raise NotFound(
            "the topic has no video that browsers play", sequence=reader.bundle.name, topic=reader.name,
            found=index.encoding or "no pictures", expected="h264 of one size",
            next_step="…/picture shows its pictures",
        )  # fmt: skip
    tag = _tag(reader)
    about_bytes = sum(part.size_bytes for part in reader.parts())
    path = cache.file(
        f"{tag}.mp4", about_bytes, lambda path: write_container(packets(reader, skip_undecodable=True), path)
    )
    return path, tag


def _sealed(reader: TopicReader) -> bool:
    return all(folder.manifest is not None for folder in reader.bundle.folders)


def _tag(reader: TopicReader) -> str:
    digests = [f.manifest["content_digest"] for f in reader.bundle.folders if f.manifest is not None]
    text = "\n".join([str(reader.bundle.path), reader.name, *digests])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
