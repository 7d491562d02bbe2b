"""A folder in memory for tests that break thousands of small bundles: what they prove needs no disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def ram_path(tmp_path: Path) -> Iterator[Path]:
    """A temporary folder on tmpfs where there is one, else on disk."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(prefix="gapless-test-", dir="/dev/shm"))
    yield path
    shutil.rmtree(path)
