"""A curve as SVG, with no script and nothing to install: what ``.sketch()`` returns and a notebook shows.

No line leads over a hole: a gap that was recorded, or a pause, many usual steps long, without rows. A gap lies where
its ``start_ns`` says. One without has the time at which it was noted; where the rows have times of their producer's,
that may be beside the curve, and then only a pause breaks the line.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gapless.store.pyramid_read import Curve, Numbers
from gapless.store.reader import TopicReader
from gapless.store.selection import times_of

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 720, 240, 72, 28, 22
_NS = 1_000_000_000
_LONG: Final = 10.0  # usual steps; what is irregular by less is drawn as one line
_LEAST: Final = 8  # steps that tell which is usual
#: First and last time of a gap in ns; the same time twice where only its place is known.
Gap = tuple[int, int]


@dataclass(frozen=True)
class Plot:
    """A drawn curve, broken at its gaps and pauses; notebooks show it, :meth:`save` writes it."""

    curve: Curve
    gaps: Sequence[Gap] = ()

    def _repr_html_(self) -> str:
        return self.svg()

    def save(self, path: str | Path) -> Path:
        """Write the SVG and return its path."""
        target = Path(path)
        target.write_text(self.svg(), encoding="utf-8")
        return target

    def svg(self) -> str:
        """Return the drawing: a vertical line from minimum to maximum per bucket, joined in time."""
        curve = self.curve
        title = f"{curve.topic}  {curve.field}{f' [{curve.unit}]' if curve.unit else ''}"
        parts = [_text(_LEFT, _TOP - 8, title)]
        low = curve.minimum.astype(np.float64)
        high = curve.maximum.astype(np.float64)
        finite = np.isfinite(low) & np.isfinite(high)
        if finite.any():
            held = stretches(curve, self.gaps)[finite]
            parts += _drawing(curve, low[finite], high[finite], finite, held)
        else:
            parts.append(_text(_LEFT, _HEIGHT // 2, "no rows to draw"))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            f'width="{_WIDTH}" font-family="sans-serif" font-size="11">{"".join(parts)}</svg>'
        )


def gaps_of(reader: TopicReader) -> list[Gap]:
    """Return the gaps of a topic, those of all topics included."""
    found: list[Gap] = []
    for batch in reader.bundle.topic("_gaps").scan(["topic", "end_ns"]):
        topics, ends = batch["topic"].to_pylist(), batch["end_ns"].to_pylist()
        for begin, topic, end in zip(times_of(batch).tolist(), topics, ends, strict=True):
            if topic in (reader.name, "*"):
                found.append((begin, begin if end is None else end))
    return found


def stretches(curve: Curve, gaps: Sequence[Gap] = ()) -> NDArray[np.int64]:
    """Return for each bucket the number of the stretch it is in, from 0: no line leads from one to the next.

    A gap parts the bucket it begins after from the one that follows; a pause parts what lies around it, and a
    bucket that has one inside from both its neighbours.
    """
    parted = _paused(curve)
    if gaps and len(curve):
        begins, ends = np.array(gaps, np.int64).T
        after = np.searchsorted(curve.start_ns, begins, side="right")
        inside = (after > 0) & (after < len(curve))
        after, begins, ends = after[inside], begins[inside], ends[inside]
        last = curve.end_ns[after - 1]
        parted[after[(begins >= last) | (ends > last)]] = True
    return np.cumsum(parted)


def _paused(curve: Curve) -> NDArray[np.bool_]:
    """Tell for each bucket whether a pause lies between it and the one before."""
    parted = np.zeros(len(curve), np.bool_)
    if len(curve) < 2:
        return parted
    begin, end = (
        curve.start_ns.view(np.uint64),
        curve.end_ns.view(np.uint64),
    )  # differences exact in all of int64
    between = np.where(
        curve.start_ns[1:] > curve.end_ns[:-1], begin[1:] - end[:-1], np.uint64(0)
    )  # may overlap
    within = end - begin
    if len(between) >= _LEAST:
        most = _LONG * float(np.median(begin[1:] - begin[:-1]))
        is_long = within > most
        parted[1:] = (between > most) | is_long[1:] | is_long[:-1]
    elif (
        steps := int(curve.rows.sum()) - len(curve)
    ) >= _LEAST:  # a few bursts far apart: the step of their rows
        parted[1:] = between > _LONG * float(within.sum(dtype=np.float64)) / steps
    return parted


def _drawing(curve: Curve, low: Numbers, high: Numbers, used: Numbers, held: NDArray[np.int64]) -> list[str]:
    start = int(curve.start_ns[0])
    seconds = (curve.start_ns[used].view(np.uint64) - np.int64(start).view(np.uint64)) / _NS
    span = max(float(seconds[-1]), 1e-9)
    bottom, top = float(low.min()), float(high.max())
    reach = (top - bottom) or 1.0
    x = _LEFT + seconds / span * (_WIDTH - _LEFT - 10)
    scale = (_HEIGHT - _TOP - _BOTTOM) / reach
    y_low, y_high = _HEIGHT - _BOTTOM - (low - bottom) * scale, _HEIGHT - _BOTTOM - (high - bottom) * scale
    points = [f"{a:.1f},{b:.1f} {a:.1f},{c:.1f}" for a, b, c in zip(x, y_low, y_high, strict=True)]
    lines = np.split(np.array(points), np.flatnonzero(np.diff(held)) + 1)
    return [
        *(_line(line) for line in lines),
        f'<path d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - 10}" fill="none" stroke="#888"/>',
        _text(4, _TOP + 8, f"{top:.6g}"),
        _text(4, _HEIGHT - _BOTTOM, f"{bottom:.6g}"),
        _text(_LEFT, _HEIGHT - 8, "0 s"),
        _text(_WIDTH - 90, _HEIGHT - 8, f"{span:.6g} s"),
    ]


def _line(points: NDArray[np.str_]) -> str:
    """Return the line of one stretch; round ends make a dot of a single row."""
    return f'<polyline fill="none" stroke="#1f77b4" stroke-linecap="round" points="{" ".join(points)}"/>'


def _text(x: int, y: int, text: str) -> str:
    return f'<text x="{x}" y="{y}">{html.escape(text)}</text>'
