"""Draw a curve in the terminal: braille dots, or ASCII where the encoding has none.

Each column of dots spans from the smallest to the largest value of its time, so an extreme of a million
points is still seen. Plain lists; the curve comes from the pyramid or from a scan.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gapless.cli import output

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # braille bit of (row, column) in a cell
_LABEL_COLUMNS = 10


@dataclass(frozen=True)
class Curve:
    """Buckets of a field over time: each holds the extremes of the values from its time on."""

    times_ns: Sequence[int]
    low: Sequence[float]
    high: Sequence[float]
    end_ns: int


def bucketed(points: Iterable[tuple[int, float]], start_ns: int, end_ns: int, buckets: int) -> Curve:
    """Return the extremes of points in equal buckets of the span; NaN and what lies outside is left out."""
    span = max(1, end_ns - start_ns + 1)
    low = [math.inf] * buckets
    high = [-math.inf] * buckets
    for time_ns, value in points:
        if not math.isfinite(value) or not start_ns <= time_ns <= end_ns:
            continue
        index = (time_ns - start_ns) * buckets // span
        low[index] = min(low[index], value)
        high[index] = max(high[index], value)
    used = [i for i in range(buckets) if low[i] <= high[i]]
    times_ns = [start_ns + i * span // buckets for i in used]
    return Curve(times_ns, [low[i] for i in used], [high[i] for i in used], end_ns)


def render(
    curve: Curve, *, title: str, unit: str | None, columns: int = 80, rows: int = 14, braille: bool = True
) -> list[str]:
    """Return the lines of a plot at most ``columns`` wide, with both axes labelled."""
    values = [v for v in (*curve.low, *curve.high) if math.isfinite(v)]
    heading = f"{title} [{unit}]" if unit else title
    if not values:
        return [heading, "  no finite values to draw"]
    bottom, top = _range(min(values), max(values))
    width = columns - _LABEL_COLUMNS - 2
    cells = _braille(curve, bottom, top, width, rows) if braille else _ascii(curve, bottom, top, width, rows)
    axis, corner, tick = ("│", "└", "─") if braille else ("|", "+", "-")
    step = top / (rows - 1) - bottom / (rows - 1)  # the span itself may be larger than any float
    spread = min(top - bottom, sys.float_info.max)
    lines = [heading[:columns]]
    for row, cell_line in enumerate(cells):
        labelled = row in (0, rows - 1) or (row % 4 == 0 and row < rows - 2)
        label = _tick(top - row * step, spread) if labelled else ""
        lines.append(f"{label:>{_LABEL_COLUMNS}} {axis}{cell_line}".rstrip())
    lines.append(f"{'':>{_LABEL_COLUMNS}} {corner}{tick * width}")
    return [*lines, *_time_axis(curve.times_ns[0], curve.end_ns, width)]


def _range(low: float, high: float) -> tuple[float, float]:
    if low < high:
        return low, high
    pad = abs(low) * 0.05 or 1.0  # a constant is drawn in the middle
    return low - pad, high + pad


def _columns(curve: Curve, count: int) -> list[tuple[float, float] | None]:
    """Return the extremes per column; a column without a bucket repeats nothing and stays empty."""
    start, end = curve.times_ns[0], curve.end_ns
    span = max(1, end - start + 1)
    out: list[tuple[float, float] | None] = [None] * count
    for time_ns, low, high in zip(curve.times_ns, curve.low, curve.high, strict=True):
        if not (math.isfinite(low) and math.isfinite(high)):
            continue
        index = (time_ns - start) * count // span
        known = out[index]
        out[index] = (low, high) if known is None else (min(low, known[0]), max(high, known[1]))
    return out


def _levels(
    curve: Curve, bottom: float, top: float, columns: int, levels: int
) -> list[tuple[int, int] | None]:
    """Return per column the range of levels it covers, level 0 at the top; neighbours are joined."""
    shrink = (
        1.0 if math.isfinite(top - bottom) else 0.25
    )  # a span beyond the largest float is drawn all the same
    scale = (levels - 1) / (top * shrink - bottom * shrink)
    out: list[tuple[int, int] | None] = []
    before: tuple[int, int] | None = None
    for extremes in _columns(curve, columns):
        if extremes is None:
            out.append(None)
            continue
        upper = levels - 1 - round((extremes[1] * shrink - bottom * shrink) * scale)
        lower = levels - 1 - round((extremes[0] * shrink - bottom * shrink) * scale)
        here = (upper, lower)
        if before is not None:  # close the vertical step from the last column, so that a curve stays one line
            upper, lower = min(upper, before[1] + 1), max(lower, before[0] - 1)
        out.append((upper, lower))
        before = here
    return out


def _braille(curve: Curve, bottom: float, top: float, width: int, rows: int) -> list[str]:
    cells = [[0] * width for _ in range(rows)]
    for x, span in enumerate(_levels(curve, bottom, top, width * 2, rows * 4)):
        if span is not None:
            for y in range(span[0], span[1] + 1):
                cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
    return ["".join(chr(0x2800 + bits) if bits else " " for bits in line) for line in cells]


def _ascii(curve: Curve, bottom: float, top: float, width: int, rows: int) -> list[str]:
    cells = [[" "] * width for _ in range(rows)]
    for x, span in enumerate(_levels(curve, bottom, top, width, rows)):
        if span is not None:
            for y in range(span[0], span[1] + 1):
                cells[y][x] = "*" if span[0] == span[1] else "|"
    return ["".join(line) for line in cells]


def _tick(value: float, spread: float) -> str:
    """Return an axis label with as many digits as the spread of the axis needs."""
    if value != 0 and (abs(value) >= 1e7 or spread < 1e-4):
        return f"{value:.3e}"
    digits = max(0, min(6, 2 - math.floor(math.log10(spread))))
    return f"{value + 0.0:.{digits}f}"[:_LABEL_COLUMNS]


def _time_axis(start_ns: int, end_ns: int, width: int) -> list[str]:
    """Return the labels under the time axis: seconds since the start, and when the start was."""
    left, right = "0 s", output.duration(end_ns - start_ns)
    middle = output.duration((end_ns - start_ns) // 2)
    half = width // 2
    line = f"{left:<{half - len(middle) // 2}}{middle}"
    return [
        f"{'':>{_LABEL_COLUMNS}}  {line:<{width - len(right)}}{right}",
        f"{'':>{_LABEL_COLUMNS}}  since {output.local_time(start_ns)}",
    ]
