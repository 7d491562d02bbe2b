"""Names of sequences, topics and artifacts, and the path components they become.

One name is one path component: NFC, bytes outside ``[A-Za-z0-9._-]`` percent-encoded, so that a name
can never leave the bundle and reads the same on every system.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

from gapless.errors import NameRefused

MAX_COMPONENT_BYTES = 200  # leaves room for suffixes below the 255 bytes of common file systems
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{n}" for n in range(1, 10)), *(f"lpt{n}" for n in range(1, 10))]
)
_UNCHANGED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # without a dot: devices end at one
RESERVED_TOPICS = ("_events", "_gaps", "_health", "_quarantine")


def to_component(name: str) -> str:
    """Return the path component of a name; the inverse is :func:`from_component`.

    Raises NameRefused for an empty name, control characters, or more than 200 encoded bytes.
    """
    if not isinstance(name, str) or not name:
        raise NameRefused("a name must be text of at least one character", found=name)
    name = unicodedata.normalize("NFC", name)
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise NameRefused("a name may not hold control characters", found=name)
    raw = name.encode()
    out = "".join(chr(b) if b in _PLAIN else f"%{b:02X}" for b in raw)
    if out[0] in "._-":
        out = f"%{ord(out[0]):02X}{out[1:]}"
    if out[-1] == ".":
        out = f"{out[:-1]}%2E"
    if out.split(".")[0].lower() in _DEVICES:  # Windows opens the device even with an extension
        out = f"%{ord(out[0]):02X}{out[1:]}"
    if len(out) > MAX_COMPONENT_BYTES:
        raise NameRefused(
            "a name is too long for a path",
            found=f"{len(out)} bytes when encoded: {name}",
            expected=f"at most {MAX_COMPONENT_BYTES} bytes",
        )
    return out


def from_component(component: str) -> str:
    """Return the name that :func:`to_component` encoded."""
    return unquote(component, errors="strict")


def name_of(component: str) -> str | None:
    """Return the name whose component this is, or None for what :func:`to_component` never makes."""
    if _UNCHANGED.fullmatch(component) and component.lower() not in _DEVICES:
        return component if len(component) <= MAX_COMPONENT_BYTES else None
    try:
        name = from_component(component)
        return name if to_component(name) == component else None
    except (UnicodeDecodeError, NameRefused):
        return None


def fold(name: str) -> str:
    """Return the form in which two names of one store must differ: NFC, case folded."""
    return unicodedata.normalize("NFC", name).casefold()


def check_topic_name(name: str) -> str:
    """Return a user's topic name in NFC, or raise NameRefused.

    A topic may use ``/`` to group; it may not begin with ``_`` (kept for reserved topics), begin or
    end with ``/``, or hold an empty part.
    """
    to_component(name)
    if name.startswith("_"):
        raise NameRefused(
            "a topic name may not begin with '_': those names are reserved",
            topic=name,
            next_step="drop the leading underscore",
        )
    if any(part == "" for part in name.split("/")):
        raise NameRefused("a topic name may not begin or end with '/' or hold '//'", topic=name)
    return unicodedata.normalize("NFC", name)


def check_sequence_name(name: str) -> str:
    """Return a sequence name in NFC, or raise NameRefused."""
    to_component(name)
    if name.startswith("@"):
        raise NameRefused("a sequence name may not begin with '@': @last is a reference", sequence=name)
    return unicodedata.normalize("NFC", name)
