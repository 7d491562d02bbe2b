"""The files of a dataset: all there, none too many, readable, and with the bytes that were exported."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gapless.exchange.lerobot.dataset import (
    INFO,
    MANIFEST,
    STATS,
    TASKS,
    EpisodeEntry,
    LeRobotDatasetFiles,
)
from gapless.exchange.lerobot.findings import error, warning
from gapless.store.parquet import sha256_file
from gapless.store.verify import Finding

_FOLDERS = ("data/", "videos/", "images/", "meta/")
_ALSO_IN_META = ("meta/subtasks.parquet",)


def check_files(
    dataset: LeRobotDatasetFiles, entries: Sequence[EpisodeEntry], manifest: Mapping[str, Any] | None
) -> Iterator[Finding]:
    """Compare the folder with what its episodes name, and with the digests of the export."""
    digests = _digests(manifest)
    named = _named(dataset, entries)
    for name in sorted(named | digests.keys()):
        path = dataset.path / name
        if not path.is_file():
            yield error("L002", "the file is missing", name)
        elif name in digests and sha256_file(path) != digests[name]:
            yield error("L004", "the bytes differ from what was exported", name)
    named |= digests.keys() | {INFO, TASKS, STATS, MANIFEST, *_ALSO_IN_META, *dataset.episode_files()}
    for path in sorted(dataset.path.rglob("*")):
        name = path.relative_to(dataset.path).as_posix()
        if not path.is_file() or _is_hidden(name):
            continue
        if name not in named and name.startswith(_FOLDERS):
            joined = name.startswith("data/") and name.endswith(".parquet")  # loaders read all of them
            yield (error if joined else warning)("L005", "no episode uses this file", name)
        mode = stat.S_IMODE(path.stat().st_mode)
        if not mode & (stat.S_IRGRP | stat.S_IROTH):
            yield warning("L006", f"the file's mode is {mode:04o}", name)


def _named(dataset: LeRobotDatasetFiles, entries: Sequence[EpisodeEntry]) -> set[str]:
    data = {dataset.data_file(entry.data) for entry in entries}
    return data | {
        dataset.video_file(key, span.place) for entry in entries for key, span in entry.videos.items()
    }


def _digests(manifest: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the SHA-256 of each file that the export told of."""
    if manifest is None:
        return {}
    found: dict[str, str] = dict(manifest.get("files") or {})
    for episode in manifest.get("episodes") or []:
        found |= episode.get("files") or {}
    return found


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
