"""Frames to look at or to label: chosen over a whole data set, evenly, at random, by sequence or by content.

The choice is a feature like any other: cached, with its identity and lineage, made again when what it was
made from changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gapless.errors import ArgumentRefused, NotFound
from gapless.errors.extra import need
from gapless.features.apply import bind, frames
from gapless.features.arrays import read_arrays, write_arrays
from gapless.features.entry import EntryKey
from gapless.features.feature import InputStream
from gapless.features.identity import RunOptions
from gapless.features.inputs import Inputs as AnyInputs
from gapless.features.inputs import TopicInput, TrackInput
from gapless.features.kit import FittedFeature
from gapless.features.params import Params as AnyParams
from gapless.features.resolve import RunView, bind_run, survey_run
from gapless.features.result import Result
from gapless.store.declaration import TIME

if TYPE_CHECKING:
    import pandas as pd

    from gapless.features.dataset import Dataset

Method = Literal["uniform", "random", "stratified", "kmeans"]
METHODS = ("uniform", "random", "stratified", "kmeans")
_STATE = "chosen.npz"
_CLUSTERED_ROWS = 50_000  # of more frames a seeded sample is clustered


class SampledFrames(FittedFeature):
    """Chooses ``n`` frames of the whole data set; the output of an entry is its chosen frames.

    ``uniform`` takes them at even distances along all frames in order, ``random`` without order,
    ``stratified`` equally many of each sequence, ``kmeans`` the frame nearest to each of ``n`` centres of
    the inputs' numbers (scaled to unit variance; of several objects at one time, their mean). Two frames of
    one sequence are at least ``min_gap_s`` apart; where that leaves fewer than ``n``, fewer are chosen.
    """

    name: ClassVar[str] = "sampled-frames"
    version: ClassVar[str] = "1.0"
    scope_dependent: ClassVar[bool] = True

    class Params(AnyParams):
        """``n`` frames, ``min_gap_s`` in seconds, ``seed`` of everything random."""

        n: int = Field(default=100, ge=1)
        method: Method = "uniform"
        min_gap_s: float = Field(default=0.0, ge=0.0)
        seed: int = Field(default=0, ge=0)

    class Inputs(AnyInputs[TrackInput | Result[str] | TopicInput]):
        """The recording, or what ``kmeans`` compares frames by."""

    def load_state(
        self,
        run_root: Path,
        artifact_paths: dict[str, Path],
        dependency_lookups: dict[str, dict[EntryKey, Path]],
    ) -> bool:
        """Load the choice."""
        del artifact_paths, dependency_lookups
        file = run_root / _STATE
        if not file.exists():
            return False
        arrays = read_arrays(file)
        self._chosen = {
            (str(group), str(sequence)): arrays[f"entry{place}"]
            for place, (group, sequence) in enumerate(arrays["keys"].reshape(-1, 2))
        }
        return True

    def fit(self, inputs: InputStream) -> None:
        """Choose over all entries; memory is that of the frames' times and, for ``kmeans``, of their numbers."""
        keys: list[EntryKey] = []
        frames: list[NDArray[np.int64]] = []
        times: list[NDArray[np.float64]] = []
        content: list[NDArray[np.float64]] = []
        for key, df in inputs():
            grouped = df.groupby(self.columns.frame_col, sort=True)
            keys.append(key)
            frames.append(np.asarray(list(grouped.groups), dtype=np.int64))
            times.append(grouped[self.columns.time_col].first().to_numpy(dtype=np.float64))
            if self.params.method == "kmeans":
                content.append(self._numbers(df, grouped))
        order = self._order([len(f) for f in frames], content)
        chosen = _spaced(order, times, self.params.n, self.params.min_gap_s)
        self._chosen = {
            key: frames[place][rows] for place, (key, rows) in enumerate(zip(keys, chosen, strict=True))
        }

    def _numbers(self, df: pd.DataFrame, grouped: Any) -> NDArray[np.float64]:
        meta = self.columns.meta_set() | {TIME}
        names = [name for name in df.select_dtypes("number").columns if name not in meta]
        if not names:
            raise ArgumentRefused(
                "the inputs have no numbers to compare frames by", found=list(df.columns),
                expected="by=Result of a feature with numeric columns",
            )  # fmt: skip
        numbers: NDArray[np.float64] = grouped[names].mean().to_numpy(dtype=np.float64, na_value=np.nan)
        return np.nan_to_num(numbers)

    def _order(self, counts: Sequence[int], content: Sequence[NDArray[np.float64]]) -> list[tuple[int, int]]:
        """Return (entry, row) of candidates, the most wanted first."""
        random = np.random.default_rng(self.params.seed)
        places = np.repeat(np.arange(len(counts)), counts)
        rows = np.concatenate([np.arange(count) for count in counts]) if counts else np.empty(0, np.int64)
        every = len(rows)
        if self.params.method == "uniform":
            first = (
                np.linspace(0, every, self.params.n, endpoint=False) + every / (2 * self.params.n)
            ).astype(int)
            rest = random.permutation(every)
            wanted = np.concatenate([np.unique(first), rest]) if every else rest
        elif self.params.method == "random":
            wanted = random.permutation(every)
        elif self.params.method == "stratified":
            shuffled = [random.permutation(np.flatnonzero(places == place)) for place in range(len(counts))]
            turns = [(turn, place) for place, s in enumerate(shuffled) for turn in range(len(s))]
            wanted = np.array([shuffled[place][turn] for turn, place in sorted(turns)], dtype=np.int64)
        else:
            wanted = self._by_content(np.concatenate(content) if content else np.empty((0, 1)), random)
        return [(int(places[w]), int(rows[w])) for w in wanted]

    def _by_content(self, numbers: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.int64]:
        """Return the rows nearest to the centres, then those that are next nearest."""
        from sklearn.cluster import KMeans

        if not len(numbers):
            return np.empty(0, np.int64)
        spread = numbers.std(axis=0)
        scaled = (numbers - numbers.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        kept = np.sort(random.permutation(len(scaled))[:_CLUSTERED_ROWS])
        count = min(self.params.n, len(np.unique(scaled[kept], axis=0)))
        model = KMeans(count, n_init=4, random_state=self.params.seed).fit(scaled[kept])
        label = model.predict(scaled)
        distance = np.linalg.norm(scaled - model.cluster_centers_[label], axis=1)
        nearest = np.lexsort((distance, label))
        starts = np.searchsorted(label[nearest], np.arange(count))
        first = nearest[starts]
        rest = np.setdiff1d(np.argsort(distance, kind="stable"), first, assume_unique=True)
        return np.concatenate([first, rest])

    def save_state(self, run_root: Path) -> None:
        """Keep the choice as plain arrays."""
        arrays: dict[str, NDArray[Any]] = {f"entry{n}": a for n, a in enumerate(self._chosen.values())}
        arrays["keys"] = np.array(list(self._chosen), dtype=np.str_).reshape(-1, 2)
        write_arrays(run_root / _STATE, arrays)

    def apply(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return time and number of the chosen frames, one row each."""
        names = (self.columns.group_col, self.columns.seq_col)
        key = self.entry_key or (str(df[names[0]].iloc[0]), str(df[names[1]].iloc[0]))
        wanted = self._chosen.get(key, np.empty(0, np.int64))
        frame, time = self.columns.frame_col, self.columns.time_col
        rows = df.drop_duplicates(frame)
        return rows.loc[rows[frame].isin(wanted), [TIME, frame, time]].reset_index(drop=True)


def _spaced(
    order: Iterable[tuple[int, int]], times: Sequence[NDArray[np.float64]], n: int, min_gap_s: float
) -> list[NDArray[np.int64]]:
    """Return the rows to take of each entry: the most wanted first, none closer than the gap to another."""
    taken: list[list[int]] = [[] for _ in times]
    left = n
    for place, row in order:
        if not left:
            break
        mine = taken[place]
        if row in mine or (
            min_gap_s and any(abs(times[place][row] - times[place][r]) < min_gap_s for r in mine)
        ):
            continue
        mine.append(row)
        left -= 1
    return [np.sort(np.asarray(rows, dtype=np.int64)) for rows in taken]


@dataclass(frozen=True)
class FrameSample:
    """Chosen frames: ``table`` has group, sequence, frame, time and timestamp_ns, in order."""

    ds: Dataset
    result: Result[str]
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)

    def write_images(self, folder: str | Path, topic: str) -> list[Path]:
        """Write the picture of a media topic that holds at each frame, as ``<sequence>-<frame>.png``.

        Raises NotFound for a frame before the first picture. Returns the files in the order of ``table``.
        """
        from gapless.features.sampled_images import write_sample_images

        return write_sample_images(self, Path(folder), topic)


def sample_frames(
    ds: Dataset,
    n: int,
    method: Method = "uniform",
    *,
    by: Result[Any] | Sequence[Result[Any]] | None = None,
    min_gap_s: float = 0.0,
    seed: int = 0,
    groups: Iterable[str] | None = None,
    sequences: Iterable[str] | None = None,
    record: bool = True,
) -> FrameSample:
    """Choose ``n`` frames of a data set; see :class:`SampledFrames` for the methods.

    ``by``: the features that ``kmeans`` compares frames by. The choice is cached: the same question about
    the same data gives the same frames without computing. ``record=False`` chooses without keeping
    anything. Raises NotFound for a data set without frames.
    """
    need("pandas", extra="features")
    import pandas as pd

    if method not in METHODS:
        raise ArgumentRefused("there is no such method", found=method, expected=" | ".join(METHODS))
    if method == "kmeans" and by is None:
        raise ArgumentRefused("kmeans compares frames by features", expected="by=Result")
    if method == "kmeans":
        need("sklearn", extra="features")
    items: tuple[Any, ...] = ("tracks",) if by is None else (by,) if isinstance(by, Result) else tuple(by)
    feature = SampledFrames(
        SampledFrames.Inputs(items), {"n": n, "method": method, "min_gap_s": min_gap_s, "seed": seed}
    )
    if record:
        result = ds.run_feature(feature, groups=groups, sequences=sequences)
        found = [df for _, df in ds.results(result)]
    else:
        result, found = _unrecorded(ds, feature, groups, sequences)
    if not found:
        raise NotFound(
            "the data set has no frames to choose from", next_step="record sequences with the topic"
        )
    columns = [ds.columns.group_col, ds.columns.seq_col, ds.columns.frame_col, ds.columns.time_col, TIME]
    return FrameSample(ds, result, pd.concat(found, ignore_index=True)[columns])


def _unrecorded(
    ds: Dataset, feature: SampledFrames, groups: Iterable[str] | None, sequences: Iterable[str] | None
) -> tuple[Result[str], list[pd.DataFrame]]:
    """Return what the run would be called, and the chosen frames of each entry; nothing is written."""
    view = RunView(ds)
    bound = bind_run(view, feature, RunOptions(), groups=groups, sequences=sequences)
    survey = survey_run(view, bound)
    if survey.absent is not None:
        raise survey.absent
    plans = [state.plan for state in survey.states if state.plan is not None]
    bind(feature, ds)
    stream = InputStream(lambda: frames(plans, feature, ds.columns, bound.options), len(plans))
    feature.fit(stream)
    names = ds.columns.group_col, ds.columns.seq_col
    found = []
    for key, df in stream():
        feature.entry_key = key
        found.append(feature.apply(df).assign(**dict(zip(names, key, strict=True))))
    return Result(feature=bound.identity.storage, run_id=bound.identity.run_id), found
