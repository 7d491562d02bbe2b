"""A declarative pipeline of steps: what is cached and right is not computed again, and what is not is explained."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from gapless.errors import ArgumentRefused, FeatureFailed, GaplessError, IntegrityError, NotFound
from gapless.features.accepted_code import accept_code
from gapless.features.callback_stamp import CallbackStamp
from gapless.features.code_digest import UNKNOWN
from gapless.features.dataset import checked_dataset
from gapless.features.foresight import Foresight
from gapless.features.resolve import BoundRun, RunView, bind_run, survey_run
from gapless.features.result import Result
from gapless.features.step import CallbackStep, FeatureStep, ModelStep, Step
from gapless.features.survey import EntryState, Survey

if TYPE_CHECKING:
    import pandas as pd

    from gapless.features.dataset import Dataset


@dataclass
class StepSurvey:
    """One step as it stands: its run if it is a feature, or why it cannot even be named."""

    step: Step
    bound: BoundRun | None = None
    survey: Survey | None = None
    error: GaplessError | ValueError | TypeError | None = None
    run_id: str = ""
    complete: bool = False
    why: str = ""
    model: Any = None
    reads: tuple[tuple[str, str], ...] = ()  # the runs that a training is made from
    label: str = ""  # what the step makes: a storage name, (callback) or a model's name

    @property
    def cached(self) -> bool:
        """Whether there is something and all of it is up to date."""
        return self.complete and (self.survey is None or bool(self.survey.states))


class Pipeline:
    """An ordered list of steps with caching, staleness and lineage.

    A step may read only steps added before it, so there are no cycles. ``default_run_kwargs`` are given to
    every feature step unless it says otherwise. ``results``: step name to result, filled by :meth:`run`
    and :meth:`load`.
    """

    def __init__(self, default_run_kwargs: Mapping[str, Any] | None = None) -> None:
        self.default_run_kwargs = dict(default_run_kwargs or {})
        self.steps: dict[str, Step] = {}
        self.results: dict[str, Result[str]] = {}

    def __repr__(self) -> str:
        return f"<Pipeline {' -> '.join(self.steps) or 'without steps'}>"

    def add(self, step: Step) -> Self:
        """Append a step and return the pipeline; ArgumentRefused for a name that is taken or unknown."""
        if not isinstance(step, FeatureStep | CallbackStep | ModelStep):
            raise ArgumentRefused(
                "a pipeline holds steps", found=type(step).__name__,
                expected="FeatureStep | CallbackStep | ModelStep",
            )  # fmt: skip
        if step.name in self.steps or step.name == "tracks":
            raise ArgumentRefused("a step of that name exists", found=step.name, next_step="rename the step")
        for name in step.upstream:
            if name not in self.steps:
                raise ArgumentRefused(
                    f"step {step.name!r} reads a step that is not there", found=name,
                    expected=", ".join(self.steps) or "a step added before it",
                )  # fmt: skip
        if isinstance(step, FeatureStep):
            step = replace(step, run_kwargs={**self.default_run_kwargs, **step.run_kwargs})
        self.steps[step.name] = step
        return self

    def dag(self) -> dict[str, list[str]]:
        """Return the steps that each step reads: those it names, then those that its parameters refer to."""
        known: dict[str, str] = {}
        found: dict[str, list[str]] = {}
        for name, step in self.steps.items():
            referred = [known[feature] for feature in step.referred if feature in known]
            found[name] = list(dict.fromkeys([*step.upstream, *referred]))
            if isinstance(step, FeatureStep):
                known[str(getattr(step.feature_cls, "name", name))] = known[f"step:{name}"] = name
        return found

    # -- looking -------------------------------------------------------------------------------

    def survey(self, ds: Dataset, *, deep: bool = False) -> list[StepSurvey]:
        """Return every step as it stands, in order; one SQL statement reads all entries of all steps."""
        view = RunView(checked_dataset(ds), deep=deep)
        if not ds.was_read:
            view.look_ahead(self._foreseen(ds))
        found = self._named(view)
        view.preload([item.bound.pair for item in found if item.bound is not None])
        done: dict[str, StepSurvey] = {}
        for item in found:
            self._look(view, item, done)
            done[item.step.name] = item
        return found

    def _foreseen(self, ds: Dataset) -> Foresight:
        """Return what the steps will ask for, up to the first one of which nothing can be told yet."""
        ahead = Foresight(ds)
        results: dict[str, Result[str]] = {}
        for step in self.steps.values():
            if isinstance(step, FeatureStep):
                try:
                    feature = step.feature(results, {})
                    storage, run_id = ahead.add(feature, step.options, step.run_kwargs.get("code", "warn"))
                except (GaplessError, ValueError, TypeError, KeyError):
                    return ahead  # what is wrong is told where the step is named
                results[step.name] = Result(feature=storage, run_id=run_id)
        return ahead

    def _named(self, view: RunView) -> list[StepSurvey]:
        """Name the run of each step, nothing of it read."""
        results: dict[str, Result[str]] = {}
        models: dict[str, str] = {}
        found = []
        for step in self.steps.values():
            item = StepSurvey(step)
            try:
                self._name(view, item, results, models)
            except (GaplessError, ValueError, TypeError) as error:
                item.error = error
                item.why = f"cannot be named: {error}"
            except KeyError as error:
                item.error = FeatureFailed(f"the step {error} before it cannot be named")
                item.why = str(item.error.message)
            found.append(item)
        return found

    def _name(
        self, view: RunView, item: StepSurvey, results: dict[str, Result[str]], models: dict[str, str]
    ) -> None:
        step = item.step
        if isinstance(step, FeatureStep):
            feature = step.feature(results, models)
            policy = step.run_kwargs.get("code", "warn")
            item.bound = bind_run(view, feature, step.options, policy=policy, **step.scope)
            item.run_id, item.label = item.bound.identity.run_id, item.bound.identity.storage
            results[step.name] = Result(feature=item.label, run_id=item.run_id)
        elif isinstance(step, ModelStep):
            from gapless.features.training.plan import runs_of
            from gapless.features.training.train import model_identity

            item.model = model = step.model(results)
            item.run_id, _, document = model_identity(view.ds, model, step.config)
            item.reads = runs_of(document)
            item.label = f"(model) {model.name}"
            models[step.name] = f"{model.name}@{item.run_id}"
        else:
            item.label = "(callback)"

    def _look(self, view: RunView, item: StepSurvey, done: Mapping[str, StepSurvey]) -> None:
        waits = [name for name in item.step.upstream if not done[name].complete]
        if item.error is not None:
            return
        if item.bound is not None:
            item.survey = survey_run(view, item.bound)
            untrained = [name for name in waits if isinstance(done[name].step, ModelStep)]
            if untrained:  # its run will be another one, of which nothing is computed
                item.survey.wait_for(untrained[0])
            item.complete, item.why = item.survey.complete, item.survey.why
        elif isinstance(item.step, ModelStep):
            if waits:
                item.why = f"waits for {', '.join(waits)}"
            else:
                self._look_at_model(view.ds, item, item.step)
        else:
            assert isinstance(item.step, CallbackStep)
            stamp = self._stamp(view.ds, item.step, done)
            item.complete = not waits and stamp.valid()
            item.why = f"waits for {', '.join(waits)}" if waits else "" if item.complete else stamp.why()

    def _look_at_model(self, ds: Dataset, item: StepSurvey, step: ModelStep) -> None:
        from gapless.features.training.train import model_code_why, model_status, model_why

        status = model_status(ds, item.model, item.run_id)
        item.complete = status == "finished"
        if status == "pending":
            try:
                item.why = model_why(ds, item.model, step.config) or "not trained yet"
            except IntegrityError as error:  # of an earlier training, which keeps this one from nothing
                item.why = f"not trained yet; {error.message}: {error.found}"
        else:
            item.why = model_code_why(ds, item.model, item.run_id) if item.complete else status

    def _stamp(self, ds: Dataset, step: CallbackStep, done: Mapping[str, StepSurvey]) -> CallbackStamp:
        pairs = [(name, done[name]) for name in step.depends_on]
        return CallbackStamp.of(ds.root, step, {name: _content(item) for name, item in pairs})

    def status(self, ds: Dataset, *, deep: bool = False) -> pd.DataFrame:
        """Return a row for each step: step, feature, run_id, n_seq, runs, cached, modified, and the reasons.

        ``n_seq`` counts the entries in scope, ``runs`` the runs of that feature on disk; ``cached`` is True,
        False, ``"partial"`` or ``"stale"``; then how many entries are ok, empty, failed, pending and stale, and
        why. ``deep`` compares every byte of inputs and outputs with its digest.
        """
        from gapless.features.pipeline_status import status_table

        return status_table(checked_dataset(ds), self.survey(ds, deep=deep))

    def plan(self, ds: Dataset) -> pd.DataFrame:
        """Return a row for each entry that :meth:`run` would compute now: step, group, sequence, why."""
        from gapless.features.pipeline_status import plan_table

        return plan_table(self.survey(ds))

    def why(self, ds: Dataset, step: str, sequence: str, *, deep: bool = False) -> str:
        """Return what a step holds for a sequence and why: up to date, or what changed, is missing or failed."""
        item = self._surveyed(ds, step, deep=deep)
        if item.survey is None:
            return item.why or "up to date"
        for state in item.survey.states:
            if state.key[1] == sequence:
                return words_of(state, item.survey)
        raise NotFound(
            "the step has no entry for the sequence", sequence=sequence, found=step,
            next_step="only sealed, completed sequences with all inputs are in scope",
        )  # fmt: skip

    def _surveyed(self, ds: Dataset, step: str, *, deep: bool = False) -> StepSurvey:
        self._check_known(step)
        return next(item for item in self.survey(ds, deep=deep) if item.step.name == step)

    def _check_known(self, step: str) -> None:
        if step not in self.steps:
            raise ArgumentRefused("there is no such step", found=step, expected=", ".join(self.steps))

    def load(self, ds: Dataset) -> dict[str, Result[str]]:
        """Fill ``results`` from complete runs, computing nothing; say on stderr which steps are not complete."""
        self.results = {}
        for item in self.survey(ds):
            if item.bound is None:
                continue
            if item.cached:
                self.results[item.step.name] = Result(feature=item.label, run_id=item.run_id)
            else:
                print(f"{item.step.name}: not loaded: {item.why}", file=sys.stderr)
        return self.results

    def accept(self, ds: Dataset, step: str) -> None:
        """Declare that the outputs a step has are as good as those of its present source code."""
        item = self._surveyed(ds, step)
        if item.bound is None or item.survey is None:
            raise ArgumentRefused("the step has no source code to accept", found=step)
        seen = {s.record.code or UNKNOWN for s in item.survey.states if s.record is not None and s.done}
        seen |= {item.survey.state_code} if item.survey.state_code else set()
        now = item.bound.code or ""
        accept_code(ds.root, *item.bound.pair, {f"{then}>{now}" for then in seen - {now}})

    # -- doing ---------------------------------------------------------------------------------

    def run(
        self, ds: Dataset, force_from: str | None = None, *, progress: bool | None = None
    ) -> dict[str, Result[str]]:
        """Compute what is missing or out of date, step by step, and return the results.

        ``force_from``: this step and all that read it, directly or not, are computed again. Callbacks run
        every time unless they say otherwise; what one raises ends the run. ``progress``: bars on stderr,
        None where it is a terminal.

        A step that fails stops those that depend on it, and no other; what the first one raised is raised
        at the end. A FeatureWarning tells of outputs that other source code made, and of a step without entries.
        """
        from gapless.features.pipeline_run import PipelineRun

        ds = checked_dataset(ds)
        forced = self._descendants(force_from) if force_from is not None else set()
        self.results = {}
        PipelineRun(self, ds, forced, progress).run()
        return self.results

    def keep_stamp(self, ds: Dataset, step: CallbackStep) -> None:
        """Remember what a callback that need not run every time has seen."""
        if step.cacheable:
            done = {item.step.name: item for item in self.survey(ds)}
            self._stamp(ds, step, done).keep()

    def _descendants(self, start: str) -> set[str]:
        """Return a step and all that read it, directly or not."""
        self._check_known(start)
        found = {start}
        for name, read in self.dag().items():
            if found & set(read):
                found.add(name)
        return found

    def clean(self, ds: Dataset, *, dry_run: bool = True) -> pd.DataFrame:
        """Remove runs of the pipeline's features that no step expects and no other run reads.

        Returns a row for each run with the columns step, feature, run_id, status, n_files, size_mb, modified;
        ``status``: current, kept (somebody needs it, or a step could not be named), would remove, removed.
        """
        from gapless.features.cleaning import clean_runs

        return clean_runs(checked_dataset(ds), self.survey(ds), dry_run=dry_run)


def _content(item: StepSurvey) -> str:
    """Return what identifies the outputs of a step as they are recorded."""
    if item.survey is None:
        return item.run_id
    parts = [f"{s.key[0]}/{s.key[1]}={s.record.sha256 if s.record else ''}" for s in item.survey.states]
    return "\n".join([item.run_id, *parts])


def words_of(state: EntryState, survey: Survey) -> str:
    """Return what :meth:`Pipeline.why` tells of one entry."""
    if state.done:
        code = " (made by other source code than the present one)" if state.code_changed else ""
        return f"up to date: {state.status}, {state.record.n_rows if state.record else 0} rows{code}"
    where = f" (traceback in {survey.folder.errors})" if state.status == "failed" else ""
    return f"{state.status}: {survey.blocked or state.why}{where}"
