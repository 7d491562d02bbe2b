"""Each kind of step does what it says, leaves its events, and its failure ends the method."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gapless.acquire.command import Command, failed, refused
from gapless.acquire.procedure.executor import Executor
from gapless.errors import ProcedureFailed
from gapless.flow.policy import BackpressurePolicy

from .stage import NS, SmallRig, Stage, method_of, perform

SET_20 = {"kind": "setpoint", "setpoint": "heater", "to": "20 degC"}
WAIT = {"kind": "wait", "until": "heater_pv >= 580 degC", "timeout_s": 30.0}
called: list[tuple[Any, dict[str, Any]]] = []


async def custom_step(context: Any, *, level: float, word: str = "") -> None:
    """Keep what it was called with; fail or sleep on request."""
    called.append((context, {"level": level, "word": word}))
    if word == "fail":
        raise ZeroDivisionError("custom")
    if word == "sleep":
        await asyncio.sleep(60)
    if word == "time out":
        raise TimeoutError("of its own")


def not_async(context: Any) -> None:
    """Cannot be a step."""


def test_a_setpoint_is_one_command_in_the_device_s_unit() -> None:
    """The quantity is converted, the rig's other arguments are kept, the method is named as the issuer."""
    stage = Stage()
    end = perform(stage, {"kind": "setpoint", "setpoint": "heater", "to": "300 K"})
    assert (end.steps_done, end.abort_reason) == (1, None)
    [(_, command)] = stage.commands
    assert (command.name, command.issued_by) == ("write", "method")
    assert command.arguments == {"register": "sp", "value": pytest.approx(26.85, abs=1e-9)}
    assert stage.kinds == ["step_started", "step_ended"]
    assert [data["index"] for *_, data in stage.events] == [0, 0]
    assert {data["kind"] for *_, data in stage.events} == {"setpoint"}


def test_a_ramp_is_a_straight_line_that_ends_on_its_target() -> None:
    """Values lie on the line at the times they are given, ten a second, and the last is the target itself."""
    stage = Stage()
    perform(stage, SET_20, {"kind": "ramp", "setpoint": "heater", "to": "21 degC", "rate": "20 degC/min"})
    times = [t for t, _ in stage.commands[1:]]
    assert stage.values[1:] == pytest.approx([20 + t / 3 for t in times])
    assert times == pytest.approx([n / 10 for n in range(31)])
    assert stage.values[-1] == 21.0
    assert stage.events[-1][3]["commands"] == 31


def test_a_ramp_down_by_a_rate_in_another_unit() -> None:
    """A rate is a difference: no offset of the unit comes in, its sign does not count."""
    stage = Stage()
    perform(
        stage,
        {
            "kind": "ramp",
            "setpoint": "heater",
            "from": "10 degC",
            "to": "9 degC",
            "rate": "-3600 K/h",
            "update_hz": 4,
        },
    )
    assert stage.values == [10.0, 9.75, 9.5, 9.25, 9.0]


def test_a_slow_device_gets_fewer_values_on_the_same_line() -> None:
    """A device that takes 0.35 s for each value misses values; none is caught up, the slope stays."""
    stage = Stage(slow_s=0.35)
    perform(stage, {"kind": "ramp", "setpoint": "heater", "from": 0, "to": 100, "duration_s": 2.0})
    times = [t for t, _ in stage.commands]
    assert stage.values[:-1] == pytest.approx([50 * t for t in times[:-1]])
    assert len(stage.values) == 6
    assert stage.values[-1] == 100.0


@pytest.mark.parametrize("answer", [refused, failed])
def test_a_command_that_was_not_done_ends_the_method(answer: Any) -> None:
    """A refusal and a failure of the device raise, are told, and no later step begins."""
    stage = Stage()
    stage.on_command = lambda command: answer(command, "interlock open")
    with pytest.raises(ProcedureFailed, match="interlock open"):
        perform(stage, SET_20, {"kind": "hold", "duration_s": 1.0})
    assert stage.kinds == ["step_started", "step_failed"]
    assert stage.events[-1][0] == "error"


def test_a_hold_lasts_its_time() -> None:
    """A hold passes exactly its seconds of the run's clock."""
    stage = Stage()
    perform(stage, {"kind": "hold", "duration_s": 90.0}, {"kind": "acquire", "duration_s": 10.0})
    assert stage.clock.now_ns() == 100 * NS


def test_a_wait_ends_with_the_sample_that_satisfies_it() -> None:
    """The wait listens under the policy BLOCK, ends with the first good sample and leaves the bus."""
    stage = Stage()
    perform(stage, WAIT, feed=lambda: stage.give("heater_pv", 579.0, float("nan"), 580.0))
    assert stage.kinds == ["step_started", "step_ended"]
    assert stage.policies == [BackpressurePolicy.BLOCK]
    assert stage.bus.subscriptions == ()


def test_a_wait_does_not_look_back() -> None:
    """A value from before the step began does not satisfy it."""
    stage = Stage()

    async def main() -> None:
        await stage.give("heater_pv", 600.0)
        end = await Executor(method_of({**WAIT, "timeout_s": 0.05}), SmallRig(), stage).run()
        assert end.abort_reason is not None

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["wait", "hold", "acquire"])
def test_a_timeout_with_warn_goes_on(kind: str) -> None:
    """The time-out is an event and the next step begins."""
    stage = Stage()
    step = {"kind": kind, "timeout_s": 0.05, "on_timeout": "warn"}
    step |= {"rows": 3, "channel": "flow"} if kind == "acquire" else {"until": "flow > 1"}
    end = perform(stage, step, SET_20)
    assert (end.steps_done, end.abort_reason) == (2, None)
    assert stage.kinds == ["step_started", "step_timeout", "step_ended", "step_started", "step_ended"]
    assert stage.events[1][0] == "warning"


