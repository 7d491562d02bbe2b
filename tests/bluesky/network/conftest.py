"""A server of an empty store, and a folder of this machine beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.bluesky.network.served_store import ServedStore


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedStore]:
    """Return a server that does not run yet; it is killed in the end."""
    store = ServedStore(tmp_path / "served")
    yield store
    store.kill()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the local store that writers to a server use."""
    folder = tmp_path / "here"
    monkeypatch.setenv("GAPLESS_STORE", str(folder))
    return folder
