"""A platform whose clocks stand still until a test moves them."""

from __future__ import annotations

from gapless.store.platform import Platform


class ManualClock(Platform):
    """The real file system with a wall clock and a boot clock set by hand."""

    def __init__(self, wall_ns: int = 1_700_000_000_000_000_000, boot_ns: int = 1_000_000_000) -> None:
        self._wall_ns = wall_ns
        self._boot_ns = boot_ns

    def wall_ns(self) -> int:
        """Return the wall clock as it was set."""
        return self._wall_ns

    def boot_ns(self) -> int:
        """Return the boot clock as it was set."""
        return self._boot_ns

    def advance(self, by_ns: int) -> None:
        """Let time pass on both clocks."""
        self._wall_ns += by_ns
        self._boot_ns += by_ns

    def step_wall(self, by_ns: int) -> None:
        """Set the wall clock forward or back, as an administrator or NTP does."""
        self._wall_ns += by_ns
