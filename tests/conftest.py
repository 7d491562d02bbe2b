"""What holds for every test."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # machines are shared: no example is judged by its time
settings.load_profile("untimed")


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, which a run of one process does without
def pytest_xdist_auto_num_workers() -> int:
    """Return half as many workers again as there are processors: a third of their time they wait for something."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return processors + processors // 2
