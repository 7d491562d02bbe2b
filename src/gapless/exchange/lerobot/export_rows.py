"""The rows of one episode on the grid of the dataset: which values, pictures, flags and task each one has.

A row has the last value at or before its time of every column, and the last picture of every camera. An
observed episode at its own rate keeps its rows; ticks that came too late become rows that repeat the one
before. Any other sequence is read on a grid from the latest first sample to the earliest last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gapless.errors import ExportRefused
from gapless.exchange.lerobot.export_gaps import across_gap, gap_starts, in_hole
from gapless.exchange.lerobot.export_source import FRAMES, Source, SourceCamera, SourceColumn
from gapless.store.align import Follower, grid
from gapless.store.declaration import TIME
from gapless.store.episode_rows import FrameFlag
from gapless.store.media.frame_table import frame_table_of

Times = npt.NDArray[np.int64]
Flags = npt.NDArray[np.uint8]

_NS = 1_000_000_000
_FRAME_COLUMNS = ("captured_ns", "frame_flags", "task_index")


@dataclass(frozen=True)
class PictureIndex:
    """The pictures of a camera in order of time: stamps, numbers in their stream, and which are keyframes."""

    camera: SourceCamera
    times_ns: Times
    numbers: Times
    keyframes: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PictureRows:
    """The place in its index of the picture that each row shows."""

    index: PictureIndex
    places: Times


@dataclass(frozen=True)
class EpisodeRows:
    """The rows of an episode, one element each. ``task``: place in ``tasks``; ``recorded``: rows of the recording."""

    times_ns: Times
    state: npt.NDArray[np.float32]
    action: npt.NDArray[np.float32]
    flags: Flags
    captured_ns: Times
    tasks: tuple[str, ...]
    task: Times
    pictures: Mapping[str, PictureRows]
    recorded: int | None

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.times_ns)


def read_rows(source: Source, fps: int) -> EpisodeRows:
    """Return the rows of a sequence at ``fps``; none if its topics have no time in common."""
    frames = None if source.data_hz is None else source.sequence.topic(FRAMES).reader.to_arrow(_FRAME_COLUMNS)
    indexes = [_index(source, camera) for camera in source.cameras]
    if source.data_hz == fps and frames is not None:
        times, filled = _recorded_times(source, frames, indexes)
    else:
        times, filled = _grid_times(source, indexes, fps)
    tables = {
        topic: _held(source, topic, [c.field for c in columns], times)
        for topic, columns in source.tables.items()
    }
    places = [np.searchsorted(index.times_ns, times, "right") - 1 for index in indexes]
    missing = np.zeros(len(times), np.bool_)
    for samples in tables.values():
        missing |= samples[0].is_null().to_numpy(zero_copy_only=False)
    for place in places:
        missing |= place < 0
    whole = slice(int(missing.sum()), None)  # sources begin at their first sample and never end again
    sampled = {topic: samples[0][whole].to_numpy(zero_copy_only=False) for topic, samples in tables.items()}
    times, filled = times[whole], filled[whole]
    pictures = [PictureRows(i, place[whole]) for i, place in zip(indexes, places, strict=True)]
    gaps = gap_starts(source.sequence)
    for topic, stamps in sampled.items():
        filled |= across_gap(times, stamps, gaps.get(topic)) | (times - stamps > _NS * 3 // (2 * fps))
        if source.data_hz != fps:
            filled |= in_hole(source.sequence, topic, times, stamps)
    flags = filled.astype(np.uint8) * np.uint8(FrameFlag.BACKFILLED)
    flags |= _camera_flags(source, pictures, times, fps, gaps)
    if frames is not None:
        flags |= flags_since(times, _column(frames, TIME), _column(frames, "frame_flags").astype(np.uint8))
    tasks, task = _tasks(source, frames, times)
    return EpisodeRows(
        times,
        _matrix(source.state, tables, source, whole),
        _matrix(source.action, tables, source, whole),
        flags,
        _captured(frames, times, list(sampled.values()), pictures),
        tasks,
        task,
        {rows.index.camera.key: rows for rows in pictures},
        None if frames is None else frames.num_rows,
    )


# -- times -----------------------------------------------------------------------------------------


def _recorded_times(
    source: Source, frames: pa.Table, indexes: Sequence[PictureIndex]
) -> tuple[Times, npt.NDArray[np.bool_]]:
    """Return the times of an observed episode's rows and of the ticks that are missing between them."""
    assert source.data_hz is not None
    times = _column(frames, TIME)
    if source.sequence.outcome != "completed":  # its topics may end at different rows
        times = times[times < _common_end(source, indexes)]
    pieces: list[Times] = []
    done = 0
    for place, count in _missed(source, times):
        back = np.arange(count, 0, -1) * _NS * source.data_hz.denominator // source.data_hz.numerator
        pieces += [times[done:place], times[place] - back]
        done = place
    pieces.append(times[done:])
    everything = np.concatenate(pieces)
    return everything, ~np.isin(everything, times)


