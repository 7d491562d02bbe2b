"""Addresses of files: from the URI in a document to a path on this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gapless.errors import NotFound

_DRIVE = re.compile(r"/?[A-Za-z]:[/\\]")


def is_local(uri: str) -> bool:
    """Tell whether a URI names a file of this machine: ``file:`` with no host but this one, or a plain path."""
    if _DRIVE.match(uri):
        return True
    parts = urlsplit(uri)
    return parts.scheme in ("", "file") and parts.netloc in ("", "localhost")


def local_path(uri: str) -> Path:
    """Return the path that a ``file:`` URI or a plain path names; raises NotFound for one on another machine.

    Percent escapes are taken for what they stand for. A name that really holds a percent sign and was never
    escaped is taken as it is where that file exists, and so is one with a raw ``#`` or ``?``.
    """
    if not is_local(uri):
        raise NotFound(
            "the data lies on another machine or service, which is not read from here",
            found=uri,
            expected="a file: URI",
            next_step="fetch it from its address",
        )
    text = _path_text(uri)
    raw = Path(_for_system(text))
    return raw if "%" in text and raw.exists() else Path(_for_system(unquote(text)))


def _path_text(uri: str) -> str:
    """Return what follows scheme and host; unlike ``urlsplit``, with ``#`` and ``?`` in it."""
    if not uri.lower().startswith("file:"):
        return uri
    rest = uri[len("file:") :]
    if not rest.startswith("//"):
        return rest
    host, slash, path = rest[2:].partition("/")
    return f"{slash}{path}" if slash else f"/{host}"


def _for_system(text: str) -> str:
    return text[1:] if os.name == "nt" and _DRIVE.match(text) and text.startswith("/") else text
