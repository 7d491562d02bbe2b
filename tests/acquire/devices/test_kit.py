"""The kit over a real connection: whose answer is whose, what a failure leaves behind, and who waits for whom."""

from __future__ import annotations

import asyncio
import socketserver
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import pytest
from pydantic import Field

from gapless.acquire.adapter import Bus, DeviceField, StartContext
from gapless.acquire.binding import ChannelBinder
from gapless.acquire.channel import ChannelSpec
from gapless.acquire.clock import HostClock
from gapless.acquire.command import Command, CommandResult, CommandStatus
from gapless.acquire.device_config import PolledConfig
from gapless.acquire.emission import ABSENT, ChannelSample, DeviceEvent, Emission, GapReport, SourceRecord
from gapless.acquire.kit import Handler, PolledDevice
from gapless.errors import DeviceFault, DeviceUnreachable, UsageError

T = TypeVar("T")
_DEADLINE_S = 60.0


class EchoServer(socketserver.ThreadingTCPServer):
    """Says back every line. ``delays_s``: how long to wait before each of the next answers."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.delays_s: list[float] = []
        self.connections = 0
        self.heard: list[str] = []
        self.lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that the system gave."""
        return int(self.server_address[1])

    async def has_delayed(self) -> None:
        """Wait until every delay that was set is under way: what is asked from now on is answered at once."""
        while self.delays_s:
            await asyncio.sleep(0.005)

    def end(self) -> None:
        """Answer no more."""
        self.shutdown()
        self.server_close()
        self._thread.join(10)


class _Echo(socketserver.StreamRequestHandler):
    server: EchoServer

    def handle(self) -> None:
        server = self.server
        with server.lock:
            server.connections += 1
        try:
            for line in self.rfile:
                with server.lock:
                    server.heard.append(line.decode().strip())
                    delay_s = server.delays_s.pop(0) if server.delays_s else 0.0
                time.sleep(delay_s)
                self.wfile.write(line)
        except OSError as error:  # the device dropped the connection
            server.heard.append(f"broken: {type(error).__name__}")


class EchoConfig(PolledConfig):
    """Where the echo is."""

    port: int = Field(gt=0)


class EchoDevice(PolledDevice):
    """Reads its own count back. It trusts the connection: the next line is the answer."""

    family = "echo"
    Config: ClassVar[type[EchoConfig]] = EchoConfig

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self.hangs_in_disconnect = False
        self.in_read = asyncio.Event()

    @property
    def resource_id(self) -> str:
        """The address."""
        return f"tcp:127.0.0.1:{self.config.port}"

    @property
    def shares_resource(self) -> bool:
        """Several may be tried on one bus."""
        return True

    def fields(self) -> Sequence[DeviceField]:
        """Return the line."""
        return [DeviceField("line", "string")]

    async def connect(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.config.port)

    async def disconnect(self) -> None:
        """Hang up, or hang."""
        self._writer.close()
        if self.hangs_in_disconnect:
            await asyncio.Event().wait()
        try:
            await self._writer.wait_closed()
        except OSError as error:
            self.closing_error = error

    async def read(self) -> Sequence[Any]:
        """Return what comes back."""
        self.in_read.set()
        return [await self.ask(f"poll {self.name}")]

    async def ask(self, line: str) -> str:
        """Return the next line after a question."""
        self._writer.write(f"{line}\n".encode())
        await self._writer.drain()
        return (await self._reader.readuntil(b"\n")).decode().strip()

    def handlers(self) -> Mapping[str, Handler]:
        """Return what it obeys."""
        return {"say": self._say, "no": self._no, "odd": self._odd}

    async def _say(self, text: str) -> str:
        return await self.ask(text)

    async def _no(self) -> None:
        raise DeviceFault("the echo said no")

    async def _odd(self) -> None:
        raise UsageError("the echo takes no odd orders")


@pytest.fixture
def server() -> Iterator[EchoServer]:
    """Return a running echo."""
    running = EchoServer()
    yield running
    running.end()


def device(server: EchoServer, name: str = "e", **settings: Any) -> EchoDevice:
    """Return a device at the echo."""
    return EchoDevice(
        name, EchoConfig(**{"adapter": "echo", "port": server.port, "rate_hz": 100, **settings})
    )


