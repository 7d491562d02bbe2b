"""What a worker does: read an entry's frame, call the feature, write the output, say what became of it.

The same function runs in the caller's thread, in other threads, in processes and on other machines, so the
files are the same wherever they were made. A chunk names entries and files; rows never travel.
"""

from __future__ import annotations

import copy
import pickle
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gapless.errors import FeatureFailed, GaplessError
from gapless.errors.extra import need
from gapless.features.code_digest import UNKNOWN, feature_code
from gapless.features.columns import Columns
from gapless.features.entry import GLOBAL_ENTRY, EntryKey, EntryRecord
from gapless.features.entry_writer import write_table
from gapless.features.feature import Feature
from gapless.features.frame import EntryFrame, EntryPlan, read_frame
from gapless.features.identity import RunOptions
from gapless.features.output import finished_table, own_times, recorded_units
from gapless.features.pandas_frame import as_pandas
from gapless.features.survey import entry_digest

if TYPE_CHECKING:
    from gapless.features.dataset import Dataset

_LOADED = threading.local()


@dataclass(frozen=True)
class DatasetAddress:
    """What a worker needs to open the data set again."""

    root: Path
    columns: Columns
    topic: str
    where: tuple[Any, ...] = ()


@dataclass(frozen=True)
class ApplyTask:
    """What is the same for all entries of a run. ``token`` changes with the state, so that a worker reloads it."""

    feature: bytes
    token: str
    name: str
    topic: str
    folder: Path
    state: Path
    options: RunOptions
    dataset: DatasetAddress
    artifact_paths: dict[str, Path]
    dependency_lookups: dict[str, dict[EntryKey, Path]]
    code: str | None
    retries: int = 0


@dataclass(frozen=True)
class EntryTask:
    """One entry to compute, and what it is computed from."""

    plan: EntryPlan
    inputs: dict[str, str]
    stamps: dict[str, str]


@dataclass(frozen=True)
class ApplyChunk:
    """Some entries of one run."""

    task: ApplyTask
    entries: tuple[EntryTask, ...]
    live: Any = field(default=None, compare=False)  # the feature itself, only within one process

    def __getstate__(self) -> dict[str, Any]:
        return {"task": self.task, "entries": self.entries, "live": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)


def apply_chunk(chunk: ApplyChunk) -> list[EntryRecord]:
    """Return what became of each entry; an entry's error is its record and stops no other entry."""
    if chunk.live is not None:  # its own copy, so that what apply leaves on it meets no other thread
        feature, task = _own_copy(chunk.live), chunk.task
    else:
        feature = _loaded(chunk.task)
        task = replace(
            chunk.task, code=chunk.task.code and (feature_code(feature) or UNKNOWN)
        )  # of the code that runs here
    return [compute_entry(feature, task, entry) for entry in chunk.entries]


def _own_copy(feature: Feature) -> Feature:
    """Return a feature that shares what was learned; one that leaves it out when it is pickled keeps it here."""
    if not hasattr(feature, "__dict__"):
        return copy.copy(feature)
    clone: Feature = object.__new__(type(feature))
    clone.__dict__.update(feature.__dict__)
    return clone


def _loaded(task: ApplyTask) -> Feature:
    """Return the feature with its state, loaded once for each run by each worker thread."""
    held: tuple[str, Feature] | None = getattr(_LOADED, "held", None)
    if held is not None and held[0] == task.token:
        return held[1]
    feature: Feature = pickle.loads(task.feature)
    bind(feature, open_dataset(task.dataset))
    if not feature.load_state(task.state, task.artifact_paths, task.dependency_lookups):
        raise FeatureFailed(
            f"{task.name} did not load in a worker the state that was saved", found=str(task.state),
            next_step="load_state must return True for what save_state wrote",
        )  # fmt: skip
    _LOADED.held = task.token, feature
    return feature


def bind(feature: Feature, ds: Dataset) -> None:
    """Give the feature its data set, if it wants it."""
    wants = getattr(feature, "bind_dataset", None)
    if wants is not None:
        wants(ds)


