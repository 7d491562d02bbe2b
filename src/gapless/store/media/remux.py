"""A video file of stored packets: their bytes as they are, in a container that players open."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gapless.errors import MediaFailed, NotFound, UsageError
from gapless.store.media.encode import FFV1_OPTIONS
from gapless.store.media.packets import Packet
from gapless.store.media.pyav import load_av
from gapless.store.platform import PLATFORM, Platform

TICKS_PER_S = 90_000  # of MPEG; a picture's time is at most 5.6 µs off, and the error does not add up
MATROSKA_TICKS_PER_S = 1_000  # all that FFmpeg writes: a picture's time is at most 0.5 ms off
TICKS_PER_PICTURE = 512  # where every picture lasts as long as the others
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class VideoFile:
    """What was written. ``moved``: pictures whose time had to be raised above the one before."""

    path: Path
    frames: int
    start_ns: int
    end_ns: int
    moved: int


def write_container(packets: Iterable[Packet], path: Path, platform: Platform = PLATFORM) -> VideoFile:
    """Write H.264 packets as MP4, FFV1 as Matroska, without encoding again; the file is complete or absent.

    Players need times that rise: a picture that is not later than the one before gets the next tick and is
    counted in ``moved``. Raises NotFound if there are no packets, UsageError for pictures that are not video.
    """
    av = load_av()
    partial = path.with_name(f".{path.name}.partial")
    try:
        written = _write(av, iter(packets), partial, path)
        platform.sync_file(partial)
        platform.replace(partial, path)
        platform.sync_directory(path.parent)
    except av.FFmpegError as error:
        raise _unwritable(error) from error
    finally:
        partial.unlink(missing_ok=True)
    return written


def _write(av: Any, packets: Any, partial: Path, path: Path) -> VideoFile:
    first: Packet | None = next(packets, None)
    if first is None:
        raise NotFound("there are no pictures to write", next_step="choose another window")
    if first.encoding not in _OPEN:
        raise UsageError(
            "the pictures are single images, not video",
            found=first.encoding,
            expected=" or ".join(_OPEN),
            next_step="write_images() writes one file each",
        )
    frames, moved, last_tick, end_ns = 0, 0, -1, first.timestamp_ns
    with _OPEN[first.encoding](av, first, partial) as (container, track):
        ticks_per_s = int(1 / track.time_base)
        for packet in _chain(first, packets):
            tick = ((packet.timestamp_ns - first.timestamp_ns) * ticks_per_s + _NS // 2) // _NS
            if tick <= last_tick:
                tick, moved = last_tick + 1, moved + 1
            container.mux(_timed(av, packet.data, packet.keyframe, tick, track))
            frames, last_tick, end_ns = frames + 1, tick, max(end_ns, packet.timestamp_ns)
    return VideoFile(path, frames, first.timestamp_ns, end_ns, moved)


class ConstantRateVideo:
    """An MP4 file of H.264 packets in which picture k is shown at exactly ``k / fps`` seconds, and lasts ``1 / fps``.

    Packets are added in order, without B-frames, their parameter sets in each keyframe. The file is complete,
    and on the disk, when the block is left without an error; a file that is there is replaced.
    """

    def __init__(self, path: Path, fps: int, platform: Platform = PLATFORM) -> None:
        self.path = path
        self.fps = fps
        self.frames = 0
        self.size_bytes = 0
        self._platform = platform
        self._av = load_av()
        self._opened = ExitStack()
        self._container: Any = None
        self._track: Any = None

    def add(self, data: bytes, *, keyframe: bool) -> None:
        """Write the next picture; raises MediaFailed if it cannot be written."""
        try:
            if self._container is None:
                opened = _mp4_like(self._av, data, self.path, self.fps * TICKS_PER_PICTURE)
                self._container, self._track = self._opened.enter_context(opened)
            packet = _timed(self._av, data, keyframe, self.frames * TICKS_PER_PICTURE, self._track)
            packet.duration = TICKS_PER_PICTURE
            self._container.mux(packet)
        except self._av.FFmpegError as error:
            raise _unwritable(error) from error
        self.frames += 1
        self.size_bytes += len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._opened.__exit__(kind, error, trace)
        except self._av.FFmpegError as failure:
            raise _unwritable(failure) from failure
        if kind is None and self.frames:
            self._platform.sync_file(self.path)


def _unwritable(error: Exception) -> MediaFailed:
    return MediaFailed(
        "the video file could not be written",
        found=str(error),
        next_step="look for room and rights where the file should be",
    )


@contextmanager
def _mp4(av: Any, first: Packet, partial: Path) -> Iterator[tuple[Any, Any]]:
    with _mp4_like(av, first.data, partial, TICKS_PER_S) as opened:
        yield opened


@contextmanager
def _mp4_like(av: Any, data: bytes, path: Path, ticks_per_s: int) -> Iterator[tuple[Any, Any]]:
    """Open an MP4 file whose track is described by the parameter sets in a keyframe."""
    options = {"video_track_timescale": str(ticks_per_s)}
    with (
        av.open(io.BytesIO(data), format="h264") as probe,
        av.open(str(path.absolute()), "w", format="mp4", options=options) as container,
    ):
        track = container.add_stream_from_template(probe.streams.video[0])
        track.time_base = Fraction(1, ticks_per_s)
        yield container, track


@contextmanager
def _matroska(av: Any, first: Packet, partial: Path) -> Iterator[tuple[Any, Any]]:
    """Open a Matroska file whose track needs no description but its size: each packet has its header."""
    load_av("ffv1")
    with av.open(str(partial.absolute()), "w", format="matroska") as container:
        track = container.add_stream("ffv1", options=dict(FFV1_OPTIONS))
        track.width, track.height, track.pix_fmt = first.width, first.height, "gray16le"
        track.codec_context.gop_size = track.codec_context.thread_count = 1
        track.time_base = Fraction(1, MATROSKA_TICKS_PER_S)
        yield container, track


_OPEN = {"h264": _mp4, "ffv1": _matroska}


def _chain(first: Packet, rest: Iterable[Packet]) -> Iterable[Packet]:
    yield first
    for packet in rest:
        if (packet.width, packet.height, packet.encoding) != (first.width, first.height, first.encoding):
            raise UsageError(
                "the pictures of a layer differ in size or encoding from the ones before",
                found=f"{packet.width} x {packet.height} {packet.encoding}",
                expected=f"{first.width} x {first.height} {first.encoding}",
                next_step="read the sequence with layers=[], or choose a window",
            )
        yield packet


def _timed(av: Any, data: bytes, keyframe: bool, tick: int, track: Any) -> Any:
    made = av.Packet(data)
    made.pts = made.dts = tick
    made.time_base = track.time_base
    made.is_keyframe = keyframe
    made.stream = track
    return made
