"""One picture of a topic as a file that a browser shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from gapless.errors import NotFound
from gapless.serve.http.decoded_pictures import bytes_of, decoded
from gapless.serve.http.picture_file import PictureFile
from gapless.store.media.picture import PictureReader
from gapless.store.media.rows import TAG, Media

if TYPE_CHECKING:
    from gapless.serve.http.picture_index import PictureIndex
    from gapless.store.reader import TopicReader

Mode: TypeAlias = Literal["at", "before", "nearest"]
View: TypeAlias = Literal["stored", "8bit"]
_IMAGE: Final = ("data", "format", "width", "height", "stride", "encoding", "is_bigendian")


def number_at(reader: TopicReader, index: PictureIndex, time_ns: int, mode: Mode) -> int:
    """Return the number of the picture that a time means; of several at one time the last. NotFound: there is none."""
    after = int(np.searchsorted(index.times_ns, np.int64(time_ns), "right"))
    number = after - 1
    if mode == "at" and number >= 0 and int(index.times_ns[number]) != time_ns:
        number = -1
    if mode == "nearest" and after < len(index):
        gap_ns = time_ns - int(index.times_ns[number]) if number >= 0 else None
        if gap_ns is None or int(index.times_ns[after]) - time_ns < gap_ns:
            number = int(np.searchsorted(index.times_ns, index.times_ns[after], "right")) - 1
    if number < 0:
        raise NotFound(
            "there is no picture at that time", sequence=reader.bundle.name, topic=reader.name, found=str(time_ns),
            expected=f"from {index.times_ns[0]} to {index.times_ns[-1]}" if len(index) else "the topic has none",
            next_step="mode=nearest shows the closest one",
        )  # fmt: skip
    return number


def show(reader: TopicReader, index: PictureIndex, number: int, view: View) -> PictureFile:
    """Return a picture without loss, but for one that was lossy before; ``8bit`` spreads grey values for the eye."""
    if reader.ontology.get("tag") != TAG:
        return _plain(reader, index, number, view)
    if index.encoding == "png" and view == "stored":
        return PictureFile.stored(bytes_of(reader, index, [number])[number]["data"])
    array, pixels = decoded(reader, index, number)
    if view == "8bit" and array.ndim == 2:
        return PictureFile.spread(array)
    if index.encoding == "h264":
        return PictureFile.jpeg(array)
    return PictureFile.png(array, "rgb8" if array.ndim == 3 else pixels)


def _plain(reader: TopicReader, index: PictureIndex, number: int, view: View) -> PictureFile:
    """Return a picture whose bytes lie in the rows of an Image or CompressedImage."""
    time_ns = int(index.times_ns[number])
    place = number - int(np.searchsorted(index.times_ns, np.int64(time_ns), "left"))
    columns = [name for name in _IMAGE if name in reader.schema.names]
    rows = [row for batch in reader.scan(columns, time_ns, time_ns + 1) for row in batch.to_pylist()]
    row = rows[place]
    if row["format"] != "raw":
        return PictureFile.stored(row["data"])
    made = PictureReader(reader.bundle.name, reader.name, Media.PNG).of_image(
        tuple(row[name] for name in _IMAGE)
    )
    if view == "8bit" and made.array.ndim == 2:
        return PictureFile.spread(made.array)
    return PictureFile.png(made.array, made.pixels)
