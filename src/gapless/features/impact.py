"""What a change of one recording touches: entries of feature runs, what was learned from them, and models."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from gapless.catalog.feature_rows import RunTables
from gapless.features.entry import GLOBAL_ENTRY, EntryKey
from gapless.features.scope import neighbours
from gapless.features.trained_models import trained_models

Pair = tuple[str, str]  # (feature, run_id)


class _Inputs(msgspec.Struct):
    inputs: dict[str, str] = {}


@dataclass(slots=True)
class _Run:
    """One run: its entries, whether it learned a state, whether entries read rows of their neighbours."""

    learned: bool
    keys: list[EntryKey] = field(default_factory=list)
    overlaps: bool = False
    beside: Mapping[EntryKey, tuple[EntryKey | None, EntryKey | None]] = field(default_factory=dict)


class _Spread:
    """The change on its way through the runs; every entry is reached once."""

    def __init__(self, runs: Mapping[Pair, _Run], readers: Mapping[Pair, list[Pair]]) -> None:
        self.runs = runs
        self.readers = readers
        self.why: dict[tuple[Pair, EntryKey], str] = {}
        self._waiting: deque[tuple[Pair, EntryKey]] = deque()
        self._whole: set[Pair] = set()

    def touch(self, pair: Pair, key: EntryKey, why: str) -> None:
        """Note that an entry is touched, and those that read its rows as their neighbour's."""
        if (pair, key) in self.why:
            return
        self.why[pair, key] = why
        self._waiting.append((pair, key))

    def read_changed(self, pair: Pair, key: EntryKey, why: str) -> None:
        """Note that what a run reads for an entry has changed."""
        run = self.runs[pair]
        if key in run.beside:
            self.touch(pair, key, why)
        for other in run.beside.get(key, ()) if run.overlaps else ():
            if other is not None:
                self.touch(pair, other, f"reads rows of its neighbour {key[1]}")
        if GLOBAL_ENTRY in run.beside:
            self.touch(pair, GLOBAL_ENTRY, why)

    def follow(self) -> None:
        """Go on until nothing new is touched."""
        while self._waiting:
            pair, key = self._waiting.popleft()
            run = self.runs[pair]
            if run.learned and pair not in self._whole:
                self._whole.add(pair)
                for other in run.keys:
                    self.touch(pair, other, f"its run learned from {key[1]}")
            why = f"made from {pair[0]} {pair[1]}"
            for reader in self.readers.get(pair, ()):
                keys = self.runs[reader].keys if key == GLOBAL_ENTRY else [key]
                for changed in keys:
                    self.read_changed(reader, changed, why)


def impact_of(database: RunTables, root: Path | None, sequence: str) -> list[dict[str, Any]]:
    """Return the touched entries in order of run and entry, then the touched models, each with a reason."""
    runs = _runs(database)
    spread = _Spread(runs, _readers(database, runs))
    for pair, run in runs.items():
        for key in run.keys:
            if key[1] == sequence:
                spread.read_changed(pair, key, f"computed from {sequence}")
    spread.follow()
    found: list[dict[str, Any]] = [
        {
            "kind": "entry",
            "feature": pair[0],
            "run_id": pair[1],
            "group": key[0],
            "sequence": key[1],
            "why": why,
        }
        for (pair, key), why in sorted(spread.why.items())
    ]
    touched = {pair for pair, _ in spread.why}
    for model in [] if root is None else trained_models(root):
        sources = [f"{feature} {run_id}" for feature, run_id in model.inputs if (feature, run_id) in touched]
        if not sources and sequence in model.sequences:
            sources = [sequence]
        if sources:
            found.append(
                {
                    "kind": "model",
                    "name": model.name,
                    "run_id": model.run_id,
                    "why": f"trained on {sources[0]}",
                }
            )
    return found


def _runs(database: RunTables) -> dict[Pair, _Run]:
    runs = {
        (feature, run_id): _Run(bool(learned))
        for feature, run_id, learned in database.rows(
            "SELECT feature, run_id, state_digest IS NOT NULL FROM feature_runs ORDER BY 1, 2"
        )
    }
    for feature, run_id, group, name, record in database.rows(
        "SELECT feature, run_id, group_, sequence, record FROM feature_entries ORDER BY 1, 2, 3, 4"
    ):
        run = runs[feature, run_id]
        run.keys.append((group, name))
        run.overlaps = run.overlaps or any(label[:1] in "<>" for label in _decoder().decode(record).inputs)
    for run in runs.values():
        run.beside = neighbours(run.keys)
    return runs


def _readers(database: RunTables, runs: Mapping[Pair, _Run]) -> dict[Pair, list[Pair]]:
    found: dict[Pair, list[Pair]] = {}
    for feature, run_id, upstream, upstream_id in database.rows(
        "SELECT * FROM dependencies ORDER BY 1, 2, 3, 4"
    ):
        if (upstream, upstream_id) in runs:
            found.setdefault((upstream, upstream_id), []).append((feature, run_id))
    return found


@cache
def _decoder() -> msgspec.json.Decoder[_Inputs]:
    return msgspec.json.Decoder(_Inputs)
