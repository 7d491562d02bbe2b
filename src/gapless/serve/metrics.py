"""What a server has done and is doing, in figures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final

Labels = tuple[tuple[str, str], ...]
Probe = Callable[[], Mapping[str, float]]
BOUNDS_S: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, float("inf"))


class Metrics:
    """Named figures with labels, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[tuple[str, Labels], float] = {}
        self._probes: list[tuple[Probe, Labels]] = []

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a figure; one that is absent begins at 0."""
        key = (name, tuple(sorted(labels.items())))
        with self._lock:
            self._values[key] = self._values.get(key, 0) + amount

    def set(self, name: str, value: float, **labels: str) -> None:
        """Give a figure its present value."""
        with self._lock:
            self._values[name, tuple(sorted(labels.items()))] = value

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Count a duration in a histogram: ``_bucket`` of each bound that it is not above, ``_sum``, ``_count``."""
        whole = tuple(sorted(labels.items()))
        with self._lock:
            for bound in BOUNDS_S:
                le = "+Inf" if bound == float("inf") else repr(bound)
                key = (f"{name}_bucket", tuple(sorted((*whole, ("le", le)))))
                self._values[key] = self._values.get(key, 0) + (seconds <= bound)
            for part, amount in (("sum", seconds), ("count", 1)):
                key = (f"{name}_{part}", whole)
                self._values[key] = self._values.get(key, 0) + amount

    def watch(self, probe: Probe, **labels: str) -> None:
        """Take figures by name from ``probe()``, on the asking thread, each time all are asked for."""
        self._probes.append((probe, tuple(sorted(labels.items()))))

    def value(self, name: str, **labels: str) -> float:
        """Return a figure; 0 for one that is absent."""
        with self._lock:
            return self._values.get((name, tuple(sorted(labels.items()))), 0)

    def snapshot(self) -> dict[tuple[str, Labels], float]:
        """Return all figures of one instant, and what the probes say."""
        with self._lock:
            found = dict(self._values)
        for probe, labels in list(self._probes):
            found |= {(name, labels): value for name, value in probe().items()}
        return found