def _missed(source: Source, times: Times) -> Iterator[tuple[int, int]]:
    """Yield where ticks are missing, the number of the row after them, and how many; a pause has no ticks."""
    missed: dict[int, int] = {}
    for row in source.sequence.topic("_gaps").reader.to_arrow([TIME, "topic", "count"]).to_pylist():
        place = int(np.searchsorted(times, row[TIME], "left"))
        if row["topic"] == FRAMES and row["count"] and 0 < place < len(times):
            missed[place] = missed.get(place, 0) + row["count"]
    yield from sorted(missed.items())


def _common_end(source: Source, indexes: Sequence[PictureIndex]) -> int:
    """Return the first time for which some topic has no sample any more."""
    rates = [(source.sequence.topic(topic).end_ns, source.data_hz) for topic in source.tables]
    rates += [(_last(index), source.video_hz) for index in indexes]
    return min(
        (0 if end is None else end + _period_ns(rate) for end, rate in rates if rate), default=2**63 - 1
    )


def _last(index: PictureIndex) -> int | None:
    return int(index.times_ns[-1]) if len(index.times_ns) else None


def _period_ns(rate: Fraction) -> int:
    return _NS * rate.denominator // rate.numerator


def _grid_times(
    source: Source, indexes: Sequence[PictureIndex], fps: int
) -> tuple[Times, npt.NDArray[np.bool_]]:
    topics = [*source.tables, *([FRAMES] if source.data_hz is not None else [])]
    spans = [(source.sequence.topic(topic).start_ns, source.sequence.topic(topic).end_ns) for topic in topics]
    spans += [(int(i.times_ns[0]), int(i.times_ns[-1])) if len(i.times_ns) else (None, None) for i in indexes]
    known = [(start, end) for start, end in spans if start is not None and end is not None]
    if len(known) < len(spans):
        return np.empty(0, np.int64), np.empty(0, np.bool_)
    first, last = max(start for start, _ in known), min(end for _, end in known)
    times = np.concatenate([np.empty(0, np.int64), *grid(first, last, Fraction(fps))])
    return times, np.zeros(len(times), np.bool_)


# -- values ----------------------------------------------------------------------------------------


def _held(source: Source, topic: str, names: Sequence[str], times: Times) -> list[pa.Array]:
    """Return the stamps of a topic's last samples at the times, null before the first, and their values."""
    if not len(times):
        schema = source.sequence.topic(topic).schema
        return [pa.array([], schema.field(name).type) for name in (TIME, *names)]
    follower = Follower(source.sequence.topic(topic).scan(names), "hold", None)
    return follower.values_at(times, [TIME, *names])


def _matrix(
    columns: Sequence[SourceColumn], tables: Mapping[str, list[pa.Array]], source: Source, whole: slice
) -> npt.NDArray[np.float32]:
    """Return the values of the columns as ``[rows, numbers]``; what is missing is NaN."""
    parts = []
    for column in columns:
        place = 1 + source.tables[column.topic].index(column)
        parts.append(_numbers(tables[column.topic][place][whole], column.width))
    if not parts:
        return np.empty((0, 0), np.float32)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, which is counted with the statistics
        return np.concatenate(parts, axis=1).astype(np.float32)


def _numbers(array: pa.Array, width: int | None) -> npt.NDArray[np.float64]:
    if width is None:
        values: npt.NDArray[np.float64] = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return values[:, None]
    matrix = np.full((len(array), width), np.nan)
    there = array.is_valid().to_numpy(zero_copy_only=False)
    flat = array.drop_null().flatten().cast(pa.float64()).to_numpy(zero_copy_only=False)
    matrix[there] = flat.reshape(-1, width)
    return matrix


