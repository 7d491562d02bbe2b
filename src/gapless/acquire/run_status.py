"""What a run says of itself while it lasts: rates, last values, queues, the disk, the countdown."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from gapless.acquire.emission import ChannelSample
from gapless.acquire.rate_window import RateWindow
from gapless.flow.policy import BackpressurePolicy

if TYPE_CHECKING:
    from gapless.acquire.run import Run


class RunStatus:
    """Answers from any thread and never waits: every figure is read where it lies."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._began_s = time.monotonic()
        self._rates = {name: RateWindow() for name in run.rig.devices}

    def to_json(self) -> dict[str, Any]:
        """Return everything a live view shows, as JSON values."""
        run = self._run
        conductor = run.conductor
        progress = run.sequence.progress if not run.ended else None
        return {
            "sequence": run.name,
            "state": str(conductor.state),
            "outcome": None if run.latch.outcome is None else str(run.latch.outcome),
            "cause": run.latch.cause,
            "elapsed_s": round(time.monotonic() - self._began_s, 3),
            "devices": self._devices(),
            "channels": self._channels(),
            "hops": self.hops(),
            "writer": {
                "waiting_rows": None if progress is None else progress.waiting_rows,
                "headroom_bytes": None if progress is None else progress.headroom_bytes,
                "turn_age_s": None if progress is None else round(progress.turn_age_ns / 1e9, 3),
                "readings": run.recorder.rows,
            },
            "saturation": run.watchdog.countdown(),
            "events": [entry.to_json() for entry in list(run.events.last)],
            "procedure": run.procedure_status(),
        }

    def _devices(self) -> dict[str, Any]:
        run, now_s = self._run, time.monotonic()
        shown = {}
        for name, entry in run.rig.devices.items():
            count = run.conductor.readings.get(name, 0)
            last_ns = run.conductor.last_ns.get(name)
            shown[name] = {
                "readings": count,
                "rate_hz": self._rates[name].tell(now_s, count),
                "age_s": None if last_ns is None else round(now_s - last_ns / 1e9, 3),
                "silence_deadline_s": entry.config.silence_deadline_s,
            }
        return shown

    def _channels(self) -> dict[str, Any]:
        bus = self._run.conductor.bus
        shown = {}
        for spec in self._run.rig.channels:
            sample = bus.last_value(spec.name)
            if sample is None:
                continue
            if type(sample) is ChannelSample:
                value, status, stamp = sample.value, sample.status, sample.timestamp_ns
                spread = sample.uncertainty
            else:
                value, stamp = float(sample.values[-1]), int(sample.timestamps_ns[-1])
                status = 0 if sample.status is None else int(sample.status[-1])
                spread = None if sample.uncertainty is None else float(sample.uncertainty[-1])
            if isinstance(value, float) and value != value:
                value = None  # JSON has no NaN; the status says why
            shown[spec.name] = {
                "value": value,
                "unit": spec.unit,
                "status": status,
                "timestamp_ns": stamp,
                "uncertainty": spread,
            }
        return shown

    def hops(self) -> dict[str, Any]:
        """Return the figures of every hop: worker bridges, subscriptions, watchers, and the loops' lag."""
        conductor = self._run.conductor
        figures: dict[str, Any] = {
            f"bridge:{bridge.name}": bridge.metrics().to_json() for bridge in conductor.bridges.values()
        }
        for subscription in conductor.bus.subscriptions:
            figures[f"bus:{subscription.name}"] = subscription.metrics().to_json()
        for feed in list(conductor.feeds):
            figures[f"ui:{feed.name}"] = feed.metrics().to_json()
        recorder = self._run.recorder
        since_ns = recorder.blocked_since_ns
        figures["writer"] = {
            "blocked_ns": recorder.blocked_ns,
            "blocked_since_ns": since_ns,
            "lag_max_ns": {worker.name: worker.lag_max_ns for worker in self._run.pool.workers},
        }
        figures["command"] = {"last_hop_ns": self._run.dispatcher.last_hop_ns}
        return figures

    def hops_text(self) -> str | None:
        """Return the hops as the JSON text that ``_health`` keeps."""
        return json.dumps(self.hops(), separators=(",", ":"))

    def blocking_readers(self) -> list[tuple[str, int]]:
        """Return each subscription that holds the run back, with the time since when."""
        found = []
        for subscription in self._run.conductor.bus.subscriptions:
            since_ns = subscription.metrics().blocked_since_ns
            if subscription.policy is BackpressurePolicy.BLOCK and since_ns is not None:
                found.append((subscription.name, since_ns))
        return found
