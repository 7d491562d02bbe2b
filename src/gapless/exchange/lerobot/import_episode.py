"""One episode of a dataset becomes the topics of a sequence that is open."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from gapless.errors import IntegrityError
from gapless.exchange.lerobot.dataset import EpisodeEntry, LeRobotDatasetFiles, image_bytes
from gapless.exchange.lerobot.import_layout import CameraTopic, Layout
from gapless.exchange.lerobot.import_pictures import decoded, first_picture, packets
from gapless.exchange.lerobot.import_rows import EpisodeRows
from gapless.exchange.lerobot.track import still
from gapless.model.ontology.images import Image
from gapless.store.episode_rows import ENDED, FRAMES, TASKS
from gapless.store.media.encode import make_encoder
from gapless.store.media.frame_table import FRAME_TABLE, frame_table_of
from gapless.store.media.rows import EncodedImage, Media

PACKETS = (
    "packets"  # how a camera is stored: packets as they are; else the media that decoded pictures become
)

_BATCH = 64  # packets in one push
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = {(8, 2): "rgb8", (8, 0): "mono8", (16, 0): "mono16"}  # bits and colour type of a PNG file

_Cell = tuple[bytes, str, bool, int, int, str]  # data, encoding, keyframe, width, height, pixels


def store_episode(
    sequence: Any,
    dataset: LeRobotDatasetFiles,
    entry: EpisodeEntry,
    rows: EpisodeRows,
    layout: Layout,
    how: Mapping[str, str],
    texts: Sequence[str],
    success: bool | None,
) -> Iterator[tuple[str, int]]:
    """Store one episode; yield each topic with the number of its rows when it is stored.

    ``how``: for each camera with video files, PACKETS or the media. Raises IntegrityError for pictures that
    cannot be decoded, or that are not as many as the rows.
    """
    batches: list[tuple[str, pa.Schema, dict[str, Any], pa.RecordBatch]] = [
        ("frames", FRAMES, {}, rows.frames(with_cameras=bool(layout.cameras))),
        ("tasks", TASKS, {}, rows.tasks(texts)),
    ]
    for table in layout.tables:
        words = {"recorder": "import", "version": 1, "every": "tick", "roles": table.roles}
        batches.append((table.topic, table.schema, words, rows.of(table)))
    for name, schema, words, batch in batches:
        sequence.topic_create(name, words, schema=schema).push_batch(batch)
        yield name, batch.num_rows
    for camera in layout.cameras:
        if how.get(camera.topic, PACKETS) == PACKETS:
            yield camera.topic, _store_encoded(sequence, dataset, entry, rows, camera)
        else:
            yield camera.topic, _store_decoded(sequence, dataset, entry, rows, camera, how[camera.topic])
        told = {"recorder": "import", "camera": camera.topic}
        table_writer = sequence.topic_create(frame_table_of(camera.topic), told, schema=FRAME_TABLE)
        table_writer.push_batch(rows.camera_frames())
        yield frame_table_of(camera.topic), len(rows.times_ns)
    last_ns = int(rows.times_ns[-1]) if len(rows.times_ns) else 0
    sequence.topic_create("episode", schema=ENDED).push_row(last_ns, success, entry.length, "imported")
    yield "episode", 1


def _store_encoded(
    sequence: Any, dataset: LeRobotDatasetFiles, entry: EpisodeEntry, rows: EpisodeRows, camera: CameraTopic
) -> int:
    """Store H.264 packets, or the image files of the rows, as they are."""
    cells = _units(dataset, entry, camera) if camera.feature.is_video else _stills(rows, camera)
    numbered = enumerate(_as_many(cells, entry, camera))
    topic = None
    while block := list(itertools.islice(numbered, _BATCH)):
        if topic is None:
            _, _, _, width, height, pixels = block[0][1]
            words = _words(height, width, pixels)
            topic = sequence.topic_create(camera.topic, words, ontology_type=EncodedImage)
        for number, (data, encoding, keyframe, width, height, pixels) in block:
            stamp = int(rows.times_ns[number])
            topic.push_row(stamp, data, encoding, keyframe, width, height, pixels, "", number)
    return entry.length


def _units(dataset: LeRobotDatasetFiles, entry: EpisodeEntry, camera: CameraTopic) -> Iterator[_Cell]:
    path = dataset.path / dataset.video_file(camera.feature.key, entry.videos[camera.feature.key].place)
    first = first_picture(entry, camera.feature.key, dataset.fps)
    for unit in packets(path, first, entry.length, dataset.fps):
        yield unit.data, "h264", unit.keyframe, unit.width, unit.height, "rgb8"


def _stills(rows: EpisodeRows, camera: CameraTopic) -> Iterator[_Cell]:
    """Yield PNG files as they are; what another format or kind is becomes a PNG of its colours."""
    encoder = None
    for cell in rows.table[camera.feature.key]:
        data = image_bytes(cell.as_py())
        pixels = None if data is None else _png_pixels(data)
        if data is not None and pixels is not None:
            yield data, "png", True, int.from_bytes(data[16:20]), int.from_bytes(data[20:24]), pixels
            continue
        encoder = encoder or make_encoder(Media.PNG)
        picture = still(data)
        height, width = picture.shape[:2]
        yield encoder.encode(picture, "rgb8").data, "png", True, width, height, "rgb8"


def _png_pixels(data: bytes) -> str | None:
    """Return what kind of pixels a PNG file has, None if it is none or of a kind that topics do not have."""
    if len(data) < 26 or data[:8] != _SIGNATURE:
        return None
    return _PNG_PIXELS.get((data[24], data[25]))


def _store_decoded(
    sequence: Any,
    dataset: LeRobotDatasetFiles,
    entry: EpisodeEntry,
    rows: EpisodeRows,
    camera: CameraTopic,
    media: str,
) -> int:
    """Decode the pictures of a video and store them in another way."""
    path = dataset.path / dataset.video_file(camera.feature.key, entry.videos[camera.feature.key].place)
    first = first_picture(entry, camera.feature.key, dataset.fps)
    topic = None
    for number, picture in enumerate(
        _as_many(decoded(path, first, entry.length, dataset.fps), entry, camera)
    ):
        if topic is None:
            words = _words(picture.shape[0], picture.shape[1], "rgb8")
            topic = sequence.topic_create(camera.topic, words, ontology_type=Image, media=media)
        topic.push_image(int(rows.times_ns[number]), np.ascontiguousarray(picture))
    return entry.length


def _as_many(pictures: Iterable[Any], entry: EpisodeEntry, camera: CameraTopic) -> Iterator[Any]:
    """Yield the pictures; IntegrityError if they are not as many as the rows."""
    count = 0
    for count, picture in enumerate(pictures, 1):  # noqa: B007 (used after the loop)
        yield picture
    if count != entry.length:
        raise IntegrityError(
            "a camera has another number of pictures than the episode has rows",
            topic=camera.topic,
            found=count,
            expected=entry.length,
        )


def _words(height: int, width: int, pixels: str) -> dict[str, Any]:
    return {"recorder": "import", "version": 1, "height": height, "width": width, "pixels": pixels}
