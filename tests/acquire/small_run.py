"""A run without devices: real feeds, real futures, and a memory of what operators asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np

from gapless.acquire.command import Command, CommandResult, done, refused
from gapless.acquire.emission import ChannelSample, Reading, SampleBlock, SourceRecord
from gapless.acquire.event_log import Entry
from gapless.acquire.safe_state import SafeOutcome, SafeReport, SafeStatus
from gapless.acquire.ui import UIBridge
from gapless.errors import BridgeClosed, NotFound

WAIT_S = 30.0


class SmallRun:
    """Answers as a run does. ``held``: what a command or note waits for, None for nothing."""

    def __init__(self, name: str = "x") -> None:
        self.name = name
        self.asked: list[tuple[Any, ...]] = []
        self.feeds: list[UIBridge] = []
        self.held: threading.Event | None = None
        self.entered = threading.Semaphore(0)
        self.unsafe: list[str] = []
        self.on_stop: Callable[[], None] = lambda: None
        self.prompts: list[dict[str, Any]] = []

    def status(self) -> dict[str, Any]:
        """Return a status of the shape that a run's has."""
        self._wait()
        return {
            "sequence": self.name,
            "state": "running",
            "outcome": None,
            "cause": None,
            "elapsed_s": 1.5,
            "devices": {
                "oven": {
                    "readings": 30,
                    "rate_hz": 10.0,
                    "age_s": 0.1,
                    "silence_deadline_s": 5.0,
                    "state": "ok",
                }
            },
            "channels": {
                "heater_pv": {"value": 580.25, "unit": "degC", "status": 0, "timestamp_ns": 1_000_000_000},
                "flow": {"value": None, "unit": "L/min", "status": 8, "timestamp_ns": 1_000_000_000},
            },
            "hops": {"bridge:serial": {"depth": 3}},
            "writer": {"waiting_rows": 12, "headroom_bytes": 1000, "turn_age_s": 0.1, "readings": 30},
            "saturation": {"deadline_s": 10.0, "worst": "writer", "held_s": 4.0},
            "events": [
                {
                    "severity": "warning",
                    "kind": "alarm",
                    "message": "hot",
                    "source": "s",
                    "data": None,
                    "timestamp_ns": 5,
                }
            ],
            "procedure": {"method": "m", "text": "step 1 of 2: hold", "prompts": self.prompts}
            if self.prompts
            else None,
        }

    def describe(self) -> dict[str, Any]:
        """Return a description of the shape that a run's has."""
        value = {"name": "value", "type": "float", "required": True, "default": None}
        write = {"description": "set the point", "parameters": [value]}
        return {
            "devices": {
                "oven": {
                    "family": "sim",
                    "resource": "sim:oven",
                    "expected_rate_hz": 10.0,
                    "commands": {"write": write},
                }
            },
            "channels": {
                "heater_pv": {
                    "unit": "degC", "device": "oven", "dtype": "float64", "description": "", "low": None, "high": 620.0,
                }
            },
            "setpoints": {},
        }  # fmt: skip

    def note(self, text: str, by: str) -> None:
        """Keep the note."""
        self._wait()
        self.asked.append(("note", text, by))

    def dispatch(self, device: str, command: Command) -> Future[CommandResult]:
        """Do it when somebody stands behind it, later while the run is held."""
        self.asked.append(("command", device, command))
        answer: Future[CommandResult] = Future()
        if not command.authorized:
            answer.set_result(refused(command, "nobody stands behind it"))
            return answer
        self._wait()
        answer.set_result(done(command, command.arguments.get("value")))
        return answer

    def confirm(self, prompt_id: str, answer: str, by: str) -> None:
        """Take an answer to a prompt that waits."""
        if all(prompt["prompt_id"] != prompt_id for prompt in self.prompts):
            raise NotFound("no such prompt waits for an answer", found=prompt_id)
        self.asked.append(("confirm", prompt_id, answer, by))

    def stop(self, reason: str, by: str) -> None:
        """Keep the reason."""
        self.asked.append(("stop", reason, by))
        self.on_stop()

    def emergency_stop(self, reason: str, by: str) -> SafeReport:
        """Report the oven as safe and what the test says as unsafe."""
        self.asked.append(("emergency_stop", reason, by))
        safe = SafeOutcome(device="oven", status=SafeStatus.SAFE, took_s=0.25)
        return SafeReport(reason, (safe, *(SafeOutcome.unsafe(name, "no answer") for name in self.unsafe)))

    def feed(self, capacity: int = 256) -> UIBridge:
        """Return a mirror as the conductor's."""
        bridge = UIBridge(f"watch-{len(self.feeds)}", capacity)
        self.feeds.append(bridge)
        return bridge

    def _wait(self) -> None:
        self.entered.release()
        if self.held is not None:
            self.held.wait(WAIT_S)

    def mirror(self, item: Any) -> None:
        """Do what the conductor does with an item: never wait, forget the watchers that left."""
        for bridge in list(self.feeds):
            try:
                bridge.put_nowait(item)
            except BridgeClosed:
                self.feeds.remove(bridge)

    def end(self) -> None:
        """Close the mirrors, as the conductor does when a run is over."""
        for bridge in self.feeds:
            bridge.close()


def reading(n: int, *channels: str) -> Reading:
    """Return the n-th record of the oven with one sample of value n for each channel."""
    record = SourceRecord("sim", "oven", n, n, n, (), len(channels))
    samples = [ChannelSample(name, n, float(n), "degC", record.source_record_id) for name in channels]
    return Reading(record, samples)


def block(channel: str, count: int) -> Reading:
    """Return a record with a block of the values 0, 1, 2…"""
    record = SourceRecord("sim", "adc", 0, 0, 0, (), 1)
    stamps = np.arange(count, dtype=np.int64)
    made = SampleBlock(channel, stamps, stamps.astype(float), "V", record.source_record_id)
    return Reading(record, [made])


def event(kind: str, message: str = "") -> Entry:
    """Return an event on its way to the disk."""
    return Entry("info", kind, message, "test", {"a": 1}, 7)