def order(name: str, timeout_s: float = 20.0, **arguments: Any) -> Command:
    """Return a command that a person confirmed."""
    return Command(name=name, arguments=arguments, confirmed_by="test", timeout_s=timeout_s)


def run(scenario: Callable[[], Awaitable[T]]) -> T:
    """Run a scenario within the deadline."""

    async def bounded() -> T:
        async with asyncio.timeout(_DEADLINE_S):
            return await scenario()

    return asyncio.run(bounded())


class Taken:
    """A device's stream, taken by a task of its own."""

    def __init__(self, device: EchoDevice) -> None:
        self.device = device
        self.emissions: list[Emission] = []
        self.task = asyncio.create_task(self._take())

    @classmethod
    async def begin(cls, device: EchoDevice) -> Taken:
        """Start a run and its stream."""
        await device.start(StartContext(HostClock(), "run", recording_enabled=False))
        return cls(device)

    async def _take(self) -> None:
        async for emission in self.device.stream():
            self.emissions.append(emission)

    def of(self, kind: type[T]) -> list[T]:
        """Return the emissions of one kind."""
        return [emission for emission in self.emissions if isinstance(emission, kind)]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; the deadline of the scenario bounds it."""
        while not holds():
            assert not self.task.done(), self.emissions
            await asyncio.sleep(0.005)

    async def end(self) -> None:
        """Stop the device, and wait for the end of its stream."""
        await self.device.stop()
        await self.task


# -- commands ----------------------------------------------------------------------------------


def test_a_command_during_a_poll_waits_and_gets_its_own_answer(server: EchoServer) -> None:
    """The poll's answer is on its way when the command comes: each gets what it asked for."""

    async def scenario() -> tuple[CommandResult, list[SourceRecord]]:
        echo = device(server, read_timeout_s=20.0)
        await echo.open()
        server.delays_s = [0.3]
        taken = await Taken.begin(echo)
        await echo.in_read.wait()
        result = await echo.command(order("say", text="hello"))
        await taken.until(lambda: len(taken.of(SourceRecord)) >= 3)
        await taken.end()
        await echo.close()
        return result, taken.of(SourceRecord)

    result, records = run(scenario)
    assert (result.status, result.value) == (CommandStatus.DONE, "hello")
    assert {record.values for record in records} == {("poll e",)}
    assert server.heard[:2] == ["poll e", "hello"]


def test_the_late_answer_of_a_command_is_nobodys(server: EchoServer) -> None:
    """A command that ran out of time takes its connection with it; the next one is answered on a new one."""

    async def scenario() -> list[CommandResult]:
        echo = device(server)
        await echo.open()
        server.delays_s = [5.0]
        late = await echo.command(order("say", timeout_s=0.1, text="late"))
        await server.has_delayed()
        results = [late, await echo.command(order("say", text="next"))]
        await echo.close()
        return results

    late, after = run(scenario)
    assert (late.status, after.status, after.value) == (CommandStatus.FAILED, CommandStatus.DONE, "next")
    assert server.connections == 2


def test_a_device_that_says_no_keeps_its_connection(server: EchoServer) -> None:
    """It has answered: a fault or a refusal costs no new connection."""

    async def scenario() -> list[CommandResult]:
        echo = device(server)
        await echo.open()
        results = [await echo.command(order(name)) for name in ("no", "odd", "unknown")]
        results.append(await echo.command(order("say", text="still here")))
        await echo.close()
        return results

    said_no, odd, unknown, said = run(scenario)
    assert (said_no.status, odd.status, unknown.status) == (
        CommandStatus.FAILED,
        CommandStatus.REFUSED,
        CommandStatus.REFUSED,
    )
    assert "no, odd, say" in unknown.message
    assert said.value == "still here"
    assert server.connections == 1


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (Command(name="say", arguments={"text": "x"}), "neither the run nor a person"),
        (order("say"), "missing a required argument"),
        (order("say", text="x", loud=True), "unexpected keyword"),
    ],
)
def test_what_does_not_fit_is_refused_and_reaches_nobody(
    server: EchoServer, command: Command, words: str
) -> None:
    """No authority, or arguments that the command does not have."""

    async def scenario() -> CommandResult:
        echo = device(server)
        await echo.open()
        result = await echo.command(command)
        await echo.close()
        return result

    result = run(scenario)
    assert (result.status, result.accepted) == (CommandStatus.REFUSED, False)
    assert words in result.message
    assert server.heard == []


