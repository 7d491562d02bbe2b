"""EPICS Channel Access against a real server: the contract, kinds of values, alarms, a server that is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gapless.acquire.adapter import Adapter
from gapless.acquire.command import CommandStatus
from gapless.acquire.devices.epics import EpicsConfig, EpicsDevice, PvField
from gapless.acquire.emission import ChannelSample, GapReport, SampleStatus, SourceRecord
from gapless.testing.adapter_contract import AdapterContract, Observed, Question, order
from tests.acquire.devices.brokers import free_port

_WAIT_S = 30.0
_IOC = Path(__file__).with_name("epics_ioc.py")


class Ioc:
    """The server, in a process of its own, which nobody outside of the test can find."""

    def __init__(self) -> None:
        self.environment = {
            "EPICS_CA_ADDR_LIST": "127.0.0.1",
            "EPICS_CA_AUTO_ADDR_LIST": "NO",
            "EPICS_CA_SERVER_PORT": str(free_port()),
            "EPICS_CA_REPEATER_PORT": str(free_port()),
            "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
            "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
            "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it serves."""
        self._process = subprocess.Popen(
            [sys.executable, _IOC], stdout=subprocess.PIPE, env=os.environ | self.environment
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=_WAIT_S)
            self._process = None


@pytest.fixture(scope="module")
def shared_ioc() -> Iterator[Ioc]:
    """Return a server for all tests that do not kill it."""
    ioc = Ioc()
    ioc.start()
    yield ioc
    ioc.kill()


@pytest.fixture
def ioc(shared_ioc: Ioc, monkeypatch: pytest.MonkeyPatch) -> Ioc:
    """Return the server, with the environment that finds it."""
    for name, value in shared_ioc.environment.items():
        monkeypatch.setenv(name, value)
    return shared_ioc


@pytest.fixture
def own_ioc(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ioc]:
    """Return a server that may be killed."""
    ioc = Ioc()
    for name, value in ioc.environment.items():
        monkeypatch.setenv(name, value)
    ioc.start()
    yield ioc
    ioc.kill()


def variable(name: str, dtype: Any = "float64", **more: Any) -> PvField:
    """Return one of the server's variables."""
    return PvField(name=name, pv=f"t:{name}", dtype=dtype, **more)


def device(*pvs: PvField, **more: Any) -> EpicsDevice:
    """Return a device on whatever server the environment finds."""
    return EpicsDevice("e", EpicsConfig(adapter="epics", pvs=pvs or (variable("i"),), **more))


def named(adapter: Adapter, record: SourceRecord) -> dict[str, Any]:
    """Return a record's values by column, without those that are null."""
    pairs = zip(adapter.fields(), record.values, strict=True)
    return {field.name: value for field, value in pairs if value is not None}


class TestEpicsContract(AdapterContract):
    """A Channel Access client keeps what every device promises."""

    @pytest.fixture(autouse=True)
    def _served(self, own_ioc: Ioc) -> None:
        self.ioc = own_ioc

    def make_adapter(self) -> Adapter:
        """Return a client of the server."""
        return device(variable("i"), variable("mode", "string"), variable("count", "int64"))

    def make_unreachable(self) -> Adapter:
        """Return a client of a variable that nobody has."""
        return device(variable("i"), variable("nowhere"), open_timeout_s=1)

    def questions(self) -> Sequence[Question]:
        """Return two variables that do not change."""
        return [Question(order("read", pv="mode"), "auto"), Question(order("read", pv="count"), 7)]

    def cut(self) -> None:
        """Kill the server."""
        self.ioc.kill()

    def mend(self) -> None:
        """Start the server again."""
        self.ioc.start()
