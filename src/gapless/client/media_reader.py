"""Reading pictures: as arrays, as a video file, as image files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt

from gapless.errors import NameTaken, UsageError
from gapless.store.media.decode import Decoder
from gapless.store.media.packets import packets
from gapless.store.media.remux import VideoFile, write_container
from gapless.store.reader import TopicReader


def frames(
    reader: TopicReader, start_ns: int | None, end_ns: int | None, *, skip_undecodable: bool
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield time and pixels of each picture in ``[start_ns, end_ns)`` in the order they were pushed."""
    decoder: Decoder | None = None
    stream: str | None = None
    for packet in packets(reader, start_ns, end_ns, skip_undecodable=skip_undecodable):
        if decoder is None or packet.stream != stream:
            decoder = Decoder(packet.encoding, packet.width, packet.height)
            stream = packet.stream
        pixels = decoder.decode(packet.data, packet.pixels)
        if packet.wanted:
            yield packet.timestamp_ns, pixels


def write_video(
    reader: TopicReader,
    path: str | os.PathLike[str],
    start_ns: int | None,
    end_ns: int | None,
    *,
    skip_undecodable: bool,
) -> VideoFile:
    """Write the pictures of ``[start_ns, end_ns)``, from the keyframe at or before it, as an MP4 or Matroska file."""
    target = Path(path)
    if target.exists():
        raise NameTaken(f"{target} exists", topic=reader.name, next_step="choose another path")
    return write_container(packets(reader, start_ns, end_ns, skip_undecodable=skip_undecodable), target)


def write_images(
    reader: TopicReader, folder: str | os.PathLike[str], start_ns: int | None, end_ns: int | None
) -> list[Path]:
    """Write the PNG files of ``[start_ns, end_ns)`` into a folder; return their paths in order."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for packet in packets(reader, start_ns, end_ns):
        if packet.encoding != "png":
            raise UsageError(
                "the pictures are video, not single images",
                topic=reader.name,
                found=packet.encoding,
                expected="png",
                next_step="write_video() writes them as they are, frames() gives their pixels",
            )
        path = target / f"{len(paths):08d}_{packet.timestamp_ns}.png"
        try:
            with path.open("xb") as file:
                file.write(packet.data)
        except FileExistsError as error:
            raise NameTaken(f"{path} exists", topic=reader.name, next_step="choose another folder") from error
        paths.append(path)
    return paths
