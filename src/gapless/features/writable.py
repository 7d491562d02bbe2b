"""Whether a store can be written, asked before anything is begun."""

from __future__ import annotations

import os
from pathlib import Path

from gapless.errors import StorageFailed


def check_writable(folder: Path) -> None:
    """Raise StorageFailed if nobody could make a file in the folder, or in the nearest one above that exists."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        raise StorageFailed(
            "the store cannot be written here", found=str(place),
            next_step="mount it writable, or work on a copy; status, plan, why and lineage only read",
        )  # fmt: skip
