"""Records a device that is slow to open or to start; for a test that stops it meanwhile."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from gapless.acquire.run import run_rig

from .scripted import ScriptedDevice
from .small_rig import SmallRig

SLOW_S = 1.5


class SlowDevice(ScriptedDevice):
    """Says what it begins, and takes its time for the one that it is told."""

    slow = ""

    async def connect(self) -> None:
        """Open, perhaps slowly."""
        await self._take_time("open")
        await super().connect()

    async def start(self, context: Any) -> None:
        """Start, perhaps slowly."""
        await self._take_time("start")
        await super().start(context)

    async def disconnect(self) -> None:
        """Tell that it is closed."""
        await super().disconnect()
        print("closed", flush=True)

    async def _take_time(self, moment: str) -> None:
        if self.slow == moment:
            print(moment, flush=True)
            await asyncio.sleep(SLOW_S)


def main(store: str, moment: str) -> None:
    """Record into a store and print how it ended."""
    device = SlowDevice()
    device.slow = moment
    result = run_rig(SmallRig([device]), store, name="x", length_s=30.0)  # type: ignore[arg-type]
    ended = {"outcome": str(result.outcome), "sealed": result.sealed, "exit_code": result.exit_code}
    print(json.dumps(ended), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
