"""The bounded hand-over between producers and the writer thread: blocks in order, bytes counted.

What is handed over and not yet synced never exceeds ``max_unsynced_bytes``. At the bound each topic's
policy decides: ``block`` waits (with a deadline), ``fail`` raises, ``drop_oldest`` gives up the topic's
oldest waiting block and leaves a marker that becomes a gap row.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from gapless.errors import DeadlinePassed, RecordingFailed, RecordTooLarge

if TYPE_CHECKING:
    import pyarrow as pa

    from gapless.store.lane import GeneralLane, PackedLane


YIELD_S = 0.003  # per block of 256 KiB; well below the 5 ms that a hand-over may take


class OverflowPolicy(StrEnum):
    """What a topic does when the unsynced bytes reach their bound."""

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"
    FAIL = "fail"
    REPEAT = "repeat"  # of media topics only: the picture before is shown again, and the push says so


@dataclass(slots=True, eq=False)
class Block:
    """Rows on their way to the writer. ``payload`` None: dropped, only the count remains."""

    lane: PackedLane | GeneralLane
    payload: Any
    rows: int
    size_bytes: int
    batch: pa.RecordBatch | None = None
    taken: bool = False
    cause: str = "drop_oldest"  # why the rows are gone, when they are
    on_written: Callable[[], None] | None = (
        None  # a block that is to be in the file now, not at the next sync
    )


@dataclass(slots=True)
class Command:
    """A request to the writer thread, done when ``done`` is set; ``error`` is what stopped it."""

    kind: str
    argument: Any = None
    done: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None


class HandOver:
    """The queue between every lane of a sequence and its writer thread."""

    def __init__(
        self,
        sequence: str,
        *,
        max_unsynced_bytes: int,
        deadline_s: float,
        max_record_bytes: int,
        failure: Callable[[], Exception | None],
        behind: Callable[[], bool] = lambda: False,
    ) -> None:
        self.sequence = sequence
        self.max_unsynced_bytes = max_unsynced_bytes
        self.max_record_bytes = max_record_bytes
        self.deadline_s = deadline_s
        self.queue: SimpleQueue[Block | Command | None] = SimpleQueue()
        self.blocked_ns = 0
        self.unsynced_bytes = 0
        self._failure = failure
        self._behind = behind
        self._room = threading.Condition()
        self._droppable: deque[Block] = deque()
        self._policies: dict[int, OverflowPolicy] = {}

    def set_policy(self, topic: int, policy: OverflowPolicy) -> None:
        """Choose what the topic does when the bound is reached."""
        self._policies[topic] = policy

    def check_record(self, topic: str, size_bytes: int) -> None:
        """Return, or raise RecordTooLarge for a record that no frame may hold."""
        if size_bytes > self.max_record_bytes:
            raise RecordTooLarge(
                "a record is too large",
                sequence=self.sequence,
                topic=topic,
                found=f"{size_bytes:,} bytes",
                expected=f"at most {self.max_record_bytes:,} bytes",
            )

    def reserve(self, lane: PackedLane | GeneralLane, size_bytes: int) -> None:
        """Return when there is room for the bytes, or raise RecordingFailed; on an error nothing changed."""
        policy = self._policies.get(lane.declaration.index, OverflowPolicy.BLOCK)
        if policy is OverflowPolicy.BLOCK and lane.gives_way and self._behind():
            self._yield()
        with self._room:
            self.raise_failure()
            if self._fits(size_bytes):
                self.unsynced_bytes += size_bytes
                return
            if policy is OverflowPolicy.FAIL:
                raise RecordingFailed(
                    "the disk does not keep up and the topic's policy is to fail",
                    sequence=self.sequence,
                    topic=lane.declaration.name,
                    found=f"{self.unsynced_bytes:,} unsynced bytes",
                    expected=f"at most {self.max_unsynced_bytes:,}",
                    next_step="push the row again later",
                )
            if policy is OverflowPolicy.DROP_OLDEST:
                self._drop(lane, size_bytes)
            else:
                self._wait(lane, size_bytes)
            self.unsynced_bytes += size_bytes

    def _yield(self) -> None:
        """Leave the interpreter to the sealer for a moment: a producer that never waits would starve it."""
        time.sleep(YIELD_S)
        self.blocked_ns += int(YIELD_S * 1e9)

    def _fits(self, size_bytes: int) -> bool:
        return self.unsynced_bytes == 0 or self.unsynced_bytes + size_bytes <= self.max_unsynced_bytes

    def raise_failure(self) -> None:
        """Raise what ended the recording, if something did."""
        failure = self._failure()
        if failure is not None:
            raise failure

    def _wait(self, lane: PackedLane | GeneralLane, size_bytes: int) -> None:
        began = time.monotonic_ns()
        give_up = began + int(self.deadline_s * 1e9)
        try:
            while not self._fits(size_bytes):
                left = give_up - time.monotonic_ns()
                if left <= 0:
                    raise DeadlinePassed(
                        "the disk took nothing for too long; the last row was not accepted",
                        sequence=self.sequence,
                        topic=lane.declaration.name,
                        found=f"{self.unsynced_bytes:,} unsynced bytes",
                        expected=f"room within {self.deadline_s} s",
                    )
                self._room.wait(left / 1e9)
                self.raise_failure()
        finally:
            self.blocked_ns += time.monotonic_ns() - began

    def _drop(self, lane: PackedLane | GeneralLane, size_bytes: int) -> None:
        """Give up waiting blocks of the topic, oldest first, until the new one fits.

        When the writer holds all of them already the bound is passed by one block, not the producer stopped.
        """
        kept: list[Block] = []
        while self._droppable and not self._fits(size_bytes):
            block = self._droppable.popleft()
            if block.taken:
                continue
            if block.lane.declaration.index != lane.declaration.index:
                kept.append(block)
                continue
            block.payload = block.batch = None
            self.unsynced_bytes -= block.size_bytes
            block.size_bytes = 0
        self._droppable.extendleft(reversed(kept))

    def put(
        self,
        lane: PackedLane | GeneralLane,
        payload: Any,
        rows: int,
        size_bytes: int,
        batch: pa.RecordBatch | None = None,
        cause: str = "drop_oldest",
        *,
        on_written: Callable[[], None] | None = None,
    ) -> None:
        """Queue rows whose bytes were reserved; the caller holds the lane's lock."""
        lane.queued += 1
        block = Block(lane, payload, rows, size_bytes, batch, cause=cause, on_written=on_written)
        if self._policies.get(lane.declaration.index) is OverflowPolicy.DROP_OLDEST:
            with self._room:
                self._droppable.append(block)
        self.queue.put(block)

    def take(self, block: Block) -> None:
        """Claim a block for writing: from now on it can no longer be dropped."""
        block.lane.took_block()
        with self._room:
            block.taken = True
            while self._droppable and self._droppable[0].taken:
                self._droppable.popleft()

    def release(self, size_bytes: int) -> None:
        """Give bytes back: they are synced, or were never sent."""
        if size_bytes:
            with self._room:
                self.unsynced_bytes -= size_bytes
                self._room.notify_all()

    def wake_all(self) -> None:
        """Wake every waiting producer so that it sees a failure."""
        with self._room:
            self._room.notify_all()
