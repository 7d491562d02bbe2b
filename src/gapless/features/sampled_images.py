"""The pictures of chosen frames, as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gapless.errors import NotFound
from gapless.model.names import to_component
from gapless.store.declaration import TIME
from gapless.store.media.encode import PngEncoder

if TYPE_CHECKING:
    from gapless.features.sampling import FrameSample


def write_sample_images(sample: FrameSample, folder: Path, topic: str) -> list[Path]:
    """Write the picture that holds at each chosen frame; see :meth:`FrameSample.write_images`."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = sample.ds.columns
    written: list[Path] = []
    for sequence, rows in sample.table.groupby(columns.seq_col, sort=False):
        media = sample.ds.client.sequence_handler(str(sequence)).topic(topic)
        for time_ns, frame in zip(rows[TIME], rows[columns.frame_col], strict=True):
            shown_ns = media.reader.floor_ns(int(time_ns))
            if shown_ns is None:
                raise NotFound(
                    "there is no picture at or before a chosen frame", sequence=str(sequence), topic=topic,
                    found=f"frame {frame} at {time_ns} ns", next_step="choose with filters that leave it out",
                )  # fmt: skip
            _, picture = next(iter(media.frames(shown_ns, shown_ns + 1)))
            path = folder / f"{to_component(str(sequence))}-{int(frame):07d}.png"
            pixels = "rgb8" if picture.ndim == 3 else "mono16" if picture.itemsize == 2 else "mono8"
            path.write_bytes(PngEncoder().encode(picture, pixels).data)
            written.append(path)
    return written
