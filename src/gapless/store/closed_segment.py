"""A closed segment of the journal, as far as the sealer needs to know it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Segment:
    """A closed segment: how many bytes of rows it holds and how far each topic reaches in it."""

    path: Path
    reach: dict[int, int]
    row_bytes: int = 0
    damaged: bool = False
    carried: bool = False
    drops: bool = False  # holds rows given up, which are in no other frame
    notes: bool = False  # holds declarations, gaps or artifacts
