"""The bounded hand-over of one topic to its sender: the store's, with words for a server."""

from __future__ import annotations

from gapless.errors import DeadlinePassed, RecordingFailed
from gapless.store.handover import HandOver
from gapless.store.lane import GeneralLane, PackedLane


class UplinkHandOver(HandOver):
    """What is handed over and not accepted by the server never exceeds ``max_unsynced_bytes`` in this topic."""

    def reserve(self, lane: PackedLane | GeneralLane, size_bytes: int) -> None:
        """Return when there is room for the bytes, or raise RecordingFailed; on an error nothing changed."""
        try:
            super().reserve(lane, size_bytes)
        except RecordingFailed as error:
            if error is self._failure():
                raise
            deadline = isinstance(error, DeadlinePassed)
            raise type(error)(
                "the server accepted nothing for too long; the last row was not taken"
                if deadline
                else "the server does not keep up and the topic's policy is to fail",
                sequence=self.sequence,
                topic=lane.declaration.name,
                found=f"{self.unsynced_bytes:,} bytes that are not accepted",
                expected=error.expected,
                next_step="look at the server and the network, or connect with spool="
                if deadline
                else "push the row again later",
            ) from error
