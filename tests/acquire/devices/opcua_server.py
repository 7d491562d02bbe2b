"""An OPC UA server as a process of its own: ``python opcua_server.py PORT`` prints ``ready`` and serves.

``i``: a counter that goes on every 20 ms; ``setpoint`` and ``count`` are writable; ``broken`` has a bad
status, ``overrun`` that of a queue that was full; ``add`` is a method.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
from datetime import UTC

from asyncua import ua
from asyncua.common.methods import uamethod
from asyncua.common.node import Node
from asyncua.server.server import Server
from asyncua.ua.status_codes import StatusCodes

MOMENT = ua.DateTime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
_PERIOD_S = 0.02


@uamethod
def add(parent: Node, x: float, y: int) -> float:
    """Return a sum."""
    return x + y


async def main(port: int) -> None:
    """Serve until killed."""
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    objects = server.nodes.objects

    async def place(name: str, value: object, kind: ua.VariantType) -> Node:
        return await objects.add_variable(
            ua.NodeId.from_string(f"ns=2;s={name}"), ua.QualifiedName(name, 2), value, kind
        )

    ticking = await place("i", 0.0, ua.VariantType.Double)
    for name, value, kind in (
        ("setpoint", 20.0, ua.VariantType.Float),
        ("count", 7, ua.VariantType.Int16),
        ("mode", "auto", ua.VariantType.String),
    ):
        await (await place(name, value, kind)).set_writable()
    broken = await place("broken", 1.0, ua.VariantType.Double)
    bad = ua.StatusCode(ua.UInt32(StatusCodes.BadSensorFailure))
    await broken.write_value(ua.DataValue(ua.Variant(1.0), bad, SourceTimestamp=MOMENT))
    overrun = await place("overrun", 1.0, ua.VariantType.Double)
    await overrun.write_value(
        ua.DataValue(ua.Variant(1.0), ua.StatusCode(ua.UInt32(0x480)), SourceTimestamp=MOMENT)
    )
    await objects.add_method(
        ua.NodeId.from_string("ns=2;s=add"),
        ua.QualifiedName("add", 2),
        add,
        [ua.VariantType.Double, ua.VariantType.Int32],
        [ua.VariantType.Double],
    )
    async with server:
        print("ready", flush=True)
        for n in itertools.count(1):
            await ticking.write_value(float(n))
            await asyncio.sleep(_PERIOD_S)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main(int(sys.argv[1])))
