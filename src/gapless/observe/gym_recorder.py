"""The recorder of a gymnasium environment: a table of what was seen and done, and a camera for each picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from gapless.errors import ValueRefused
from gapless.observe.recorder import Camera, CameraSpec, Table, TableSpec
from gapless.observe.space_columns import Leaf, SpaceColumns

if TYPE_CHECKING:
    import gymnasium
    from numpy.typing import NDArray

    from gapless.observe.step import StepContext

NAME = "environment"
Media = Literal["mp4", "png", "ffv1"]


def _field(name: str, kind: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, kind, nullable=False, metadata={"description": description})


_ANSWER = [
    _field("reward", pa.float64(), "what the action was given"),
    _field("terminated", pa.bool_(), "the task ended with the action"),
    _field("truncated", pa.bool_(), "the episode was cut off after the action"),
]


class Transitions:
    """A table of one row for each step; the environment's wrapper fills the row, so there is nothing to read."""

    def __init__(self, observations: SpaceColumns, actions: SpaceColumns) -> None:
        self.spec = TableSpec(
            NAME,
            pa.schema([*observations.fields, *actions.fields, *_ANSWER]),
            roles={"state": observations.names, "action": actions.names},
        )
        self.row: Sequence[Any] = []

    def read(self, context: StepContext) -> None:
        """Do nothing: the row is there, observed before the step and answered after it."""


class Pictures:
    """A camera whose picture the environment's wrapper copies when the environment gives it."""

    def __init__(self, topic: str, height: int, width: int, media: Media | None) -> None:
        even = height % 2 == 0 and width % 2 == 0
        self.spec = CameraSpec(topic, height, width, "rgb8", media or ("mp4" if even else "png"))
        self.picture: NDArray[np.uint8] = np.zeros((height, width, 3), np.uint8)

    def read(self, context: StepContext) -> None:
        """Do nothing: the picture is there."""

    def show(self, picture: Any) -> None:
        """Copy a picture; raises ValueRefused if it is not uint8 and as large as the first."""
        array = np.asarray(picture)
        if array.dtype != np.uint8 or array.shape != self.picture.shape:
            raise ValueRefused(
                "the environment gave another kind of picture",
                topic=self.spec.topic,
                found=f"{array.dtype} {list(array.shape)}",
                expected=f"uint8 {list(self.picture.shape)}",
            )
        np.copyto(self.picture, array)


class EnvironmentRecorder:
    """Keeps the observation that the next action answers, until its row is whole."""

    name = NAME

    def __init__(self, env: gymnasium.Env[Any, Any], media: Media | None) -> None:
        self.observations = SpaceColumns(env.observation_space, "observation", with_pictures=True)
        self.actions = SpaceColumns(env.action_space, "action")
        self._media = media
        self._seen: list[Any] = []
        self._transitions = Transitions(self.observations, self.actions)
        self._eyes = [
            Pictures(_topic(leaf), leaf.shape[0], leaf.shape[1], media) for leaf in self.observations.pictures
        ]
        self._rendered: Pictures | None = None
        self.tables: Sequence[Table] = [self._transitions]
        self.cameras: Sequence[Camera] = list(self._eyes)

    def begin(self) -> None:
        """Do nothing: what belongs to an episode comes with its first observation."""

    def artifacts(self) -> Mapping[str, bytes]:
        """Return no files."""
        return {}

    def observe(self, observation: Any) -> None:
        """Copy an observation; a later change of it changes nothing."""
        self._seen = self.observations.values(observation)
        for eye, leaf in zip(self._eyes, self.observations.pictures, strict=True):
            eye.show(leaf.array(observation))

    def show(self, rendered: Any) -> None:
        """Copy what the environment rendered of the state that was observed."""
        if self._rendered is None:
            shape = np.shape(rendered)
            if len(shape) != 3 or shape[2] != 3:
                raise ValueRefused(
                    "the environment rendered no picture",
                    found=f"{type(rendered).__name__} of shape {list(shape)}",
                    expected="[height, width, 3]",
                )
            self._rendered = Pictures(f"{NAME}/render", shape[0], shape[1], self._media)
            self.cameras = [*self._eyes, self._rendered]
        self._rendered.show(rendered)

    def answer(self, action: list[Any], reward: Any, terminated: Any, truncated: Any) -> None:
        """Make the row whole with the values of the action and what came of it."""
        self._transitions.row = [*self._seen, *action, float(reward), bool(terminated), bool(truncated)]

    @property
    def final_schema(self) -> pa.Schema:
        """The columns of the observation that no action answered; its pictures are bytes, rgb8 in C order."""
        pictures = [
            _field(leaf.name, pa.binary(), f"rgb8, height {leaf.shape[0]}, width {leaf.shape[1]}")
            for leaf in self.observations.pictures
        ]
        return pa.schema([*self.observations.fields, *pictures])

    @property
    def final_row(self) -> list[Any]:
        """The values for :attr:`final_schema` of the observation that was copied last."""
        return [*self._seen, *(eye.picture.tobytes() for eye in self._eyes)]


def _topic(leaf: Leaf) -> str:
    return "/".join([NAME, *map(str, leaf.path)]) if leaf.path else f"{NAME}/{leaf.name}"
