"""Runs made by event_model itself: normalised as the live TiledWriter does, stored, and given back."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from tests.bluesky.plans.checks import check_back, check_normalizers, check_store
from tests.bluesky.plans.composed import COMPOSED, Document, valid

from gapless.bluesky import Writer


@pytest.fixture(scope="module", params=list(COMPOSED))
def composed(request: pytest.FixtureRequest) -> list[Document]:
    """Make one run."""
    return valid(COMPOSED[request.param]())


@pytest.fixture(scope="module")
def store(composed: list[Document], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record the run."""
    folder = tmp_path_factory.mktemp("composed")
    writer = Writer(folder)
    for name, doc in copy.deepcopy(composed):
        writer(name, doc)
    writer.close()
    assert writer.errors == []
    return folder


def test_the_live_normalizer_and_ours_emit_the_same(composed: list[Document]) -> None:
    """The same documents in the same order."""
    check_normalizers(list(composed))


def test_the_store_holds_what_was_composed(composed: list[Document], store: Path) -> None:
    """Every event with its number, times and values."""
    check_store(store, list(composed))


def test_the_documents_come_back(composed: list[Document], store: Path) -> None:
    """What `documents` emits is what was normalised."""
    check_back(store, list(composed))
