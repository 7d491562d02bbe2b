"""The calm live view of a run in the terminal: devices, channels, queues, countdown, events."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from gapless.cli import output

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gapless.acquire.run import Run
    from gapless.acquire.ui import UIMirror

_EVENTS_SHOWN = 5
_CELLS = 24
_BLOCKS = "▁▂▃▄▅▆▇█"
_STYLES = {"error": "bold red", "warning": "yellow", "info": "", "debug": "dim"}


class LiveScreen:
    """Draws a run's status on a terminal while entered; elsewhere it draws nothing.

    It is a watcher like any other: it sees what the run mirrors and can neither slow it down nor change
    what is on disk.
    """

    def __init__(self, run: Run, *, active: bool) -> None:
        self._run = run
        self._active = active and output.is_terminal(sys.stderr)
        self._live: Any = None
        self._mirror: UIMirror | None = None

    def __enter__(self) -> Self:
        if self._active:
            from rich.console import Console
            from rich.live import Live

            from gapless.acquire.ui import UI_CAPACITY, UIMirror

            self._mirror = UIMirror(self._run.feed(UI_CAPACITY))
            self._mirror.start()
            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)
        if self._mirror is not None:
            self._mirror.close()

    def refresh(self) -> None:
        """Draw the run as it is now."""
        if self._live is not None:
            assert self._mirror is not None
            rings = self._mirror.rings
            plots = {name: sparkline(rings.get(name).arrays()[1]) for name in rings.names()}
            self._live.update(render(self._run.status(), plots), refresh=True)


def sparkline(values: Any) -> str:
    """Return the shape of the values as one line of blocks, each cell the mean of its share."""
    import numpy as np

    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return ""
    cells = np.array([part.mean() for part in np.array_split(values, min(_CELLS, len(values)))])
    low, high = cells.min(), cells.max()
    if high == low:
        return _BLOCKS[0] * len(cells)
    return "".join(_BLOCKS[round(float(x))] for x in (cells - low) / (high - low) * (len(_BLOCKS) - 1))


def render(status: dict[str, Any], plots: Mapping[str, str] | None = None) -> RenderableType:
    """Return the status as lines for a terminal of any width; ``plots`` holds a sparkline by channel."""
    from rich.console import Group
    from rich.text import Text

    lines: list[Any] = [_headline(status), _devices(status["devices"])]
    lines.append(_channels(status["channels"], plots or {}))
    lines.append(_hops(status))
    for event in status["events"][-_EVENTS_SHOWN:]:
        text = f"{output.local_time(event['timestamp_ns'])}  {event['kind']}  {event['message']}"
        lines.append(Text(text, style=_STYLES.get(event["severity"], ""), overflow="ellipsis", no_wrap=True))
    return Group(*lines)


def _headline(status: dict[str, Any]) -> RenderableType:
    from rich.text import Text

    text = Text(f"{status['sequence']}  {status['state']}  {status['elapsed_s']:.1f} s", style="bold")
    procedure = status.get("procedure")
    if procedure:
        text.append(f"  {procedure.get('text', '')}", style="cyan")
    return text


def _devices(devices: dict[str, Any]) -> RenderableType:
    rows = []
    for name, device in devices.items():
        age_s, deadline_s = device["age_s"], device["silence_deadline_s"]
        late = age_s is not None and deadline_s is not None and age_s > deadline_s / 2
        age = "waiting" if age_s is None else f"{age_s:.1f} s ago"
        rows.append((name, output.rate(device["rate_hz"]), output.count(device["readings"]), age, late))
    return _table(("device", "rate", "readings", "last"), rows)


def _channels(channels: dict[str, Any], plots: Mapping[str, str]) -> RenderableType:
    rows = []
    for name, sample in channels.items():
        value = "-" if sample["value"] is None else output.number(sample["value"], 6)
        flagged = "" if not sample["status"] else f"status {sample['status']}"
        rows.append((name, value, sample["unit"], plots.get(name, ""), flagged, bool(sample["status"])))
    return _table(("channel", "value", "unit", "", ""), rows)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(str(cell) for cell in row[:-1]), style="yellow" if row[-1] else "")
    return table


def _hops(status: dict[str, Any]) -> RenderableType:
    from rich.text import Text

    writer, saturation = status["writer"], status["saturation"]
    depths = [
        f"{name.removeprefix('bridge:')} {hop['depth']}"
        for name, hop in status["hops"].items()
        if "depth" in hop
    ]
    text = f"queues: {', '.join(depths)}; disk: {output.count(writer['waiting_rows'])} rows not durable yet"
    worst = saturation.get("worst")
    if not worst:
        return Text(text, style="dim")
    left_s = max(0.0, saturation["deadline_s"] - saturation["held_s"])
    style = "bold red" if saturation["held_s"] > saturation["deadline_s"] / 2 else "yellow"
    return Text(f"{text}; {worst} is held, {left_s:.1f} s to the deadline", style=style)
