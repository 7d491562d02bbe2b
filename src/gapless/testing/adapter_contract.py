"""What the runtime relies on in any device, as tests: for adapters of this package and of anybody else.

Subclass :class:`AdapterContract` in a test module, give it the device and what the device talks to, and run
pytest::

    class TestMyDevice(AdapterContract):
        @pytest.fixture(autouse=True)
        def _served(self) -> Iterator[None]:
            with MyServer() as self.server:
                yield

        def make_adapter(self) -> Adapter:
            return MyDevice("d", MyConfig(adapter="my", port=self.server.port, rate_hz=50))

        def cut(self) -> None:
            self.server.stop()

The counterpart is real: a server, a simulator behind a socket, a file. A test for which the subclass gives
no means is skipped and says which method would enable it. This module does not import pytest.
"""

from __future__ import annotations

import asyncio
import json
import time
import unittest
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import ClassVar, NoReturn, TypeVar

from gapless.acquire.adapter import Adapter, Bus, DeviceField, DeviceSnapshot, RunFiles, StartContext
from gapless.acquire.binding import ChannelBinder
from gapless.acquire.channel import ChannelSpec
from gapless.acquire.command import Command, CommandResult, CommandStatus
from gapless.acquire.emission import (
    ChannelSample,
    FrameReceipt,
    GapReport,
    SampleBlock,
    SourceRecord,
)
from gapless.errors import DeviceUnreachable
from gapless.testing.adapter_run import FarClock, Observed, Question, held_now, is_more, order

T = TypeVar("T")
_NUMERIC = ("float", "int", "uint", "bool")
_POLL_S = 0.01


def _not_given(method: str) -> NoReturn:
    raise unittest.SkipTest(f"the contract's subclass gives no {method}()")


