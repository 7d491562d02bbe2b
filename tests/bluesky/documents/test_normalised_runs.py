"""Runs of every generation, normalised and recorded, are re-emitted as they were normalised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from tests.bluesky.documents.test_round_trip import assert_same, assert_usable_order
from tests.bluesky.recording.run_documents import new_uid
from tests.bluesky.strategies import Run, legacy_runs, modern_runs

import gapless
from gapless.bluesky.document_source import documents
from gapless.bluesky.normalizer import RunNormalizer
from gapless.bluesky.run_writer import RunWriter

_PROPERTY = settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)


def normalised(run: Run) -> Run:
    """Return the documents of a run as the normalizer has them."""
    found: Run = []
    normalizer = RunNormalizer()
    normalizer.subscribe(lambda name, doc: found.append((name, doc)))
    for name, doc in run:
        normalizer(name, doc)
    return found


def stored(folder: Path, run: Run) -> Run:
    """Record normalised documents in a new store and return what the sequence emits."""
    with gapless.connect(folder / new_uid()) as client:
        writer = RunWriter(client, run[0][1])
        for name, doc in run[1:]:
            writer(name, doc)
        if run[-1][0] != "stop":
            writer.seal()
        return list(documents(client.sequence_handler(writer.sequence.name)))


@_PROPERTY
@given(modern_runs())
def test_a_modern_run_comes_back(tmp_path: Path, run: Run) -> None:
    """A modern run comes back."""
    assert_round_trip(tmp_path, run)


@_PROPERTY
@given(modern_runs(odd=True))
def test_values_that_nobody_declared_come_back(tmp_path: Path, run: Run) -> None:
    """Values that nobody declared come back."""
    assert_round_trip(tmp_path, run)


@_PROPERTY
@given(legacy_runs())
def test_a_legacy_run_comes_back_as_it_was_normalised(tmp_path: Path, run: Run) -> None:
    """A legacy run comes back as it was normalised."""
    assert_round_trip(tmp_path, run)


def assert_round_trip(folder: Path, run: Run) -> None:
    """Assert that what comes out of the sequence is what went in after normalising."""
    expected: list[tuple[str, dict[str, Any]]] = normalised(run)
    got = stored(folder, expected)
    assert_usable_order(got)
    assert_same(got, expected)
