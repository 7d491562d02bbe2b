"""The steps of a pipeline: features, functions between them, and trainings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.errors import ArgumentRefused
from gapless.features.identity import RunOptions, params_references
from gapless.features.result import Result

if TYPE_CHECKING:
    from gapless.features.dataset import Dataset
    from gapless.features.feature import Feature

_OPTIONS = frozenset(RunOptions.__dataclass_fields__)
_SCOPE = frozenset(["groups", "sequences"])
_RUNNING = frozenset(
    ["parallel_workers", "parallel_mode", "scheduler", "retries", "code", "overwrite", "registry", "cancel"]
)


@dataclass
class FeatureStep:
    """One feature of a pipeline.

    ``feature_cls`` is called with its ``Inputs`` and ``params``. ``input_names`` are the earlier steps whose
    outputs it reads, ``"tracks"`` among them where it reads the recording as well; empty means tracks alone.
    In ``params``, ``{"step": name}`` refers to the output of an earlier step, like ``{"feature": its feature}``
    but of that very run. ``run_kwargs`` go to :func:`run_feature`.
    """

    name: str
    feature_cls: type
    params: dict[str, Any] | None = None
    input_names: list[str] = field(default_factory=list)
    run_kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.run_kwargs) - _OPTIONS - _SCOPE - _RUNNING)
        if unknown:
            raise ArgumentRefused(
                f"step {self.name!r}: run_feature has no such argument", found=unknown,
                expected=", ".join(sorted(_OPTIONS | _SCOPE | _RUNNING)),
            )  # fmt: skip

    @property
    def upstream(self) -> list[str]:
        """The earlier steps that it reads."""
        return [name for name in self.input_names if name != "tracks"]

    @property
    def referred(self) -> list[str]:
        """What its parameters refer to: plain names of features, and ``step:NAME`` for a step."""
        try:
            params = self.feature_cls.Params.from_overrides(  # type: ignore[attr-defined]
                _with_steps(self.params, lambda name: Result(feature=f"step:{name}"))
            )
        except (ValueError, TypeError, AttributeError):
            return []  # what is wrong with them is said when the step is named
        return [str(ref.value.feature).partition("__from__")[0] for ref in params_references(params)
                if hasattr(ref.value, "feature")]  # fmt: skip

    @property
    def options(self) -> RunOptions:
        """What of ``run_kwargs`` changes the values."""
        return RunOptions(**{name: value for name, value in self.run_kwargs.items() if name in _OPTIONS})

    @property
    def scope(self) -> dict[str, Any]:
        """What of ``run_kwargs`` selects entries."""
        return {name: value for name, value in self.run_kwargs.items() if name in _SCOPE}

    def feature(self, results: Mapping[str, Result[str]], models: Mapping[str, str]) -> Feature:
        """Return the feature, reading the results of the steps before it."""
        cls: Any = self.feature_cls
        items: list[Any] = []
        params = dict(_with_steps(self.params or {}, results.get))
        for name in self.input_names:
            if name in models:
                params.setdefault("model", models[name])
            else:
                items.append("tracks" if name == "tracks" else Result(
                    feature=results[name].feature, run_id=results[name].run_id))  # fmt: skip
        if not items and not self._takes_nothing(cls):
            items = ["tracks"]
        return cls(cls.Inputs(tuple(items)), params or None)  # type: ignore[no-any-return]

    def _takes_nothing(self, cls: Any) -> bool:
        return getattr(cls.Inputs, "_require", "nonempty") in ("empty", "any")


def _with_steps(value: Any, result_of: Callable[[str], Result[str] | None]) -> Any:
    """Return parameters in which each ``{"step": name}`` of a known step has become a reference to its run."""
    if isinstance(value, Mapping):
        step = value.get("step")
        result = result_of(step) if isinstance(step, str) and "feature" not in value else None
        if result is not None:
            others = {name: item for name, item in value.items() if name != "step"}
            return {"feature": result.feature, "run_id": result.run_id, **others}
        return {name: _with_steps(item, result_of) for name, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_with_steps(item, result_of) for item in value)
    return value


@dataclass
class CallbackStep:
    """A function that runs between features, each time, as ``fn(dataset, results so far)``.

    With ``once`` it runs only when a step that it depends on has other outputs than at its last run, with
    ``outputs`` also when one of these files is missing.
    """

    name: str
    fn: Callable[[Dataset, dict[str, Result[str]]], None]
    depends_on: list[str] = field(default_factory=list)
    once: bool = field(default=False, kw_only=True)
    outputs: Sequence[str | Path] = field(default=(), kw_only=True)

    @property
    def referred(self) -> list[str]:
        """It has no parameters that refer to features."""
        return []

    @property
    def upstream(self) -> list[str]:
        """The earlier steps that it depends on."""
        return list(self.depends_on)

    @property
    def cacheable(self) -> bool:
        """Whether it may be left out when nothing changed."""
        return self.once or bool(self.outputs)


@dataclass
class ModelStep:
    """A training inside a pipeline: ``train_model(ds, model, config)`` with inputs from earlier steps.

    A later :class:`FeatureStep` that names it in ``input_names`` gets its run as the parameter ``model``.
    """

    name: str
    model_cls: type
    config: dict[str, Any] | None = None
    input_names: list[str] = field(default_factory=list)

    @property
    def referred(self) -> list[str]:
        """It has no parameters that refer to features."""
        return []

    @property
    def upstream(self) -> list[str]:
        """The earlier steps that it reads."""
        return [name for name in self.input_names if name != "tracks"]

    def model(self, results: Mapping[str, Result[str]]) -> Any:
        """Return the model, reading the results of the steps before it."""
        items = tuple(
            "tracks"
            if name == "tracks"
            else Result(feature=results[name].feature, run_id=results[name].run_id)
            for name in self.input_names
        )
        return self.model_cls(items)


Step = FeatureStep | CallbackStep | ModelStep
