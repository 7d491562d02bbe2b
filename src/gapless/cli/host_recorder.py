"""Push this machine's figures into a sequence, and say what was pushed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.acquire.devices.host_figures import HostSource
from gapless.cli import options
from gapless.model.names import fold

if TYPE_CHECKING:
    from gapless.client.sequence_writer import SequenceWriter


class HostRecorder:
    """Creates the host topics in an open sequence; each :meth:`push` adds one row to those that are due."""

    def __init__(self, sequence: SequenceWriter, folder: Path) -> None:
        self._sequence = sequence
        self._source = HostSource(folder)
        self._topics = {
            name: sequence.topic_create(name, metadata={"source": "psutil"}, schema=schema)
            for name, schema in self._source.schemas().items()
        }
        self.rows = dict.fromkeys(self._topics, 0)
        self.last: dict[str, tuple[Any, ...]] = {}

    def push(self) -> None:
        """Sample the machine and push what is due, all rows with the same stamp."""
        time_ns = self._sequence.now_ns()
        for name, values in self._source.sample().items():
            self._topics[name].push_row(time_ns, *values)
            self.rows[name] += 1
            self.last[name] = values

    def durable_rows(self) -> int:
        """Return how many of the pushed rows are durable."""
        return sum(topic.durable_rows for topic in self._topics.values())

    def headline(self) -> str:
        """Return the last figures in a few words."""
        cpu, memory = self.last.get("host/cpu"), self.last.get("host/memory")
        parts = []
        if cpu is not None and cpu[0] is not None:
            parts.append(f"cpu {cpu[0]:.0f} %")
        if memory is not None:
            parts.append(f"memory {memory[3]:.0f} %")
        return ", ".join(parts)


def host_metadata() -> dict[str, Any]:
    """Return what identifies this machine, as metadata of a sequence."""
    import platform

    import psutil

    return {
        "source": "host",
        "host": {
            "name": platform.node(),
            "system": platform.system(),
            "release": platform.release(),
            "machine": platform.machine(),
            "cores": psutil.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
        },
    }


def free_name(root: Path, prefix: str) -> str:
    """Return `PREFIX-YYYYmmdd-HHMMSS`, with a number behind it if a sequence has that name already.

    Asks the folders, not the catalog; who creates the sequence still has to expect NameTaken from a
    neighbour that was faster.
    """
    stem = f"{prefix}-{datetime.now():%Y%m%d-%H%M%S}"
    folder = root / "sequences"
    taken = {fold(entry.name) for entry in folder.iterdir()} if folder.is_dir() else set()
    name, number = stem, 1
    while fold(options.bundle_path(root, name).name) in taken:
        number += 1
        name = f"{stem}-{number}"
    return name
