"""Runs of matching rows as a server looks for them: for a caller who may leave, and never without bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapless.catalog.runs import Ints, RunBuilder
from gapless.errors import LimitReached

MOST_RUNS: Final = 1 << 20  # of one topic; each is 32 bytes here and 43 on its way
MOST_AT_ONCE: Final = 8 << 20  # of all that is held of one answer


class WatchedRuns(RunBuilder):
    """Raises ``pyarrow.ArrowCancelled`` instead of taking more rows once ``gone()`` is true."""

    def __init__(self, gone: Callable[[], bool]) -> None:
        super().__init__()
        self._gone = gone

    def skip(self, rows: int) -> None:
        """Take rows none of which match."""
        self._look()
        super().skip(rows)

    def take(self, rows: int, start_ns: int, end_ns: int) -> None:
        """Take rows that all match."""
        self._look()
        super().take(rows, start_ns, end_ns)

    def mask(self, matches: NDArray[np.bool_], times: Ints) -> None:
        """Take rows of which those under a true value match."""
        self._look()
        super().mask(matches, times)

    def _look(self) -> None:
        if self._gone():
            raise pa.ArrowCancelled("nobody waits for the answer any more")


class AnyRun(WatchedRuns):
    """Tells whether any row matches: of all runs it holds one."""

    def mask(self, matches: NDArray[np.bool_], times: Ints) -> None:
        """Take rows of which those under a true value match."""
        if self._pieces:
            self.skip(len(matches))
            return
        super().mask(matches, times)
        self._pieces = [piece[:, :1].copy() for piece in self._pieces[:1]]

    def take(self, rows: int, start_ns: int, end_ns: int) -> None:
        """Take rows that all match."""
        if self._pieces:
            self.skip(rows)
            return
        super().take(rows, start_ns, end_ns)


class BoundedRuns:
    """Makes the builders of one answer, or turn of one; LimitReached once they hold too many runs."""

    def __init__(self, gone: Callable[[], bool]) -> None:
        self._gone = gone
        self._held = 0

    def __call__(self) -> RunBuilder:
        """Return a builder whose runs count."""
        return _Counted(self._gone, self._count)

    def _count(self, added: int, held: int) -> None:
        self._held += added
        if held > MOST_RUNS or self._held > MOST_AT_ONCE:
            raise LimitReached(
                "the rows match in more separate runs than the server answers with",
                found=f"{max(held, self._held)} runs",
                expected=f"at most {MOST_RUNS} of a topic, {MOST_AT_ONCE} at one time",
                next_step="ask for fewer sequences, or with a condition that does not change from row to row",
            )


class _Counted(WatchedRuns):
    def __init__(self, gone: Callable[[], bool], count: Callable[[int, int], None]) -> None:
        super().__init__(gone)
        self._count = count
        self._runs = 0

    def mask(self, matches: NDArray[np.bool_], times: Ints) -> None:
        """Take rows of which those under a true value match."""
        before = len(self._pieces)
        super().mask(matches, times)
        added = sum(piece.shape[1] for piece in self._pieces[before:])
        self._runs += added
        self._count(added, self._runs)
