"""A recorder that has nothing but a sequence, an open heater and a guard: what the tests kill.

Arguments: the store, the heater's port, and words: ``fork`` leaves a forked copy behind that lives on,
``slow`` gives the program a deadline that the heater's silence outlasts. Prints the pids of guard and
copy when it records; ends cleanly at a line on its input.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass

from tests.acquire.heater import Heater, HeaterConfig, off

import gapless
from gapless.acquire.clock import HostClock
from gapless.acquire.guard import Guard


@dataclass
class Entry:
    """A device as a rig has it."""

    name: str
    config: HeaterConfig
    adapter_class: type[Heater] = Heater


def main() -> None:
    """Record events until told to stop or killed."""
    store, port, *words = sys.argv[1:]
    deadline_s = 1.0 if "slow" in words else 20.0
    config = HeaterConfig(adapter="heater", port=int(port), safe_state=off(deadline_s=deadline_s))
    with gapless.connect(store) as client, client.sequence_create("run") as sequence:
        assert sequence.path is not None
        guard = Guard([Entry("h", config)], sequence.path, HostClock(sequence.clock_base_ns))
        guard.start(60.0)
        asyncio.run(hold(config, guard, sequence, words))
        guard.disarm(30.0)


async def hold(
    config: HeaterConfig, guard: Guard, sequence: gapless.SequenceWriter, words: list[str]
) -> None:
    """Keep the heater's connection open until a line comes."""
    heater = Heater("h", config)
    await heater.open()
    copy = fork() if "fork" in words else 0
    await asyncio.to_thread(sequence.event, "info", "began", "recording")
    print(guard.pid, copy, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await heater.close()


def fork() -> int:
    """Leave a copy of this process that holds everything it may inherit; it ends by itself."""
    pid = os.fork()
    if pid == 0:
        time.sleep(120)
        os._exit(0)
    return pid


if __name__ == "__main__":
    main()
