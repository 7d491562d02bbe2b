"""What one hop does, in figures: items, depth, time blocked, time from put to taken."""

from __future__ import annotations

from dataclasses import asdict, dataclass

RESERVOIR_SAMPLES = 512


class LatencyReservoir:
    """The latest durations in ns, a bounded number of them; adding one costs the same however many came."""

    __slots__ = ("_max_ns", "_next", "_size", "_values")

    def __init__(self, size: int = RESERVOIR_SAMPLES) -> None:
        self._size = size
        self._values: list[int] = []
        self._next = 0
        self._max_ns = 0

    def add(self, duration_ns: int) -> None:
        """Keep a duration; the oldest one goes when there are ``size`` already."""
        if duration_ns > self._max_ns:
            self._max_ns = duration_ns
        if len(self._values) < self._size:
            self._values.append(duration_ns)
            return
        self._values[self._next] = duration_ns
        self._next = (self._next + 1) % self._size

    def percentiles_ns(self) -> tuple[int, int, int]:
        """Return p50 and p99 (nearest rank) of what is kept and the longest ever; zeros without any."""
        ordered = sorted(self._values)
        if not ordered:
            return 0, 0, 0
        return ordered[(len(ordered) - 1) // 2], ordered[-(-99 * len(ordered) // 100) - 1], self._max_ns


@dataclass(frozen=True, slots=True)
class HopMetrics:
    """One consistent look at a hop: ``put == taken + dropped + depth`` in each of them.

    ``blocked_ns`` is the time that producers waited for room, waits that go on included; ``blocked_since_ns``
    the monotonic time at which the one that waits longest began, None when nobody waits. Latencies are
    from put to taken, sampled: of every item while the hop is nearly empty, of one in 64 otherwise.
    """

    put: int
    taken: int
    dropped: int
    depth: int
    depth_max: int
    blocked_ns: int
    blocked_since_ns: int | None
    latency_p50_ns: int
    latency_p99_ns: int

    def to_json(self) -> dict[str, int | None]:
        """Return the figures by name."""
        return asdict(self)
