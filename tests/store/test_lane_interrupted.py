"""A lane whose hand-over is interrupted keeps the row if the writer has it, and the interruption in any case."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from gapless.errors import DeadlinePassed, GaplessError, WriterClosed
from gapless.store.declaration import TopicDeclaration, check_schema
from gapless.store.handover import HandOver
from gapless.store.lane import GeneralLane, PackedLane
from gapless.store.packing import Layout

SCHEMA = check_schema(pa.schema([pa.field("x", pa.float64(), nullable=False)]), "t")


class TakenWhileWaiting(HandOver):
    """A hand-over in which the writer takes the rows while the producer waits, and then the wait is broken."""

    error: BaseException = KeyboardInterrupt()

    def reserve(self, lane: PackedLane | GeneralLane, size_bytes: int) -> None:
        """Take what the lane holds, as the writer does every flush window, then break the wait."""
        lane.steal()
        raise self.error


def full_lane(error: BaseException) -> tuple[PackedLane, int]:
    """Return a lane that lacks one row to be full, and the number of rows it then holds."""
    hand_over = TakenWhileWaiting(
        "s", max_unsynced_bytes=1, deadline_s=1.0, max_record_bytes=1 << 20, failure=lambda: None
    )
    hand_over.error = error
    layout = Layout.of(TopicDeclaration(16, "t", SCHEMA, {}))
    assert layout is not None
    lane = PackedLane(hand_over, layout, lambda: 0)
    rows = len(lane.buffer) // layout.row_bytes
    for k in range(rows - 1):
        lane.push_row(k, 1.0)
    return lane, rows


def test_an_interruption_of_a_push_that_succeeded_is_not_swallowed() -> None:
    """Ctrl-C reaches the program, and the row that the writer took is counted once."""
    lane, rows = full_lane(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        lane.push_row(rows, 1.0)
    assert lane.offered_rows == rows


def test_an_error_of_a_wait_is_not_told_for_a_row_that_is_recorded() -> None:
    """The writer has the row, so the push succeeded although the wait for room failed."""
    failure: GaplessError = DeadlinePassed("no room")
    lane, rows = full_lane(failure)
    lane.push_row(rows, 1.0)
    assert lane.offered_rows == rows


class EndsFirst:
    """A lane's lock for which the writer's end is always faster, once."""

    def __init__(self, lane: PackedLane) -> None:
        self.lane = lane
        self.lock: Any = lane.lock
        self.taken: tuple[bytes, int] | None = None

    def __enter__(self) -> None:
        self.lane.lock = self.lock
        self.lane.refuse(lambda: WriterClosed("the sequence is closed"))
        self.taken = self.lane.end()
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def test_a_push_whose_full_block_the_end_took_has_succeeded() -> None:
    """The last row of the block is recorded, so its push does not raise; the next one does."""
    lane, rows = full_lane(KeyboardInterrupt())
    lock = EndsFirst(lane)
    lane.lock = lock  # type: ignore[assignment]
    lane.push_row(rows, 1.0)
    assert lock.taken is not None
    assert lock.taken[1] == lane.offered_rows == rows
    with pytest.raises(WriterClosed):
        lane.push_row(rows + 1, 1.0)
    assert lane.offered_rows == rows


class EndsWhilePacked:
    """A time that the writer's end overtakes while the row is being packed."""

    def __init__(self, lane: PackedLane) -> None:
        self.lane = lane

    def __index__(self) -> int:
        self.lane.refuse(lambda: WriterClosed("the sequence is closed"))
        self.lane.end()
        return 0


def test_a_push_that_packs_behind_the_end_is_refused() -> None:
    """The writer took the block without the row, so the push raises and no row is counted."""
    lane, rows = full_lane(KeyboardInterrupt())
    with pytest.raises(WriterClosed):
        lane.push_row(EndsWhilePacked(lane), 1.0)
    assert lane.offered_rows == rows - 1
