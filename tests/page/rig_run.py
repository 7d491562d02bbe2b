"""A rig of simulated devices that runs in a process of its own: `gapless record` with a control socket."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gapless.acquire.control.client import control_path
from gapless.errors import NotFound
from gapless.store.folder import FolderStore

from .served import end, environment, until


@contextmanager
def running_rig(
    root: Path, work: Path, name: str, channels: int, *, rate_hz: float = 20.0
) -> Iterator[subprocess.Popen[bytes]]:
    """Record one furnace with so many channels under a name, until the block is left."""
    work.mkdir(parents=True, exist_ok=True)
    rig, log = work / "rig.toml", work / "rig.log"
    rig.write_text(rig_file(channels, rate_hz), encoding="utf-8")
    words = ["record", str(rig), "--name", name, "--store", str(root), "--for", "30m", "--group", "furnaces"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "gapless.cli.main", *words],
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            env=environment(work),
        )

    def controlled() -> bool:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            return control_path(FolderStore(root).bundle(name)) is not None
        except NotFound:  # it has not made the sequence yet
            return False

    try:
        until(controlled, f"the run has no control socket: {log}")
        yield process
    finally:
        end(process)


def rig_file(channels: int, rate_hz: float) -> str:
    """Return a rig in TOML: one device of slow sines with uncertainties, and a safe state that sets the first."""
    fields = [
        f'  {{ name = "zone_{n}", unit = "degC",'
        f' signal = {{ kind = "sine", amplitude = 5.0, period_s = {4 + n}, offset = {200 + 10 * n} }} }},'
        for n in range(channels)
    ]
    declared = [
        f'[[channels]]\nname = "zone_{n}"\ndevice = "furnace"\nfield = "zone_{n}"\nunit = "degC"\n'
        'uncertainty = { kind = "absolute", magnitude = 1.5, coverage_factor = 2 }\n'
        for n in range(channels)
    ]
    return "\n".join(
        [
            'name = "furnace"',
            "[devices.furnace]",
            'adapter = "simulated"',
            f"rate_hz = {rate_hz}",
            "fields = [",
            *fields,
            "]",
            "[devices.furnace.safe_state]",
            'program = [{ command = "set", arguments = { field = "zone_0", value = 20 } }]',
            *declared,
        ]
    )
