"""The contract finds what it is for: each defect of a device makes the test that names it fail."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
import unittest
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from gapless.acquire.adapter import Adapter, StartContext
from gapless.acquire.command import Command, CommandResult, done
from gapless.acquire.devices.line_transport import LineLink
from gapless.acquire.devices.serial_line import LineConfig, LineDevice
from gapless.acquire.emission import DeviceEvent, Emission, GapReport
from gapless.errors import UsageError
from gapless.testing.adapter_contract import AdapterContract, Question, order
from gapless.testing.line_models import AlicatModel
from gapless.testing.line_simulator import LineSimulator


class OpensAgain(LineDevice):
    """Makes a connection at every open."""

    async def open(self) -> None:
        """Connect although it is connected."""
        await self.close()
        await super().open()


class CountsOn(LineDevice):
    """Does not count from 0 in the second run."""

    async def start(self, context: StartContext) -> None:
        """Keep the count."""
        count = self._n
        await super().start(context)
        self._n = count


class StampsItself(LineDevice):
    """Uses a clock of its own."""

    def record(self, values: Sequence[Any], timestamp_ns: int) -> list[Emission]:
        """Stamp with the wall clock."""
        return super().record(values, time.time_ns())


class Restamps(LineDevice):
    """Gives samples another time than their record."""

    def record(self, values: Sequence[Any], timestamp_ns: int) -> list[Emission]:
        """Move the samples."""
        record, *samples = super().record(values, timestamp_ns)
        return [record, *(msgspec.structs.replace(s, timestamp_ns=timestamp_ns + 1) for s in samples)]


class SamplesFirst(LineDevice):
    """Gives the record last."""

    def record(self, values: Sequence[Any], timestamp_ns: int) -> list[Emission]:
        """Turn the order round."""
        return super().record(values, timestamp_ns)[::-1]


class LosesASample(LineDevice):
    """Gives fewer samples than the record announces."""

    def record(self, values: Sequence[Any], timestamp_ns: int) -> list[Emission]:
        """Leave the last out."""
        return super().record(values, timestamp_ns)[:-1]


class ForgetsAColumn(LineDevice):
    """Gives fewer values than it has columns."""

    async def read(self) -> Sequence[Any]:
        """Leave the last out."""
        return list(await super().read())[:-1]


class Raises(LineDevice):
    """Raises instead of refusing."""

    async def command(self, command: Command) -> CommandResult:
        """Raise for a command that nobody stands behind."""
        if not command.authorized:
            raise UsageError("not authorised")
        return await super().command(command)


class ObeysAnybody(LineDevice):
    """Does what nobody stands behind."""

    async def command(self, command: Command) -> CommandResult:
        """Obey."""
        return await super().command(msgspec.structs.replace(command, confirmed_by="anybody"))


class AnswersForAnother(LineDevice):
    """Loses the id of the command."""

    async def command(self, command: Command) -> CommandResult:
        """Answer with a new id."""
        return msgspec.structs.replace(await super().command(command), command_id="x")


class PretendsToObey(LineDevice):
    """Says done to everything."""

    async def command(self, command: Command) -> CommandResult:
        """Say done."""
        return done(command)


class DoesNotLock(LineDevice):
    """Lets a second transaction begin while the first is under way."""

    async def command(self, command: Command) -> CommandResult:
        """Take a lock of its own."""
        lock, self.bus.lock = self.bus.lock, asyncio.Lock()
        try:
            return await super().command(command)
        finally:
            self.bus.lock = lock


class TakesLateAnswers(LineDevice):
    """Goes on with a line on which an answer may still come."""

    async def live_link(self) -> Any:
        """Forget that something went wrong."""
        link: LineLink | None = self.bus.connection
        if link is not None:
            link.inbox.error = ""
        return await super().live_link()

    async def _drop(self) -> None:
        """Keep the line."""


class GoesOn(LineDevice):
    """Does not stop."""

    @property
    def stopping(self) -> bool:
        """Say that nobody asked."""
        return False

    async def pause(self, seconds: float) -> bool:
        """Wait and go on."""
        await asyncio.sleep(0.01)
        return False


class LeavesATask(LineDevice):
    """Forgets a task."""

    async def connect(self) -> None:
        """Begin something that does not end."""
        await super().connect()
        self._forgotten = asyncio.create_task(asyncio.sleep(3600))


class LeavesAThread(LineDevice):
    """Forgets a thread."""

    ended: ClassVar[threading.Event] = threading.Event()

    async def connect(self) -> None:
        """Start one that waits."""
        await super().connect()
        threading.Thread(target=self.ended.wait, args=(60,), daemon=True).start()


class LeavesAFile(LineDevice):
    """Forgets an open file."""

    kept: ClassVar[list[Any]] = []

    async def connect(self) -> None:
        """Open one."""
        await super().connect()
        self.kept.append(Path("/dev/null").open("rb"))  # noqa: SIM115 - that it stays open is the defect


class SaysNothing(LineDevice):
    """Hides what went wrong."""

    hidden: ClassVar[type[Any]] = DeviceEvent

    def stream(self) -> AsyncIterator[Emission]:
        """Leave the events or gaps out."""
        return self._without(super().stream())

    async def _without(self, emissions: AsyncIterator[Emission]) -> AsyncIterator[Emission]:
        async for emission in emissions:
            if not isinstance(emission, self.hidden):
                yield emission


class HidesGaps(SaysNothing):
    """Tells the events without the gap."""

    hidden = GapReport


class ClosesLoudly(LineDevice):
    """Raises at the end of a broken connection."""

    async def disconnect(self) -> None:
        """Raise."""
        is_broken = self.bus.connection is not None and self.bus.connection.is_broken
        await super().disconnect()
        if is_broken:
            raise OSError("the connection is gone")


class Subject(AdapterContract):
    """The contract for one of the devices above."""

    deadline_s: ClassVar[float] = 2.0

    def __init__(self, device_class: type[LineDevice], simulator: LineSimulator) -> None:
        self.device_class = device_class
        self.simulator = simulator

    def make_adapter(self) -> Adapter:
        """Return the device."""
        place: dict[str, Any] = {"transport": "tcp", "host": "127.0.0.1", "port": self.simulator.port}
        if self.simulator.link is not None:
            place = {"port": self.simulator.path}
        config = {"adapter": "serial_line", "rate_hz": 100.0, "read_timeout_s": 0.5, "table": "alicat"}
        return self.device_class("a", LineConfig.model_validate({**config, **place}))

    def connections(self) -> int:
        """Return what the simulator counted."""
        return self.simulator.connections

    def questions(self) -> Sequence[Question]:
        """Return two setpoints."""
        return [Question(order("setpoint", value=value), value) for value in (1.5, 2.5)]

    @contextmanager
    def slow(self) -> Iterator[float]:
        """Answer late."""
        self.simulator.faults.delay_s = 0.3
        yield 0.3
        self.simulator.faults.delay_s = 0.0

    def cut(self) -> None:
        """Switch the device off."""
        self.simulator.stop()

    def mend(self) -> None:
        """Switch it on."""
        self.simulator.start()


DEFECTS: list[tuple[type[LineDevice], str]] = [
    (OpensAgain, "test_opening_and_closing_twice_changes_nothing"),
    (CountsOn, "test_two_runs_on_one_connection"),
    (StampsItself, "test_records_come_before_their_samples"),
    (Restamps, "test_records_come_before_their_samples"),
    (SamplesFirst, "test_records_come_before_their_samples"),
    (LosesASample, "test_records_come_before_their_samples"),
    (ForgetsAColumn, "test_records_come_before_their_samples"),
    (Raises, "test_orders_that_cannot_be_followed_are_refused"),
    (ObeysAnybody, "test_orders_that_cannot_be_followed_are_refused"),
    (AnswersForAnother, "test_orders_that_cannot_be_followed_are_refused"),
    (PretendsToObey, "test_commands_are_answered_while_it_streams"),
    (DoesNotLock, "test_a_cancelled_caller_cuts_no_transaction"),
    (GoesOn, "test_stopping_ends_the_stream"),
    (LeavesATask, "test_it_opens_again_after_it_was_closed"),
    (LeavesAThread, "test_nothing_is_left_behind"),
    (LeavesAFile, "test_nothing_is_left_behind"),
    (SaysNothing, "test_trouble_is_told_and_ends"),
    (HidesGaps, "test_trouble_is_told_and_ends"),
    (HidesGaps, "test_trouble_that_lasts_until_the_stop_is_a_gap"),
    (ClosesLoudly, "test_closing_a_broken_connection_does_not_raise"),
]


@pytest.fixture
def simulator() -> Iterator[LineSimulator]:
    """Return a mass flow controller behind a TCP port."""
    with LineSimulator(AlicatModel(), terminator="\r") as running:
        yield running
    LeavesAThread.ended.set()
    for file in LeavesAFile.kept:
        file.close()
    LeavesAFile.kept.clear()


@pytest.mark.parametrize(("device_class", "test"), DEFECTS)
def test_a_defect_fails_its_test(simulator: LineSimulator, device_class: type[LineDevice], test: str) -> None:
    """The test passes for the sound device and fails for the other one."""
    getattr(Subject(LineDevice, simulator), test)()
    simulator.connections = 0
    LeavesAThread.ended.clear()
    with pytest.raises((AssertionError, TimeoutError, OSError, UsageError)):
        getattr(Subject(device_class, simulator), test)()


def test_a_late_answer_fails_its_test(tmp_path: Path) -> None:
    """On a serial line, where replies have no names, a device that goes on at once takes the wrong one."""
    with LineSimulator(AlicatModel(), terminator="\r", link=tmp_path / "tty") as simulator:
        test = "test_a_command_that_timed_out_does_not_answer_the_next"
        getattr(Subject(LineDevice, simulator), test)()
        with pytest.raises(AssertionError):
            getattr(Subject(TakesLateAnswers, simulator), test)()


def test_what_is_not_given_is_skipped_by_name(simulator: LineSimulator) -> None:
    """A subclass that cannot break its counterpart is told what it lacks."""

    class Bare(AdapterContract):
        def make_adapter(self) -> Adapter:
            return Subject(LineDevice, simulator).make_adapter()

    with pytest.raises(unittest.SkipTest, match=r"gives no cut\(\)"):
        Bare().test_trouble_is_told_and_ends()


def test_the_contract_does_not_need_pytest() -> None:
    """Programs that test their devices with something else can import it."""
    program = "import sys, gapless.testing.adapter_contract; print('pytest' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == "False"
