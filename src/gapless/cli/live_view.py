"""The view of a running demonstration: a table that is drawn again on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from gapless.cli import output

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_LINE_EVERY_S = 5.0


class View(Protocol):
    """What a recording tells whoever is watching."""

    def update(self, elapsed_s: float, rows: dict[str, int], durable: int, figures: str) -> None:
        """Show rows per topic, how many rows are durable in all, and the last figures."""


@contextlib.contextmanager
def open_view(seconds: float) -> Iterator[View]:
    """Yield the view that fits stderr; what was drawn on a terminal is taken away at the end."""
    if not output.is_terminal(sys.stderr):
        yield LineView(seconds)
        return
    from rich.console import Console
    from rich.live import Live

    bar = ("━", "─") if output.is_unicode(sys.stderr) else ("#", "-")  # before rich puts itself in front
    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=5, transient=True) as live:
        yield TableView(live, seconds, bar)


class LineView:
    """A plain line on stderr every few seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next_s = 0.0

    def update(self, elapsed_s: float, rows: dict[str, int], durable: int, figures: str) -> None:
        """Print a line when one is due."""
        if elapsed_s < self._next_s:
            return
        self._next_s = elapsed_s + _LINE_EVERY_S
        total = sum(rows.values())
        output.note(
            f"  {elapsed_s:5.1f} s of {self._seconds:g} s: {total:,} rows, {durable:,} durable; {figures}"
        )


class TableView:
    """Topics with their rows, drawn in place by rich."""

    def __init__(self, live: Live, seconds: float, bar: tuple[str, str]) -> None:
        self._live = live
        self._seconds = seconds
        self._bar = bar

    def update(self, elapsed_s: float, rows: dict[str, int], durable: int, figures: str) -> None:
        """Draw the table again."""
        self._live.update(self._table(elapsed_s, rows, durable, figures))

    def _table(self, elapsed_s: float, rows: dict[str, int], durable: int, figures: str) -> Table:
        from rich.table import Table

        done = min(30, int(30 * elapsed_s / self._seconds))
        bar = self._bar[0] * done + self._bar[1] * (30 - done)
        table = Table(title=f"{bar} {elapsed_s:4.1f} / {self._seconds:g} s", caption=figures, min_width=60)
        table.add_column("topic")
        table.add_column("rows", justify="right")
        table.add_column("rows/s", justify="right")
        for name, count in rows.items():
            table.add_row(name, f"{count:,}", f"{count / elapsed_s:.1f}" if elapsed_s > 0 else "")
        table.add_section()
        table.add_row("durable", f"{durable:,}", "")
        return table
