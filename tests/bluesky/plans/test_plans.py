"""Every plan on a real RunEngine: normalised as the live TiledWriter does, stored as seen, given back as stored."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path

import bluesky.plans
import pytest
from tests.bluesky.plans.checks import check_back, check_normalizers, check_store
from tests.bluesky.plans.engine import run_plan
from tests.bluesky.plans.plain import Document
from tests.bluesky.plans.plan_table import ALL, OF_BLUESKY

from gapless.bluesky import Writer


@dataclass(frozen=True)
class Recorded:
    """A plan that was recorded: what the RunEngine emitted, and the store."""

    seen: list[Document]
    store: Path


@pytest.fixture(scope="module", params=list(ALL))
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Run one plan with a Writer subscribed."""
    folder = tmp_path_factory.mktemp("plan")
    writer = Writer(folder / "store")
    seen: list[Document] = list(run_plan(ALL[request.param], folder, writer))
    writer.close()
    assert writer.errors == []
    return Recorded(seen, folder / "store")


def test_the_table_has_every_plan_of_bluesky() -> None:
    """A plan that bluesky adds is missed here."""
    found = inspect.getmembers(bluesky.plans, inspect.isfunction)
    plans = {f.__name__ for name, f in found if f.__module__ == "bluesky.plans" and name[0] != "_"}
    assert plans - {"derive_default_hints"} == set(OF_BLUESKY)


def test_the_live_normalizer_and_ours_emit_the_same(recorded: Recorded) -> None:
    """The same documents in the same order."""
    check_normalizers(recorded.seen)


def test_the_store_holds_what_was_seen(recorded: Recorded) -> None:
    """Every run with its outcome, every event with its number, times and values."""
    check_store(recorded.store, recorded.seen)


def test_the_documents_come_back(recorded: Recorded) -> None:
    """What `documents` emits is what was normalised."""
    check_back(recorded.store, recorded.seen)