# -- failures ----------------------------------------------------------------------------------


def test_failed_polls_are_one_event_one_counted_gap_and_one_return(server: EchoServer) -> None:
    """Two answers that come too late: lost once, back once, and the gap counts the polls and spans them."""

    async def scenario() -> Taken:
        echo = device(server, read_timeout_s=2.0)
        await echo.open()
        taken = await Taken.begin(echo)
        await taken.until(lambda: bool(taken.of(SourceRecord)))
        server.delays_s = [20.0, 20.0]
        await taken.until(lambda: len(taken.of(DeviceEvent)) == 2)
        count = len(taken.of(SourceRecord))
        await taken.until(lambda: len(taken.of(SourceRecord)) >= count + 3)
        await taken.end()
        await echo.close()
        return taken

    taken = run(scenario)
    assert [event.kind for event in taken.of(DeviceEvent)] == ["device_lost", "device_back"]
    (gap,) = taken.of(GapReport)
    assert (gap.records, gap.rows) == (2, None)
    assert gap.cause.startswith("device: TimeoutError")
    records = taken.of(SourceRecord)
    assert [record.n for record in records] == list(range(len(records)))
    assert not [record for record in records if gap.start_ns <= record.timestamp_ns <= gap.end_ns]
    assert {record.values for record in records} == {("poll e",)}


def test_a_failure_that_lasts_leaves_its_gap_at_the_stop(server: EchoServer) -> None:
    """A device that is away when the run stops: lost, never back, and the gap counted all the same."""

    async def scenario() -> Taken:
        echo = device(server, read_timeout_s=0.2)
        await echo.open()
        server.delays_s = [30.0] * 100
        taken = await Taken.begin(echo)
        await taken.until(lambda: server.connections >= 3)
        await taken.end()
        await echo.close()
        return taken

    taken = run(scenario)
    assert [event.kind for event in taken.of(DeviceEvent)] == ["device_lost"]
    (gap,) = taken.of(GapReport)
    assert gap.records is not None
    assert gap.records >= 2
    assert taken.of(SourceRecord) == []


def test_a_stop_during_a_read_ends_the_stream(server: EchoServer) -> None:
    """The read under way ends by its own deadline, and what it missed is told."""

    async def scenario() -> Taken:
        echo = device(server, read_timeout_s=0.3)
        await echo.open()
        server.delays_s = [30.0]
        taken = await Taken.begin(echo)
        await echo.in_read.wait()
        await taken.end()
        await echo.close()
        return taken

    (gap,) = run(scenario).of(GapReport)
    assert gap.records == 1


def test_a_cancelled_read_is_cancelled_and_drops_its_connection(server: EchoServer) -> None:
    """Cancellation comes through; the bus is free, and the answer that was on its way is nobody's."""

    async def scenario() -> CommandResult:
        echo = device(server, read_timeout_s=30.0)
        await echo.open()
        server.delays_s = [20.0]
        taken = await Taken.begin(echo)
        await echo.in_read.wait()
        await server.has_delayed()
        taken.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taken.task
        assert not echo.bus.lock.locked()
        result = await echo.command(order("say", text="mine"))
        await echo.close()
        return result

    assert run(scenario).value == "mine"
    assert server.connections == 2


