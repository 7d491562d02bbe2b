"""The statistics of a dataset: possible at all, and (deep) those of its values.

Quantiles are compared with the values only where gapless wrote them: LeRobot's own are weighted means of
the episodes' quantiles, which no computation over the rows gives again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gapless.exchange.lerobot.dataset import (
    ROW_FEATURES,
    STATS,
    EpisodeEntry,
    Feature,
    LeRobotDatasetFiles,
)
from gapless.exchange.lerobot.findings import error, warning
from gapless.model.summary import QUANTILES, Block, Summary, summarize
from gapless.store.verify import Finding

Stats = Mapping[str, Mapping[str, Any]]
_Figures = dict[str, npt.NDArray[np.float64]]

_LIST = "meta/episodes"
_SLACK = 1e-6  # of the largest magnitude: figures were rounded to float32
_ABSOLUTE = 1e-9  # LeRobot's histograms reach so far beyond a constant
_LOOSE = 1e-3  # the same, for figures that were summed up in float32


def check_stats(
    dataset: LeRobotDatasetFiles, entries: Sequence[EpisodeEntry], stats: Stats | None
) -> Iterator[Finding]:
    """Tell of figures that no values can have, for the dataset and for each episode that has its own."""
    rows = sum(entry.length for entry in entries)
    if stats is not None:
        for feature in dataset.features.values():
            if feature.key not in stats and feature.is_number and feature.key not in ROW_FEATURES:
                yield error("L020", f"{feature.key}: there are no statistics", STATS)
        yield from _possible(dataset, stats, rows, STATS, "")
    for entry in entries:
        yield from _possible(dataset, entry.stats, entry.length, _LIST, f"episode {entry.index}, ")


def _possible(
    dataset: LeRobotDatasetFiles, stats: Stats, rows: int, name: str, where: str
) -> Iterator[Finding]:
    for key, told in stats.items():
        feature = dataset.features.get(key)
        if feature is None:
            yield error("L020", f"{where}{key}: there is no such feature", name)
            continue
        try:
            figures = {stat: np.array(value, np.float64).ravel() for stat, value in told.items()}
        except (TypeError, ValueError) as problem:
            yield error("L020", f"{where}{key}: {problem}", name)
            continue
        problem_words = _impossible(feature, figures, rows)
        if problem_words:
            yield error("L020", f"{where}{key}: {problem_words}", name)


def _impossible(feature: Feature, figures: _Figures, rows: int) -> str | None:
    """Return what is wrong with one feature's figures."""
    ordered = [stat for stat in ("min", *QUANTILES, "max") if stat in figures]
    values = [*ordered, *(stat for stat in ("mean", "std") if stat in figures)]
    if any(not np.isfinite(figures[stat]).all() for stat in values):
        return "a figure is NaN or infinite"
    if len({len(figures[stat]) for stat in values}) > 1:
        return "the figures have different shapes"
    if (
        feature.is_number
        and len(feature.shape) == 1
        and any(len(figures[s]) != feature.width for s in values)
    ):
        return f"there are not {feature.width} of each figure"
    size = max((float(np.abs(figures[stat]).max(initial=0)) for stat in values), default=0.0)
    slack = _SLACK * size + _ABSOLUTE
    for low, high in itertools.pairwise(ordered):
        if (figures[low] > figures[high] + slack).any():
            return f"{low} is above {high}"
    if {"min", "mean", "max"} <= figures.keys() and (
        (figures["mean"] < figures["min"] - slack) | (figures["mean"] > figures["max"] + slack)
    ).any():
        return "the mean is not between minimum and maximum"
    if "std" in figures and (figures["std"] < 0).any():
        return "the standard deviation is negative"
    if feature.is_number and "count" in figures and (figures["count"] != rows).any():
        return f"the count is {figures['count'].tolist()}, there are {rows} rows"
    return None


