"""The files of a journal besides its segments: header, lock, topics, closing words."""

from __future__ import annotations

import json
import os
import secrets
import socket
import struct
from pathlib import Path
from typing import Any

from crc32c import crc32c

from gapless._version import __version__
from gapless.errors import GaplessError, IntegrityError
from gapless.model.metadata import canonical_json
from gapless.store.layout import CLOSING_BYTES, FORMAT, MAKING, Bundle
from gapless.store.platform import Platform

_PENDING_SPACE = "pending.reserved"
_PENDING_BYTES = 4096
_CLOSING = struct.Struct("<8sII")
_CLOSING_MAGIC = b"GLCW\x01\0\0\0"


def make_header(
    name: str,
    *,
    platform: Platform,
    group: str | None = None,
    metadata: dict[str, Any] | None = None,
    base: dict[str, str] | None = None,
    window_ms: int = 250,
    max_unsynced_bytes: int = 64 << 20,
) -> dict[str, Any]:
    """Return the description of a new sequence that its journal repeats in every segment.

    The nonce tells this journal's frames from any other's; host, boot id and pid are for messages only.
    """
    return {
        "format": FORMAT,
        "name": name,
        "group": group,
        "metadata": metadata or {},
        "base": base,
        "uid": secrets.token_hex(16),
        "nonce": secrets.randbits(63),
        "opened_ns": platform.wall_ns(),
        "clock": {"wall_ns": platform.wall_ns(), "boot_ns": platform.boot_ns()},
        "durability": {"window_ms": window_ms, "max_unsynced_bytes": max_unsynced_bytes},
        "producer": {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "boot_id": platform.boot_id(),
            "version": __version__,
        },
    }


def create(bundle: Bundle, header: dict[str, Any], platform: Platform) -> int:
    """Make an empty durable journal in an existing folder and return the descriptor that owns it.

    It is made under another name and renamed when it is owned and complete, so that no other process
    ever meets a journal without an owner and a header.
    """
    making = bundle.path / MAKING
    making.mkdir()
    lock_fd = platform.lock(making / "lock")
    try:
        write_checked(making / "open.json", header, platform)
        reserve_last_words(making, platform)
        platform.replace(making, bundle.journal)
        platform.sync_directory(bundle.path)
        platform.sync_directory(bundle.path.parent)
    except OSError:
        platform.close(lock_fd)
        raise
    return lock_fd


def reserve_last_words(folder: Path, platform: Platform) -> None:
    """Take the space of a failing recording's words now, so that a full disk cannot refuse them later."""
    for name, size_bytes in (("closing", CLOSING_BYTES), (_PENDING_SPACE, _PENDING_BYTES)):
        fd = platform.open_update(folder / name)
        try:
            platform.reserve(fd, size_bytes)
        finally:
            platform.close(fd)


def append_topic(bundle: Bundle, line: dict[str, Any], platform: Platform) -> None:
    """Keep a second copy of a topic's declaration, so that one damaged frame does not cost a topic."""
    fd = platform.open_append(bundle.journal / "topics.jsonl")
    try:
        platform.write(fd, [_checked_line(line)])
    finally:
        platform.close(fd)


def mend_topics(bundle: Bundle, platform: Platform) -> None:
    """End a line that a kill has torn, so that the next declaration begins one of its own."""
    path = bundle.journal / "topics.jsonl"
    if not path.exists() or path.read_bytes().endswith(b"\n"):
        return
    fd = platform.open_append(path)
    try:
        platform.write(fd, [b"\n"])
    finally:
        platform.close(fd)


def read_topics(bundle: Bundle) -> list[dict[str, Any]]:
    """Return the declarations of the second copy that are whole."""
    try:
        lines = (bundle.journal / "topics.jsonl").read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        crc, _, body = line.partition(b" ")
        if body and crc == b"%08x" % crc32c(body):
            found.append(json.loads(body))
    return found


def _checked_line(document: dict[str, Any]) -> bytes:
    body = canonical_json(document)
    return b"%08x %s\n" % (crc32c(body), body)


def write_closing(bundle: Bundle, words: bytes, platform: Platform) -> bool:
    """Leave the last words of a failing recording in space that was reserved at its start.

    Returns False where even that is refused: the recording has failed already and says so elsewhere.
    """
    body = words[: CLOSING_BYTES - _CLOSING.size]
    try:
        fd = os.open(bundle.journal / "closing", os.O_RDWR)
        try:
            os.pwrite(fd, _CLOSING.pack(_CLOSING_MAGIC, len(body), crc32c(body)) + body, 0)
            platform.data_sync(fd)
        finally:
            os.close(fd)
    except OSError:
        return False
    return True


def read_closing(bundle: Bundle) -> dict[str, Any] | None:
    """Return the last words of a failed recording, if it left any that are whole."""
    try:
        raw = (bundle.journal / "closing").read_bytes()
    except FileNotFoundError:
        return None
    if len(raw) < _CLOSING.size:
        return None
    magic, length, crc = _CLOSING.unpack_from(raw)
    body = raw[_CLOSING.size : _CLOSING.size + length]
    if magic != _CLOSING_MAGIC or crc32c(body) != crc:
        return None
    try:
        words: dict[str, Any] = json.loads(body)
    except ValueError:  # longer than the reserved space
        return None
    return words


def clear_closing(bundle: Bundle, platform: Platform) -> None:
    """Take the last words back, durably: the recording goes on after all. Their space stays reserved."""
    if read_closing(bundle) is None:
        return
    fd = platform.open_update(bundle.journal / "closing")
    try:
        platform.write(fd, [bytes(_CLOSING.size)])
        platform.data_sync(fd)
    finally:
        platform.close(fd)


def write_checked(path: Path, document: dict[str, Any], platform: Platform) -> None:
    """Write a JSON file of the journal atomically, with a CRC over its content."""
    platform.write_atomically(path, _checked(document))


def read_checked(path: Path) -> dict[str, Any] | None:
    """Return the content of a file of :func:`write_checked`, or None where it is absent or damaged."""
    try:
        document = json.loads(path.read_bytes())
        content: dict[str, Any] = document["content"]
        good = document["crc32c"] == f"{crc32c(canonical_json(content)):08x}"
    except (FileNotFoundError, ValueError, KeyError, TypeError, GaplessError):
        return None
    return content if good else None


def write_pending(bundle: Bundle, words: dict[str, Any], platform: Platform) -> None:
    """Mark the bundle as pending, durably, in space that was reserved at its start.

    Words that do not fit are cut; a rename needs no new space.
    """
    body = _checked(words)
    while len(body) > _PENDING_BYTES:
        words = {"error": words["error"][: len(words["error"]) // 2], "notifications": []}
        body = _checked(words)
    space = bundle.journal / _PENDING_SPACE
    fd = platform.open_update(space)
    try:
        platform.write(fd, [body.ljust(_PENDING_BYTES)])  # JSON may end in spaces
        platform.data_sync(fd)
    finally:
        platform.close(fd)
    platform.replace(space, bundle.pending)
    platform.sync_directory(bundle.journal)


def _checked(document: dict[str, Any]) -> bytes:
    return canonical_json({"crc32c": f"{crc32c(canonical_json(document)):08x}", "content": document})


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file of the store, or raise IntegrityError naming it."""
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise IntegrityError(
            "a file is not the JSON that was written", found=str(path), expected="JSON"
        ) from error
    if not isinstance(document, dict):
        raise IntegrityError(
            "a file is not the JSON that was written", found=str(path), expected="a JSON object"
        )
    return document
