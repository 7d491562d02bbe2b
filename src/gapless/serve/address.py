"""Where a server listens: hosts, ports and what of it this machine alone can reach."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from gapless.errors import StateError, UsageError


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port; port 0: one that is free."""

    host: str
    port: int

    @property
    def shown_host(self) -> str:
        """The host as it is written in a URL."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def is_loopback(self) -> bool:
        """Tell whether only programs of this machine can connect; UsageError for a host that is none."""
        return all(ipaddress.ip_address(found).is_loopback for found in self._numbers())

    def check_free(self, option: str = "--port") -> None:
        """Raise StateError, which names the option, when nothing can listen there."""
        if not self.port:
            return
        family = socket.AF_INET6 if ":" in self._numbers()[0] else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((self._numbers()[0], self.port))
                trial.listen()
            except OSError as error:
                raise StateError(
                    "it is not possible to listen there",
                    found=f"{self.shown_host}:{self.port}: {error.strerror}",
                    next_step=f"end the program that uses the port, or take a free one with `{option} 0`",
                ) from error

    def _numbers(self) -> list[str]:
        if not self.host:  # the system would say that this is a loopback, the transport that it is everything
            raise UsageError("a host has a name or number", found="an empty one", field="--host")
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise UsageError(
                "there is no such host", found=f"{self.host}: {error}", field="--host"
            ) from error
        return [str(address[0]).partition("%")[0] for *_, address in found]
