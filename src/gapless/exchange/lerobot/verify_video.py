"""The videos of a dataset: one picture for each row, where loaders look for it, and every one decodable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from gapless.errors import IntegrityError
from gapless.exchange.lerobot.dataset import (
    EpisodeEntry,
    Feature,
    FilePlace,
    LeRobotDatasetFiles,
    image_bytes,
)
from gapless.exchange.lerobot.export_pictures import sampled_every
from gapless.exchange.lerobot.findings import error, warning
from gapless.exchange.lerobot.track import Track, pictures, read_track, still
from gapless.exchange.lerobot.verify_rows import TOLERANCE_S
from gapless.store.verify import Finding

MEAN_TOLERANCE = 0.05  # of 0..1: statistics are of sampled pictures before they were encoded


def check_videos(dataset: LeRobotDatasetFiles, entries: Sequence[EpisodeEntry]) -> Iterator[Finding]:
    """Read every packet of every video; compare their number and times with the rows of their episodes."""
    for camera in dataset.cameras:
        for place, inside in _by_file(entries, camera.key).items():
            name = dataset.video_file(camera.key, place)
            if not (dataset.path / name).is_file():
                continue  # told among the files
            try:
                track = read_track(dataset.path / name)
            except IntegrityError as problem:
                yield error("L003", str(problem), name)
                continue
            yield from _track(track, camera, inside, dataset.fps, name)
            yield from _spans(camera.key, inside, dataset.fps, name)


def _by_file(entries: Sequence[EpisodeEntry], key: str) -> dict[FilePlace, list[EpisodeEntry]]:
    files: dict[FilePlace, list[EpisodeEntry]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.videos[key].from_s, entry.index)):
        files.setdefault(entry.videos[key].place, []).append(entry)
    return dict(sorted(files.items()))


def _track(
    track: Track, camera: Feature, inside: Sequence[EpisodeEntry], fps: int, name: str
) -> Iterator[Finding]:
    rows = sum(entry.length for entry in inside)
    if track.damaged:
        yield error("L003", f"{track.damaged} packets are cut or damaged", name)
    if len(track.pts) != rows:
        yield error("L016", f"{len(track.pts)} pictures, {rows} rows", name)
    if len(track.keyframes) and not track.keyframes[0]:
        yield error("L003", "the first picture needs one before it", name)
    times_s = track.times_s
    wrong = np.flatnonzero(np.abs(times_s - np.arange(len(times_s)) / fps) >= TOLERANCE_S)
    if len(wrong):
        k = int(wrong[0])
        yield error("L017", f"picture {k} is at {times_s[k]:.4f} s, not {k / fps:.4f} s", name)
    elif track.rate is not None and abs(float(track.rate) - fps) * len(times_s) >= 0.5 * fps:
        yield error("L017", f"the file says {float(track.rate):.4f} pictures per second, fps is {fps}", name)
    if (track.height, track.width) != _size(camera):
        yield error("L019", f"{track.height} x {track.width}, the feature is {list(camera.shape)}", name)


def _size(camera: Feature) -> tuple[int, int]:
    """Return height and width; older datasets have the channels first."""
    channels_first = len(camera.shape) == 3 and camera.shape[0] in (1, 3) and camera.shape[2] not in (1, 3)
    height, width = camera.shape[1:] if channels_first else camera.shape[:2]
    return height, width


def _spans(key: str, inside: Sequence[EpisodeEntry], fps: int, name: str) -> Iterator[Finding]:
    """Episodes follow each other in a file without holes: seconds are counted pictures."""
    start = 0
    for entry in inside:
        span = entry.videos[key]
        expected = start / fps, (start + entry.length) / fps
        if max(abs(span.from_s - expected[0]), abs(span.to_s - expected[1])) >= TOLERANCE_S:
            words = (
                f"{span.from_s:.4f} to {span.to_s:.4f} s, expected {expected[0]:.4f} to {expected[1]:.4f} s"
            )
            yield error("L018", f"episode {entry.index}: {words}", name)
        start += entry.length


def check_pictures(
    dataset: LeRobotDatasetFiles, entries: Sequence[EpisodeEntry], *, sampled: bool
) -> Iterator[Finding]:
    """Decode every picture of every video; compare the mean colours of each episode with its statistics.

    ``sampled``: the statistics are of the pictures that gapless samples. Of others it is not known which were.
    """
    for camera in dataset.cameras:
        for place, inside in _by_file(entries, camera.key).items():
            name = dataset.video_file(camera.key, place)
            if not (dataset.path / name).is_file():
                continue
            try:
                means = np.array([picture.mean((0, 1)) / 255 for picture in pictures(dataset.path / name)])
            except IntegrityError as problem:
                yield error("L022", str(problem), name)
                continue
            rows = sum(entry.length for entry in inside)
            if len(means) != rows:
                yield error("L022", f"{len(means)} pictures can be decoded, there are {rows} rows", name)
                continue
            yield from _colours(camera.key, inside, means, name, sampled=sampled)


def _colours(
    key: str, inside: Sequence[EpisodeEntry], means: npt.NDArray[np.float64], name: str, *, sampled: bool
) -> Iterator[Finding]:
    start = 0
    for entry in inside:
        found = means[start : start + entry.length : sampled_every(entry.length) if sampled else 1].mean(0)
        start += entry.length
        told = _mean(entry.stats.get(key))
        if told is not None and np.abs(found - told).max() > MEAN_TOLERANCE:
            words = f"mean colour {np.round(found, 3).tolist()}, statistics say {np.round(told, 3).tolist()}"
            yield (error if sampled else warning)("L021", f"episode {entry.index}: {words}", name)


def _mean(stats: Mapping[str, object] | None) -> npt.NDArray[np.float64] | None:
    told = np.array((stats or {}).get("mean", []), np.float64).ravel()
    return told if told.shape == (3,) else None


def check_stills(dataset: LeRobotDatasetFiles) -> Iterator[Finding]:
    """Decode every picture that is in the rows, which can be read."""
    keys = [feature.key for feature in dataset.columns if feature.is_image]
    for name in dataset.data_files() if keys else ():
        table = dataset.read(name, keys)
        for key in keys:
            for row, cell in enumerate(table[key]):
                try:
                    still(image_bytes(cell.as_py()))
                except IntegrityError as problem:
                    yield error("L022", f"{key}: {problem}", name, (row, row))
