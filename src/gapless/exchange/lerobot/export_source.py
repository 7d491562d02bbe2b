"""What a sequence gives to a dataset: the columns of state and action, and the cameras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gapless.errors import ExportRefused, NotFound, UsageError
from gapless.exchange.lerobot.export_options import ExportOptions
from gapless.store.align import as_rate
from gapless.store.declaration import TIME
from gapless.store.media.frame_table import frame_table_of
from gapless.store.media.rows import TAG

if TYPE_CHECKING:
    from gapless.client.sequence_handler import SequenceHandler
    from gapless.client.topic_handler import TopicHandler

FRAMES = "frames"
IMAGES = "observation.images."
_RAW_IMAGE = "Image"
_VIDEO_PIXELS = ("rgb8", "bgr8", "mono8")


@dataclass(frozen=True)
class SourceColumn:
    """A column of a topic; ``width`` of its fixed-size lists, None for plain numbers."""

    topic: str
    field: str
    width: int | None

    @property
    def names(self) -> list[str]:
        """The names of its numbers in the dataset."""
        name = f"{self.topic}.{self.field}"
        return [name] if self.width is None else [f"{name}.{place}" for place in range(self.width)]


@dataclass(frozen=True)
class SourceCamera:
    """A topic of pictures, all of one size. ``encoding``: h264, png, ffv1 or raw; ``video``: as a video file."""

    topic: str
    height: int
    width: int
    pixels: str
    encoding: str

    @property
    def key(self) -> str:
        """The name of its feature."""
        return IMAGES + self.topic.replace("/", ".")

    @property
    def video(self) -> bool:
        """Whether it becomes video files; pictures that may not lose a bit become PNG files in the rows."""
        return self.encoding == "h264" or (self.encoding == "raw" and self.pixels in _VIDEO_PIXELS)

    @property
    def channels(self) -> int:
        """Of the pictures that a loader gives."""
        return 3 if self.video or self.pixels in ("rgb8", "bgr8") else 1


@dataclass(frozen=True)
class Source:
    """One sequence as an export reads it. ``data_hz``, ``video_hz``: of observed episodes, else None."""

    sequence: SequenceHandler
    state: tuple[SourceColumn, ...]
    action: tuple[SourceColumn, ...]
    cameras: tuple[SourceCamera, ...]
    data_hz: Fraction | None
    video_hz: Fraction | None

    @property
    def tables(self) -> dict[str, list[SourceColumn]]:
        """The columns to read of each topic."""
        found: dict[str, list[SourceColumn]] = {}
        for column in dict.fromkeys((*self.state, *self.action)):
            found.setdefault(column.topic, []).append(column)
        return found


def read_source(sequence: SequenceHandler, options: ExportOptions) -> Source:
    """Return what the options take from a sequence, of an observed episode everything where they say nothing.

    Raises NotFound for what it does not have, ExportRefused for what no dataset can hold.
    """
    data_hz, video_hz = _rates(sequence)
    state = tuple(_named(sequence, options.state) if options.state else _of_role(sequence, "state", data_hz))
    action = tuple(
        _named(sequence, options.action) if options.action else _of_role(sequence, "action", data_hz)
    )
    topics = options.cameras or (() if data_hz is None else tuple(_observed_cameras(sequence)))
    cameras = tuple(_camera(sequence.topic(topic)) for topic in topics)
    if not (state or action or cameras):
        raise ExportRefused(
            "nothing is chosen of a sequence that is no observed episode",
            sequence=sequence.name,
            expected="fields and cameras",
            next_step="name them: --fps 30 --state TOPIC.FIELD --action TOPIC.FIELD --camera TOPIC",
        )
    _check_keys(sequence, cameras)
    return Source(sequence, state, action, cameras, data_hz, video_hz)


def _rates(sequence: SequenceHandler) -> tuple[Fraction | None, Fraction | None]:
    """Return the rates of rows and pictures of an observed episode."""
    told = sequence.metadata.get("episode")
    if FRAMES not in sequence.topics or not isinstance(told, dict) or "data_hz" not in told:
        return None, None
    return as_rate(str(told["data_hz"])), as_rate(str(told.get("video_hz", told["data_hz"])))


def _of_role(sequence: SequenceHandler, role: str, data_hz: Fraction | None) -> Iterator[SourceColumn]:
    for topic in sequence.topics if data_hz is not None else ():
        metadata = sequence.topic(topic).metadata
        if metadata.get("every") == "tick":
            for field in dict(metadata.get("roles") or {}).get(role, ()):
                yield _column(sequence.topic(topic), field)


def _observed_cameras(sequence: SequenceHandler) -> list[str]:
    topics = sequence.topics
    return [topic for topic in topics if frame_table_of(topic) in topics]


def _named(sequence: SequenceHandler, texts: Sequence[str]) -> Iterator[SourceColumn]:
    for text in texts:
        topic, wanted = _split(sequence, text)
        schema = topic.schema
        fields = [name for name in schema.names if name != TIME]
        chosen = [name for name in fields if name == wanted]
        chosen = chosen or [
            name
            for name in fields
            if (not wanted or name.startswith(f"{wanted}.")) and _width(schema.field(name)) != 0
        ]
        if not chosen:
            raise NotFound(
                "the topic has no such field of numbers",
                sequence=sequence.name,
                topic=topic.name,
                field=wanted,
                expected=", ".join(fields),
                next_step="name one of these, or what several begin with",
            )
        yield from (_column(topic, name) for name in chosen)


def _split(sequence: SequenceHandler, text: str) -> tuple[TopicHandler, str]:
    """Return the topic and the rest of ``topic.field``; both may have dots, and the longest topic counts."""
    fitting = [topic for topic in sequence.topics if text == topic or text.startswith(f"{topic}.")]
    if not fitting:
        raise NotFound(
            "the sequence has no topic that the choice begins with",
            sequence=sequence.name,
            found=text,
            expected=", ".join(sequence.topics),
            next_step="write TOPIC.FIELD",
        )
    topic = max(fitting, key=len)
    return sequence.topic(topic), text[len(topic) + 1 :]


def _column(topic: TopicHandler, name: str) -> SourceColumn:
    width = _width(topic.schema.field(name)) if name in topic.schema.names else 0
    if width == 0:
        raise ExportRefused(
            "only numbers and lists of one size can be state or action",
            sequence=topic.sequence_name,
            topic=topic.name,
            field=name,
            found=str(topic.schema.field(name).type) if name in topic.schema.names else None,
        )
    return SourceColumn(topic.name, name, width)


def _width(field: pa.Field) -> int | None:
    """Return None for numbers, the size of fixed-size lists of numbers, 0 for everything else."""
    kind = field.type
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) if _is_number(kind.value_type) else 0
    return None if _is_number(kind) else 0


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def _camera(topic: TopicHandler) -> SourceCamera:
    """Return a camera by its first picture; whether the others are alike is seen when they are read."""
    raw = topic.ontology_tag == _RAW_IMAGE
    if topic.ontology_tag != TAG and not raw:
        raise UsageError(
            "the topic holds no pictures",
            sequence=topic.sequence_name,
            topic=topic.name,
            found=topic.ontology_tag,
            expected=f"{TAG} or {_RAW_IMAGE}",
        )
    names = ["height", "width", "encoding", *([] if raw else ["pixels"])]
    first: dict[str, Any] = next((b.slice(0, 1).to_pylist()[0] for b in topic.scan(names, batch_rows=1)), {})
    if not first:
        raise ExportRefused(
            "a camera has no pictures", sequence=topic.sequence_name, topic=topic.name,
            next_step="leave the sequence out (--skip), or name other cameras (--camera)",
        )  # fmt: skip
    pixels, encoding = (first["encoding"], "raw") if raw else (first["pixels"], first["encoding"])
    camera = SourceCamera(topic.name, first["height"], first["width"], pixels, encoding)
    if camera.video and (camera.height % 2 or camera.width % 2):
        raise ExportRefused(
            "pictures of odd width or height cannot become H.264",
            sequence=topic.sequence_name,
            topic=topic.name,
            found=f"{camera.width} x {camera.height}",
            expected="even width and height",
            next_step="record them with media='png', which is exported as images, or choose other cameras",
        )
    return camera


def _check_keys(sequence: SequenceHandler, cameras: Sequence[SourceCamera]) -> None:
    keys = [camera.key for camera in cameras]
    twice = next((camera for camera in cameras if keys.count(camera.key) > 1), None)
    if twice is not None:
        raise ExportRefused(
            "two cameras would have one name in the dataset",
            sequence=sequence.name,
            topic=twice.topic,
            found=twice.key,
            next_step="choose one of them (--camera)",
        )
