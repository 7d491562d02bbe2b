"""The pictures of one camera of a dataset: stored packets where nothing is lost by it, else decoded ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gapless.errors import IntegrityError
from gapless.exchange.lerobot.dataset import EpisodeEntry, Feature, LeRobotDatasetFiles
from gapless.exchange.lerobot.track import Track, open_video, read_track
from gapless.store.media.decode import Decoder
from gapless.store.media.pyav import load_av

_TRIED = 2  # pictures decoded to see whether each comes out as soon as its packet is in


class AccessUnit(NamedTuple):
    """One H.264 picture in Annex B form; the parameter sets are in the bytes of a keyframe."""

    data: bytes
    keyframe: bool
    width: int
    height: int


def why_not_packets(
    dataset: LeRobotDatasetFiles, camera: Feature, entries: Sequence[EpisodeEntry]
) -> str | None:
    """Return why a camera's packets cannot be stored as they are, None if they can."""
    by_name: dict[str, list[EpisodeEntry]] = {}
    for entry in entries:
        by_name.setdefault(dataset.video_file(camera.key, entry.videos[camera.key].place), []).append(entry)
    for name, inside in sorted(by_name.items()):
        track = read_track(dataset.path / name)
        if track.codec != "h264":
            return f"{track.codec} is not stored packet by packet"
        if (np.diff(track.pts) <= 0).any():
            return "the pictures are not in the order they are shown"
        if any(not track.keyframes[first_picture(entry, camera.key, dataset.fps)] for entry in inside):
            return "an episode does not begin with a keyframe"
        if not _comes_at_once(dataset.path / name, track, dataset.fps):
            return "the video says that pictures may be out of order"
    return None


def first_picture(entry: EpisodeEntry, key: str, fps: int) -> int:
    """Return the number of an episode's first picture in its video file."""
    return round(entry.videos[key].from_s * fps)


def packets(path: Path, first: int, count: int, fps: int) -> Iterator[AccessUnit]:
    """Yield pictures ``[first, first + count)`` of an H.264 file as they are."""
    av = load_av("h264")
    with open_video(path) as (container, stream):
        annex_b = av.bitstream.BitStreamFilterContext("h264_mp4toannexb", stream)
        width, height = stream.codec_context.width, stream.codec_context.height
        _seek(container, stream, first, fps)
        for packet in container.demux(stream):
            if packet.size == 0 or packet.pts is None:
                continue
            number = round(packet.pts * stream.time_base * fps)
            keyframe = bool(packet.is_keyframe)
            for unit in annex_b.filter(packet):
                if first <= number < first + count:
                    yield AccessUnit(bytes(unit), keyframe, width, height)
            if number >= first + count - 1:
                return


def decoded(path: Path, first: int, count: int, fps: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield pictures ``[first, first + count)``, RGB ``[h, w, 3]``, in the order they are shown."""
    with open_video(path) as (container, stream):
        stream.thread_count = 1
        _seek(container, stream, first, fps)
        for frame in container.decode(stream):
            number = round(frame.pts * stream.time_base * fps)
            if number >= first + count:
                return
            if number >= first:
                yield frame.to_ndarray(format="rgb24")


def _seek(container: Any, stream: Any, number: int, fps: int) -> None:
    """Go to the keyframe at or before a picture."""
    container.seek(int(number / fps / stream.time_base), stream=stream, backward=True)


def _comes_at_once(path: Path, track: Track, fps: int) -> bool:
    decoder = Decoder("h264", track.width, track.height)
    try:
        for unit in packets(path, 0, _TRIED, fps):
            decoder.decode(unit.data, "rgb8")
    except IntegrityError:
        return False
    return True
