"""Examine this machine and the store, and report what could hurt a recording.

Measures a real sync in the folder of the store (in a file of its own, removed again). Ends with exit code
1 when a finding is an error.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gapless._version import __version__
from gapless.cli import options, output
from gapless.cli.findings import DoctorFinding
from gapless.cli.version import LIBRARIES, installed
from gapless.errors import SequenceOwned
from gapless.store.layout import FORMAT
from gapless.store.platform import PLATFORM

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs", "lustre"}
_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}
_SYNCS = 9
_SYNC_BYTES = 65_536
_CLOCK_WATCH_S = 0.2
_CLOCK_STEP_NS = 1_000_000
_UNIT_END = re.compile("_(bytes|ms|us)$")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_store(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the facts and the findings."""
    root = options.store_root(args)
    facts: dict[str, Any] = {}
    findings: list[DoctorFinding] = []
    _examine_python(facts, findings)
    _examine_folder(root, facts, findings)
    _examine_memory(facts, findings)
    _examine_clock(facts, findings)
    _examine_store(root, facts, findings)
    failed = any(f.severity == "error" for f in findings)
    if args.json:
        output.say_json({"facts": facts, "findings": [asdict(f) for f in findings], "ok": not failed})
        return int(failed)
    rows = [(_UNIT_END.sub("", key).replace("_", " "), _text(key, value)) for key, value in facts.items()]
    for line in output.definition_lines(rows):
        output.say(line)
    output.say()
    styles = {"error": "red", "warning": "yellow", "info": "dim"}
    for finding in findings:
        head = output.styled(f"{finding.code} {finding.severity}", styles[finding.severity])
        output.say(f"{head}  {finding.message}")
    output.say("something needs repair; `gapless explain CODE` tells more" if failed else "ready to record")
    return int(failed)


def _text(key: str, value: Any) -> str:
    if key.endswith("_bytes"):
        return output.size(value)
    unit = _UNIT_END.search(key)
    if unit is not None:
        return f"{value} {unit[1].replace('us', 'µs' if output.is_unicode(sys.stdout) else 'us')}"
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return str(value)


def _examine_python(facts: dict[str, Any], findings: list[DoctorFinding]) -> None:
    facts["gapless"] = __version__
    facts["python"] = platform.python_version()
    facts["system"] = f"{platform.system()} {platform.release()} {platform.machine()}"
    facts["cores"] = os.cpu_count()
    facts["libraries"] = {name: installed(name) or "missing" for name in LIBRARIES}
    for name in LIBRARIES:
        try:
            importlib.import_module(name.replace("-", "_"))
        except ImportError as error:
            findings.append(DoctorFinding("D001", "error", f"{name} cannot be imported: {error}"))


