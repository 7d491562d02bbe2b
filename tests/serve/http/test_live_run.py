"""A real run under browsers: what it tells of itself, and that one that stops reading changes nothing of it."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.acquire.scripted import ScriptedDevice
from tests.acquire.small_rig import SmallRig

import gapless
from gapless.acquire.adapter import DeviceField
from gapless.acquire.control.client import ControlClient
from gapless.acquire.emission import Emission
from gapless.acquire.run import Run
from gapless.model.outcome import Outcome

from .conftest import Begin, Site
from .live_recorder import DEADLINE_S, hearing, taken, until, values

RECORDS, TEXTS, TEXT_CHARACTERS = 40, 120, 3_900
PACE_S = 0.1  # as often as a browser is told


class TalkingDevice(ScriptedDevice):
    """A device of long texts with its own stamps; it gives a record when the one before is with the writer."""

    run: Run | None = None

    def fields(self) -> Sequence[DeviceField]:
        """Return a number and many texts."""
        texts = [DeviceField(f"text_{n}", "string") for n in range(TEXTS)]
        return [DeviceField("value", "float64", "V"), *texts]

    async def stream(self) -> AsyncIterator[Emission]:
        """Yield the records, in step with the run."""
        while not self.go.is_set():
            await asyncio.sleep(0.002)
        assert self.run is not None
        for n in range(RECORDS):
            stamp_ns = 1_700_000_000_000_000_000 + n * 1_000_000
            self.context.clock.advance_to(stamp_ns)  # type: ignore[attr-defined]
            texts = [f"{n} ".ljust(TEXT_CHARACTERS, chr(97 + n % 26)) for _ in range(TEXTS)]
            for emission in self.record([float(n), *texts], stamp_ns):
                yield emission
            while self.run.recorder.rows <= n:
                await asyncio.sleep(0.001)
            await asyncio.sleep(PACE_S)


def talking(root: Path) -> tuple[Run, TalkingDevice, ExitStack]:
    """Start a run of the talking device that waits before its first record."""
    device = TalkingDevice(waits=True)
    texts = [
        {"name": f"text_{n}", "device": device.name, "field": f"text_{n}", "dtype": "string"}
        for n in range(TEXTS)
    ]
    ending = ExitStack()
    client = ending.enter_context(gapless.connect(root, deadline_s=60))
    rig = SmallRig([device], extra_channels=texts, clock="simulated")
    run = device.run = Run(rig, client, name="talk")  # type: ignore[arg-type]
    run.start()
    return run, device, ending


def finished(run: Run, device: TalkingDevice) -> tuple[str | None, dict[str, int]]:
    """Let the run go to its end; return its digest and how much ever waited in each of its queues."""
    device.go.set()
    result = run.wait(DEADLINE_S)
    assert result is not None
    assert result.outcome is Outcome.COMPLETED
    hops = run.status()["hops"]
    return result.content_digest, {
        name: hop["depth_max"] for name, hop in hops.items() if name.startswith(("bridge:", "bus:"))
    }


class StalledBrowser:
    """A WebSocket that is opened and then never read, with as little room before it as the system allows."""

    def __init__(self, site: Site, path: str) -> None:
        host, port = site.netloc.split(":")
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect((host, int(port)))
        lines = [
            f"GET /api/v1{path} HTTP/1.1", f"Host: {site.netloc}", "Connection: Upgrade", "Upgrade: websocket",
            "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}", "", "",
        ]  # fmt: skip
        self.socket.sendall("\r\n".join(lines).encode())
        assert self.socket.recv(12) == b"HTTP/1.1 101"

    def records_got(self) -> set[int]:
        """Read what the server had sent meanwhile and return the numbers of the records in it."""
        got = bytearray()
        while chunk := self.socket.recv(1 << 16):
            got += chunk
        return {int(number) for number in re.findall(rb'"value":"(\d+) [a-z]', got)}


def test_a_browser_that_stops_reading_changes_nothing(begin: Begin, tmp_path: Path) -> None:
    """Same identity and same queues as without it; another browser goes on; the run drops nothing for it."""
    run, device, ending = talking(tmp_path / "alone")
    with ending:
        alone = finished(run, device)

    run, device, ending = talking(tmp_path / "watched")
    with ending:
        site = begin(tmp_path / "watched")
        stalled = StalledBrowser(site, "/live/talk/samples?told=true&channels=text_*")
        seen: list[float] = []
        with (
            values(site, "/live/talk/samples?channels=d_value") as line,
            hearing(site, "/live/talk/stream") as told,
        ):
            until(lambda: run.conductor.feeds, "the run is not watched")
            reader = threading.Thread(target=read_on, args=(line, seen))
            reader.start()
            watched = finished(run, device)
            reader.join(DEADLINE_S)
            assert told.until("end")[0]["outcome"] == "completed"
        got = stalled.records_got()
        stalled.socket.close()
    assert watched == alone
    assert set(watched[1].values()) <= {0, 1}
    assert seen[-1] == RECORDS - 1
    assert len(got) < len(seen) / 2  # it really stood still, and the other did not
    hops = run.status()["hops"]
    [feed] = [hop for name, hop in hops.items() if name.startswith("ui:")] or [{"dropped": 0}]
    assert feed["dropped"] == 0


def read_on(line: Any, seen: list[float]) -> None:
    """Read values to the end of the recording."""
    while "end" not in (message := taken(line)):
        seen += [sample["value"] for sample in message["samples"].values()]


def test_a_run_describes_its_devices_and_channels(root: Path, begin: Begin) -> None:
    """Commands with their parameters, alarm bands, and nothing that a sample would change."""
    device = ScriptedDevice("pump", limit=5)
    band = {
        "name": "flow",
        "device": "pump",
        "field": "value",
        "unit": "V",
        "alarm": {"low": -1.0, "high": 900.0},
    }
    with gapless.connect(root, deadline_s=60) as client:
        run = Run(SmallRig([device], extra_channels=[band]), client, name="x")  # type: ignore[arg-type]
        run.start()
        try:
            told = begin().api("/live/x").json()["status"]["about"]
            with ControlClient.connect(client._store.bundle("x")) as direct:
                assert direct.describe() == told
        finally:
            run.stop("enough", by="test")
            assert run.wait(DEADLINE_S) is not None
    commands = told["devices"]["pump"]["commands"]
    assert set(commands) == {"echo", "slow", "break"}
    assert commands["slow"]["parameters"] == [
        {"name": "seconds", "type": "float", "required": True, "default": None}
    ]
    assert (told["channels"]["flow"]["low"], told["channels"]["flow"]["high"]) == (-1.0, 900.0)
    assert told["channels"]["pump_value"]["unit"] == "V"
    assert json.dumps(told, allow_nan=False)
