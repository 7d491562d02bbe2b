"""The key under which a stream, or an array of one, stands on the server."""

from __future__ import annotations

import hashlib
import re

_IN_NO_ADDRESS = re.compile(r"[/?#\x00-\x1f\x7f\ud800-\udfff]|%(?=[0-9A-Fa-f]{2})")
_TABLE = re.compile(r"internal(_\d+)?")


def stream_key(name: str) -> str:
    """Return a stream's name, or a like key where an address cannot hold the name; equal for equal names."""
    if name not in ("", ".", "..") and not _IN_NO_ADDRESS.search(name):
        return name
    return _another(name)


def array_key(name: str) -> str:
    """Return a data key as the key of an array beside the stream's tables, or a like one as for streams."""
    return _another(name) if is_table(name) else stream_key(name)


def is_table(key: str) -> bool:
    """Tell whether a child of a stream is one of its tables."""
    return _TABLE.fullmatch(key) is not None


def _another(name: str) -> str:
    like = _IN_NO_ADDRESS.sub("_", name).replace(".", "_") or "_"
    return f"{like}-{hashlib.sha256(name.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"
