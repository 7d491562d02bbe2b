"""The reader of a sequence for one request; of an open one, what was read before is not read again."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gapless.errors import IntegrityError, NotFound
from gapless.model.names import to_component
from gapless.serve.http.open_rows import Look, OpenRows
from gapless.serve.rights import Right
from gapless.serve.visible import opened
from gapless.store.bundle_state import Folder
from gapless.store.layout import Bundle
from gapless.store.reader import BundleReader

if TYPE_CHECKING:
    from gapless.serve.http.asking import HttpCall

_MOST: Final = 16  # open sequences whose rows are kept
_Key = tuple[str, int, int]


def read_bundle(call: HttpCall, name: str) -> BundleReader:
    """Return the reader of a sequence; NotFound for one that there is not, or not for this caller."""
    call.require(Right.READ)
    path = call.served.root / "sequences" / to_component(name)
    look = _JOURNALS.look(path)
    if look is None:
        return opened(call.served, call, name).reader
    bundle = _OpenBundle(path, look)
    call.reach(Right.READ, name, bundle.group)
    return bundle


class _OpenBundle(BundleReader):
    """An open sequence as it was at the beginning of a request, until it is sealed or discarded."""

    def __init__(self, path: Path, look: Look) -> None:
        self._look: Look | None = look
        super().__init__(path)

    def reload(self) -> None:
        """Look at the folder again: as at any sequence, once the first look is used up."""
        look, self._look = self._look, None
        super().reload() if look is None else self._begin(look)

    def _begin(self, look: Look) -> None:
        self._folders = [Folder(self.path, None, look)]
        self._readers, self._derived = {}, {}


class _Journals:
    """The journals that were asked about last; any thread may ask."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, OpenRows] = OrderedDict()

    def look(self, path: Path) -> Look | None:
        """Return what is durable of an open sequence, None where it is not open or cannot be read."""
        bundle = Bundle(path)
        try:
            if bundle.manifest.exists():
                return None
            key = _key(bundle)
            return (self._get(key) or self._put(key, OpenRows(bundle.journal))).look()
        except (FileNotFoundError, NotADirectoryError, IntegrityError, NotFound):
            return None  # whoever opens it the usual way finds out what it is

    def _get(self, key: _Key) -> OpenRows | None:
        with self._lock:
            rows = self._kept.get(key)
            if rows is not None:
                self._kept.move_to_end(key)
            return rows

    def _put(self, key: _Key, rows: OpenRows) -> OpenRows:
        with self._lock:
            rows = self._kept.setdefault(key, rows)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return rows


def _key(bundle: Bundle) -> _Key:
    """Return what tells a journal from a later one in the same folder."""
    status = os.stat(bundle.journal / "open.json")
    return str(bundle.path), status.st_ino, status.st_mtime_ns


_JOURNALS: Final = _Journals(_MOST)
