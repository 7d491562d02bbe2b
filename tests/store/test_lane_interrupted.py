"""A lane whose hand-over is interrupted keeps the row if the writer has it, and the interruption in any case."""

from __future__ import annotations

import pyarrow as pa
import pytest

from gapless.errors import DeadlinePassed, GaplessError
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
