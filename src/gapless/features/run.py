"""Run one feature over a data set: only what is missing or out of date is computed, and all of it recorded."""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gapless.errors import (
    AllEntriesFailed,
    ArgumentRefused,
    DeadlinePassed,
    FeatureFailed,
    GaplessError,
    IdentityRefused,
    IntegrityError,
)
from gapless.features.apply import ApplyChunk, ApplyTask, EntryTask, apply_chunk, bind
from gapless.features.damage import distrust_damaged
from gapless.features.dataset import checked_dataset
from gapless.features.entry import EntryKey, EntryRecord
from gapless.features.executor import MODES, run_chunks
from gapless.features.feature_warning import say
from gapless.features.fitting import ensure_state
from gapless.features.foresight import Foresight
from gapless.features.identity import RunOptions
from gapless.features.owner import Owner
from gapless.features.resolve import BoundRun, CodePolicy, RunView, bind_run, dependencies_of, survey_run
from gapless.features.result import Result
from gapless.features.run_folder import tree_digest
from gapless.features.survey import EntryState, Survey, entry_digest
from gapless.features.worker_pool import packed
from gapless.features.writable import check_writable
from gapless.store.platform import PLATFORM

if TYPE_CHECKING:
    from gapless.features.dataset import Dataset
    from gapless.features.feature import Feature
    from gapless.features.registry import FeatureRegistry

Overwrite = bool | Literal["outputs", "all"]
Progress = Callable[[int, int], None]
_CHUNK_ENTRIES = 32
_POLL_S = 0.05
_IDLE_DEADLINE_S = 600.0
_LOG = logging.getLogger("gapless.features")


@dataclass(frozen=True)
class RunSettings:
    """How a run is carried out; nothing here changes what it computes."""

    overwrite: Overwrite = False
    workers: int | None = None
    mode: str | None = "thread"
    scheduler: str | None = None
    cancel: Any = None
    retries: int = 0
    progress: Progress | None = None

    def check(self) -> None:
        """Raise ArgumentRefused for a value that means nothing."""
        if self.mode is not None and self.mode not in MODES:
            raise ArgumentRefused(
                "there is no such parallel_mode", found=self.mode, expected=" | ".join(MODES)
            )
        if self.overwrite not in (True, False, "outputs", "all"):
            raise ArgumentRefused(
                "overwrite has no such value",
                found=self.overwrite,
                expected='True | False | "outputs" | "all"',
            )
        if self.workers is not None and (not isinstance(self.workers, int) or self.workers < 1):
            raise ArgumentRefused("parallel_workers is a number of 1 or more", found=self.workers)
        if not isinstance(self.retries, int) or self.retries < 0:
            raise ArgumentRefused("retries is a number of 0 or more", found=self.retries)


def run_feature(
    ds: Dataset,
    feature: Feature,
    groups: Iterable[str] | None = None,
    sequences: Iterable[str] | None = None,
    overwrite: Overwrite = False,
    parallel_workers: int | None = None,
    parallel_mode: str | None = "thread",
    overlap_frames: int = 0,
    filter_start_frame: int | None = None,
    filter_end_frame: int | None = None,
    filter_start_time: float | None = None,
    filter_end_time: float | None = None,
    registry: FeatureRegistry | None = None,
    *,
    scheduler: str | None = None,
    cancel: Any = None,
    retries: int = 0,
    code: CodePolicy = "warn",
    progress: Progress | None = None,
) -> Result[str]:
    """Compute a feature for every sequence in scope that has no up-to-date output; return what it is called.

    ``groups``, ``sequences``: names, None for all; an empty list raises ArgumentRefused. ``overwrite``:
    ``True`` or ``"all"`` learns the state and computes every output again, ``"outputs"`` keeps the state.
    ``parallel_mode``: ``thread``, ``process`` or ``dask`` (``scheduler``: its address, None for a local
    cluster), used with ``parallel_workers`` above 1; every mode gives the same bytes. ``overlap_frames``:
    frames of the neighbours in the group that ``apply`` sees on both sides; cut off again. Filters are
    half-open, in frames or in seconds since the first row, and exclude overlap. ``registry``: the data
    set's own if None. ``cancel``: an event; ``retries``: of an entry that raised. ``code``: what changed
    source code does: ``ignore``, ``warn`` (serve what there is and say so) or ``rerun`` (a run of its own).
    ``progress``: called with entries done and entries in all.

    An entry that raises is recorded and named in ``failed_entries`` of the result; the run is then not
    finished. Raises AllEntriesFailed if none could be computed.
    """
    settings = RunSettings(overwrite, parallel_workers, parallel_mode, scheduler, cancel, retries, progress)
    settings.check()
    options = RunOptions(
        overlap_frames, filter_start_frame, filter_end_frame, filter_start_time, filter_end_time
    )
    view = RunView(checked_dataset(ds))
    if registry is not None and registry.root != view.ds.root:
        raise ArgumentRefused(
            "the registry belongs to another store", found=registry.root, expected=view.ds.root
        )
    if not ds.was_read:
        view.look_ahead(_foreseen(ds, feature, options, code))
    bound = bind_run(view, feature, options, groups=groups, sequences=sequences, policy=code)
    return FeatureRun(view, bound, settings).run()


