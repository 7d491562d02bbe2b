"""A loop that does not turn: found once, after its limit, and named by what holds it."""

from __future__ import annotations

import threading

from gapless.acquire.stall import Call, StallMonitor, held_by, stack_of
from gapless.model.outcome import Outcome


class Loop:
    """A heartbeat and a clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.beat_ns = 1
        self.monitor = StallMonitor(
            lambda: self.beat_ns, lambda: [Call("f", "x.py:1", is_own=False)], 2.0, clock=lambda: self.now_s
        )

    def look(self, seconds: float, times: int = 1) -> list[str]:
        """Let time go on in steps, looking after each; return what was found."""
        found = []
        for _ in range(times):
            self.now_s += seconds
            found += self.monitor.poll()
        return [f"{finding.kind} {finding.outcome}" for finding in found]


def test_found_once_after_the_limit() -> None:
    """Nothing before the limit, one finding behind it, and the run ends as crashed but sealed."""
    loop = Loop()
    assert loop.look(0.5, times=5) == []
    assert loop.look(0.5) == [f"conductor_blocked {Outcome.CRASHED_BUT_SEALED}"]
    assert loop.look(0.5, times=20) == []


def test_a_loop_that_turns_is_not_held() -> None:
    """A beat between the looks begins anew, however late it is."""
    loop = Loop()
    for _ in range(20):
        assert loop.look(0.5, times=4) == []
        loop.beat_ns += 1


def test_a_suspended_process_waited_for_nothing() -> None:
    """An hour in one look, as after SIGSTOP or a debugger, is one second at most."""
    loop = Loop()
    assert loop.look(0.2) == []
    assert loop.look(3600.0) == []
    loop.beat_ns += 1
    assert loop.look(0.2) == []


def test_the_holder_is_named() -> None:
    """The innermost call, and the foreign code through which it was reached."""
    own = Call("Analyzer.__call__", "analyzer.py:60", is_own=True)
    hot, wait = Call("hot", "mine.py:3", is_own=False), Call("wait", "threading.py:9", is_own=False)
    assert held_by([hot, own]) == "hot (mine.py:3)"
    assert held_by([wait, hot, own]) == "wait (threading.py:9), called by hot (mine.py:3)"
    assert held_by([own, hot]) == "Analyzer.__call__ (analyzer.py:60)"
    assert held_by([]) == "no code"


def test_the_stack_of_a_thread() -> None:
    """A waiting thread shows its calls, innermost first; one that has ended shows none."""
    ready, go = threading.Event(), threading.Event()

    def waits_here() -> None:
        ready.set()
        go.wait()

    thread = threading.Thread(target=waits_here)
    thread.start()
    assert ready.wait(60)
    calls = [call.function.rpartition(".")[2] for call in stack_of(thread.ident)]
    go.set()
    thread.join(60)
    assert "waits_here" in calls
    assert calls.index("wait") < calls.index("waits_here") if "wait" in calls else calls[0] == "waits_here"
    assert stack_of(thread.ident) == []
