"""Outputs whose bytes are not what was written: found by reading them, and computed again."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gapless.features.run_folder import RunFolder
from gapless.features.survey import damage_of

if TYPE_CHECKING:
    from gapless.features.dataset import Dataset

UNTRUSTED_NS = 0  # as the time of a file: its size and time are believed no more, its bytes are read
_LOG = logging.getLogger("gapless.features")


def distrust_damaged(ds: Dataset, runs: Iterable[tuple[str, str]]) -> None:
    """Read every output of the runs, and make those stale whose bytes are not what was written.

    They are marked in the ledger of their run, so that any later look at it compares their bytes until they
    have been computed again.
    """
    for pair in runs:
        folder = RunFolder.of(ds.root, *pair)
        records = ds.registry.entry_records([pair])[pair].values()
        damaged = [
            replace(record, mtime_ns=UNTRUSTED_NS)
            for record in records
            if record.file and damage_of(str(folder.path), record, deep=True)
        ]
        if not damaged:
            continue
        folder.append(damaged)
        ds.registry.save_records(*pair, damaged)
        for record in damaged:
            _LOG.warning(
                "%s %s: the output of %s is not what was written; the next run of its step computes it again",
                *pair, record.sequence,
            )  # fmt: skip