def test_a_device_that_hangs_in_its_disconnection_does_not_keep_the_bus(server: EchoServer) -> None:
    """Its neighbour is read while it does not get away from its connection."""

    async def scenario() -> tuple[Taken, Taken, EchoDevice]:
        bus = Bus()
        stuck, other = (
            device(server, "stuck", read_timeout_s=2.0),
            device(server, "other", read_timeout_s=20.0),
        )
        for echo in (stuck, other):
            echo.share(bus)
            await echo.open()
        stuck.hangs_in_disconnect = True
        server.delays_s = [20.0]
        first = await Taken.begin(stuck)
        await stuck.in_read.wait()
        await server.has_delayed()
        second = await Taken.begin(other)
        await second.until(lambda: len(second.of(SourceRecord)) >= 3)
        await first.until(lambda: len(first.of(DeviceEvent)) == 2)
        stuck.hangs_in_disconnect = False
        for taken in (first, second):
            await taken.end()
            await taken.device.close()
        return first, second, stuck

    first, second, stuck = run(scenario)
    assert [event.kind for event in first.of(DeviceEvent)] == ["device_lost", "device_back"]
    assert isinstance(stuck.drop_error, TimeoutError)
    assert second.of(DeviceEvent) == []


def test_nobody_there_is_unreachable_with_the_address() -> None:
    """Opening says what was tried."""
    gone = EchoServer()
    gone.end()

    async def scenario() -> None:
        await device(gone).open()

    with pytest.raises(DeviceUnreachable) as caught:
        run(scenario)
    assert f"tcp:127.0.0.1:{gone.port}" in str(caught.value)


# -- records -----------------------------------------------------------------------------------


def test_a_stamp_is_the_middle_between_request_and_answer(server: EchoServer) -> None:
    """With an answer that takes long the stamp lies well inside the time that it took."""

    async def scenario() -> tuple[int, int, SourceRecord]:
        echo = device(server, read_timeout_s=20.0)
        await echo.open()
        server.delays_s = [1.0]
        clock = HostClock()
        await echo.start(StartContext(clock, "run", recording_enabled=False))
        stream = echo.stream()
        began_ns = clock.now_ns()
        record = await anext(aiter(stream))
        ended_ns = clock.now_ns()
        await echo.stop()
        assert [emission async for emission in stream] == []
        await echo.close()
        assert isinstance(record, SourceRecord)
        return began_ns, ended_ns, record

    began_ns, ended_ns, record = run(scenario)
    quarter_ns = (ended_ns - began_ns) // 4
    assert began_ns + quarter_ns < record.timestamp_ns < ended_ns - quarter_ns


def test_a_field_that_a_record_does_not_have_gives_no_sample(server: EchoServer) -> None:
    """ABSENT is null in the record and no sample; None is a sample without value."""

    class Two(EchoDevice):
        def fields(self) -> Sequence[DeviceField]:
            return [DeviceField("a", unit="V"), DeviceField("b", unit="V"), DeviceField("free", "string")]

    echo = Two("e", EchoConfig(adapter="echo", port=server.port))
    channels = [
        ChannelSpec(name="a", device="e", field="a", unit="V"),
        ChannelSpec(name="b", device="e", field="b", unit="V"),
        ChannelSpec.model_validate({"name": "sum", "unit": "V", "derived": {"function": "sum", "inputs": ["a", "b"]}}),
    ]  # fmt: skip
    binder = ChannelBinder("e", "echo", echo.fields(), channels)

    async def scenario() -> list[list[Emission]]:
        await echo.start(StartContext(HostClock(), "run", recording_enabled=True, binder=binder))
        rows: list[tuple[Any, ...]] = [
            (1.0, 2.0, "x"),
            (1.0, ABSENT, "x"),
            (ABSENT, ABSENT, ABSENT),
            (1.0, None, "x"),
        ]
        return [echo.record(row, 5) for row in rows]

    whole, partial, empty, without = run(scenario)
    shown = [
        (
            record.values,
            record.sample_count,
            [(s.channel, s.value) for s in samples if isinstance(s, ChannelSample)],
        )
        for record, *samples in (whole, partial, empty, without)
        if isinstance(record, SourceRecord)
    ]
    assert shown == [
        ((1.0, 2.0, "x"), 3, [("a", 1.0), ("b", 2.0), ("sum", 3.0)]),
        ((1.0, None, "x"), 1, [("a", 1.0)]),
        ((None, None, None), 0, []),
        ((1.0, None, "x"), 3, [("a", 1.0), ("b", None), ("sum", None)]),
    ]