def test_a_timeout_with_abort_ends_the_method() -> None:
    """The rest is not done and the reason says what did not come."""
    stage = Stage()
    end = perform(stage, {**WAIT, "timeout_s": 0.05}, SET_20)
    assert end.steps_done == 1
    assert end.abort_reason == "not within 0.05 s: heater_pv >= 580 degC"
    assert stage.commands == []


def test_a_timeout_with_safe_shutdown_makes_safe_and_fails() -> None:
    """Safe state is asked for before the failure leaves the step."""
    stage = Stage()
    with pytest.raises(ProcedureFailed, match="not within"):
        perform(stage, {**WAIT, "timeout_s": 0.05, "on_timeout": "safe_shutdown"}, SET_20)
    assert len(stage.made_safe) == 1
    assert stage.kinds == ["step_started", "step_timeout", "step_failed"]


def test_data_that_ends_is_a_failure_not_an_answer() -> None:
    """When the bus closes, a wait raises."""
    stage = Stage()

    async def close() -> None:
        stage.bus.close()

    with pytest.raises(ProcedureFailed, match="the data ended"):
        perform(stage, WAIT, feed=close)


def test_rows_are_counted_from_the_step_on() -> None:
    """An acquisition of rows ends with the last of them."""
    stage = Stage()
    perform(
        stage,
        {"kind": "acquire", "rows": 3, "channel": "flow", "timeout_s": 30.0},
        feed=lambda: stage.give("flow", 1.0, 2.0, 3.0),
    )
    assert stage.kinds == ["step_started", "step_ended"]


def test_a_prompt_takes_the_answer() -> None:
    """The answer is in the event, and one in abort_on ends the method."""
    step = {
        "kind": "prompt",
        "text": "sample in?",
        "choices": ["yes", "no"],
        "abort_on": ["no"],
        "timeout_s": 60.0,
    }
    stage = Stage("yes")
    assert perform(stage, step).abort_reason is None
    assert stage.asked == [("sample in?", ("yes", "no"), 60.0)]
    assert stage.events[-1][3]["answer"] == "yes"
    assert perform(Stage("no"), step, SET_20).abort_reason == "sample in?: no"
    forever = Stage("ok")
    perform(forever, {"kind": "prompt", "text": "go?", "wait": "forever"})
    assert forever.asked == [("go?", ("ok",), None)]


def test_a_prompt_without_an_answer_times_out() -> None:
    """Nobody there: the policy decides, here the method ends."""
    assert "no answer" in str(
        perform(Stage(), {"kind": "prompt", "text": "go?", "timeout_s": 1.0}).abort_reason
    )


def test_safe_shutdown_tells_what_is_not_safe() -> None:
    """The last step runs every program and names the devices that did not make it."""
    stage = Stage()
    perform(stage, {"kind": "safe_shutdown", "reason": "end of shift"})
    assert stage.made_safe == ["end of shift"]
    assert stage.events[-1][3]["unsafe_devices"] == ["mfc"]


def test_a_custom_step_is_called_with_the_context_and_its_arguments() -> None:
    """A coroutine function of the user sees the run as every step does."""
    called.clear()
    stage = Stage()
    perform(stage, {"kind": "custom", "function": f"{__name__}:custom_step", "arguments": {"level": 2.5}})
    assert called == [(stage, {"level": 2.5, "word": ""})]


@pytest.mark.parametrize(
    ("word", "error"), [("fail", ZeroDivisionError), ("sleep", ProcedureFailed), ("time out", TimeoutError)]
)
def test_what_a_custom_step_raises_leaves_the_method(word: str, error: type[Exception]) -> None:
    """Its own error comes out as it is; only its time-out becomes a ProcedureFailed."""
    stage = Stage()
    step = {
        "kind": "custom",
        "function": f"{__name__}:custom_step",
        "arguments": {"level": 1, "word": word},
        "timeout_s": 5.0,
    }
    if word == "sleep":
        step["timeout_s"] = 0.05
    with pytest.raises(error):
        perform(stage, step, SET_20)
    assert stage.kinds == ["step_started", "step_failed"]
    assert stage.commands == []


def test_a_cancelled_method_stops_where_it_is() -> None:
    """Cancelling goes through the step: no event is invented and the bus is left."""
    stage = Stage()

    async def main() -> None:
        task = asyncio.create_task(Executor(method_of(WAIT, SET_20), SmallRig(), stage).run())
        while not stage.bus.subscriptions:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert stage.kinds == ["step_started"]
    assert stage.bus.subscriptions == ()


def test_status_follows_the_steps() -> None:
    """A live view sees which step is on."""
    stage = Stage()
    seen: list[str] = []
    executor = Executor(method_of(SET_20, {**SET_20, "to": 30}), SmallRig(), stage)

    def look(command: Command) -> Any:
        seen.append(executor.status()["text"])
        return Stage().on_command(command)

    stage.on_command = look
    asyncio.run(executor.run())
    assert seen == ["step 1 of 2: set heater to 20 degC", "step 2 of 2: set heater to 30 degC"]
