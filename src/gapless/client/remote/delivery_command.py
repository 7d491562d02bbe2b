"""The command that brings what waits in a spool to its server, as a person pastes it into a shell."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

_TLS = "grpc+tls://"


def delivery_command(spool: Path, url: str, *words: str) -> str:
    """Return `gapless deliver` with its arguments quoted where a shell needs it.

    For a server behind TLS it has a place for the certificates, unless GAPLESS_TLS_ROOTS names them.
    """
    command = shlex.join(["gapless", "deliver", "--spool", str(spool), "--to", url, *words])
    needs_roots = url.lower().startswith(_TLS) and not os.environ.get("GAPLESS_TLS_ROOTS")
    return f"{command} --tls-roots PEM" if needs_roots else command
