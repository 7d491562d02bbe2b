"""The statistics of an episode: what its columns and cameras look like, as the artifact ``statistics.json``.

::

    {"format": 1,
     "topics": {topic: {"rows": n, "columns": {column: {"count", "nan_count", "infinite_count", "null_count",
                "min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99"}}}},
     "cameras": {topic: {"sampled_every": 16, "pictures": n, <the same names>: [one number per channel]}},
     "findings": [{"topic", "column" (not of cameras), "finding": words}]}

Figures are of the finite numbers, in float64 and the columns' own units; cameras' in pixel values. A figure
that does not exist is null: there is no NaN in the file. Findings are hints for a person, never errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from gapless.model.metadata import canonical_json
from gapless.model.picture_summary import SAMPLED_EVERY, PictureSummary
from gapless.model.summary import Block, Summary, summarize
from gapless.store.pyramid import numeric_fields

if TYPE_CHECKING:
    from gapless.client.sequence_handler import SequenceHandler
    from gapless.client.topic_handler import TopicHandler

_COLUMNS_AT_ONCE = 16  # each may keep 1.5 MB


def write_statistics(episode: SequenceHandler, pictures: Mapping[str, PictureSummary]) -> bytes:
    """Return ``statistics.json`` as canonical JSON: the same rows and pictures give the same bytes.

    The rows are those of the recorders' tables, of an open sequence as far as they are durable, read in
    bounded memory; ``pictures`` are the summaries of the cameras by topic.
    """
    return canonical_json(episode_statistics(episode, pictures))


def episode_statistics(episode: SequenceHandler, pictures: Mapping[str, PictureSummary]) -> dict[str, Any]:
    """Return the statistics as JSON values; see :func:`write_statistics`."""
    tables: dict[str, Any] = {}
    cameras: dict[str, Any] = {}
    findings: list[dict[str, str]] = []
    for name in sorted(episode.topics):
        topic = episode.topic(name)
        if "every" not in topic.metadata:  # only the tables of recorders say how often they have a row
            continue
        summaries = column_summaries(topic)
        columns = {column: _without_nan(summary.figures()) for column, summary in summaries.items()}
        tables[name] = {"rows": topic.rows, "columns": columns}
        findings += [
            {"topic": name, "column": column, "finding": words}
            for column, summary in summaries.items()
            for words in _column_findings(summary)
        ]
    for name, seen in sorted(pictures.items()):
        cameras[name] = {"sampled_every": SAMPLED_EVERY, "pictures": seen.pictures, **seen.figures()}
        findings += [{"topic": name, "finding": words} for words in _camera_findings(seen)]
    return {"format": 1, "topics": tables, "cameras": cameras, "findings": findings}


def column_summaries(topic: TopicHandler) -> dict[str, Summary]:
    """Return the summary of each column of numbers or bools; the time and nested columns have none."""
    names = numeric_fields(topic.schema)
    summaries = {name: Summary() for name in names}  # a topic without rows has them too
    for start in range(0, len(names), _COLUMNS_AT_ONCE):
        summaries |= summarize(partial(_blocks, topic, names[start : start + _COLUMNS_AT_ONCE]))
    return summaries


def _blocks(topic: TopicHandler, names: Sequence[str]) -> Iterator[dict[str, Block]]:
    for batch in topic.scan(names):
        columns = {name: batch.column(name) for name in names}
        yield {
            name: (column.drop_null().to_numpy(zero_copy_only=False), column.null_count)
            for name, column in columns.items()
        }


def _column_findings(summary: Summary) -> Iterator[str]:
    moments = summary.moments
    if moments.count > 1 and moments.min == moments.max:
        yield f"never changes: {moments.count} times {moments.min!r}"
    unusable = {
        "NaN": summary.nan_count,
        "infinite": summary.infinite_count,
        "null": summary.null_count,
    }
    rows = moments.count + sum(unusable.values())
    for word, count in unusable.items():
        if count:
            yield f"{count} of {rows} values are {word}"


def _camera_findings(summary: PictureSummary) -> Iterator[str]:
    if summary.pictures > 1 and summary.frozen:
        yield f"frozen: all {summary.pictures} sampled pictures are identical"


def _without_nan(figures: Mapping[str, float | int]) -> dict[str, float | int | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}
