"""Puts reports into an outbox, and makes nobody wait for a file that another process keeps locked.

A report is durable when :meth:`OutboxWriter.add` returns, unless the file could not be written within
:data:`PATIENCE_S`: then it waits in memory, in its order, until one thread could write it.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapless.errors import CatalogBusy, GaplessError
from gapless.observe.outbox import Outbox, ReportKind, json_text

_LOG = logging.getLogger("gapless.observe")
PATIENCE_S = 0.25  # how long the one who reports waits
_AGAIN_S = 0.05  # between two attempts on a locked file, each of which waits for the lock itself


@dataclass(eq=False)
class _Unwritten:
    """One report on its way. ``awaited``: somebody waits for it and will raise its ``error``."""

    hub: str
    task: str
    kind: ReportKind
    text: str
    key: str
    awaited: bool = False
    settled: bool = False
    error: BaseException | None = None


class OutboxWriter:
    """Writes to the outbox ``path`` from one thread, in the order of the calls.

    ``written()`` follows each report; ``lost(error)`` one that failed when nobody waited for it any more. Both
    are called by the thread.
    """

    def __init__(
        self, path: Path | str, *, written: Callable[[], None], lost: Callable[[BaseException], None]
    ) -> None:
        self._path = Path(path).absolute()
        self._written, self._lost = written, lost
        self._changed = threading.Condition()
        self._reports: deque[_Unwritten] = deque()
        self._behind = False  # a report was left in memory; who comes next need not try
        self._ending = False
        self._thread: threading.Thread | None = None
        self._ensure_thread()

    @property
    def unwritten(self) -> int:
        """How many reports are not durable yet."""
        return len(self._reports)

    def add(self, hub: str, task: str, kind: ReportKind, body: Mapping[str, Any]) -> None:
        """Write a report, or leave it to the thread after :data:`PATIENCE_S`, which is one log line.

        Raises MetadataRefused unless it is JSON, and what :meth:`Outbox.add` raises within that time.
        """
        report = _Unwritten(hub, task, kind, json_text(body), uuid.uuid4().hex)
        with self._changed:
            report.awaited = not self._behind
            self._reports.append(report)
            self._changed.notify_all()
            try:
                self._ensure_thread()
                if report.awaited:
                    self._changed.wait_for(lambda: report.settled, PATIENCE_S)
            finally:
                report.awaited = False
            late = not report.settled and not self._behind
            self._behind = self._behind or late
        if late:
            _LOG.warning("reports wait in memory: %s is locked by another process, or slow", self._path)
        if report.error is not None:
            raise report.error

    def close(self, timeout_s: float) -> bool:
        """Wait until everything is durable; return False when the time is over before. More may be added."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._reports, timeout_s)

    def _ensure_thread(self) -> None:
        """Start the thread where there is none: at first, after :meth:`close`, and in a forked child."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = threading.Thread(target=self._run, name="gapless-outbox", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # a program that ends starts no thread any more, and has nothing left to hold up
            while self._reports:
                self._settle(self._write(self._reports[0]))

    def _run(self) -> None:
        try:
            while (report := self._next()) is not None:
                self._settle(self._write(report))
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: the callers raise it
            self._settle_all(error)

    def _next(self) -> _Unwritten | None:
        with self._changed:
            self._changed.wait_for(lambda: self._reports or self._ending)
            if self._reports:
                return self._reports[0]
            self._thread = None
            return None

    def _write(self, report: _Unwritten) -> BaseException | None:
        """Return why a report cannot be written; as long as the file is locked, try again."""
        while True:
            try:
                # Its own connection: a lock that the sender waits for keeps nobody else.
                with closing(Outbox(self._path)) as outbox:
                    outbox.put(report.hub, report.task, report.kind, report.text, report.key)
            except CatalogBusy:
                time.sleep(_AGAIN_S)
            except (GaplessError, OSError) as error:
                return error
            else:
                return None

    def _settle(self, error: BaseException | None) -> None:
        with self._changed:
            report = self._reports.popleft()
            report.settled, report.error = True, error
            self._behind = self._behind and bool(self._reports)
            self._changed.notify_all()
            unheard = not report.awaited
        if error is None:
            self._written()
        elif unheard:
            self._lost(error)

    def _settle_all(self, error: BaseException) -> None:
        with self._changed:
            self._thread = None
        while self._reports:
            self._settle(error)
