"""From a thread to an event loop: the bridge beside one ``call_soon_threadsafe`` for each item."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from harness import Bench, main

from gapless.flow.bridge import ThreadBridge
from gapless.flow.policy import BackpressurePolicy


def run(bench: Bench) -> None:
    """Compare the processor time of each item."""
    count, peer_count = bench.size(200_000, 5_000), bench.size(20_000, 2_000)
    found = bench.interleave(
        {
            "block": lambda: _per_item(lambda: _bridge(count, BackpressurePolicy.BLOCK), count),
            "drop": lambda: _per_item(lambda: _bridge(count, BackpressurePolicy.DROP_OLDEST), count),
            "peer": lambda: _per_item(lambda: _call_soon(peer_count), peer_count),
        }
    )
    for name, words in (("block", "block"), ("drop", "drop_oldest")):
        bench.compare(
            f"thread to loop, bounded, {words}", "CPU ns/item", found[name], "call_soon_threadsafe, unbounded",
            found["peer"], at_least=10,
        )  # fmt: skip


def _per_item(move: Callable[[], None], count: int) -> float:
    began_ns = time.process_time_ns()
    move()
    return (time.process_time_ns() - began_ns) / count


def _bridge(count: int, policy: BackpressurePolicy) -> None:
    bridge: ThreadBridge[int] = ThreadBridge("bench", capacity=4096, policy=policy)

    def produce() -> None:
        if policy is BackpressurePolicy.BLOCK:
            for n in range(count):
                if not bridge.put_nowait(n):
                    bridge.put_blocking(n, 30.0)
        else:
            for n in range(count):
                bridge.put_nowait(n)
        bridge.close()

    async def consume() -> None:
        thread = threading.Thread(target=produce)
        thread.start()
        taken = 0
        while burst := await bridge.get_burst():
            taken += len(burst)
        thread.join()
        assert taken + bridge.metrics().dropped == count

    asyncio.run(consume())


def _call_soon(count: int) -> None:
    async def consume() -> None:
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[int] = asyncio.Queue()

        def produce() -> None:
            for n in range(count):
                loop.call_soon_threadsafe(items.put_nowait, n)

        thread = threading.Thread(target=produce)
        thread.start()
        for _ in range(count):
            await items.get()
        thread.join()

    asyncio.run(consume())


if __name__ == "__main__":
    raise SystemExit(main(run))
