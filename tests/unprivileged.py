"""Root may write everywhere; a test of what may not be written gives that up and runs again in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_MARK = "GAPLESS_TEST_UNPRIVILEGED"
_ROOT = Path(__file__).resolve().parents[1]


def run_again(request: pytest.FixtureRequest) -> bool:
    """Run the test once more without root's capabilities if this is root; return whether that was done."""
    if os.name != "posix" or os.geteuid() != 0 or _MARK in os.environ:
        return False
    if shutil.which("setpriv") is None:
        pytest.skip("root cannot be kept from writing without setpriv (Debian: util-linux)")
    places = [str(_ROOT), str(_ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", "pytest", "-q"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-p", "no:xdist", request.node.nodeid],
        cwd=_ROOT,
        env={**os.environ, _MARK: "1", "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "1 passed" in done.stdout
    return True
