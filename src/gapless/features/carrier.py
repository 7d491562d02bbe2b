"""What carries chunks of work to workers and back, and the one loop that feeds it.

Threads, processes and Dask differ in how a chunk travels. What is taken when, what happens to a chunk whose
worker died, and how a run ends is the same for all and stands here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from gapless.errors import FeatureFailed, RunCancelled

C = TypeVar("C")
R = TypeVar("R")
Taken = TypeVar("Taken", contravariant=True)
IN_FLIGHT = 2  # chunks for each worker: one being computed, one waiting


class Cancel(Protocol):
    """What tells a run to stop: ``threading.Event`` and its like."""

    def is_set(self) -> bool:
        """Whether the run is to stop."""


@dataclass(frozen=True)
class Returned(Generic[R]):
    """The function returned a value."""

    value: R


@dataclass(frozen=True)
class Raised:
    """The function raised."""

    error: BaseException


@dataclass(frozen=True)
class Lost:
    """The worker ended before it answered; nobody knows how far it came."""

    error: BaseException


Outcome = Returned[R] | Raised | Lost


class Carrier(Protocol[Taken, R]):
    """Workers that chunks can be sent to."""

    @property
    def room(self) -> int:
        """How many chunks may be under way."""

    def send(self, chunk: Taken) -> Any:
        """Send a chunk off and return the ticket that its outcome comes under."""

    def arrived(self, tickets: Collection[Any]) -> Iterable[tuple[Any, Outcome[R]]]:
        """Wait until at least one of the tickets has an outcome; return those that have."""

    def close(self) -> None:
        """End the workers; what they are computing may be finished or dropped."""


def check_cancel(cancel: Cancel | None) -> None:
    """Raise RunCancelled if a run is to stop."""
    if cancel is not None and cancel.is_set():
        raise RunCancelled("the run was cancelled")


def carry_all(
    carrier: Carrier[C, R], chunks: Iterable[C], cancel: Cancel | None
) -> Generator[tuple[C, R | BaseException], None, None]:
    """Yield each chunk with its result in the order of completion, and close the carrier at the end.

    A chunk is taken only when there is room for it. One that was under way when a worker died is sent once
    more, alone, so that the one which kills workers is told from its neighbours; if it is lost again it is
    yielded with the error. What the function raised is raised here, and a cancelled run ends with
    RunCancelled, both after what was under way has been yielded.
    """
    try:
        yield from _Journey(carrier, iter(chunks), cancel).results()
    finally:
        carrier.close()


class _Journey(Generic[C, R]):
    """The chunks of one run, between being taken and being yielded."""

    def __init__(self, carrier: Carrier[C, R], chunks: Iterator[C], cancel: Cancel | None) -> None:
        self.carrier = carrier
        self.chunks = chunks
        self.cancel = cancel
        self.flying: dict[Any, C] = {}
        self.suspects: deque[C] = deque()
        self.alone = False  # the one chunk in flight is a suspect
        self.ending: BaseException | None = None  # what is raised once nothing is in flight
        self.exhausted = False

    def results(self) -> Generator[tuple[C, R | BaseException], None, None]:
        """Yield chunks with their results."""
        self._send()
        while self.flying:
            for ticket, outcome in self.carrier.arrived(self.flying):
                chunk = self.flying.pop(ticket)
                if isinstance(outcome, Returned):
                    yield chunk, outcome.value
                elif isinstance(outcome, Raised):
                    self.ending = self.ending or outcome.error
                elif self.alone:
                    yield chunk, _twice_lost(outcome.error)
                else:
                    self.suspects.append(chunk)
            self._send()
        if self.ending is not None:
            raise self.ending

    def _send(self) -> None:
        """Send what may be sent now: a suspect if nothing else is in flight, else as much as there is room for."""
        if self.suspects:
            if not self.flying and self._may_go_on():
                self.alone = True
                self._send_one(self.suspects.popleft())
            return
        if not self.flying:
            self.alone = False
        while not self.alone and self._wants_more() and len(self.flying) < self.carrier.room:
            for chunk in self.chunks:
                self._send_one(chunk)
                break
            else:
                self.exhausted = True

    def _send_one(self, chunk: C) -> None:
        self.flying[self.carrier.send(chunk)] = chunk

    def _wants_more(self) -> bool:
        return not self.exhausted and self._may_go_on()

    def _may_go_on(self) -> bool:
        if self.ending is None and self.cancel is not None and self.cancel.is_set():
            self.ending = RunCancelled("the run was cancelled")
        return self.ending is None


def _twice_lost(error: BaseException) -> FeatureFailed:
    failure = FeatureFailed(
        "no worker came back with a result, twice", found=f"{type(error).__name__}: {error}",
        next_step="look whether the system killed it for want of memory, and in a script start the run under"
        ' `if __name__ == "__main__":`',
    )  # fmt: skip
    failure.__cause__ = error
    return failure
