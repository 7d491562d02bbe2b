"""The pictures of one camera in an episode, one for each row: stored packets where they fit, else encoded anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gapless.errors import ExportRefused, IntegrityError
from gapless.exchange.lerobot.export_rows import PictureRows
from gapless.exchange.lerobot.export_source import SourceCamera
from gapless.model.picture_summary import SAMPLED_EVERY, PictureSummary
from gapless.store.media.decode import Decoder
from gapless.store.media.encode import Encoded, make_encoder
from gapless.store.media.packets import Packet, packets
from gapless.store.media.picture import PictureReader
from gapless.store.media.rows import Media

if TYPE_CHECKING:
    from gapless.client.sequence_handler import SequenceHandler

_RAW_COLUMNS = ["data", "format", "width", "height", "stride", "encoding", "is_bigendian"]
_RAW_AT_ONCE = 8
_SAMPLES = 100


def units(sequence: SequenceHandler, rows: PictureRows, summary: PictureSummary) -> Iterator[Encoded]:
    """Yield one encoded picture for each row, and add those that count to the summary.

    H.264 for video cameras, PNG files for others. Stored packets are copied if every row has the next one;
    PNG files always are.
    """
    camera = rows.index.camera
    if camera.encoding == "png" or (camera.encoding == "h264" and _is_run(rows)):
        pairs = _copied(sequence, rows)
    else:
        pairs = _encoded_anew(sequence, rows)
    every = sampled_every(len(rows.places))
    count = 0
    for row, (unit, pixels) in enumerate(pairs):
        if row % every == 0:
            summary.add(row // every * SAMPLED_EVERY, pixels)  # by an index that the summary wants
        count += 1
        yield unit
    if count != len(rows.places):
        raise IntegrityError(
            "a camera has fewer pictures than its index says",
            sequence=sequence.name,
            topic=camera.topic,
            found=count,
            expected=len(rows.places),
        )


def sampled_every(rows: int) -> int:
    """Return which pictures of an episode count for its statistics: the first and then every such one.

    All of a short episode, never fewer than 100 where there are as many, at last every 16th.
    """
    return min(max(rows // _SAMPLES, 1), SAMPLED_EVERY)


def _is_run(rows: PictureRows) -> bool:
    """Tell whether the rows show one picture after the other, beginning with one that needs none before it."""
    first = int(rows.places[0])
    in_turn = rows.places == first + np.arange(len(rows.places))
    numbers = rows.index.numbers[first : first + len(rows.places)]
    return bool(in_turn.all() and (np.diff(numbers) == 1).all() and rows.index.keyframes[first])


def _copied(sequence: SequenceHandler, rows: PictureRows) -> Iterator[tuple[Encoded, npt.NDArray[Any]]]:
    """Yield the stored bytes, and the pixels that they decode to."""
    for packet, pixels, times in _shown(sequence, rows):
        for _ in range(times):
            yield Encoded(packet.data, packet.keyframe), pixels


def _encoded_anew(sequence: SequenceHandler, rows: PictureRows) -> Iterator[tuple[Encoded, npt.NDArray[Any]]]:
    """Yield the pictures encoded with a stream of their own for the episode."""
    camera = rows.index.camera
    encoder = make_encoder(Media.MP4 if camera.video else Media.PNG)
    if camera.encoding == "raw":
        shown = ((p.array, p.pixels, times) for p, times in _raw(sequence, rows))
    else:
        shown = (
            (pixels, "rgb8" if pixels.ndim == 3 else camera.pixels, times)
            for _, pixels, times in _shown(sequence, rows)
        )
    for pixels, kind, times in shown:
        visible = pixels[:, :, ::-1] if kind == "bgr8" else pixels
        for _ in range(times):
            yield encoder.encode(pixels, kind), visible


def _shown(sequence: SequenceHandler, rows: PictureRows) -> Iterator[tuple[Packet, npt.NDArray[Any], int]]:
    """Yield each stored picture that rows show: packet, pixels, and how many rows in turn."""
    index, camera = rows.index, rows.index.camera
    wanted = _repetitions(rows)
    first, last = int(rows.places[0]), int(rows.places[-1])
    reader = sequence.topic(camera.topic).reader
    decoder: Decoder | None = None
    for packet in packets(reader, int(index.times_ns[first]), int(index.times_ns[last]) + 1):
        _check_size(sequence, camera, packet.height, packet.width)
        decoder = decoder or Decoder(packet.encoding, packet.width, packet.height)
        pixels = decoder.decode(packet.data, packet.pixels)
        times = wanted.get(packet.number, 0)
        if times:
            yield packet, pixels, times


def _raw(sequence: SequenceHandler, rows: PictureRows) -> Iterator[tuple[Any, int]]:
    """Yield each raw picture that rows show, and how many rows in turn."""
    camera = rows.index.camera
    wanted = _repetitions(rows)
    read = PictureReader(sequence.name, camera.topic, Media.MP4 if camera.video else Media.PNG)
    number = 0
    for batch in sequence.topic(camera.topic).scan(_RAW_COLUMNS, batch_rows=_RAW_AT_ONCE):
        for row in batch.select(_RAW_COLUMNS).to_pylist():
            times = wanted.get(number, 0)
            number += 1
            if times:
                picture = read.of_image(tuple(row.values()))
                _check_size(sequence, camera, *picture.array.shape[:2])
                yield picture, times


def _repetitions(rows: PictureRows) -> dict[int, int]:
    places, counts = np.unique(rows.places, return_counts=True)
    return dict(zip(rows.index.numbers[places].tolist(), counts.tolist(), strict=True))


def _check_size(sequence: SequenceHandler, camera: SourceCamera, height: int, width: int) -> None:
    if (height, width) != (camera.height, camera.width):
        raise ExportRefused(
            "the pictures of a camera differ in size",
            sequence=sequence.name,
            topic=camera.topic,
            found=f"{width} x {height}",
            expected=f"{camera.width} x {camera.height}",
            next_step="choose other cameras (--camera), or leave the sequence out (--skip)",
        )
