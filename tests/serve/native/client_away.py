"""A sequence, or a layer of one, whose client on another machine is away and may come back."""

from __future__ import annotations

from pathlib import Path

from gapless.serve.native.writing import NativeWriting
from gapless.serve.server import Server

from .raw_writer import RawWriter


def leave_open(root: Path, name: str, layer_of: str | None = None) -> None:
    """Begin to record from afar and let the server end meanwhile."""
    with Server(root, "127.0.0.1", 0, doors=[NativeWriting]) as server:
        known = {"spooled": True} if layer_of is None else {"spooled": True, "layer_of": layer_of}
        writer = RawWriter(server.url, name, **known)
        writer.open()
        server.stop(0.1)
        writer.close()
