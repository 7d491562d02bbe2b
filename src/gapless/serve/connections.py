"""The connections that a server of this process has accepted, closed from here.

gRPC waits for ever for a client that holds a stream open and says nothing, and Arrow has no call that ends one
on the server's side; a closed socket does.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Collection
from typing import Any

import psutil


def close_connections(port: int, peers: Collection[str] | None = None) -> int:
    """Close what was accepted at a port, of these peers or of all; return how many connections that were.

    ``peers``: as the transport names them, such as ``ipv4:192.0.2.7:53422``.
    """
    wanted = None if peers is None else {_end(peer) for peer in peers}
    accepted = [c for c in psutil.Process().net_connections("tcp") if c.raddr and c.laddr.port == port]
    ends = [(c.fd, (_plain(c.raddr.ip), c.raddr.port)) for c in accepted]
    return sum(_shut(number, port, end) for number, end in ends if wanted is None or end in wanted)


def _end(peer: str) -> tuple[Any, int]:
    host, _, port = peer.partition(":")[2].rpartition(":")
    return _plain(host.strip("[]")), int(port)


def _plain(host: str) -> Any:
    """Return an address in one form: a socket for both families names IPv4 ones as IPv6."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _shut(number: int, port: int, end: tuple[Any, int]) -> bool:
    """Shut the socket with this file number down, if it still joins that port and peer; return whether it did."""
    try:
        with socket.socket(fileno=os.dup(number)) as connection:
            host, number_there = connection.getpeername()[:2]
            if connection.getsockname()[1] != port or (_plain(host), number_there) != end:
                return False
            connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # it ended by itself
        return False
    return True
