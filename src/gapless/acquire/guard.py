"""The guard: a small child process that makes the devices safe when the recorder dies without a word.

It holds the read end of a pipe whose write end only the recorder has. The pipe's end without the word
``done`` means that the recorder was killed, ran out of memory or crashed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from gapless.acquire.clock import RunClock
from gapless.acquire.device_config import DeviceConfig
from gapless.acquire.finding import Finding
from gapless.errors import DeadlinePassed, PreflightFailed
from gapless.store.platform import PLATFORM

DONE = b"done\n"
_READY_S = 20.0
_ENDED_S = 5.0


class Guarded(Protocol):
    """A device as a rig has it."""

    @property
    def name(self) -> str:
        """The device's name."""

    @property
    def config(self) -> DeviceConfig:
        """Its table in the rig."""

    @property
    def adapter_class(self) -> type[Any]:
        """What is made of a name and a configuration."""


class Guard:
    """Watches over one recording in ``bundle_path``, for those of ``devices`` that have a safe-state program.

    A guard that dies is a finding, and is started again once.
    """

    def __init__(self, devices: Iterable[Guarded], bundle_path: Path, clock: RunClock) -> None:
        self._order = {
            "bundle": str(bundle_path.absolute()),
            "anchor_ns": clock.now_ns() - PLATFORM.boot_ns(),
            "devices": [_order_of(device) for device in devices if device.config.safe_state is not None],
        }
        self._child: _Child | None = None
        self._starts = 0
        self._disarmed = False
        self._told: set[str] = set()
        self._lock = threading.Lock()  # a guard must not be started again behind its dismissal

    @property
    def is_needed(self) -> bool:
        """Whether any device has a program to run."""
        return bool(self._order["devices"])

    @property
    def is_alive(self) -> bool:
        """Whether the guard runs and is ready to act."""
        child = self._child
        return child is not None and child.is_ready and not child.has_ended

    @property
    def pid(self) -> int | None:
        """The guard's process, None when there is none."""
        return self._child.process.pid if self._child is not None else None

    def start(self, timeout_s: float = _READY_S) -> None:
        """Start the guard and wait until it is ready to act; PreflightFailed when it is not in time.

        Without a device to guard nothing is started.
        """
        if not self.is_needed:
            return
        self._spawn()
        child = self._child
        assert child is not None
        if not child.wait_ready(timeout_s):
            self.disarm()
            raise PreflightFailed(
                "the guard that makes devices safe after a crash did not become ready",
                found=child.failure,
                expected=f"within {timeout_s:g} s",
                next_step="see what it printed, or set guard = false under [run] to record without one",
            )

    def _spawn(self) -> None:
        self._starts += 1
        self._child = _Child(json.dumps(self._order).encode() + b"\n")
        _CHILDREN.add(self._child)

    def poll(self) -> list[Finding]:
        """Return whether the guard was lost since the last call, and which devices it cannot make safe."""
        with self._lock:
            child = self._child
            if child is None or self._disarmed:
                return []
            found = self._cannot(child)
            return [*found, self._lost(child)] if child.has_ended else found

    def _lost(self, child: _Child) -> Finding:
        self._child = None
        child.close()
        words = "the guard died; after a crash nobody would make the devices safe"
        if self._starts == 1:
            words = "the guard died and is started again"
            self._spawn()
        return Finding("warning", "guard_lost", words, "guard", {"failure": child.failure})

    def _cannot(self, child: _Child) -> list[Finding]:
        new = {device: why for device, why in child.problems.items() if device not in self._told}
        self._told |= set(new)
        return [
            Finding("warning", "guard_cannot", f"the guard cannot make {device} safe: {why}", device)
            for device, why in new.items()
        ]

    def disarm(self, timeout_s: float = _ENDED_S) -> None:
        """Tell the guard that nothing is left to do and wait for its end; doing it twice changes nothing."""
        with self._lock:
            self._disarmed = True
            child, self._child = self._child, None
        if child is not None:
            child.dismiss(timeout_s)


class _Child:
    """One guard process, and the thread that gives it its order and hears from it."""

    def __init__(self, order: bytes) -> None:
        paths = [path or os.getcwd() for path in sys.path]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gapless.acquire.guard_main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # Ctrl-C and signals to the recorder's group do not reach it
        )
        self.problems: dict[str, str] = {}  # devices that it cannot make safe, and why
        self.failure: str | None = None  # of the way to it
        self.has_ended = False
        self.is_ready = False
        self._heard = threading.Event()
        self._ordered = threading.Event()
        self._thread = threading.Thread(target=self._attend, args=(order,), name="gapless-guard", daemon=True)
        self._thread.start()

    def _attend(self, order: bytes) -> None:
        """Give the order, take the answer, then wait for the end of the child's output: its death."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            rest = memoryview(order)
            while rest:
                rest = rest[self.process.stdin.write(rest) or 0 :]
            self._ordered.set()
            answer = self.process.stdout.readline()
            if answer:
                self.problems = json.loads(answer)["problems"]
                self.is_ready = True
                self._heard.set()
                self.process.stdout.read()
        except (OSError, ValueError, KeyError) as error:  # it died meanwhile, or we were told to close
            self.failure = f"{type(error).__name__}: {error}"
        self.has_ended = True
        self._ordered.set()
        self._heard.set()

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the child is ready or dead; return whether it is ready."""
        self._heard.wait(timeout_s)
        return self.is_ready and not self.has_ended

    def dismiss(self, timeout_s: float) -> None:
        """Say that nothing is left to do, and wait for the end; a child that does not end is killed."""
        assert self.process.stdin is not None
        self._ordered.wait(timeout_s)
        try:
            self.process.stdin.write(DONE)
        except OSError as error:  # dead already: there is nobody to tell
            self.failure = f"{type(error).__name__}: {error}"
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.close()

    def close(self) -> None:
        """Collect the dead child and let its pipes go."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.wait(_ENDED_S)
        except subprocess.TimeoutExpired as error:
            raise DeadlinePassed(
                "the guard process does not end", found=self.process.pid, expected=f"within {_ENDED_S:g} s"
            ) from error
        self._thread.join(_ENDED_S)
        self.process.stdin.close()
        self.process.stdout.close()
        _CHILDREN.discard(self)

    def forget(self) -> None:
        """Close the pipe's write end in a forked copy of the recorder, which is not the recorder."""
        if self.process.stdin is not None:
            self.process.stdin.close()


_CHILDREN: weakref.WeakSet[_Child] = weakref.WeakSet()


def _forget_in_forked_child() -> None:
    for child in list(_CHILDREN):
        child.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_forked_child)


def _order_of(device: Guarded) -> dict[str, Any]:
    return {
        "name": device.name,
        "adapter": _place_of(device.adapter_class),
        "config_class": _place_of(type(device.config)),
        "config": device.config.model_dump(mode="json"),
    }


def _place_of(kind: type[Any]) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


__all__ = ["DONE", "Guard", "Guarded"]