def open_dataset(address: DatasetAddress) -> Dataset:
    """Return the data set that an address names."""
    from gapless.features.dataset import Dataset

    where = address.where or None
    return Dataset(address.root, address.columns, address.topic, where)


def compute_entry(feature: Feature, task: ApplyTask, entry: EntryTask) -> EntryRecord:
    """Compute one entry, again after an error as often as ``retries`` says, and return its record."""
    began = time.monotonic()
    for attempt in range(task.retries + 1):
        try:
            record = _compute(feature, task, entry, began)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - the user's code may raise anything; it becomes the record
            record = _failed(task, entry, began, error)
            if attempt < task.retries:
                continue
        break
    return record


def _compute(feature: Feature, task: ApplyTask, entry: EntryTask, began: float) -> EntryRecord:
    if entry.plan.key == GLOBAL_ENTRY:
        return _record(task, entry, began, "ok")
    columns = task.dataset.columns
    frame = read_frame(entry.plan, columns, task.options, getattr(feature, "input_columns", None))
    if not frame.core_rows:
        return _record(task, entry, began, "empty", timebase=frame.timebase)
    if hasattr(feature, "entry_key"):
        feature.entry_key = entry.plan.key
    output = feature.apply(as_frame(frame.table, frame_type(feature)))
    table = finished_table(output, frame, columns, _units(feature, frame), task.name, entry.plan.key)
    if not table.num_rows:
        return _record(task, entry, began, "empty", timebase=frame.timebase)
    written = write_table(task.folder, entry.plan.key, table)
    return _record(
        task,
        entry,
        began,
        "ok",
        timebase=task.topic if own_times(table, frame) else frame.timebase,
        **{name: getattr(written, name) for name in written.__slots__},
    )


def _units(feature: Any, frame: EntryFrame) -> dict[str, str]:
    """Return the units that a feature declares, or derives from those of its input."""
    derive = getattr(feature, "derived_units", None)
    derived = {} if derive is None else derive(recorded_units(frame.table))
    return {**derived, **(getattr(feature, "units", None) or {})}


def frame_type(feature: Any) -> str:
    """Return the kind of frame that a feature asks for."""
    return str(getattr(feature, "frame_type", "pandas"))


def as_frame(table: pa.Table, kind: str) -> Any:
    """Return the table as the kind of frame that a feature asks for."""
    if kind == "pandas":
        return as_pandas(table)
    if kind == "arrow":
        return table
    if kind == "polars":
        return need("polars").from_arrow(table)
    raise FeatureFailed(
        "a feature asks for an unknown kind of frame", found=kind, expected="pandas | polars | arrow"
    )


def frames(
    plans: Sequence[EntryPlan], feature: Feature, columns: Columns, options: RunOptions
) -> Iterator[tuple[EntryKey, Any]]:
    """Yield the frames that a feature learns from, one at a time; entries without rows are left out."""
    kind = frame_type(feature)
    for plan in plans:
        own = EntryPlan(plan.key, plan.inputs)
        frame: EntryFrame = read_frame(own, columns, options, getattr(feature, "input_columns", None))
        if frame.table.num_rows:
            yield plan.key, as_frame(frame.table, kind)


def _record(task: ApplyTask, entry: EntryTask, began: float, status: Any, **facts: Any) -> EntryRecord:
    group, sequence = entry.plan.key
    return EntryRecord(
        group,
        sequence,
        status,
        entry_digest(entry.inputs),
        entry.inputs,
        code=task.code,
        stamps=entry.stamps,
        recorded_ns=time.time_ns(),
        elapsed_s=round(time.monotonic() - began, 6),
        **facts,
    )


def _failed(task: ApplyTask, entry: EntryTask, began: float, error: BaseException) -> EntryRecord:
    message = error.message if isinstance(error, GaplessError) else str(error)
    return _record(
        task,
        entry,
        began,
        "failed",
        error_type=type(error).__name__,
        error_message=message,
        error_traceback="".join(traceback.format_exception(error)),
    )
