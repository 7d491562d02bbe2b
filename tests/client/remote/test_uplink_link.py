"""The bad network itself: what it promises to the tests that stand on it."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest
from tests.client.remote.write_server import PATIENCE_S, wait_for

from gapless.testing.network import Link


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets."""

    def handle(self) -> None:
        """Echo until the other side ends."""
        while data := self.request.recv(65_536):
            self.request.sendall(data)


@pytest.fixture
def link() -> Iterator[Link]:
    """A link to a server that sends everything back."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as echo:
        echo.daemon_threads = True
        serving = threading.Thread(target=echo.serve_forever, args=(0.02,))
        serving.start()
        with Link(echo.server_address) as between:  # type: ignore[arg-type] # of IPv4
            yield between
        echo.shutdown()
        serving.join()


def connect(link: Link) -> socket.socket:
    """Return a connection through the link."""
    connection = socket.create_connection(("127.0.0.1", link.port), timeout=PATIENCE_S)
    wait_for(lambda: link.connections, "the link met the connection")
    return connection


def echoed(connection: socket.socket, data: bytes) -> bytes:
    """Send bytes and return as many that come back."""
    connection.sendall(data)
    back = b""
    while len(back) < len(data) and (more := connection.recv(65_536)):
        back += more
    return back


def test_bytes_pass_in_order_also_when_they_are_slow_and_late(link: Link) -> None:
    """Delay and a limit change no byte."""
    link.delay_s, link.bytes_per_s = 0.01, 2_000_000
    data = bytes(range(256)) * 400
    with connect(link) as connection:
        assert echoed(connection, data) == data
    assert link.passed_bytes == 2 * len(data)


def test_a_cut_breaks_what_is_open_and_refuses_what_is_new(link: Link) -> None:
    """Until it is mended."""
    with connect(link) as connection:
        link.cut()
        assert connection.recv(1) == b""
    with socket.create_connection(("127.0.0.1", link.port), timeout=PATIENCE_S) as refused:
        assert refused.recv(1) == b""
    link.mend()
    with connect(link) as connection:
        assert echoed(connection, b"again") == b"again"


def test_a_hold_lets_nothing_pass_and_tells_nobody(link: Link) -> None:
    """The bytes come when the network is back."""
    with connect(link) as connection:
        link.hold()
        connection.sendall(b"later")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(5)
        link.mend()
        connection.settimeout(PATIENCE_S)
        assert connection.recv(5) == b"later"


def test_no_thread_outlives_the_link(link: Link) -> None:
    """Closing ends everything, held or not."""
    with connect(link):
        link.hold()
        link.close()
    assert not [t for t in threading.enumerate() if t.name == "gapless-link"]
