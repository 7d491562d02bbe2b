"""Where a server listens, and whom that lets in."""

from __future__ import annotations

import socket

import pytest

from gapless.errors import StateError, UsageError
from gapless.serve.address import Address
from gapless.serve.connections import close_connections


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_alone_reaches_a_loopback(host: str) -> None:
    """Numbers and names of it."""
    assert Address(host, 0).is_loopback()


@pytest.mark.parametrize("host", ["0.0.0.0", "0", "::", "192.0.2.7", "2001:db8::1", "::ffff:192.0.2.7"])
def test_others_reach_everything_else(host: str) -> None:
    """An address of all networks is not one of this machine alone."""
    assert not Address(host, 0).is_loopback()


@pytest.mark.parametrize("host", ["", "no such host", "a" * 300, "127.0.0.1:80", "x\x00y"])
def test_what_is_no_host_is_refused(host: str) -> None:
    """Nothing that does not resolve passes as a loopback."""
    with pytest.raises(UsageError, match="--host"):
        Address(host, 0).is_loopback()


def test_a_taken_port_is_named() -> None:
    """The trial leaves the port as it was."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        other.listen()
        with pytest.raises(StateError, match=f"127.0.0.1:{port}"):
            Address("127.0.0.1", port).check_free()
    Address("127.0.0.1", port).check_free()
    Address("127.0.0.1", port).check_free()


def test_only_the_connections_that_are_meant_are_closed() -> None:
    """Of one peer, or of all at that port; others in the process stay."""
    with socket.socket() as first, socket.socket() as second:
        for listening in (first, second):
            listening.bind(("127.0.0.1", 0))
            listening.listen()
        callers = [socket.create_connection(one.getsockname()) for one in (first, first, second)]
        accepted = [one.accept()[0] for one in (first, first, second)]
        port = first.getsockname()[1]
        number = callers[0].getsockname()[1]
        assert close_connections(port, [f"ipv4:127.0.0.1:{number}"]) == 1
        assert callers[0].recv(1) == b""
        assert close_connections(port, ["ipv6:[::1]:1", f"ipv4:192.0.2.7:{number}"]) == 0
        assert close_connections(port) >= 1
        assert callers[1].recv(1) == b""
        accepted[2].sendall(b"x")
        assert callers[2].recv(1) == b"x"
        for one in (*callers, *accepted):
            one.close()
