"""A client of EPICS servers: the library's connections and threads, begun and ended within a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from contextlib import aclosing

from caproto.threading.client import Context, SharedBroadcaster  # type: ignore[import-untyped]

from gapless.acquire.devices.capture import Capture
from gapless.errors import DeviceFault, DeviceUnreachable
from gapless.flow.deadline import Deadline

_HANG_UP_S = 3.0
_POLL_S = 0.01


def new_client(timeout_s: float) -> Context:
    """Return a client with a broadcaster of its own; ``timeout_s``: how long a server may take to answer."""
    return Context(SharedBroadcaster(), timeout=timeout_s)


async def all_found(name: str, away: Set[str], limit_s: float) -> None:
    """Wait until ``away``, which the library's threads empty, is empty; raise DeviceUnreachable with what is left."""
    deadline = Deadline(limit_s)
    while away:
        if deadline.passed:
            raise DeviceUnreachable(
                f"no server has every variable of {name!r}",
                found=f"no answer for {', '.join(sorted(away))}",
                next_step="check the names, and EPICS_CA_ADDR_LIST in the environment",
            )
        await asyncio.sleep(_POLL_S)


async def hang_up(name: str, client: Context) -> None:
    """End a client's connections and threads; raise DeviceFault where they have not ended after 3 s.

    They are waited for on a daemon thread, which keeps neither the loop nor the process from ending.
    """
    ending = Capture[None](f"{name}-hang-up", lambda _: _end(client))
    try:
        async with asyncio.timeout(_HANG_UP_S), aclosing(ending.stream()) as end:
            await anext(end, None)
    except TimeoutError as error:
        raise DeviceFault(
            f"the connections of {name!r} do not end", expected=f"an end within {_HANG_UP_S:g} s"
        ) from error


def _end(client: Context) -> None:
    """End a client, and the broadcaster that is its own."""
    broadcaster = client.broadcaster
    broadcaster.disconnect(wait=False)
    broadcaster._search_now.set()  # wakes its thread, which would sleep for up to 5 s before it looks
    client.disconnect(wait=True)
    broadcaster.disconnect(wait=True)
    for selecting in (client.selector, broadcaster.selector):
        selecting.selector.close()  # the library leaves it open


__all__ = ["all_found", "hang_up", "new_client"]