def _examine_folder(root: Path, facts: dict[str, Any], findings: list[DoctorFinding]) -> None:
    """Look at the disk under the store, or under the nearest folder that exists."""
    folder = root.absolute()
    if not folder.exists():
        findings.append(
            DoctorFinding("D011", "info", f"{root} is not there yet; the first recording makes it")
        )
    while not folder.exists():
        folder = folder.parent
    facts["store"] = str(root)
    facts["file_system"] = kind = file_system(folder)
    free = shutil.disk_usage(folder).free
    facts["disk_free_bytes"] = free
    if kind in _MEMORY:
        findings.append(
            DoctorFinding("D004", "warning", f"{folder} is on {kind}: it is gone after a restart")
        )
    if kind in _NETWORK:
        findings.append(DoctorFinding("D005", "warning", f"{folder} is on {kind}, a network file system"))
    if free < 1 << 30:
        findings.append(DoctorFinding("D006", "warning", f"only {output.size(free)} of disk space is free"))
    try:
        times_ns = sync_times(folder)
        _examine_lock(folder, findings)
    except OSError as error:
        findings.append(DoctorFinding("D002", "error", f"{folder} cannot be written: {error}"))
        return
    facts["sync_median_ms"] = round(times_ns[len(times_ns) // 2] / 1e6, 3)
    facts["sync_max_ms"] = round(times_ns[-1] / 1e6, 3)
    if times_ns[len(times_ns) // 2] > 250_000_000:
        findings.append(DoctorFinding("D003", "warning", f"a sync takes {facts['sync_median_ms']} ms"))


def sync_times(folder: Path) -> list[int]:
    """Return how long syncs of 64 KiB took in a folder, sorted; leaves nothing behind."""
    times: list[int] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_SYNCS):
            PLATFORM.write(file.fileno(), [bytes(_SYNC_BYTES)])
            begin = time.perf_counter_ns()
            PLATFORM.data_sync(file.fileno())
            times.append(time.perf_counter_ns() - begin)
    return sorted(times)


def _examine_lock(folder: Path, findings: list[DoctorFinding]) -> None:
    """Take a lock and look at it the way another process would."""
    with tempfile.TemporaryDirectory(prefix=".gapless-doctor-", dir=folder) as scratch:
        path = Path(scratch) / "lock"
        try:
            descriptor = PLATFORM.lock(path)
        except SequenceOwned as error:
            findings.append(DoctorFinding("D012", "error", f"{folder} refuses locks: {error.__cause__}"))
            return
        held = PLATFORM.is_locked(path)
        PLATFORM.close(descriptor)
        if not held:
            findings.append(DoctorFinding("D012", "error", f"{folder} grants locks that hold nobody off"))


def file_system(folder: Path) -> str:
    """Return the type of the file system that a folder is on, or `unknown`."""
    import psutil

    best, kind = "", "unknown"
    for mount in psutil.disk_partitions(all=True):
        point = mount.mountpoint.rstrip("/") + "/"
        if f"{folder}/".startswith(point) and len(point) >= len(best):
            best, kind = point, mount.fstype
    return kind


def _examine_memory(facts: dict[str, Any], findings: list[DoctorFinding]) -> None:
    import psutil

    memory = psutil.virtual_memory()
    facts["memory_bytes"] = memory.total
    facts["memory_available_bytes"] = memory.available
    if memory.available < 300_000_000:
        findings.append(
            DoctorFinding("D007", "warning", f"{output.size(memory.available)} of memory available")
        )


def _examine_clock(facts: dict[str, Any], findings: list[DoctorFinding]) -> None:
    """Compare the two clocks over a short time; a step of 1 ms in it is no drift, somebody set the clock."""
    before = PLATFORM.wall_ns() - PLATFORM.boot_ns()
    time.sleep(_CLOCK_WATCH_S)
    step_ns = PLATFORM.wall_ns() - PLATFORM.boot_ns() - before
    facts["clock_step_us"] = round(step_ns / 1000, 1)
    if abs(step_ns) > _CLOCK_STEP_NS:
        findings.append(
            DoctorFinding(
                "D008", "warning", f"the wall clock moved by {step_ns / 1e6:.1f} ms in {_CLOCK_WATCH_S} s"
            )
        )


def _examine_store(root: Path, facts: dict[str, Any], findings: list[DoctorFinding]) -> None:
    if not options.is_store(root):
        return
    try:
        known = json.loads((root / "gapless.json").read_bytes()).get("format")
    except (OSError, ValueError, AttributeError) as error:
        findings.append(DoctorFinding("D010", "error", f"gapless.json cannot be read: {error}"))
        return
    if known != FORMAT:
        findings.append(
            DoctorFinding("D010", "error", f"the store has format {known}, this release knows {FORMAT}")
        )
        return
    from gapless.store.bundle_state import Folder

    rows = options.open_catalog(root).sequences()
    facts["sequences"] = len(rows)
    ownerless = [row for row in rows if row.state == "open" and not row.owner_alive]
    orphans = [row.name for row in ownerless if Folder(row.path, None, None).awaited_until_ns is None]
    findings.extend(
        DoctorFinding("D009", "warning", f"{name} is open and its recorder is gone: gapless recover {name}")
        for name in orphans
    )
