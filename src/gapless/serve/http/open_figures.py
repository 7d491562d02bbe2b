"""What sequences that are not sealed hold at this moment, counted without reading their rows.

The catalog knows figures of sealed sequences only. A view of each open journal is kept, so that another look
costs what came since; how many views are kept is bounded.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gapless.errors import IntegrityError
from gapless.store.journal_view import JournalView
from gapless.store.layout import Bundle

_MOST: Final = 64
_Key = tuple[Path, int, int]


@dataclass(frozen=True, slots=True)
class Figures:
    """Durable rows and losses of the user's topics, their number, and the bytes of all files."""

    rows: int
    topics: int
    size_bytes: int
    ledger: dict[str, int]


class OpenFigures:
    """Counts what open sequences hold; may be asked from any thread."""

    def __init__(self, view: Callable[[Path], JournalView] = JournalView.open) -> None:
        self._open = view
        self._lock = threading.Lock()
        self._views: OrderedDict[_Key, JournalView] = OrderedDict()

    def of(self, bundle: Path) -> Figures | None:
        """Return the figures of a bundle; None when it was sealed or discarded, or its journal is damaged."""
        with self._lock:
            try:
                key = _key(bundle)
                view = self._views.pop(key, None)
                if view is None:
                    view = self._open(Bundle(bundle).journal)
                else:
                    view.refresh()
            except (FileNotFoundError, IntegrityError):
                return None
            self._views[key] = view
            while len(self._views) > _MOST:
                self._views.popitem(last=False)
            return _figures(view, bundle)


def _key(bundle: Path) -> _Key:
    """Return what tells a journal from a later one in the same folder."""
    status = os.stat(bundle / "journal" / "open.json")
    return bundle, status.st_ino, status.st_mtime_ns


def _figures(view: JournalView, bundle: Path) -> Figures:
    known = {name: ledger.to_json() for name, ledger in view.ledger.items() if not name.startswith("_")}
    words = ("produced", "written", "dropped", "gapped")
    total = {word: sum(ledger[word] for ledger in known.values()) for word in words}
    return Figures(total["written"], len(known), folder_bytes(bundle), total)


def folder_bytes(bundle: Path) -> int:
    """Return the size of all files of a bundle that is still changing."""
    total = 0
    for path in bundle.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # a segment became a part while we looked
            continue
    return total
