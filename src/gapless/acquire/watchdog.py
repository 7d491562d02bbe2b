"""A run's safety under one roof: supervisor, saturation, silence and alarms, and the guard child."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gapless.acquire.device_config import OnFailure
from gapless.acquire.finding import Finding
from gapless.acquire.guard import Guard
from gapless.acquire.safe_state import SafeReport
from gapless.acquire.safety import SafetyMonitor, steady_rate_hz
from gapless.acquire.saturation import SaturationMonitor, Signal
from gapless.acquire.stall import CONDUCTOR_BLOCKED, Call, StallMonitor, held_by
from gapless.acquire.supervisor import Supervisor

if TYPE_CHECKING:
    from gapless.acquire.run import Run

_TURN_S = 1.0  # the conductor, and a writer thread that no disk holds, turn more often than this


class Watchdog:
    """Watches one run from the supervisor's thread and leaves its devices safe on every way out."""

    def __init__(self, run: Run) -> None:
        self._run = run
        settings = run.rig.run
        self._configs = {name: entry.config for name, entry in run.rig.devices.items()}
        self.safety = SafetyMonitor(
            self._configs,
            run.rig.channels,
            run.clock,
            rates_hz={name: steady_rate_hz(adapter) for name, adapter in run.pool.adapters.items()},
            held_up=self._held_up,
        )
        self._saturation = SaturationMonitor(self._signals, settings.saturation_deadline_s)
        self._stall = StallMonitor(
            self._heartbeat_ns,
            self._stack,
            settings.saturation_deadline_s + settings.drain_deadline_s,
        )
        self.supervisor = Supervisor(
            run.pool,
            self._configs,
            reopen=lambda name: run.rig.make_adapters()[name],
            tell=self._tell,
            bar=self._bar,
        )
        assert run.sequence.path is not None
        devices = run.rig.devices.values() if settings.guard else ()
        self._guard = Guard(devices, run.sequence.path, run.clock)

    # -- the run's life ------------------------------------------------------------------------

    def start(self) -> None:
        """Start the guard where a device has a safe state; returns when it is ready."""
        self._guard.start()

    def watch(self) -> None:
        """Begin to watch: called when the devices begin to sample, so that none is silent before its start."""
        self.safety.begin()
        self.supervisor.watch([self._stall, self._saturation, self.safety, self._guard], self._trip)

    def close(self) -> None:
        """End the watch and let the guard go, which then does nothing."""
        self.supervisor.close()
        self.disarm()

    def _held_up(self, device: str) -> bool:
        """Whether readings of the device wait before the conductor."""
        bridge = self._run.conductor.bridges[self._run.pool.worker_for(device).resource_id]
        return bridge.depth > 0

    def disarm(self) -> None:
        """Let the guard go: the devices are safe and stopped, or reported unsafe."""
        self._guard.disarm()

    # -- safe state ----------------------------------------------------------------------------

    def make_safe(self, reason: str, *, final: bool = True, again: bool = False) -> SafeReport:
        """Run every device's program; bounded, from any thread. The first final call of a run decides.

        ``final``: commands are refused from then on. ``again``: run the programs once more.
        """
        return self.supervisor.make_safe(reason, final=final, again=again)

    def _bar(self) -> None:
        for worker in self._run.pool.workers:
            worker.bar()

    @property
    def report(self) -> SafeReport | None:
        """What became of the devices."""
        return self.supervisor.report

    def tolerates(self, device: str) -> bool:
        """Whether the run goes on when the device breaks."""
        return self._configs[device].on_failure is OnFailure.WARN

    # -- what ends a run -----------------------------------------------------------------------

    def countdown(self) -> dict[str, Any]:
        """Return the worst hop and what is left to the deadline."""
        return self._saturation.to_json()

    def _heartbeat_ns(self) -> int:
        return self._run.conductor.heartbeat_ns

    def _stack(self) -> list[Call]:
        return self._run.conductor.stack()

    def _signals(self) -> Iterator[Signal]:
        now_ns = time.monotonic_ns()
        conductor = self._run.conductor
        if self._stall.held_s > _TURN_S:  # whatever else waits, waits for it
            yield Signal("conductor", self._stall.held_s, f"it is in {held_by(self._stack())}")
            return
        for bridge in conductor.bridges.values():
            since_ns = bridge.metrics().blocked_since_ns
            if since_ns is not None:
                yield Signal(f"bridge {bridge.name}", (now_ns - since_ns) / 1e9)
        for name, since_ns in self._run.blocking_readers():
            yield Signal(f"reader {name}", (now_ns - since_ns) / 1e9)
        since_ns = self._run.recorder.blocked_since_ns
        if since_ns is not None:
            yield Signal("writer", (now_ns - since_ns) / 1e9, "no room before the disk")
        progress = self._run.sequence.progress
        held_s = progress.turn_age_ns / 1e9 - _TURN_S
        if progress.waiting_rows > 0 and held_s > 0:
            yield Signal("writer", held_s, f"{progress.waiting_rows} rows are not durable")

    def _trip(self, finding: Finding) -> None:
        """Act on a finding, from the supervisor's thread: what ends the run makes safe before all else."""
        if finding.outcome is not None:
            self.make_safe(finding.kind)
        self._run.events.record(
            finding.severity,
            finding.kind,
            finding.message,
            source=finding.source,
            data=finding.data or None,
            timestamp_ns=finding.timestamp_ns,
        )
        if finding.outcome is not None:
            self._run.conductor.stop(finding.outcome, finding.message)
        if finding.kind == CONDUCTOR_BLOCKED:
            self._run.end_without_conductor()

    def _tell(self, severity: str, kind: str, message: str, data: dict[str, Any]) -> None:
        self._run.events.record(severity, kind, message, source="supervisor", data=data)
