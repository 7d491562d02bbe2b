"""What the features of a dataset become: the topics of a recorded episode.

``observation.state`` and ``action`` become columns of tables with the roles state and action, cameras become
media topics with a frame table each, ``frame_flags``, ``captured_ns`` and the tasks go to ``frames`` and
``tasks``, every other feature becomes a topic of its own without a role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from gapless.errors import ImportRefused
from gapless.exchange.lerobot.dataset import ROW_FEATURES, Feature
from gapless.model.names import check_topic_name, fold

ROLES = {"observation.state": "state", "action": "action"}
FRAME_FEATURES = ("frame_flags", "captured_ns")
OWN_TOPICS = ("frames", "tasks", "episode")
_ROBOT = "robot"
_IMAGES = "observation.images."


@dataclass(frozen=True)
class Column:
    """One column of a topic: an element of a vector feature, or (``place`` None) the whole of a feature."""

    name: str
    feature: Feature
    place: int | None


@dataclass
class TableTopic:
    """A topic with one row for each row of the dataset. ``roles``: role to the names of its columns."""

    topic: str
    columns: list[Column] = field(default_factory=list)
    roles: dict[str, list[str]] = field(default_factory=dict)

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema without the time."""
        return pa.schema(
            [
                pa.field(column.name, _arrow(column), metadata={"description": _described(column)})
                for column in self.columns
            ]
        )

    @property
    def keys(self) -> list[str]:
        """The features that the columns are made of."""
        return list(dict.fromkeys(column.feature.key for column in self.columns))


@dataclass(frozen=True)
class CameraTopic:
    """A topic of pictures, from video files or from the rows."""

    topic: str
    feature: Feature


@dataclass(frozen=True)
class Layout:
    """All topics that an episode of the dataset becomes, beside ``frames``, ``tasks`` and ``episode``.

    ``in_frames``: the features whose values go to ``frames``.
    """

    tables: tuple[TableTopic, ...]
    cameras: tuple[CameraTopic, ...]
    in_frames: frozenset[str]


def lay_out(features: Mapping[str, Feature], *, own_names: bool, in_frames: frozenset[str]) -> Layout:
    """Return the topics of a dataset's features.

    ``own_names``: an export of gapless named the elements of vectors ``topic.field``. ``in_frames``: those of
    FRAME_FEATURES that mean what topic ``frames`` means by them. Raises ImportRefused if two features would become
    one topic.
    """
    tables: dict[str, TableTopic] = {}
    for key, role in ROLES.items():
        feature = features.get(key)
        if feature is not None and feature.is_number and len(feature.shape) == 1:
            _spread(tables, feature, role, own_names=own_names)
    spread = {key for table in tables.values() for key in table.keys}
    cameras = []
    for feature in features.values():
        if feature.is_video or feature.is_image:
            cameras.append(CameraTopic(_camera_topic(feature.key), feature))
        elif feature.key not in (*ROW_FEATURES, *in_frames, *spread):
            topic = check_topic_name(feature.key)
            tables[topic] = TableTopic(topic, _whole(feature))
    layout = Layout(tuple(tables.values()), tuple(cameras), in_frames)
    _check_names(layout)
    return layout


def _spread(tables: dict[str, TableTopic], feature: Feature, role: str, *, own_names: bool) -> None:
    """Add a column for each element of a vector to the tables that its names tell."""
    for place, name in enumerate(_element_names(feature)):
        topic, _, column = name.partition(".") if own_names else (_ROBOT, "", f"{role}.{name}")
        if not column or any(c.name == column for c in tables.get(topic, TableTopic(topic)).columns):
            topic, column = _ROBOT, f"{role}.{name}"  # a field that is state and action has two values here
        table = tables.setdefault(topic, TableTopic(check_topic_name(topic)))
        table.columns.append(Column(column, feature, place))
        table.roles.setdefault(role, []).append(column)


def _element_names(feature: Feature) -> Sequence[str]:
    """Return the names of a vector's elements; their numbers where there are none that tell them apart."""
    names = feature.names or ()
    if len(names) == feature.width == len({fold(name) for name in names}) and all(names):
        return names
    return [str(place) for place in range(feature.width)]


def _whole(feature: Feature) -> list[Column]:
    if len(feature.shape) == 1 and feature.width > 1 and feature.is_number:
        return [Column(name, feature, place) for place, name in enumerate(_element_names(feature))]
    return [Column("value", feature, None)]


def _camera_topic(key: str) -> str:
    name = key.removeprefix(_IMAGES).removeprefix("observation.")
    return check_topic_name(f"camera/{name}" if name in (*OWN_TOPICS, _ROBOT) else name)


def _check_names(layout: Layout) -> None:
    topics = [*OWN_TOPICS, *(t.topic for t in layout.tables), *(c.topic for c in layout.cameras)]
    topics += [f"{camera.topic}/frames" for camera in layout.cameras]
    folded = [fold(topic) for topic in topics]
    twice = next((topic for topic in topics if folded.count(fold(topic)) > 1), None)
    if twice is not None:
        raise ImportRefused(
            "two features of the dataset would become one topic",
            found=twice,
            next_step="rename one of them in the dataset",
        )


def _arrow(column: Column) -> pa.DataType:
    feature = column.feature
    kind = pa.string() if feature.dtype == "string" else pa.type_for_alias(feature.dtype)
    if column.place is not None or feature.shape in ((), (1,)):
        return kind
    size = 1
    for length in feature.shape:
        size *= length
    return pa.list_(kind, size)


def _described(column: Column) -> str:
    if column.place is None:
        shape = "" if column.feature.shape in ((), (1,)) else f", shape {list(column.feature.shape)}"
        return f"feature {column.feature.key}{shape}"
    return f"element {column.place} of feature {column.feature.key}"
