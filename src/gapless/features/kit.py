"""Bases for features: one that computes each entry alone, one that learns from all of them first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from gapless.errors import ArgumentRefused
from gapless.features import inputs as feature_inputs
from gapless.features import params as feature_params
from gapless.features.columns import Columns
from gapless.features.entry import EntryKey
from gapless.features.feature import InputStream
from gapless.features.inputs import InputsLike, TopicInput, TrackInput
from gapless.features.result import Result

InputItems = TrackInput | TopicInput | Result


class TableFeature(ABC):
    """A feature that computes each entry from its frame alone.

    A subclass declares ``name``, ``version``, its own ``Inputs`` and ``Params`` where the defaults do not
    do, and :meth:`apply`. Without ``inputs`` it reads the data set's topic, or nothing if its ``Inputs`` may be
    empty. ``params`` is a mapping of what differs from the defaults, or the parameters themselves. Raises
    ArgumentRefused for what either refuses.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    parallelizable: ClassVar[bool] = True
    scope_dependent: ClassVar[bool] = False

    class Inputs(feature_inputs.Inputs):
        """Any topics and results, at least one."""

    class Params(feature_params.Params):
        """No parameters."""

    entry_key: EntryKey | None = None  # group and sequence of the entry that is computed; the engine sets it

    inputs: InputsLike
    params: Any  # an instance of the subclass's own Params, annotated there

    def __init__(
        self,
        inputs: InputsLike | Sequence[InputItems] | None = None,
        params: Mapping[str, Any] | feature_params.Params | None = None,
    ) -> None:
        self.inputs = self._inputs_from(inputs)
        self.params = self._params_from(params)
        self.columns = Columns()

    def _inputs_from(self, given: InputsLike | Sequence[InputItems] | None) -> InputsLike:
        if given is None:
            return self.Inputs(("tracks",) if self.Inputs._require == "nonempty" else ())
        if isinstance(given, self.Inputs):
            return given
        return self.Inputs(tuple(given) if isinstance(given, Sequence) else given.root)

    def _params_from(self, given: Mapping[str, Any] | feature_params.Params | None) -> feature_params.Params:
        if isinstance(given, self.Params):
            return given
        if isinstance(given, feature_params.Params):
            raise ArgumentRefused(
                f"{self.name} got the parameters of another feature", found=type(given).__qualname__,
                expected=self.Params.__qualname__,
            )  # fmt: skip
        return self.Params.from_overrides(given)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inputs!r}, {self.params!r})"

    def bind_dataset(self, ds: Any) -> None:
        """Take over what the data set's columns are called."""
        self.columns = ds.columns

    def load_state(
        self,
        run_root: Path,  # noqa: ARG002  (the protocol's)
        artifact_paths: dict[str, Path],  # noqa: ARG002
        dependency_lookups: dict[str, dict[EntryKey, Path]],  # noqa: ARG002
    ) -> bool:
        """Return True: there is nothing to learn."""
        return True

    def fit(self, inputs: InputStream) -> None:  # noqa: B027  (a feature need not learn)
        """Learn nothing."""

    def save_state(self, run_root: Path) -> None:  # noqa: B027
        """Write nothing."""

    @abstractmethod
    def apply(self, df: Any) -> Any:
        """Return the output of one entry."""


class FittedFeature(TableFeature):
    """A feature that learns from all entries in scope before it computes each one.

    ``scope_dependent`` is True: with other entries it would learn something else, so that is another run. A
    feature that learns from a parameter, or once and for all, says False.
    """

    scope_dependent: ClassVar[bool] = True

    @abstractmethod
    def load_state(
        self,
        run_root: Path,
        artifact_paths: dict[str, Path],
        dependency_lookups: dict[str, dict[EntryKey, Path]],
    ) -> bool:
        """Load what was learned and return True, or return False if it must be learned first."""

    @abstractmethod
    def fit(self, inputs: InputStream) -> None:
        """Learn from all entries in scope."""

    @abstractmethod
    def save_state(self, run_root: Path) -> None:
        """Write what was learned into a folder."""
