"""Writes the simulation that the page shows into the file that it names."""

from __future__ import annotations

import re
from pathlib import Path

import gapless

_PAGE = Path(gapless.__path__[0]).parents[1] / "docs" / "observe.md"
_shown = re.findall(r"```python\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.S)
Path("pendulum.py").write_text(next(text for text in _shown if "def make(" in text), encoding="utf-8")
