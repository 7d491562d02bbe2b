"""The command that brings what waits in a spool to its server, as a person pastes it into a shell."""

from __future__ import annotations

import shlex
from pathlib import Path

_TLS = "grpc+tls://"


def delivery_command(spool: Path, url: str, *words: str) -> str:
    """Return `gapless deliver` with its arguments quoted where a shell needs it.

    For a server behind TLS it has a place for the certificates, which the command takes from nowhere else.
    """
    command = shlex.join(["gapless", "deliver", "--spool", str(spool), "--to", url, *words])
    return f"{command} --tls-roots PEM" if url.lower().startswith(_TLS) else command
