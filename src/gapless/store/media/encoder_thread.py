"""The thread that turns a topic's pictures into rows: bounded, in order, and loud when its encoder fails.

Every picture that was accepted becomes a row or is counted as dropped with its cause. The rows go through
a lane like any other, so one durability and one recovery hold for them.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gapless.errors import (
    DeadlinePassed,
    GaplessError,
    MediaFailed,
    RecordingFailed,
    ValueRefused,
    WriterClosed,
    WrongProcess,
)
from gapless.store.handover import OverflowPolicy
from gapless.store.lane import GeneralLane
from gapless.store.media.encode import Encoder
from gapless.store.media.picture import Picture

MAX_PENDING = 16  # half a second of a camera: rides out a slow sync, and 640 x 480 in colour is 15 MB
_LOOK_S = 0.5  # a waiting producer looks this often whether the recording has ended
_MAX_REPEATS = 1024  # a place in the queue is all that a repeated picture holds; beyond it producers wait
_KEPT_BUFFERS = 4  # a steady camera needs two; more would hold memory after every burst
_CAUSE = "media_failed"


class EncoderLane(GeneralLane):
    """The encoder thread's lane. Its offered rows are the pictures accepted, encoded or not."""

    thread: EncoderThread | None = None

    @property
    def offered_rows(self) -> int:
        """Pictures accepted so far: a picture still waiting when the recording ends is missed, not unknown."""
        return 0 if self.thread is None else self.thread.accepted


@dataclass(frozen=True, slots=True)
class _Frame:
    number: int  # the first accepted picture is 1; holes are pictures given up for newer ones
    timestamp_ns: int
    seq: int | None
    array: npt.NDArray[Any] | None  # None: the picture before it is shown again
    own: bool  # the array came from this thread's store of buffers


