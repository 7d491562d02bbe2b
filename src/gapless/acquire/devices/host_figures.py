"""This machine as a source of rows: processor, memory, disk, network and processes, through psutil.

Each topic is a plain Arrow schema with units; :meth:`HostSource.sample` gives the values in its order.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    import pyarrow as pa

Field = tuple[str, str, str | None, str]  # name, Arrow type, unit, description

_CPU: list[Field] = [
    ("percent", "float64", "%", "all cores, since the last row"),
    ("frequency", "float64", "MHz", "current clock, mean over the cores"),
    ("load_1m", "float64", None, "processes that run or wait, one minute mean"),
    ("load_5m", "float64", None, "the same over five minutes"),
    ("temperature", "float64", "degC", "the hottest sensor of the processor"),
]
_MEMORY: list[Field] = [
    ("total", "int64", "byte", "physical memory"),
    ("available", "int64", "byte", "what can be given to programs without swapping"),
    ("used", "int64", "byte", "memory in use"),
    ("percent", "float64", "%", "share of the memory that is not available"),
    ("swap_used", "int64", "byte", "swap space in use"),
]
_DISK: list[Field] = [
    ("read_bytes", "int64", "byte", "read since boot, all disks"),
    ("write_bytes", "int64", "byte", "written since boot, all disks"),
    ("read_count", "int64", None, "reads since boot"),
    ("write_count", "int64", None, "writes since boot"),
    ("free", "int64", "byte", "free space under the store"),
]
_NETWORK: list[Field] = [
    ("sent_bytes", "int64", "byte", "sent since boot, all interfaces"),
    ("received_bytes", "int64", "byte", "received since boot"),
    ("sent_packets", "int64", None, "packets sent since boot"),
    ("received_packets", "int64", None, "packets received since boot"),
    ("errors", "int64", None, "errors in and out since boot"),
    ("drops", "int64", None, "packets dropped in and out since boot"),
]
_PROCESSES: list[Field] = [
    ("count", "int64", None, "processes"),
    ("top_name", "string", None, "the process that used most processor time since the last row"),
    ("top_percent", "float64", "%", "its share of one core"),
    ("top_memory", "int64", "byte", "its resident memory"),
    ("own_memory", "int64", "byte", "resident memory of this recorder"),
]
_PROCESS_PERIOD_S = (
    0.98  # walking over all processes costs milliseconds; a tick of a second is never just missed
)


class HostSource:
    """Reads the figures of this machine; a figure that the system does not offer is null, never zero."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own = psutil.Process()
        self._cores = psutil.cpu_count() or 1
        self._cpu_times: dict[int, float] = {}
        self._walked_s = 0.0
        psutil.cpu_percent(percpu=True)  # the first call has no earlier one to compare with
        self._walk(time.monotonic())

    def fields(self) -> dict[str, list[Field]]:
        """Return the fields of each topic."""
        cores: list[Field] = [
            (f"core_{n}", "float64", "%", f"core {n}, since the last row") for n in range(self._cores)
        ]
        return {
            "host/cpu": [*_CPU, *cores],
            "host/memory": _MEMORY,
            "host/disk": _DISK,
            "host/network": _NETWORK,
            "host/processes": _PROCESSES,
        }

    def schemas(self) -> dict[str, pa.Schema]:
        """Return the Arrow schema of each topic."""
        import pyarrow as pa

        def field(name: str, kind: str, unit: str | None, text: str) -> pa.Field:
            metadata = {"description": text} | ({"unit": unit} if unit else {})
            return pa.field(name, getattr(pa, kind)(), metadata=metadata)

        time_field = pa.field("timestamp_ns", pa.int64(), nullable=False)
        return {
            topic: pa.schema([time_field, *(field(*entry) for entry in entries)])
            for topic, entries in self.fields().items()
        }

    def sample(self) -> dict[str, tuple[Any, ...]]:
        """Return the values of each topic that is due now."""
        rows: dict[str, tuple[Any, ...]] = {
            "host/cpu": self._cpu(),
            "host/memory": self._memory(),
            "host/disk": self._disk(),
            "host/network": self._network(),
        }
        now_s = time.monotonic()
        if now_s - self._walked_s >= _PROCESS_PERIOD_S:
            rows["host/processes"] = self._walk(now_s)
        return rows

    def _cpu(self) -> tuple[Any, ...]:
        cores = psutil.cpu_percent(percpu=True)
        cores = (cores + [None] * self._cores)[: self._cores]  # a core may be taken offline while recording
        known = [c for c in cores if c is not None]
        frequency = psutil.cpu_freq()
        load = os.getloadavg() if hasattr(os, "getloadavg") else (None, None, None)
        mean = sum(known) / len(known) if known else None
        mhz = float(frequency.current) if frequency is not None else None
        return (mean, mhz, load[0], load[1], _temperature(), *cores)

    def _memory(self) -> tuple[Any, ...]:
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        return (memory.total, memory.available, memory.used, float(memory.percent), swap.used)

    def _disk(self) -> tuple[Any, ...]:
        io = psutil.disk_io_counters()
        counters = (io.read_bytes, io.write_bytes, io.read_count, io.write_count) if io else (None,) * 4
        return (*counters, psutil.disk_usage(str(self._folder)).free)

    def _network(self) -> tuple[Any, ...]:
        io = psutil.net_io_counters()
        if io is None:
            return (None,) * len(_NETWORK)
        errors, drops = io.errin + io.errout, io.dropin + io.dropout
        return (io.bytes_sent, io.bytes_recv, io.packets_sent, io.packets_recv, errors, drops)

    def _walk(self, now_s: float) -> tuple[Any, ...]:
        """Look at all processes; the busiest used most processor time since the last walk."""
        elapsed_s = now_s - self._walked_s
        times: dict[int, float] = {}
        top: tuple[float, str, int] | None = None
        for process in psutil.process_iter(["pid", "name", "cpu_times", "memory_info"]):
            facts = process.info
            if facts["cpu_times"] is None:
                continue
            pid, used_s = facts["pid"], facts["cpu_times"].user + facts["cpu_times"].system
            times[pid] = used_s
            grown_s = used_s - self._cpu_times.get(pid, used_s)
            if top is None or grown_s > top[0]:
                top = (grown_s, facts["name"] or "", facts["memory_info"].rss if facts["memory_info"] else 0)
        self._cpu_times, self._walked_s = times, now_s
        own = self._own.memory_info().rss
        if top is None:
            return (len(times), None, None, None, own)
        return (len(times), top[1], 100.0 * top[0] / elapsed_s, top[2], own)


def _temperature() -> float | None:
    """Return the hottest sensor in °C, or None where the system shows none."""
    read = getattr(psutil, "sensors_temperatures", None)  # absent on macOS and Windows
    if read is None:
        return None
    readings = [float(s.current) for sensors in read().values() for s in sensors if s.current is not None]
    return max(readings, default=None)
