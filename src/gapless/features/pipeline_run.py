"""One pass over a pipeline: each step in its turn, and after a failure those that do not depend on it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gapless.errors import RecordingFailed, RunCancelled
from gapless.features.entry import EntryKey
from gapless.features.feature_warning import say
from gapless.features.progress_bar import progress_bar
from gapless.features.resolve import RunView, bind_run
from gapless.features.result import Result
from gapless.features.run import FeatureRun, RunSettings
from gapless.features.step import CallbackStep, FeatureStep, ModelStep, Step

if TYPE_CHECKING:
    from gapless.features.dataset import Dataset
    from gapless.features.pipeline import Pipeline, StepSurvey

_TRAINING_S = 24 * 3600.0  # another process may be training the same; it is known to be alive
_SETTINGS = ("parallel_workers", "parallel_mode", "scheduler", "retries", "overwrite", "cancel")
_LOG = logging.getLogger("gapless.features")


@dataclass
class PipelineRun:
    """One pass; ``forced`` are the steps to compute again. It fills the pipeline's ``results``."""

    pipeline: Pipeline
    ds: Dataset
    forced: set[str]
    progress: bool | None
    fresh: dict[str, StepSurvey] = field(default_factory=dict)
    predicted: dict[tuple[str, str], list[EntryKey]] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    failures: dict[str, BaseException] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)  # the steps that failed, and those that depend on them

    def run(self) -> None:
        """Do every step that can be done, then raise what the first failed step raised.

        What a callback raises ends the pass at once, and so do a cancellation and a disk that refuses.
        """
        self._look()
        self.predicted = {
            item.bound.pair: list(item.bound.keys) for item in self.fresh.values() if item.bound is not None
        }
        needs = self.pipeline.dag()
        for name, step in self.pipeline.steps.items():
            missing = self.lost & self._needed(step, needs[name])
            if missing:
                self.lost.add(name)
                _LOG.warning("%s: not run, because %s failed", name, ", ".join(sorted(missing)))
                continue
            try:
                self._do(name, step)
            except BaseException as error:  # noqa: BLE001 - a step is the user's code
                self._failed(name, step, error)
        for first in self.failures.values():
            raise first

    def _look(self) -> None:
        self.fresh = {item.step.name: item for item in self.pipeline.survey(self.ds)}

    def _needed(self, step: Step, reads: list[str]) -> set[str]:
        """Return the steps without which a step cannot be done.

        A callback that names none gets the results so far, so it needs all of them.
        """
        return set(reads) or (self.lost if isinstance(step, CallbackStep) else set())

    def _failed(self, name: str, step: Step, error: BaseException) -> None:
        ends = not isinstance(error, Exception) or isinstance(error, RunCancelled | RecordingFailed)
        if ends or isinstance(step, CallbackStep):
            raise error
        self.failures[name] = error
        self.lost.add(name)
        words = getattr(error, "message", error)
        _LOG.warning("%s failed: %s; steps that do not depend on it are run", name, words)

    # -- one step ------------------------------------------------------------------------------

    def _do(self, name: str, step: Step) -> None:
        known = self.fresh[name]
        again = name in self.forced or bool(self.changed & set(self._reads(known)))
        if isinstance(step, FeatureStep):
            self._feature(step, known, again=again)
        elif isinstance(step, ModelStep):
            self.models[name] = self._train(step)
            if not known.complete or again:
                self.changed.add(name)
        elif not (step.cacheable and known.complete and not again):
            step.fn(self.ds, dict(self.pipeline.results))
            self.pipeline.keep_stamp(self.ds, step)
            self._look()  # it may have recorded or labelled

    def _reads(self, item: StepSurvey) -> Iterator[str]:
        """Yield the steps whose outputs a step uses: those it names, and those its parameters refer to."""
        yield from item.step.upstream
        if item.bound is None:
            return
        pairs = set(item.bound.pins.values())
        for name, result in self.pipeline.results.items():
            if (result.feature, result.run_id) in pairs:
                yield name

    def _feature(self, step: FeatureStep, known: StepSurvey, *, again: bool) -> None:
        if known.cached and not again:
            assert known.bound is not None
            assert known.survey is not None
            served = FeatureRun(RunView(self.ds), known.bound, RunSettings()).serve(known.survey)
            self.pipeline.results[step.name] = served
            return
        result = self._compute(step)
        self.pipeline.results[step.name] = result
        if not result.cache_hit:
            self.changed.add(step.name)

    def _compute(self, step: FeatureStep) -> Result[str]:
        results = self.pipeline.results
        view = RunView(self.ds)
        for result in results.values():
            view.made.setdefault(result.feature, {})[str(result.run_id)] = None
        view.predicted = self.predicted
        feature = step.feature(results, self.models)
        policy = step.run_kwargs.get("code", "warn")
        bound = bind_run(view, feature, step.options, policy=policy, **step.scope)
        given = {name: step.run_kwargs[name] for name in _SETTINGS if name in step.run_kwargs}
        with progress_bar(step.name, self.progress) as report:
            settings = RunSettings(
                True if step.name in self.forced else given.get("overwrite", False),
                given.get("parallel_workers"),
                given.get("parallel_mode", "thread"),
                given.get("scheduler"),
                given.get("cancel"),
                given.get("retries", 0),
                report,
            )
            settings.check()
            return FeatureRun(view, bound, settings).run()

    def _train(self, step: ModelStep) -> str:
        from gapless.features.training.progress_file import StoreProgress
        from gapless.features.training.train import model_code_why, train_model

        model = step.model(self.pipeline.results)
        overwrite = step.name in self.forced
        told = StoreProgress(self.ds.root)
        run_id = train_model(
            self.ds, model, step.config, overwrite, progress_callback=told, wait_s=_TRAINING_S
        )
        if changed := model_code_why(self.ds, model, run_id):
            say(f"{model.name}: {changed}")
        return f"{model.name}@{run_id}"
