"""Verification of a LeRobot dataset: whether loaders get each row with its own pictures, task and statistics.

Quick: structure, counts, times of all pictures, digests where an export of gapless wrote them. Deep also
decodes every picture and computes the statistics again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from gapless.errors import IntegrityError, NotFound
from gapless.exchange.lerobot.dataset import INFO, MANIFEST, STATS, TASKS, LeRobotDatasetFiles
from gapless.exchange.lerobot.findings import error
from gapless.exchange.lerobot.verify_files import check_files
from gapless.exchange.lerobot.verify_list import check_list, check_manifest, check_tasks
from gapless.exchange.lerobot.verify_rows import check_rows
from gapless.exchange.lerobot.verify_stats import check_stats, check_values
from gapless.exchange.lerobot.verify_video import check_pictures, check_stills, check_videos
from gapless.store.verify import Finding

_Read = TypeVar("_Read")

_UNREADABLE = {"L003", "L010", "L015"}  # found in rows: their values cannot be computed with


def verify_dataset(path: Path, *, deep: bool = False) -> list[Finding]:
    """Return the findings of a dataset folder; none means that no loader can tell it from what was exported.

    Reads only. Raises NotFound for a folder that is no dataset and ImportRefused for another format version.
    Without ``meta/gapless.json`` a changed value or picture is found only where it contradicts something.
    """
    try:
        dataset = LeRobotDatasetFiles(path)
    except IntegrityError as problem:
        return [error("L001", str(problem), INFO)]
    return list(_findings(dataset, deep))


def _findings(dataset: LeRobotDatasetFiles, deep: bool) -> Iterator[Finding]:
    manifest = _read(dataset.manifest, "L024", MANIFEST)
    entries = _read(dataset.episodes, "L003", "meta/episodes")
    stats = _read(dataset.stats, "L003", STATS)
    texts = _read(dataset.task_texts, "L003", TASKS)
    for outcome in (manifest, entries, stats, texts):
        if isinstance(outcome, Finding):
            yield outcome
    known = manifest if isinstance(manifest, dict) else None
    if isinstance(entries, Finding):
        return
    yield from check_files(dataset, entries, known)
    yield from check_list(dataset, entries)
    if known is not None:
        yield from check_manifest(known, entries)
    rows = list(check_rows(dataset, entries, None if isinstance(texts, Finding) else texts))
    yield from rows
    if not isinstance(texts, Finding):
        yield from check_tasks(dataset)
    yield from check_videos(dataset, entries)
    if not isinstance(stats, Finding):
        yield from check_stats(dataset, entries, stats)
    if deep:
        yield from check_pictures(dataset, entries, sampled=known is not None)
    if deep and not {finding.code for finding in rows} & _UNREADABLE:
        yield from check_stills(dataset)
        if not isinstance(stats, Finding):
            yield from check_values(dataset, entries, stats, exact=known is not None)


def _read(read: Callable[[], _Read], code: str, name: str) -> _Read | Finding:
    """Return what was read, or the finding that it could not be."""
    try:
        return read()
    except NotFound as problem:
        return error("L002", str(problem), name)
    except IntegrityError as problem:
        return error(code, str(problem), name)
