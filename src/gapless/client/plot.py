"""A curve as SVG: what a notebook shows for ``.plot()``, with no script and nothing to install."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gapless.store.pyramid_read import Curve, Numbers

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 720, 240, 72, 28, 22
_NS = 1_000_000_000


@dataclass(frozen=True)
class Plot:
    """A drawn curve; notebooks show it, :meth:`save` writes it."""

    curve: Curve

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
            parts += _drawing(curve, low[finite], high[finite], finite)
        else:
            parts.append(_text(_LEFT, _HEIGHT // 2, "no rows to draw"))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            f'width="{_WIDTH}" font-family="sans-serif" font-size="11">{"".join(parts)}</svg>'
        )


def _drawing(curve: Curve, low: Numbers, high: Numbers, used: Numbers) -> list[str]:
    start = int(curve.start_ns[0])
    seconds = (curve.start_ns[used].view(np.uint64) - np.int64(start).view(np.uint64)) / _NS
    span = max(float(seconds[-1]), 1e-9)
    bottom, top = float(low.min()), float(high.max())
    reach = (top - bottom) or 1.0
    x = _LEFT + seconds / span * (_WIDTH - _LEFT - 10)
    scale = (_HEIGHT - _TOP - _BOTTOM) / reach
    y_low, y_high = _HEIGHT - _BOTTOM - (low - bottom) * scale, _HEIGHT - _BOTTOM - (high - bottom) * scale
    points = " ".join(f"{a:.1f},{b:.1f} {a:.1f},{c:.1f}" for a, b, c in zip(x, y_low, y_high, strict=True))
    return [
        f'<polyline fill="none" stroke="#1f77b4" points="{points}"/>',
        f'<path d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - 10}" fill="none" stroke="#888"/>',
        _text(4, _TOP + 8, f"{top:.6g}"),
        _text(4, _HEIGHT - _BOTTOM, f"{bottom:.6g}"),
        _text(_LEFT, _HEIGHT - 8, "0 s"),
        _text(_WIDTH - 90, _HEIGHT - 8, f"{span:.6g} s"),
    ]


def _text(x: int, y: int, text: str) -> str:
    return f'<text x="{x}" y="{y}">{html.escape(text)}</text>'