def check_values(
    dataset: LeRobotDatasetFiles, entries: Sequence[EpisodeEntry], stats: Stats | None, *, exact: bool
) -> Iterator[Finding]:
    """Compute the figures of numbers and vectors again, of rows without a finding of their structure.

    ``exact``: quantiles too, and to the last digits.
    """
    for feature in dataset.columns:
        if not feature.is_number or len(feature.shape) > 1:
            continue
        summaries = summarize(partial(_blocks, dataset, feature))
        ordered = [summaries[str(place)] for place in range(len(summaries))]
        unusable = sum(s.nan_count + s.infinite_count + s.null_count for s in ordered)
        if unusable:
            yield warning("L023", f"{feature.key}: {unusable} values are NaN, infinite or missing")
            continue
        if stats is not None and feature.key in stats:
            words = _differs(stats[feature.key], _figures(ordered), exact=exact)
            if words:
                yield error("L021", f"{feature.key}: {words}", STATS)
    yield from _episodes(dataset, entries, exact=exact)


def _blocks(dataset: LeRobotDatasetFiles, feature: Feature) -> Iterator[dict[str, Block]]:
    for name in dataset.data_files():
        column = dataset.read(name, [feature.key])[feature.key]
        for chunk in column.chunks:
            values = _matrix(chunk, feature.width)
            yield {str(place): (values[:, place], 0) for place in range(feature.width)}


def _matrix(chunk: pa.Array, width: int) -> npt.NDArray[np.float64]:
    """Return the values as ``[rows, width]`` float64."""
    if isinstance(chunk, pa.ExtensionArray):
        chunk = chunk.storage
    while pa.types.is_nested(chunk.type):
        chunk = chunk.flatten()
    flat: npt.NDArray[np.float64] = chunk.to_numpy(zero_copy_only=False).astype(np.float64)
    return flat.reshape(-1, width)


def _figures(summaries: Sequence[Summary]) -> _Figures:
    each = [summary.figures() for summary in summaries]
    return {stat: np.array([one[stat] for one in each], np.float64) for stat in each[0]}


def _differs(told: Mapping[str, Any], found: _Figures, *, exact: bool) -> str | None:
    size = np.maximum(np.abs(found["min"]), np.abs(found["max"]))
    loose = _SLACK if exact else _LOOSE
    slack = {"min": _SLACK, "max": _SLACK, "mean": loose, "std": loose}
    if exact:
        slack |= dict.fromkeys(QUANTILES, _SLACK)
    for stat, share in slack.items():
        if stat not in told or stat not in found:
            continue
        said = np.array(told[stat], np.float64).ravel()
        if said.shape != found[stat].shape or (np.abs(said - found[stat]) > share * size + _ABSOLUTE).any():
            return f"{stat} is {_short(said)}, the values give {_short(found[stat])}"
    return None


def _short(values: npt.NDArray[np.float64]) -> str:
    shown = ", ".join(f"{value:.6g}" for value in values[:4])
    return f"[{shown}{', …' if len(values) > 4 else ''}]"


def _episodes(
    dataset: LeRobotDatasetFiles, entries: Sequence[EpisodeEntry], *, exact: bool
) -> Iterator[Finding]:
    """Compare the figures that the episode list has, one file of rows at a time."""
    position = 0
    for name in dataset.data_files():
        table = dataset.read(name)
        for entry in entries:
            if dataset.data_file(entry.data) != name:
                continue
            rows = table.slice(entry.from_index - position, entry.length)
            yield from _episode(dataset, entry, rows, exact=exact)
        position += table.num_rows


def _episode(
    dataset: LeRobotDatasetFiles, entry: EpisodeEntry, rows: pa.Table, *, exact: bool
) -> Iterator[Finding]:
    for key, told in entry.stats.items():
        feature = dataset.features.get(key)
        if feature is None or not feature.is_number or len(feature.shape) > 1 or key not in rows.column_names:
            continue
        summaries = [Summary() for _ in range(feature.width)]
        for chunk in rows[key].chunks:
            for summary, values in zip(summaries, _matrix(chunk, feature.width).T, strict=True):
                summary.add(values)
        if any(summary.nan_count + summary.infinite_count for summary in summaries):
            continue
        words = _differs(told, _moments(summaries), exact=exact)
        if words:
            yield error("L021", f"episode {entry.index}, {key}: {words}", _LIST)


def _moments(summaries: Sequence[Summary]) -> _Figures:
    """Return the figures that one pass gives, for an episode of any length."""
    moments = [summary.moments for summary in summaries]
    return {
        stat: np.array([getattr(one, stat) for one in moments], np.float64)
        for stat in ("min", "max", "mean", "std")
    }