def _captured(
    frames: pa.Table | None, times: Times, sampled: Sequence[Times], pictures: Sequence[PictureRows]
) -> Times:
    """Return when the rows were captured; without such a record, when the oldest value of each was."""
    if frames is not None:
        stamps = _column(frames, TIME)
        return _column(frames, "captured_ns")[np.searchsorted(stamps, times, "right") - 1]
    stamps_of = [*sampled, *(rows.index.times_ns[rows.places] for rows in pictures)]
    oldest: Times = np.minimum.reduce(stamps_of) if stamps_of else times
    return oldest


def _tasks(source: Source, frames: pa.Table | None, times: Times) -> tuple[tuple[str, ...], Times]:
    """Return the texts of the tasks in the order of their rows, and each row's place in them."""
    if frames is None:
        told = source.sequence.metadata.get("task")
        return (told if isinstance(told, str) else "",), np.zeros(len(times), np.int64)
    rows = source.sequence.topic("tasks").reader.to_arrow(["task_index", "task"]).to_pylist()
    texts = {-1: ""} | {row["task_index"]: row["task"] for row in rows}
    held = np.searchsorted(_column(frames, TIME), times, "right") - 1
    numbers = _column(frames, "task_index")[held]
    unknown = set(numbers.tolist()) - texts.keys()
    if unknown:
        raise ExportRefused(
            "rows have a task that nothing describes", sequence=source.sequence.name, topic=FRAMES,
            field="task_index", found=sorted(unknown)[0],
        )  # fmt: skip
    in_order = tuple(dict.fromkeys(texts[number] for number in numbers.tolist()))
    return in_order, np.array([in_order.index(texts[number]) for number in numbers.tolist()], np.int64)


# -- pictures --------------------------------------------------------------------------------------


def _index(source: Source, camera: SourceCamera) -> PictureIndex:
    names = [] if camera.encoding == "raw" else ["stream", "packet", "keyframe"]
    table = source.sequence.topic(camera.topic).reader.to_arrow(names)
    times = _column(table, TIME)
    if camera.encoding == "raw":
        return PictureIndex(camera, times, np.arange(len(times)), np.ones(len(times), np.bool_))
    numbers = _column(table, "packet")
    streams = table["stream"].unique().to_pylist()
    if len(streams) > 1 or (np.diff(numbers) <= 0).any():
        raise ExportRefused(
            "pictures are not in the order of their times, or layers added some",
            sequence=source.sequence.name,
            topic=camera.topic,
            found=f"encoders {streams}",
            expected="one encoder, times that rise",
        )
    return PictureIndex(camera, times, numbers, table["keyframe"].to_numpy(zero_copy_only=False))


def _camera_flags(
    source: Source, pictures: Sequence[PictureRows], times: Times, fps: int, gaps: Mapping[str, Times]
) -> Flags:
    """Return what is special about the pictures of each row: the cameras' flags, repetitions, gaps, age."""
    flags = np.zeros(len(times), np.uint8)
    slower = Fraction(fps) if source.video_hz is None else min(Fraction(fps), source.video_hz)
    limit_ns = 3 * _period_ns(slower) // 2
    for rows in pictures:
        stamps = rows.index.times_ns[rows.places]
        missing = across_gap(times, stamps, gaps.get(rows.index.camera.topic)) | (times - stamps > limit_ns)
        flags[missing] |= np.uint8(FrameFlag.BACKFILLED)
        flags[1:][np.diff(rows.places) == 0] |= np.uint8(FrameFlag.REPEATED_IMAGE)
        topic = frame_table_of(rows.index.camera.topic)
        if source.data_hz is not None and topic in source.sequence.topics:
            table = source.sequence.topic(topic).reader.to_arrow(["frame_flags"])
            flags |= flags_since(times, _column(table, TIME), _column(table, "frame_flags").astype(np.uint8))
    return flags


def flags_since(times: Times, stamps: Times, flags: Flags) -> Flags:
    """Return for each time all flags of the rows after the time before it, of the first the last row's alone."""
    ends = np.searchsorted(stamps, times, "right")
    if not len(ends):
        return np.zeros(0, np.uint8)
    starts = np.concatenate([[max(int(ends[0]) - 1, 0)], ends[:-1]])
    fresh = ends > starts
    result = np.zeros(len(times), np.uint8)
    if fresh.any():
        result[fresh] = np.bitwise_or.reduceat(flags[: ends[-1]], starts[fresh])
    return result


def _column(table: pa.Table, name: str) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = table[name].to_numpy()
    return values
