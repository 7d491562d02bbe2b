"""Who is connected, and who gives way when there is no more room.

A connection is a stranger's until a request on it was let in. Strangers have room of their own, which those who
were let in cannot take: whoever asks for an emergency stop, or for the server's health, is heard however many
others there are. Within it the newest comes in, and the oldest of whoever has most gives way: to keep one
other out somebody must be faster than that one, all the time.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address
from typing import Final

from starlette.types import Scope

from gapless.errors import LimitReached

KNOWN: Final = (
    256  # connections of those who were let in: a browser opens up to 6, and one for each WebSocket
)
OF_A_CALLER: Final = 96  # of those, of one key, or of one address where no key is asked for
STRANGERS: Final = 64  # of one address; as many have room beside all that are known
STALLED_S: Final = 300.0  # for a peer that takes nothing of its answer; a video that is paused asks again
STRANGER_STALLED_S: Final = 30.0
VISIT: Final = "gapless.visit"  # where a scope's state holds it
_SUBNET_BITS: Final = 64  # of an IPv6 address: each machine has all the rest


class Visit:
    """One connection. ``transport`` is the one next to the network, below TLS."""

    def __init__(self, room: Room, transport: asyncio.Transport, now_s: float) -> None:
        self.peer = network_of(transport.get_extra_info("peername"))
        self.caller: str | None = None
        self._kept = 0  # requests: the next may begin while one is being left
        self._room = room
        self._transport = transport
        self._moved_s = now_s

    def admit(self, caller: str) -> None:
        """Note who was let in on it; LimitReached when they have too many, or there is no more room."""
        self._room.admit(self, caller)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Within the block it gives way to nobody."""
        self._kept += 1
        try:
            yield
        finally:
            self._kept -= 1

    @property
    def busy(self) -> bool:
        """Whether it gives way to nobody."""
        return self._kept > 0

    def move(self, now_s: float) -> None:
        """Note that the peer took enough of its answer to go on with it."""
        self._moved_s = now_s

    def is_stalled(self, now_s: float) -> bool:
        """Tell whether the peer has left lying what waits for it, for longer than it may."""
        if not self._transport.get_write_buffer_size():
            self._moved_s = now_s
        return now_s - self._moved_s > (STRANGER_STALLED_S if self.caller is None else STALLED_S)

    def leave(self) -> None:
        """Note that the connection has ended; once is enough."""
        self._room.leave(self)

    def reset(self) -> None:
        """Close it so that the peer cannot take what came for all: HTTP/1.0 knows the end of an answer by the close."""
        connected = self._transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.end()

    def end(self) -> None:
        """Close it at once, whatever is still on its way."""
        self.leave()
        self._transport.abort()


class Room:
    """All connections of one server, on its loop. ``clock``: seconds; ``closed`` is called for each that it ends."""

    def __init__(self, clock: Callable[[], float], closed: Callable[[], None]) -> None:
        self._clock = clock
        self._closed = closed
        self._visits: dict[Visit, None] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._visits)

    def enter(self, transport: asyncio.Transport) -> Visit:
        """Take a connection; one too many ends another, or itself where all others have something to do."""
        visit = Visit(self, transport, self._clock())
        strangers = [known for known in self._visits if known.caller is None]
        own = [known for known in strangers if known.peer == visit.peer]
        self._visits[visit] = None
        if len(own) >= STRANGERS:
            self._end(_idle(own) or visit)
        elif len(self._visits) > KNOWN + STRANGERS:
            self._end(_idle(_of_the_most(strangers)) or _idle(strangers) or visit)
        return visit

    def admit(self, visit: Visit, caller: str) -> None:
        """Count a connection as one of a caller's; the oldest without a request gives way."""
        if visit.caller == caller:
            return
        known = [other for other in self._visits if other.caller is not None and other is not visit]
        own = [other for other in known if other.caller == caller]
        for most, those, whose in ((OF_A_CALLER, own, "the caller"), (KNOWN, known, "the server")):
            if len(those) < most:
                continue
            idle = _idle(those)
            if idle is None:
                raise LimitReached(
                    f"{whose} has as many connections as it may", found=f"{len(those)} with a request going on",
                    next_step="close pages or programs that are not needed, and try again",
                )  # fmt: skip
            self._end(idle)
            break
        visit.caller = caller

    def leave(self, visit: Visit) -> None:
        """Forget a connection."""
        self._visits.pop(visit, None)

    def end_stalled(self) -> None:
        """End the connections whose peers take nothing; also those that are closed for all but that."""
        now_s = self._clock()
        for visit in list(self._visits):
            if visit.is_stalled(now_s):
                self._end(visit)

    def _end(self, visit: Visit) -> None:
        self._closed()
        visit.end()


def visit_of(scope: Scope) -> Visit:
    """Return the connection by which a request has come."""
    visit: Visit = scope["state"][VISIT]
    return visit


def network_of(peername: object) -> str:
    """Return by what a peer is counted: its address, of IPv6 the part that it cannot choose."""
    host = peername[0] if isinstance(peername, tuple) else ""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:  # it has gone already
        return ""
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> _SUBNET_BITS << _SUBNET_BITS))


def _idle(visits: Iterable[Visit]) -> Visit | None:
    return next((visit for visit in visits if not visit.busy), None)


def _of_the_most(visits: Iterable[Visit]) -> list[Visit]:
    """Return those of the peer that has most of them."""
    visits = list(visits)
    peers = Counter(visit.peer for visit in visits)
    return [visit for visit in visits if visit.peer == peers.most_common(1)[0][0]]
