"""What a feature reads: recorded topics and outputs of earlier features, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Literal, Protocol, Self

from pydantic import Field, RootModel, ValidationError, model_validator
from typing_extensions import TypeVar

from gapless.errors import ArgumentRefused
from gapless.features.artifact import ArtifactSpec
from gapless.features.result import Result, ResultColumn
from gapless.features.strict_model import StrictModel, refused

TrackInput = Literal["tracks"]
Align = Literal["hold", "asof", "interp"]
InputRequire = Literal["nonempty", "empty", "any"]


class TopicInput(StrictModel):
    """One recorded topic, by name, and how its rows come onto the times of the first input.

    ``align``: None requires the same times; ``hold`` takes the last row before, ``asof`` the nearest row,
    ``interp`` the straight line between both. ``tolerance_ns`` is the largest distance in time that may
    be bridged, ``columns`` are the columns to read, None all.
    """

    name: str = Field(min_length=1)
    align: Align | None = None
    tolerance_ns: int | None = Field(default=None, ge=0)
    columns: tuple[str, ...] | None = Field(default=None, min_length=1)

    def __init__(
        self,
        name: str,
        align: Align | None = None,
        tolerance_ns: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name=name, align=align, tolerance_ns=tolerance_ns, columns=columns)

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # see StrictModel

    @model_validator(mode="after")
    def _tolerance_needs_rule(self) -> Self:
        if self.tolerance_ns is not None and self.align is None:
            raise ArgumentRefused("tolerance_ns without align means nothing", found=self.name)
        return self


InputItem = TypeVar("InputItem", default=TrackInput | TopicInput | Result)


class Inputs(RootModel[tuple[InputItem, ...]], Generic[InputItem]):
    """The inputs of a feature, in order: ``"tracks"``, a :class:`TopicInput` or a :class:`Result` each.

    A feature narrows what it takes by a class of its own, ``class Inputs(Inputs[TrackInput])``, and says in
    ``_require`` whether it needs inputs (``nonempty``), takes none (``empty``) or either (``any``).
    Raises ArgumentRefused for anything else and for an input that stands there twice.
    """

    _require: ClassVar[InputRequire] = "nonempty"

    def __init__(self, root: Sequence[InputItem] = (), /) -> None:
        try:
            super().__init__(root=tuple(root))
        except ValidationError as error:
            raise refused(error) from error

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # see StrictModel

    @model_validator(mode="after")
    def _checked(self) -> Self:
        items = list(self.root)
        if self._require == "nonempty" and not items:
            raise ArgumentRefused(
                "the feature needs an input", found="none", expected='("tracks",) or a Result'
            )
        if self._require == "empty" and items:
            raise ArgumentRefused("the feature takes no inputs", found=repr(items))
        for place, item in enumerate(items):
            if isinstance(item, ArtifactSpec | ResultColumn):
                raise ArgumentRefused(
                    "a column or an artifact is a parameter, not an input", found=repr(item),
                    next_step="give a Result here, or declare a parameter for it",
                )  # fmt: skip
            if item in items[:place]:
                raise ArgumentRefused("an input stands there twice", found=repr(item))
        return self

    @property
    def is_empty(self) -> bool:
        """Whether there are no inputs."""
        return not self.root

    @property
    def is_multi(self) -> bool:
        """Whether there are several inputs."""
        return len(self.root) > 1

    @property
    def is_single_tracks(self) -> bool:
        """Whether the data set's topic is the only input."""
        return self.root == ("tracks",)

    @property
    def is_single_feature(self) -> bool:
        """Whether the output of a feature is the only input."""
        return len(self.root) == 1 and isinstance(self.root[0], Result)

    @property
    def feature_inputs(self) -> tuple[Result[Any], ...]:
        """The inputs that are outputs of features."""
        return tuple(item for item in self.root if isinstance(item, Result))

    @property
    def topic_inputs(self) -> tuple[TopicInput, ...]:
        """The inputs that are topics named one by one."""
        return tuple(item for item in self.root if isinstance(item, TopicInput))

    @property
    def storage_suffix(self) -> str:
        """What the inputs add to the name under which outputs are stored; "" for the data set's topic alone."""
        if self.is_empty or self.is_single_tracks:
            return ""
        return f"__from__{'+'.join(_plain_name(item) for item in self.root)}"


def _plain_name(item: Any) -> str:
    if isinstance(item, Result):
        return str(item.feature).partition("__from__")[0]
    return item.name if isinstance(item, TopicInput) else str(item)


class InputsLike(Protocol):
    """What the engine reads of the inputs of any feature."""

    @property
    def root(self) -> tuple[Any, ...]:
        """The inputs in order."""

    @property
    def is_empty(self) -> bool:
        """Whether there are no inputs."""

    @property
    def is_multi(self) -> bool:
        """Whether there are several inputs."""

    @property
    def is_single_tracks(self) -> bool:
        """Whether the data set's topic is the only input."""

    @property
    def is_single_feature(self) -> bool:
        """Whether the output of a feature is the only input."""

    @property
    def feature_inputs(self) -> tuple[Result[Any], ...]:
        """The inputs that are outputs of features."""

    @property
    def topic_inputs(self) -> tuple[TopicInput, ...]:
        """The inputs that are topics named one by one."""

    @property
    def storage_suffix(self) -> str:
        """What the inputs add to the name under which outputs are stored."""
