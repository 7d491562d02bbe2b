"""How the pipelines that an operator named stand: looked at on request, each by a process of its own, one at a time.

A pipeline is the user's code, so it never runs in the server: a look is a process that prints one document and
ends. What it said is kept until the catalog or a file of its code changes; then the next request orders another look
and is told the last one meanwhile. Looks take at most a fifth of one core, but for those that a person asks for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gapless.catalog.look import Stamps, store_stamps
from gapless.errors import FeatureFailed, NotFound

_LONGEST_S: Final = 300.0  # of one look
_POLL_S: Final = 0.2
_SHARE: Final = 5.0  # a look is not repeated before this many times its length
_SOONEST_S: Final = 2.0
_LAST_WORDS: Final = 500  # characters of what a process said before it broke off


@dataclass(frozen=True, slots=True)
class PipelineLook:
    """What the newest look at one pipeline found: a report, or an error in the words of the command line.

    ``is_current``: nothing changed since; ``is_looking``: another look is under way or waits for its turn.
    """

    name: str
    file: Path
    report: dict[str, Any] | None
    error: dict[str, Any] | None
    looked_ns: int | None
    is_current: bool
    is_looking: bool


@dataclass(slots=True)
class _Kept:
    """One pipeline and what its last look said."""

    file: Path
    report: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    watched: list[tuple[str, int | None]] = field(default_factory=list)
    stamps: Stamps = (None,)
    began_ns: int = 0
    looked_ns: int | None = None
    took_s: float = 0.0
    ended_s: float = 0.0
    is_ordered: bool = False


class PipelineLooks:
    """The pipelines of one server. ``draining``: set when it goes down, which ends the look that is under way."""

    def __init__(self, root: Path, files: Sequence[Path], draining: threading.Event) -> None:
        self._root = root
        self._draining = draining
        self._kept = {name: _Kept(file) for name, file in named_files(files).items()}
        self._changed = threading.Condition()
        self._orders: deque[str] = deque()
        self._thread: threading.Thread | None = None

    @property
    def names(self) -> dict[str, Path]:
        """The pipelines by name, in the operator's order."""
        return {name: kept.file for name, kept in self._kept.items()}

    def look(
        self, name: str, *, fresh: bool = False, wait_s: float = 0.0, gone: Callable[[], bool] = lambda: False
    ) -> PipelineLook:
        """Return how a pipeline stands as far as it is known, and order a look where that may be outdated.

        ``fresh``: look again in any case. ``wait_s``: how long to wait for a first look, or for a fresh one, at
        most; ``gone`` tells that nobody waits any more. Raises NotFound for a name that the operator did not give.
        """
        kept = self._kept.get(name)
        if kept is None:
            raise NotFound(
                "this server shows no pipeline of that name", found=name, expected=", ".join(self._kept) or None,
                next_step="start it with --pipeline FILE",
            )  # fmt: skip
        before_ns = kept.looked_ns
        is_current = not fresh and self._is_current(kept)
        with self._changed:
            if fresh or not (is_current or self._is_too_soon(kept)):
                self._order(name, kept)
            until_s = time.monotonic() + wait_s
            while _is_awaited(kept, before_ns, fresh=fresh) and time.monotonic() < until_s:
                if gone() or self._draining.is_set():
                    break
                self._changed.wait(_POLL_S)
            seen = kept.looked_ns != before_ns or is_current
            return PipelineLook(
                name, kept.file, kept.report, kept.error, kept.looked_ns, seen, kept.is_ordered
            )

    def _is_current(self, kept: _Kept) -> bool:
        """Tell that a look would find the same: nothing that it read has changed, and nothing was changing then."""
        return (
            kept.report is not None
            and None not in kept.stamps
            and store_stamps(self._root) == kept.stamps
            and all(_stands(place, at_ns, kept.began_ns) for place, at_ns in kept.watched)
            and all(step["state"] != "running" for step in kept.report["steps"])
        )

    def _is_too_soon(self, kept: _Kept) -> bool:
        if kept.looked_ns is None:
            return False
        return time.monotonic() - kept.ended_s < max(_SOONEST_S, _SHARE * kept.took_s)

    def _order(self, name: str, kept: _Kept) -> None:
        """Have the pipeline looked at soon; whoever holds the lock."""
        if kept.is_ordered or self._draining.is_set():
            return
        kept.is_ordered = True
        self._orders.append(name)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="gapless-pipeline-looks", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        """Do what was ordered, one after the other, and end when nothing is left."""
        while True:
            with self._changed:
                if not self._orders or self._draining.is_set():
                    self._thread = None
                    return
                name = self._orders.popleft()
            kept = self._kept[name]
            began_ns, began_s = time.time_ns(), time.monotonic()
            try:
                stamps = store_stamps(self._root)
                document = look_apart(self._root, kept.file, self._draining)
            except OSError as error:  # no process can be had now, or the store cannot be looked at
                stamps, document = (None,), _nothing_seen(f"{type(error).__name__}: {error}")
            with self._changed:
                kept.report, kept.error = document["report"], document["error"]
                kept.watched = [(place, at_ns) for place, at_ns in document["watched"]]
                kept.stamps, kept.began_ns = stamps, began_ns
                kept.looked_ns, kept.is_ordered = time.time_ns(), False
                kept.ended_s = time.monotonic()
                kept.took_s = kept.ended_s - began_s
                self._changed.notify_all()


