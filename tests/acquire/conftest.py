"""Where runs record, and how soon a device that broke is tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

import gapless
from gapless.acquire import revival
from gapless.client.client import Client


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A client whose waits for the disk are bounded generously."""
    return gapless.connect(tmp_path / "store", deadline_s=60)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let broken devices be tried soon and often."""
    monkeypatch.setattr(revival, "_BACKOFF_S", (0.05, 0.1))
