"""A store for the tests of external files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import gapless
from gapless.client.client import Client


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Return a client of an empty store."""
    with gapless.connect(tmp_path / "store") as client:
        yield client