class AdapterContract:
    """The tests. ``deadline_s`` bounds every wait; ``record_count`` is how many records a run must give.

    ``ahead_s``: how far a stamp may lie after the moment it arrived (a block's samples are stamped from its
    rate). ``loss_kind`` and ``return_kind`` name the events of a device that fails and answers again.
    """

    deadline_s: ClassVar[float] = 30.0
    record_count: ClassVar[int] = 5
    ahead_s: ClassVar[float] = 0.0
    loss_kind: ClassVar[str] = "device_lost"
    return_kind: ClassVar[str] = "device_back"

    # -- what a subclass gives -----------------------------------------------------------------

    def make_adapter(self) -> Adapter:
        """Return a new device on the counterpart, not yet open."""
        raise NotImplementedError

    def make_unreachable(self) -> Adapter:
        """Return a new device at whose address nobody answers."""
        _not_given("make_unreachable")

    def run_files(self) -> RunFiles | None:
        """Return where the device may put pictures and files of its own."""
        return None

    async def provoke(self) -> None:
        """Let the counterpart say something; called again and again while a record is waited for."""

    def connections(self) -> int:
        """Return how many connections the counterpart has taken since its start."""
        _not_given("connections")

    def questions(self) -> Sequence[Question]:
        """Return commands that change nothing or may be repeated, with answers that differ from each other."""
        _not_given("questions")

    def slow(self) -> AbstractContextManager[float]:
        """Let the counterpart answer late while this lasts; yields by how many seconds (about 0.3)."""
        _not_given("slow")

    def silent(self) -> AbstractContextManager[None]:
        """Let the counterpart hear and not answer while this lasts."""
        _not_given("silent")

    def cut(self) -> None:
        """Break the connection, and let nobody answer until :meth:`mend`."""
        _not_given("cut")

    def mend(self) -> None:
        """Let the counterpart answer again after :meth:`cut`."""
        _not_given("mend")

    # -- how the tests drive it ----------------------------------------------------------------

    def run(self, scenario: Callable[[Adapter], Awaitable[T]]) -> T:
        """Run a scenario on a new device and a loop of its own; close it; no task may be left behind."""

        async def main() -> T:
            async with asyncio.timeout(4 * self.deadline_s):
                adapter = self.make_adapter()
                adapter.share(Bus())
                try:
                    result = await scenario(adapter)
                except BaseException:
                    await self._abandon(adapter)
                    raise
                await adapter.close()
                await self.until(lambda: len(asyncio.all_tasks()) == 1, "every task of the device ends")
                return result

        return asyncio.run(main())

    async def _abandon(self, adapter: Adapter) -> None:
        """Close a device whose test failed or was skipped in the middle of a run."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self.deadline_s)
        await adapter.close()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds, or fail naming it."""
        deadline_s = time.monotonic() + self.deadline_s
        while not condition():
            assert time.monotonic() < deadline_s, f"not within {self.deadline_s:g} s: {what}"
            await asyncio.sleep(_POLL_S)

    async def begin(self, adapter: Adapter) -> Observed:
        """Start a run with a channel on each numeric field and collect what it streams."""
        clock = FarClock()
        files = self.run_files()
        context = StartContext(clock, "contract", files is not None, self._binder(adapter), files)
        began_ns = clock.now_ns()
        await adapter.start(context)
        return Observed(adapter, context, began_ns)

    @staticmethod
    def _binder(adapter: Adapter) -> ChannelBinder:
        block_fields: Callable[[], Sequence[DeviceField]] = getattr(adapter, "block_fields", adapter.fields)
        fields = block_fields()
        channels = [
            ChannelSpec(
                name=f"c{n}", device=adapter.name, field=f.name, unit=f.unit or "1", raw_unit=f.unit or "1"
            )
            for n, f in enumerate(fields)
            if not f.shape and f.dtype.startswith(_NUMERIC)
        ]
        return ChannelBinder(adapter.name, adapter.family, fields, channels)

    async def wait_for(self, observed: Observed, count: int) -> None:
        """Wait until a run gave so many records or frames."""
        await self.while_provoked(observed, lambda: observed.count >= count, f"{count} records")

    async def while_provoked(self, observed: Observed, condition: Callable[[], bool], what: str) -> None:
        """Provoke the counterpart until a condition holds; a stream that broke raises what broke it."""

        def settled() -> bool:
            if observed.task.done():
                observed.task.result()
            return condition()

        async def provoke() -> None:
            while True:
                await self.provoke()
                await asyncio.sleep(_POLL_S)

        provoking = asyncio.create_task(provoke())
        try:
            await self.until(settled, what)
        finally:
            provoking.cancel()
            await asyncio.wait({provoking})
        if not provoking.cancelled():
            provoking.result()

    async def end(self, observed: Observed) -> None:
        """Stop a run and wait until its stream is over."""
        await observed.adapter.stop()
        async with asyncio.timeout(self.deadline_s):
            await observed.task

    async def one_run(self, adapter: Adapter) -> Observed:
        """Run until there are enough records."""
        observed = await self.begin(adapter)
        await self.wait_for(observed, self.record_count)
        await self.end(observed)
        return observed

    async def ask(self, adapter: Adapter, question: Question) -> CommandResult:
        """Give a command as a worker does: the device's transaction is shielded from the caller."""
        return await asyncio.shield(asyncio.create_task(adapter.command(question.command)))

    # -- before it is opened -------------------------------------------------------------------

    def test_it_says_what_it_is_before_it_is_opened(self) -> None:
        """Name, family, resource, rate and columns are known without hardware, and do not change."""
        adapter = self.make_adapter()
        assert isinstance(adapter, Adapter)
        assert adapter.name
        assert adapter.family
        scheme, colon, body = adapter.resource_id.partition(":")
        assert (scheme.isidentifier(), colon, bool(body)) == (True, ":", True)
        assert adapter.expected_rate_hz > 0
        names = [field.name for field in adapter.fields()]
        assert names
        assert len(set(names)) == len(names)
        assert list(adapter.fields()) == list(self.make_adapter().fields())

    def test_an_unreachable_device_says_so(self) -> None:
        """Opening raises DeviceUnreachable, and closing afterwards changes nothing."""

        async def scenario() -> None:
            adapter = self.make_unreachable()
            adapter.share(Bus())
            error = await _refusal(adapter)
            assert error is not None, "the device opened although nobody answers"
            assert adapter.name in str(error)
            await adapter.close()

        asyncio.run(asyncio.wait_for(scenario(), 2 * self.deadline_s))

    # -- the connection ------------------------------------------------------------------------

    def test_opening_and_closing_twice_changes_nothing(self) -> None:
        """One connection, however often open is called; close may be called at any time."""

        async def scenario(adapter: Adapter) -> int:
            await adapter.close()
            await adapter.open()
            before = self.connections()
            await adapter.open()
            await self.one_run(adapter)
            assert self.connections() == before
            await adapter.close()
            await adapter.close()
            return before

        assert self.run(scenario) == 1

    def test_it_opens_again_after_it_was_closed(self) -> None:
        """Closing is not the end: an open device streams whatever was before."""

        async def scenario(adapter: Adapter) -> None:
            for _ in range(2):
                await adapter.open()
                await self.one_run(adapter)
                await adapter.close()

        self.run(scenario)

    def test_it_describes_itself(self) -> None:
        """The snapshot names the device and holds JSON values."""

        async def scenario(adapter: Adapter) -> DeviceSnapshot:
            await adapter.open()
            return await adapter.snapshot()

        snapshot = self.run(scenario)
        assert snapshot.device == self.make_adapter().name
        assert json.loads(json.dumps(snapshot.facts, allow_nan=False)) == snapshot.facts

    # -- one run -------------------------------------------------------------------------------

    def test_two_runs_on_one_connection(self) -> None:
        """Start and stop belong to a run, and each run counts from 0."""

        async def scenario(adapter: Adapter) -> list[Observed]:
            await adapter.open()
            runs = [await self.one_run(adapter) for _ in range(2)]
            assert self.connections() == 1
            return runs

        for observed in self.run(scenario):
            self.check_order(observed)

    def test_records_come_before_their_samples(self) -> None:
        """A record, then exactly the samples it announces; ids count from 0; values fit the columns."""

        async def scenario(adapter: Adapter) -> Observed:
            await adapter.open()
            return await self.one_run(adapter)

        observed = self.run(scenario)
        self.check_order(observed)
        self.check_stamps(observed)

    def check_order(self, observed: Observed) -> None:
        """Check the numbers of the records and frames and that each record's samples follow it."""
        adapter = observed.adapter
        width = len(adapter.fields())
        assert [receipt.frame_idx for receipt in observed.of(FrameReceipt)] == list(
            range(len(observed.of(FrameReceipt)))
        )
        record, missing = None, 0
        for emission in observed.emissions:
            if isinstance(emission, ChannelSample | SampleBlock):
                assert record is not None
                assert missing > 0
                assert emission.source_record_id == record.source_record_id
                missing -= 1
                continue
            assert missing == 0
            if isinstance(emission, SourceRecord):
                assert len(emission.values) == width
                record, missing = emission, emission.sample_count
        assert missing == 0
        prefix = f"{adapter.family}:{adapter.name}"
        assert [r.source_record_id for r in observed.records] == [
            f"{prefix}:{n}" for n in range(len(observed.records))
        ]

    def check_stamps(self, observed: Observed) -> None:
        """Check that stamps are of the run's clock, never go back, and are the same in record and sample."""
        now_ns = observed.context.clock.now_ns()
        stamps = [item.timestamp_ns for item in observed.of(SourceRecord, FrameReceipt)]
        assert all(earlier <= later for earlier, later in pairwise(stamps))
        assert all(observed.began_ns <= stamp <= now_ns + int(self.ahead_s * 1e9) for stamp in stamps)
        by_id = {record.source_record_id: record for record in observed.records}
        for sample in observed.of(ChannelSample):
            assert sample.timestamp_ns == by_id[sample.source_record_id].timestamp_ns
        for block in observed.of(SampleBlock):
            assert block.timestamps_ns[0] == by_id[block.source_record_id].timestamp_ns
            assert all(earlier < later for earlier, later in pairwise(block.timestamps_ns.tolist()))

    def test_a_run_may_be_stopped_before_it_streams(self) -> None:
        """Start and stop without a stream leave a device that can run."""

        async def scenario(adapter: Adapter) -> Observed:
            await adapter.open()
            observed = await self.begin(adapter)
            observed.task.cancel()
            await adapter.stop()
            await asyncio.wait({observed.task})
            return await self.one_run(adapter)

        self.check_order(self.run(scenario))

    def test_stopping_ends_the_stream(self) -> None:
        """After stop the stream yields what is left, whole, and returns; stopping twice changes nothing."""

        async def scenario(adapter: Adapter) -> Observed:
            await adapter.open()
            observed = await self.begin(adapter)
            await self.wait_for(observed, 1)
            await adapter.stop()
            await self.end(observed)
            count = len(observed.emissions)
            await self.provoke()
            await asyncio.sleep(5 * _POLL_S)
            assert len(observed.emissions) == count
            return observed

        self.check_order(self.run(scenario))

    def test_nothing_is_left_behind(self) -> None:
        """Open, run, close, again and again: no thread and no file descriptor more than after the first time."""

        async def scenario(adapter: Adapter) -> None:
            await adapter.open()
            await self.one_run(adapter)

        self.run(scenario)
        before = held_now()
        for _ in range(3):
            self.run(scenario)
        deadline_s = time.monotonic() + self.deadline_s
        while is_more(held_now(), before) and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
        assert not is_more(held_now(), before), f"(descriptors, threads) {before} before, {held_now()} after"

    # -- commands ------------------------------------------------------------------------------

    def test_orders_that_cannot_be_followed_are_refused(self) -> None:
        """Nobody behind it, an unknown name, wrong arguments: an answer, never an exception."""

        async def scenario(adapter: Adapter) -> list[CommandResult]:
            await adapter.open()
            commands = [
                Command(name="no such command"),
                order("no such command"),
                *(Command(name=q.command.name, arguments=q.command.arguments) for q in self._known()),
                *(order(q.command.name, nonsense=1) for q in self._known()),
            ]
            results = [await adapter.command(command) for command in commands]
            assert [result.command_id for result in results] == [command.command_id for command in commands]
            return results

        for result in self.run(scenario):
            assert result.status is CommandStatus.REFUSED, result
            assert not result.accepted
            assert result.message

    def _known(self) -> Sequence[Question]:
        try:
            return self.questions()
        except unittest.SkipTest:
            return ()

    def test_commands_are_answered_while_it_streams(self) -> None:
        """Each command gets its own answer, and the records go on."""
        questions = self.questions()

        async def scenario(adapter: Adapter) -> Observed:
            await adapter.open()
            observed = await self.begin(adapter)
            await self.wait_for(observed, 1)
            for question in questions:
                _check_answer(await self.ask(adapter, question), question)
            await self.wait_for(observed, observed.count + 2)
            await self.end(observed)
            assert observed.events(self.loss_kind) == []
            return observed

        self.check_order(self.run(scenario))

    def test_a_cancelled_caller_cuts_no_transaction(self) -> None:
        """A slow command whose caller gives up completes, and the next one gets its own answer."""
        first, second = _two(self.questions())

        async def scenario(adapter: Adapter) -> None:
            await adapter.open()
            with self.slow() as delay_s:
                task = asyncio.create_task(adapter.command(first.command))
                caller = asyncio.ensure_future(asyncio.shield(task))
                await asyncio.sleep(delay_s / 4)
                caller.cancel()
                await asyncio.wait({caller})
                assert caller.cancelled()
                _check_answer(await self.ask(adapter, second), second)
                assert task.done()
            _check_answer(task.result(), first)

        self.run(scenario)

    def test_a_command_that_timed_out_does_not_answer_the_next(self) -> None:
        """The late answer to a command that failed is never taken for the answer to another one."""
        first, second = _two(self.questions())

        async def scenario(adapter: Adapter) -> None:
            await adapter.open()
            with self.slow() as delay_s:
                hasty = Command(
                    name=first.command.name,
                    arguments=first.command.arguments,
                    confirmed_by="contract",
                    timeout_s=delay_s / 3,
                )
                result = await adapter.command(hasty)
                assert result.status is CommandStatus.FAILED, result
            quiet_s = time.monotonic() + 2 * delay_s
            while time.monotonic() < quiet_s:
                _check_answer(await self.ask(adapter, second), second)
                _check_answer(await self.ask(adapter, first), first)

        self.run(scenario)

    # -- trouble -------------------------------------------------------------------------------

    def test_trouble_is_told_and_ends(self) -> None:
        """A broken connection gives one event, then a gap that spans it, then one event of the return."""

        async def scenario(adapter: Adapter) -> Observed:
            await adapter.open()
            observed = await self.begin(adapter)
            await self.wait_for(observed, 1)
            self.cut()
            await self.while_provoked(
                observed, lambda: bool(observed.events(self.loss_kind)), "an event of the loss"
            )
            self.mend()
            await self.while_provoked(
                observed, lambda: bool(observed.events(self.return_kind)), "an event of the return"
            )
            await self.wait_for(observed, observed.count + 2)
            await self.end(observed)
            return observed

        observed = self.run(scenario)
        self.check_order(observed)
        (lost,), (back,) = observed.events(self.loss_kind), observed.events(self.return_kind)
        assert lost.severity in ("warning", "error")
        assert lost.message
        gaps = observed.of(GapReport)
        assert gaps
        assert observed.emissions.index(lost) < observed.emissions.index(gaps[0])
        assert all(observed.began_ns <= gap.start_ns <= gap.end_ns <= back.timestamp_ns for gap in gaps)
        assert all(gap.cause and gap.device == observed.adapter.name for gap in gaps)

    def test_trouble_that_lasts_until_the_stop_is_a_gap(self) -> None:
        """A device that does not come back leaves an event and a gap, and stops and closes like any other."""

        async def scenario(adapter: Adapter) -> Observed:
            await adapter.open()
            observed = await self.begin(adapter)
            await self.wait_for(observed, 1)
            self.cut()
            await self.while_provoked(
                observed, lambda: bool(observed.events(self.loss_kind)), "an event of the loss"
            )
            await self.end(observed)
            return observed

        try:
            observed = self.run(scenario)
        finally:
            self.mend()
        assert len(observed.events(self.loss_kind)) == 1
        assert observed.events(self.return_kind) == []
        assert observed.of(GapReport)

    def test_a_silent_device_is_stopped_and_closed(self) -> None:
        """Stop and close end within the device's timeouts although it answers nothing."""

        async def scenario(adapter: Adapter) -> None:
            await adapter.open()
            observed = await self.begin(adapter)
            await self.wait_for(observed, 1)
            with self.silent():
                await self.until(lambda: bool(observed.events(self.loss_kind)), "an event of the loss")
                await self.end(observed)
                await adapter.close()

        self.run(scenario)

    def test_closing_a_broken_connection_does_not_raise(self) -> None:
        """A device whose connection broke while nothing ran is closed and opened like any other."""

        async def scenario(adapter: Adapter) -> None:
            await adapter.open()
            self.cut()
            await asyncio.sleep(5 * _POLL_S)
            await adapter.close()
            self.mend()
            await self._open_soon(adapter)
            await self.one_run(adapter)

        self.run(scenario)

    async def _open_soon(self, adapter: Adapter) -> None:
        deadline_s = time.monotonic() + self.deadline_s
        while (error := await _refusal(adapter)) is not None:
            if time.monotonic() > deadline_s:
                raise error
            await asyncio.sleep(10 * _POLL_S)


async def _refusal(adapter: Adapter) -> DeviceUnreachable | None:
    """Open a device and return the error if it does not answer."""
    try:
        await adapter.open()
    except DeviceUnreachable as error:
        return error
    return None


def _two(questions: Sequence[Question]) -> tuple[Question, Question]:
    for other in questions[1:]:
        if other.answer != questions[0].answer:
            return questions[0], other
    raise unittest.SkipTest("questions() gives no two commands whose answers differ")


def _check_answer(result: CommandResult, question: Question) -> None:
    assert result.command_id == question.command.command_id
    assert result.status is CommandStatus.DONE, result
    assert result.value == question.answer


__all__ = ["AdapterContract", "Observed", "Question", "order"]
