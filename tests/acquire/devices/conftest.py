"""Counterparts that several device tests use: serial ports joined by a null modem."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acquire.debian import find_program

if "gapless.testing.adapter_contract" not in sys.modules:
    pytest.register_assert_rewrite("gapless.testing.adapter_contract")

_WAIT_S = 30.0


class NullModem:
    """Two serial ports joined by socat; :meth:`unplug` takes both away, :meth:`plug` brings them back."""

    def __init__(self, folder: Path) -> None:
        self.near, self.far = folder / "near", folder / "far"
        self._process: subprocess.Popen[bytes] | None = None

    def plug(self) -> None:
        """Make the two ports."""
        ends = [f"pty,raw,echo=0,link={path}" for path in (self.near, self.far)]
        self._process = subprocess.Popen(["socat", *ends])
        deadline_s = time.monotonic() + _WAIT_S
        while not (self.near.exists() and self.far.exists()):
            assert time.monotonic() < deadline_s, "socat made no ports"
            time.sleep(0.01)

    def unplug(self) -> None:
        """Take the two ports away, as when a USB adapter is pulled."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_WAIT_S)
            self._process = None


def _have_socat() -> bool:
    return find_program("socat", "socat") is not None


@pytest.fixture
def null_modem(tmp_path: Path) -> Iterator[NullModem]:
    """Return two joined serial ports."""
    if not _have_socat():
        pytest.skip("socat is not installed and could not be")
    modem = NullModem(tmp_path)
    modem.plug()
    yield modem
    modem.unplug()
