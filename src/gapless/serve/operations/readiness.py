"""Whether a server can do its work: the store takes bytes, the catalog opens, and it is not going down."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from pathlib import Path
from typing import Final

from gapless.catalog.catalog import Catalog
from gapless.errors import GaplessError
from gapless.serve.served import Served
from gapless.store.platform import PLATFORM

PATIENCE_S: Final = 2.0
_PROBE: Final = bytes(4096)


class Readiness:
    """Looks when it is asked. A disk that hangs costs one thread, however often it is asked."""

    def __init__(self, served: Served, *, patience_s: float = PATIENCE_S) -> None:
        self._served = served
        self._root = served.root
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._look: Look | None = None

    def problem(self) -> str | None:
        """Return why the server cannot do its work, None when it can. Takes at most the patience."""
        if self._served.draining.is_set():
            return "the server is going down"
        with self._lock:
            look = self._look
            if look is None or look.over.is_set():
                look = self._look = Look(self._root)
                look.start()
        if not look.over.wait(self._patience_s):
            return f"the disk has not answered for {self._patience_s:g} s"
        return look.problem


class Look:
    """One look at a store, on a thread of its own; ``problem`` counts once ``over`` is set."""

    def __init__(self, root: Path) -> None:
        self.problem: str | None = None
        self.over = threading.Event()
        self._root = root

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._run, name="gapless readiness", daemon=True).start()

    def _run(self) -> None:
        try:
            self._write()
            self._open_catalog()
        except OSError as error:
            self.problem = f"the store takes nothing: {error.strerror or error}"
        except (GaplessError, sqlite3.Error) as error:
            self.problem = f"the catalog does not open: {error}"
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: who asks is told
            self.problem = f"the store cannot be looked at: {error!r}"
        finally:
            self.over.set()

    def _write(self) -> None:
        """Write and sync a file without a name, so that a crash leaves nothing."""
        with tempfile.TemporaryFile(dir=self._root, prefix="serve.probe.", buffering=0) as file:
            file.write(_PROBE)
            PLATFORM.data_sync(file.fileno())

    def _open_catalog(self) -> None:
        with Catalog(self._root) as catalog:
            catalog.database.rows("SELECT count(*) FROM sqlite_schema")
