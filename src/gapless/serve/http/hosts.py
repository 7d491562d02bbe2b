"""By which names and from which pages this server may be asked.

A page of a stranger can make a browser ask this server, and with a name that it points here (DNS rebinding)
also read the answers. Names and origins that are not ours are therefore refused before anything else.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from gapless.errors import HostRefused, OriginRefused, UsageError

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})
_SHOWN: Final = 100  # characters of a header that is refused


class Hosts:
    """The names of this server: what it listens on, and ``more`` that the operator gave, such as a proxy's.

    One that listens on every address is also asked for by this machine's name and by any number: a number is
    never the name of another site. Raises UsageError for one of ``more`` that is no name.
    """

    def __init__(self, listening: str, more: Iterable[str] = ()) -> None:
        self._more = frozenset(_plain(name) for name in more)
        self._numbers = listening in _EVERYWHERE or not _is_loopback(listening)
        own = {listening.lower()} - _EVERYWHERE
        if listening in _EVERYWHERE:
            own |= {socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}
        self._names = own | _LOOPBACK | self._more

    def check_host(self, header: str | None) -> str:
        """Return the host and port of a Host header; HostRefused for one that is not ours, or none."""
        name = None if header is None else _host_of(header)
        if header is None or name is None or not self._is_ours(name):
            raise HostRefused(
                "this server is not asked for by that name",
                found="no Host" if header is None else header[:_SHOWN],
                expected=", ".join(sorted(self._names)),
            )
        return header

    def check_origin(self, origin: str, host: str, scheme: str) -> None:
        """Raise OriginRefused unless the page that asks was sent by this server, asked for as ``host``.

        Behind a name of the operator's, a proxy may speak TLS for this server: either scheme is ours there.
        """
        parts = urlsplit(origin) if origin.isascii() else urlsplit("")
        schemes = {"http", "https"} if _host_of(host) in self._more else {scheme}
        if parts.netloc.lower() != host.lower() or parts.scheme not in schemes or parts.path:
            raise OriginRefused(
                "a page of another site asks", found=origin[:_SHOWN], expected=f"{scheme}://{host}"
            )

    def _is_ours(self, name: str) -> bool:
        return name in self._names or (self._numbers and _is_number(name))


def _plain(name: str) -> str:
    host = _host_of(name)
    if host is None or host != name.lower().strip("[]"):
        raise UsageError(
            "a name of this server has neither scheme nor port", found=name, field="--http-host",
            next_step="write it as in `--http-host recorder.example.org`",
        )  # fmt: skip
    return host


def _host_of(netloc: str) -> str | None:
    """Return the name in ``host:port`` in small letters, without brackets; None for what is no such thing."""
    try:
        parts = urlsplit(f"//{netloc}")
        plain = parts.netloc == netloc and "@" not in netloc and (parts.port or 0) >= 0
    except ValueError:  # a port or a number that is none
        return None
    return parts.hostname if plain else None


def _is_number(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _is_loopback(name: str) -> bool:
    return name in _LOOPBACK or (_is_number(name) and ipaddress.ip_address(name).is_loopback)