class EncoderThread:
    """Takes pictures from any thread, encodes them on its own and pushes the rows.

    ``lane`` must belong to the topic already. :meth:`close` ends the thread.
    """

    def __init__(
        self,
        encoder: Encoder,
        lane: EncoderLane,
        *,
        stream: str = "",
        max_pending: int = MAX_PENDING,
        overflow: OverflowPolicy = OverflowPolicy.BLOCK,
        max_unwritten: int | None = None,
        gate: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.encoder = encoder
        self.lane = lane
        lane.thread = self
        self.failure: GaplessError | None = None
        self.told = False  # the failure has reached a caller
        self.blocked_ns = 0
        self._stream = stream
        self._max_pending = max_pending
        self._max_unwritten = max_unwritten
        self._overflow = overflow
        self._gate = gate or nullcontext()  # encoders that share a gate take turns
        self._last: npt.NDArray[Any] | None = None  # the picture that a repetition shows again
        self._last_own = False
        self._changed = threading.Condition()
        self._waiting: deque[_Frame] = deque()
        self._buffers: list[npt.NDArray[Any]] = []
        self._kind: tuple[int, int, str] | None = None
        self._taken = 0  # number of the last picture that the thread took
        self._done = 0  # pictures that are rows or counted drops
        self._unwritten = 0  # rows that are not in the file yet
        self._packet = 0
        self._pushing = False
        self._closing = False
        self._process = os.getpid()  # a forked child has the queue but not the thread that empties it
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name=f"gapless-encoder-{self.topic}", daemon=True)
        self._thread.start()

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self.lane.declaration.name

    @property
    def accepted(self) -> int:
        """Pictures accepted so far: one append to the queue is what accepts, so no signal can come between."""
        with self._changed:
            return self._waiting[-1].number if self._waiting else self._taken

    @property
    def pending(self) -> int:
        """Pictures accepted that are neither rows nor counted drops yet."""
        with self._changed:
            return self.accepted - self._done

    # -- producers' side -----------------------------------------------------------------------

    def check(self, picture: Picture) -> None:
        """Return if the encoder can take the picture, or raise its failure, WriterClosed or ValueRefused."""
        if self.failure is not None:
            self.told = True
            raise self.failure
        if os.getpid() != self._process:
            raise WrongProcess("a writer was inherited by a forked child", sequence=self.lane.sequence)
        if self._closing:
            raise WriterClosed("the topic takes no more rows", sequence=self.lane.sequence, topic=self.topic)
        if self._kind is not None and picture.kind != self._kind:
            raise ValueRefused(
                "the pictures of a media topic are of one size and kind",
                sequence=self.lane.sequence,
                topic=self.topic,
                field="data",
                found=_words(picture.kind),
                expected=_words(self._kind),
            )

    def submit(self, timestamp_ns: int, seq: int | None, picture: Picture, *, unstamped: bool) -> bool:
        """Accept a picture; when this returns, the caller may change its array.

        Waits for room as the topic's overflow policy says. Returns False if, under the policy repeat, the
        picture before stands in its place. Raises the encoder's failure, DeadlinePassed, WriterClosed or
        ValueRefused; the picture was not taken then.
        """
        self.check(picture)
        if self._overflow is OverflowPolicy.REPEAT and self._repeated(timestamp_ns, seq, picture, unstamped):
            return False
        own = not picture.lasting
        array = self._copy(picture.array) if own else picture.array
        with self._changed:
            self._make_room(picture)
            self._kind = picture.kind
            self.lane.unstamped_rows += unstamped
            self._waiting.append(_Frame(self.accepted + 1, timestamp_ns, seq, array, own))
            while self._overflow is OverflowPolicy.DROP_OLDEST and len(self._waiting) > self._max_pending:
                oldest = self._waiting.popleft()
                self._recycle(oldest.array, own=oldest.own)
            self._changed.notify_all()
        return True

    def _repeated(self, timestamp_ns: int, seq: int | None, picture: Picture, unstamped: bool) -> bool:
        """Without room, accept a place in the order and no pixels; return whether that was done."""
        with self._changed:
            if self._has_room() or len(self._waiting) >= _MAX_REPEATS:
                return False
            self.check(picture)
            self.lane.unstamped_rows += unstamped
            self._waiting.append(_Frame(self.accepted + 1, timestamp_ns, seq, None, own=False))
            self._changed.notify_all()
            return True

    def _copy(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the pixels in a buffer of ours, used before if possible: fresh pages cost as much as the copy."""
        with self._changed:
            buffer = self._buffers.pop() if self._buffers else None
        native = array.dtype.newbyteorder("=")
        if buffer is None or buffer.shape != array.shape or buffer.dtype != native:
            buffer = np.empty(array.shape, native)
        np.copyto(buffer, array)
        return buffer

    def _make_room(self, picture: Picture) -> None:
        self.check(picture)
        if self._has_room():
            return
        if self._overflow is OverflowPolicy.FAIL:
            raise RecordingFailed(
                "the encoder does not keep up and the topic's policy is to fail",
                sequence=self.lane.sequence,
                topic=self.topic,
                found=f"{len(self._waiting)} pictures wait",
                next_step="push the picture again later",
            )
        if self._overflow is OverflowPolicy.DROP_OLDEST:
            return
        began = time.monotonic_ns()
        try:
            self._await(
                lambda: self._has_room() or self.failure is not None or self._closing,
                self.lane.hand_over.deadline_s,
                "the encoder took no picture for too long; the last one was not accepted",
            )
        finally:
            self.blocked_ns += time.monotonic_ns() - began
        self.check(picture)

    def _has_room(self) -> bool:
        """Tell whether one more picture may wait; the caller holds the condition."""
        if len(self._waiting) >= self._max_pending:
            return False
        return self._max_unwritten is None or self.pending + self._unwritten < self._max_unwritten

    def drain(self, timeout_s: float) -> None:
        """Return when every picture accepted before the call is a row of the lane, or raise what forbids it."""
        with self._changed:
            wanted = self.accepted
            self._await(
                lambda: self._done >= wanted or self.failure is not None,
                timeout_s,
                "the encoder did not finish in time",
            )
            if self.failure is not None:
                self.told = True
                raise self.failure

    def _await(self, condition: Any, timeout_s: float, message: str) -> None:
        give_up = time.monotonic() + timeout_s
        while not self._changed.wait_for(condition, min(_LOOK_S, max(0.0, give_up - time.monotonic()))):
            self.lane.hand_over.raise_failure()
            if time.monotonic() < give_up:
                continue
            raise DeadlinePassed(
                message,
                sequence=self.lane.sequence,
                topic=self.topic,
                found=f"{len(self._waiting)} pictures wait",
                expected=f"within {timeout_s} s",
                next_step="push fewer or smaller pictures, or choose on_full='drop_oldest'",
            )

    def close(self, timeout_s: float) -> GaplessError | None:
        """Encode what waits, end the thread, and return a failure that no caller has heard of.

        An encoder that does not end in time is left behind: its pictures are counted as dropped.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._abandon(timeout_s)
        unheard = None if self.told else self.failure
        self.told = True
        return unheard

    def _abandon(self, timeout_s: float) -> None:
        with self._changed:
            self.failure = self.failure or MediaFailed(
                "the encoder did not finish in time",
                sequence=self.lane.sequence,
                topic=self.topic,
                expected=f"within {timeout_s} s",
            )
            if self._pushing or self._abandoned:  # it waits for the disk, whose own deadline speaks for it
                return
            self._abandoned = True  # from here the thread pushes nothing: the lane is this thread's
            lost = self._give_up_waiting()
            self._done += lost
        self.lane.owner = threading.get_ident()
        self.lane.drop(lost, _CAUSE)

    # -- the encoder thread --------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (frame := self._next()) is not None:
                self._record(frame)
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: the next caller hears of it
            self._fail(error)

    def _next(self) -> _Frame | None:
        """Return the next picture, None when the end was asked for; counts those given up before it."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            frame = self._waiting.popleft()
            given_up = frame.number - self._taken - 1
            self._taken = frame.number
            self._pushing = given_up > 0
            self._changed.notify_all()
        if given_up:
            self.lane.drop(given_up, str(OverflowPolicy.DROP_OLDEST))
            self._finished(given_up, None)
        return frame

    def _record(self, frame: _Frame) -> None:
        assert self._kind is not None
        height, width, pixels = self._kind
        array = self._last if frame.array is None else frame.array
        assert array is not None
        with self._gate:
            encoded = self.encoder.encode(array, pixels)
        with self._changed:
            if self._abandoned:
                return
            self._pushing = True
        self.lane.push_row(
            frame.timestamp_ns,
            *((frame.seq,) if self.lane.declaration.producer_seq else ()),
            encoded.data,
            self.encoder.encoding,
            encoded.keyframe,
            width,
            height,
            pixels,
            self._stream,
            self._packet,
        )
        with self._changed:
            self._unwritten += 1
        self.lane.hand_on(self._written)
        self._packet += 1
        self._finished(1, frame)

    def _written(self) -> None:
        """Called by the writer: one more row is in the file."""
        with self._changed:
            self._unwritten -= 1
            self._changed.notify_all()

    def _give_up_waiting(self) -> int:
        """Empty the queue and return how many accepted pictures will never be rows, the one in work included."""
        lost, self._taken = self.pending, self.accepted
        self._waiting.clear()
        self._buffers.clear()
        return lost

    def _finished(self, rows: int, frame: _Frame | None) -> None:
        with self._changed:
            self._pushing = False
            self._done += rows
            if frame is not None:
                self._keep(frame)
            self._changed.notify_all()

    def _keep(self, frame: _Frame) -> None:
        """Give the buffer back, or, where pictures may be repeated, keep the last picture until the next."""
        if self._overflow is not OverflowPolicy.REPEAT:
            self._recycle(frame.array, own=frame.own)
        elif frame.array is not None:
            self._recycle(self._last, own=self._last_own)
            self._last, self._last_own = frame.array, frame.own

    def _recycle(self, array: npt.NDArray[Any] | None, *, own: bool) -> None:
        if array is not None and own and len(self._buffers) < _KEPT_BUFFERS:
            self._buffers.append(array)

    def _fail(self, error: BaseException) -> None:
        """Keep the failure for the next caller and count what will never be a row."""
        broken = isinstance(error, RecordingFailed | WriterClosed | WrongProcess)
        if broken and not isinstance(error, MediaFailed):
            failure: GaplessError = error  # type: ignore[assignment] # the recording failed, not the encoder
        else:
            failure = MediaFailed(
                "the encoder failed; no more pictures are taken",
                sequence=self.lane.sequence,
                topic=self.topic,
                found=f"picture {self._packet}: {type(error).__name__}: {error}",
                next_step="record into another topic; `_gaps` and the ledger tell what is missing",
            )
            failure.__cause__ = error
        with self._changed:
            if self._abandoned:
                return
            self.failure = self.failure or failure
            lost = self._give_up_waiting()
            self._pushing = True
        try:
            self.lane.drop(lost, _CAUSE)
        except GaplessError as refused:  # the recording ended first: its last words count them as offered
            failure.add_note(f"{lost} pictures could not be counted as dropped: {refused}")
        self._finished(lost, None)


def _words(kind: tuple[int, int, str]) -> str:
    return f"{kind[1]} x {kind[0]} {kind[2]}"
