"""Taking away what is past keeping: of all servers of a store, the one that holds ``serve.lock`` does it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gapless.errors import GaplessError, SequenceOwned
from gapless.serve.operations.log_lines import tell
from gapless.serve.served import Served
from gapless.store.adopt import is_awaited
from gapless.store.folder import FolderStore
from gapless.store.journal import read_checked
from gapless.store.layout import Bundle
from gapless.store.recover import recover

EVERY_S: Final = 600.0
_LOOK_S: Final = 5.0  # between two attempts at the lock
_STOP_S: Final = 5.0
_LOCK: Final = "serve.lock"
_WHO: Final = "retention"


class Retention:
    """A thread that deletes what was discarded more than 24 hours ago and recovers what nobody goes on with.

    A recording over the network whose client has been away for longer than it may resume is sealed as
    interrupted. The lock is held until :meth:`stop` or the end of the process; then another server has it.
    What cannot be done is logged, counted and tried again in the next round. Each act has a row in the audit.
    """

    def __init__(self, served: Served, *, every_s: float = EVERY_S) -> None:
        self._served = served
        self._client = served.client
        self._store: FolderStore = served.client._store
        self._every_s = every_s
        self._lock: int | None = None
        self._refusal: str | None = None  # why the lock could not be asked for, as it was told last
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gapless retention", daemon=True)
        self.failure: BaseException | None = None  # what ended the thread before its time

    @property
    def is_owner(self) -> bool:
        """Whether this server is the one."""
        return self._lock is not None

    def start(self) -> None:
        """Begin to ask for the lock."""
        self._thread.start()

    def stop(self, deadline_s: float = _STOP_S) -> bool:
        """End and give the lock to another; return whether what was going on ended in time."""
        self._ended.set()
        self._thread.join(deadline_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        due_s = time.monotonic()
        try:
            while not self._ended.is_set():
                if self._own() and time.monotonic() >= due_s:
                    self.round()
                    due_s = time.monotonic() + self._every_s
                self._ended.wait(min(_LOOK_S, self._every_s))
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: kept, told, counted
            self.failure = error
            self._failed("retention", "ended", error)
        finally:
            self._give_up()

    # -- the lock ------------------------------------------------------------------------------

    def _own(self) -> bool:
        """Return whether the lock is held, asking for it if it is not."""
        if self._lock is not None:
            return True
        try:
            self._lock = self._store.platform.lock(self._store.root / _LOCK)
        except SequenceOwned:  # another server of this store has it
            return False
        except OSError as error:
            self._refused(error)
            return False
        self._served.metrics.set("gapless_retention_owner", 1)
        tell(self._served.log, logging.INFO, "retention", "this server takes away what is past keeping")
        return True

    def _refused(self, error: OSError) -> None:
        """Tell once that the lock cannot be asked for, such as on a disk that is read-only."""
        if self._refusal != str(error):
            self._refusal = str(error)
            self._failed("lock", _LOCK, error)

    def _give_up(self) -> None:
        if self._lock is not None:
            self._store.platform.close(self._lock)
            self._lock = None
            self._served.metrics.set("gapless_retention_owner", 0)

    # -- a round -------------------------------------------------------------------------------

    def round(self) -> None:
        """Do all that is due; only for who holds the lock."""
        self._served.metrics.add("gapless_retention_rounds_total")
        for what, find, act in (
            ("delete", self._trash, self._delete),
            ("recover", self._given_up, self._recover),
        ):
            with self._noted(what, "what is there"):
                self._each(what, find(), act)

    def _each(self, verb: str, found: Iterator[Path], act: Callable[[Path], None]) -> None:
        for path in found:
            if self._ended.is_set():
                return
            with self._noted(verb, path.name):
                act(path)

    @contextmanager
    def _noted(self, verb: str, name: str) -> Iterator[None]:
        """Log and count what fails, and go on."""
        try:
            yield
        except (GaplessError, OSError, ValueError) as error:
            self._failed(verb, name, error)

    def _failed(self, verb: str, name: str, error: BaseException) -> None:
        self._served.metrics.add("gapless_retention_failures_total")
        text = f"retention: {verb} {name}: {error}"
        tell(self._served.log, logging.ERROR, "retention", text, verb=verb, name=name)

    @contextmanager
    def _audited(self, verb: str, name: str) -> Iterator[None]:
        """Keep a row about an act before it begins, and its outcome."""
        row = self._served.audit.begin(None, _WHO, verb, name)
        outcome = "failed"
        try:
            yield
            outcome = "done"
        finally:
            self._served.audit.end(row, outcome)

    def _trash(self) -> Iterator[Path]:
        for name, error in self._store.damaged_tombstones().items():
            self._failed("delete", name, error)
        yield from self._store.expired()
        yield from self._store.abandoned()

    def _delete(self, path: Path) -> None:
        size_bytes = sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
        with self._audited("delete", path.name):
            self._store.purge(path)
        self._served.metrics.add("gapless_retention_deleted_total")
        self._served.metrics.add("gapless_retention_freed_bytes_total", size_bytes)
        text = f"{path.name} was deleted for good"
        tell(self._served.log, logging.INFO, "deleted", text, name=path.name, bytes=size_bytes)

    def _given_up(self) -> Iterator[Path]:
        """Yield the recordings over the network whose client may not come back any more."""
        for bundle in self._store.ownerless():
            header = read_checked(bundle.journal / "open.json") or {}
            if header.get("remote") and not is_awaited(bundle, self._store.platform):
                yield bundle.path

    def _recover(self, path: Path) -> None:
        try:
            with self._audited("recover", path.name):
                manifest = recover(path, self._store.platform)
        except SequenceOwned:  # its client came back a moment ago
            return
        self._client._sealed(Bundle(path))
        self._served.metrics.add("gapless_retention_recovered_total")
        outcome = manifest["record"]["outcome"]
        text = f"{path.name} was sealed as {outcome}: its client has not come back"
        tell(self._served.log, logging.WARNING, "recovered", text, name=path.name, outcome=outcome)