def _is_awaited(kept: _Kept, before_ns: int | None, *, fresh: bool) -> bool:
    """Tell whether a request waits for the look that is under way."""
    return kept.is_ordered and kept.looked_ns == before_ns and (fresh or before_ns is None)


def named_files(files: Sequence[Path]) -> dict[str, Path]:
    """Return pipeline files by what they are called on the page: their stem, with a number where two have one."""
    found: dict[str, Path] = {}
    for file in files:
        name, number = file.stem, 2
        while name in found:
            name, number = f"{file.stem}-{number}", number + 1
        found[name] = file
    return found


def look_apart(root: Path, file: Path, ended: threading.Event) -> dict[str, Any]:
    """Return the document of a look at a pipeline, made in another process that ends with ``ended`` at the latest."""
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "gapless.features.pipeline_report_main", str(root), str(file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"},
        start_new_session=True,  # Ctrl-C at the server does not reach it: the server ends it
    )
    out, said = _heard(process, ended)
    last = said.decode(errors="replace").strip()[-_LAST_WORDS:]
    try:
        document: dict[str, Any] = json.loads(out)
    except ValueError:
        return _nothing_seen(f"status {process.returncode}{f': {last}' if last else ''}")
    return document


def _heard(process: subprocess.Popen[bytes], ended: threading.Event) -> tuple[bytes, bytes]:
    """Return what a process said until it ended, by itself or because its time was up."""
    until_s = time.monotonic() + _LONGEST_S
    while True:
        try:
            return process.communicate(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            if ended.is_set() or time.monotonic() > until_s:
                process.kill()
                return process.communicate()


def _nothing_seen(found: str) -> dict[str, Any]:
    """Return the document of a look that broke off."""
    error = {
        "error": "FeatureFailed",
        "code": FeatureFailed.code,
        "message": "the process that looked at the pipeline broke off",
        "found": found,
        "expected": None,
        "next": "`gapless features status PIPELINE` in a terminal tells more",
    }
    return {"report": None, "error": error, "watched": []}


def _stands(place: str, at_ns: int | None, began_ns: int) -> bool:
    """Tell that a file or folder is as it was, and that a look which began then saw it so."""
    try:
        now_ns: int | None = os.stat(place).st_mtime_ns
    except FileNotFoundError:
        now_ns = None
    return now_ns == at_ns and (at_ns is None or at_ns < began_ns)