def _foreseen(ds: Dataset, feature: Feature, options: RunOptions, code: CodePolicy) -> Foresight:
    ahead = Foresight(ds)
    try:
        ahead.add(feature, options, code)
    except (GaplessError, ValueError, TypeError):
        return ahead  # what is wrong is told where the run is named
    return ahead


@dataclass
class FeatureRun:
    """One attempt at a bound run."""

    view: RunView
    bound: BoundRun
    settings: RunSettings
    execution_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    attempted: dict[EntryKey, EntryRecord] = field(default_factory=dict)
    _total: int = 0

    @property
    def ds(self) -> Dataset:
        """The data set."""
        return self.view.ds

    def run(self) -> Result[str]:
        """Compute what is to be computed and return the result."""
        survey = survey_run(self.view, self.bound)
        if survey.absent is not None:
            raise survey.absent
        if not survey.states:
            say(f"{self.bound.identity.feature}: {survey.why}, so nothing was computed")
            return self._result(survey, cached=False)
        if survey.blocked:
            raise FeatureFailed(f"{self.bound.identity.feature} cannot run: it {survey.blocked}",
                                next_step="run the step that it waits for")  # fmt: skip
        if not self.settings.overwrite and survey.complete:
            return self.serve(survey)
        self._say_changed_code(survey)
        self._begin()
        try:
            with Owner(self.ds.root) as owner:
                self._compute(owner)
        except IntegrityError:
            self._distrust()
            raise
        if any(record.error_type == IntegrityError.__name__ for record in self.attempted.values()):
            self._distrust()
        self._sweep()
        return self._ended()

    def serve(self, survey: Survey) -> Result[str]:
        """Return the result of a run that has everything, and say where other source code made it."""
        self._say_changed_code(survey)
        self.end(survey)
        return self._result(survey, cached=True)

    def _distrust(self) -> None:
        """Look for the outputs of other runs that could not be read as they were written."""
        distrust_damaged(self.ds, dict.fromkeys(self.bound.identity.upstream))

    def _begin(self) -> None:
        check_writable(self.bound.folder.path)
        self.bound.folder.begin(self.bound.identity, self.bound.code)
        self.ds.registry.begin_run(self.bound.identity, code_digest=self.bound.code)

    def _say_changed_code(self, survey: Survey) -> None:
        changed = sum(state.code_changed for state in survey.states)
        if changed and not self.settings.overwrite:
            say(
                f"{self.bound.identity.feature}: {changed} outputs were made by other source code than the present"
                " one and are served; accept them (`gapless features accept PIPELINE STEP`), compute them again"
                " (--force-from STEP, overwrite=True), or use code='rerun'"
            )

    # -- computing -----------------------------------------------------------------------------

    def _compute(self, owner: Owner) -> None:
        feature, bound = self.bound.feature, self.bound
        shipped = self._shipped()
        bind(feature, self.ds)
        paths, lookups = self._dependencies()
        survey = survey_run(self.view, bound)
        fresh = ensure_state(
            self.ds, bound, survey, owner, paths, lookups, again=self.settings.overwrite in (True, "all")
        )
        if fresh:  # the outputs depend on a state that is new
            survey = survey_run(self.view, bound)
        every = [state for state in survey.states if state.plan is not None]
        todo = every if self.settings.overwrite else survey.todo
        self._total = len(todo)
        task = ApplyTask(
            shipped,
            f"{bound.folder.path}|{survey.state_digest}|{self.execution_id}",
            bound.identity.feature,
            f"features/{bound.identity.storage}@{bound.identity.run_id}",
            bound.folder.path,
            bound.folder.state,
            bound.options,
            self.ds.address,
            paths,
            lookups,
            bound.code,
            self.settings.retries,
        )
        if todo:
            self._reopen()
            self._compute_entries(task, todo, owner)

    def _reopen(self) -> None:
        self.bound.folder.reopen()
        self.ds.registry.reopen(*self.bound.pair)

    def _sweep(self) -> None:
        """Remove what processes that died left half written.

        Everything is written under a claim, so what lay there before nobody alive had one is nobody's.
        """
        leftovers = self.bound.folder.leftovers()
        if leftovers and not self.ds.registry.is_claimed(*self.bound.pair, self._alive):
            for path in leftovers:
                PLATFORM.remove_tree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _shipped(self) -> bytes:
        """Return the feature as workers get it: before it learned or loaded anything."""
        if self._mode() in (None, "thread"):
            return b""
        try:
            return packed(self.bound.feature)
        except ArgumentRefused as error:
            raise IdentityRefused(
                "the feature cannot be sent to other processes", found=error.found or str(error),
                next_step='define its class in a module, or use parallel_mode="thread"',
            ) from error  # fmt: skip

    def _mode(self) -> str | None:
        workers = self.settings.workers or 1
        if workers < 2 and self.settings.mode != "dask":
            return None
        if workers > 1 and not self.bound.feature.parallelizable:
            say(f"{self.bound.identity.feature} is not parallelizable and runs serially")
            return None
        return self.settings.mode

    def _dependencies(self) -> tuple[dict[str, Path], dict[str, dict[EntryKey, Path]]]:
        """Return the file of each artifact parameter, and the entries' files of the other ones."""
        paths: dict[str, Path] = {}
        lookups: dict[str, dict[EntryKey, Path]] = {}
        for name, ref, pair in dependencies_of(self.bound):
            if ref.kind == "labels":
                lookups[name] = self._labels(name, ref.value)
            elif pair is None:
                continue
            elif ref.kind == "artifact":
                paths[name] = self._artifact(ref.value, pair)
            else:
                folder = self.ds.run_folder(Result(feature=pair[0], run_id=pair[1])).path
                lookups[name] = {
                    key: folder / record.file
                    for key, record in self.view.records(pair).items()
                    if record.file
                }
        return paths, lookups

    def _artifact(self, spec: Any, pair: tuple[str, str]) -> Path:
        """Return the file of an artifact; IntegrityError if the state it belongs to is not what was saved."""
        pinned = spec.model_copy(update={"feature": pair[0], "run_id": pair[1]})
        folder, path = self.ds.run_folder(pinned), self.ds.artifact_path(pinned)
        document = folder.state_document()
        if path.parent == folder.state and document and tree_digest(folder.state) != document["digest"]:
            raise IntegrityError(
                "the state of a run is not what was saved", found=str(folder.state),
                next_step=f"force the step of {pair[0]}, which learns it again",
            )  # fmt: skip
        return path

    def _labels(self, name: str, source: Any) -> dict[EntryKey, Path]:
        from gapless.features.labels import materialise_labels

        folder = self.bound.folder.path / "labels" / name
        folder.mkdir(parents=True, exist_ok=True)
        return materialise_labels(self.ds, source, list(self.bound.keys), folder, around=self.bound.around)

    def _compute_entries(self, task: ApplyTask, todo: Sequence[EntryState], owner: Owner) -> None:
        waiting: deque[EntryState] = deque(todo)
        elsewhere: list[EntryState] = []
        self._drive(task, self._chunks(task, waiting, elsewhere, owner), owner)
        idle_since = time.monotonic()
        while elsewhere:
            left = self._not_recorded(elsewhere)
            if len(left) < len(elsewhere):
                idle_since = time.monotonic()
            elsewhere = []
            self._drive(task, self._chunks(task, deque(left), elsewhere, owner), owner)
            if elsewhere and time.monotonic() - idle_since > _IDLE_DEADLINE_S:
                raise DeadlinePassed(
                    "another process computes these entries and made none for a long time",
                    found=[state.key for state in elsewhere][:3],
                    next_step="end that process; its entries are then computed here",
                )
            if elsewhere:
                time.sleep(_POLL_S)

    def _chunks(
        self,
        task: ApplyTask,
        waiting: deque[EntryState],
        elsewhere: list[EntryState],
        owner: Owner,
    ) -> Iterator[ApplyChunk]:
        """Yield entries that this process may compute; those of other live processes go to ``elsewhere``."""
        workers = self.settings.workers or 1
        size = max(1, min(_CHUNK_ENTRIES, math.ceil(len(waiting) / (4 * workers))))
        live = self.bound.feature if not task.feature else None
        while waiting:
            batch = [waiting.popleft() for _ in range(min(size, len(waiting)))]
            registry = self.ds.registry
            mine = set(registry.claim(*self.bound.pair, [s.key for s in batch], owner.id, self._alive))
            elsewhere += [state for state in batch if state.key not in mine]
            fresh = {s.key for s in self._not_recorded([s for s in batch if s.key in mine])}
            taken = [s for s in batch if s.key in fresh]
            if len(fresh) < len(mine):
                registry.release_entries(*self.bound.pair, sorted(mine - fresh), owner.id)
            if taken:
                yield ApplyChunk(task, tuple(EntryTask(_planned(s), s.inputs, s.stamps) for s in taken), live)

    def _alive(self, owner_id: str) -> bool:
        return Owner.alive(self.ds.root, owner_id)

    def _not_recorded(self, states: Sequence[EntryState]) -> list[EntryState]:
        """Return the entries that no other process has recorded since they were looked at; remember the others.

        What was looked at may be old by now: loading or learning a state takes its time.
        """
        if not states:
            return []
        found = self.ds.registry.recorded_since(*self.bound.pair, [s.key for s in states], 0)
        seen = {s.key: s.record.recorded_ns if s.record is not None else None for s in states}
        wanted = {state.key: entry_digest(state.inputs) for state in states}
        theirs = {
            key: record
            for key, record in found.items()
            if record.key == wanted[key] and record.recorded_ns != seen[key]
        }
        self.attempted.update(theirs)
        return [state for state in states if state.key not in theirs]

    def _drive(self, task: ApplyTask, chunks: Iterator[ApplyChunk], owner: Owner) -> None:
        results = run_chunks(
            apply_chunk,
            chunks,
            mode=self._mode() if task.feature or self._mode() == "thread" else None,
            workers=self.settings.workers,
            scheduler=self.settings.scheduler,
            cancel=self.settings.cancel,
        )
        with closing(results):  # workers end at once when recording raises
            for chunk, outcome in results:
                records = outcome if isinstance(outcome, list) else _lost(chunk, outcome)
                self.bound.folder.append(records)
                self.ds.registry.save_records(*self.bound.pair, records, owner=owner.id)
                self.attempted.update({record.entry_key: record for record in records})
                if self.settings.progress is not None:
                    self.settings.progress(len(self.attempted), max(self._total, len(self.attempted)))

    # -- the end -------------------------------------------------------------------------------

    def _ended(self) -> Result[str]:
        view = RunView(self.ds)
        view.predicted, view.made = self.view.predicted, self.view.made
        survey = survey_run(view, self.bound)
        failed = [record for record in self.attempted.values() if record.status == "failed"]
        if failed and len(failed) == len(self.attempted) and not any(s.done for s in survey.states):
            first = failed[0]
            raise AllEntriesFailed(
                f"all {len(failed)} entries of {self.bound.identity.feature} failed; the first:"
                f" {first.error_type}: {first.error_message}",
                sequence=first.sequence,
                next_step=f"read {self.bound.folder.errors}, mend the feature and run it again",
            )
        for record in failed:
            _LOG.warning(
                "%s: %s failed: %s: %s", self.bound.identity.feature, record.sequence, record.error_type,
                record.error_message,
            )  # fmt: skip
        if survey.complete:
            self.end(survey)
        return self._result(survey, cached=not self.attempted)

    def end(self, survey: Survey) -> None:
        """Record that a run which has all entries is finished, unless that is known.

        A run of some entries only does not finish one that failed at others.
        """
        bound, registry = self.bound, self.ds.registry
        if not survey.states or (bound.folder.manifest.exists() and registry.run_is_finished(*bound.pair)):
            return
        recorded = registry.known_entries([bound.pair])[bound.pair]
        records = {key: recorded[key] for key in bound.around if key in recorded}
        if any(record.status == "failed" for record in records.values()):
            return
        self._begin()
        bound.folder.finish(bound.identity, records)
        registry.mark_finished(*bound.pair)

    def _result(self, survey: Survey, *, cached: bool) -> Result[str]:
        return Result(
            feature=self.bound.identity.storage,
            run_id=self.bound.identity.run_id,
            execution_id=self.execution_id,
            cache_hit=cached,
            failed_entries=tuple(state.key for state in survey.states if state.status == "failed"),
        )


def _planned(state: EntryState) -> Any:
    assert state.plan is not None
    return state.plan


def _lost(chunk: ApplyChunk, error: BaseException) -> list[EntryRecord]:
    """Return the records of entries whose worker died twice."""
    return [
        EntryRecord(
            *entry.plan.key,
            "failed",
            entry_digest(entry.inputs),
            entry.inputs,
            error_type=type(error).__name__,
            error_message=f"the worker that computed it died: {error}",
            error_traceback="",
            recorded_ns=time.time_ns(),
        )
        for entry in chunk.entries
    ]
