"""An EPICS server as a process of its own; the environment says where. It prints ``ready`` and serves."""

from __future__ import annotations

import asyncio
import itertools
import logging

import caproto  # type: ignore[import-untyped]
from caproto.asyncio.server import Context  # type: ignore[import-untyped]
from caproto.server import PVGroup, pvproperty  # type: ignore[import-untyped]

_PERIOD_S = 0.02


class Bench(PVGroup):  # type: ignore[misc]
    """A counter that goes on by itself, and variables of each kind."""

    i = pvproperty(value=0.0)
    setpoint = pvproperty(value=20.0)
    count = pvproperty(value=7)
    mode = pvproperty(value="auto", enum_strings=["off", "auto", "manual"], dtype=caproto.ChannelType.ENUM)
    label = pvproperty(value="mixer", dtype=caproto.ChannelType.STRING)
    note = pvproperty(value="a text of more than forty characters, as records have them", max_length=100)
    wave = pvproperty(value=[1.0, 2.0, 3.0], max_length=3)
    broken = pvproperty(value=1.0, alarm_group="broken")
    guarded = pvproperty(value=1.0)

    @guarded.putter  # type: ignore[untyped-decorator,no-redef]
    async def guarded(self, instance: object, value: float) -> float:
        """Take nothing above 10."""
        if value > 10:
            raise ValueError("too high")
        return value


async def main() -> None:
    """Serve until killed."""
    bench = Bench(prefix="t:")
    context = Context(bench.pvdb)

    async def tick(_library: object) -> None:
        severity, status = caproto.AlarmSeverity.INVALID_ALARM, caproto.AlarmStatus.READ
        await bench.broken.alarm.write(severity=severity, status=status)
        print("ready", flush=True)
        for n in itertools.count(1):
            await bench.i.write(float(n))
            await asyncio.sleep(_PERIOD_S)

    await context.run(startup_hook=tick)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main())
