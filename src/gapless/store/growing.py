"""Files that others write into a bundle while it is recorded: named at their start, digested at the seal.

Their bytes are not the writer's, so nothing of them is promised before the seal: it seals what it finds. A
file that is not there becomes an entry that says so, never a failed seal.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

from gapless.store.layout import Bundle
from gapless.store.parquet import sha256_file
from gapless.store.platform import Platform

_CHUNK_BYTES = 1 << 20
_QUIET_S = 0.5  # a program that writes pictures, and lost its recorder, has met its broken pipe by then
_WAIT_S = 5.0
_POLL_S = 0.05


def growing_entry(media_type: str, path: str) -> dict[str, Any]:
    """Return what the journal says of a file whose bytes come later; ``path`` is relative to the bundle."""
    return {"media_type": media_type, "path": path, "growing": True, "bytes": None, "sha256": None}


def settle(
    bundle: Bundle, artifacts: dict[str, dict[str, Any]], platform: Platform, *, owner_gone: bool
) -> dict[str, dict[str, Any]]:
    """Return the artifacts as a manifest lists them: every growing one with its size and digest.

    Afterwards the files are synced and nobody can change what was digested: a file whose writer does not
    come to rest is replaced by a copy of what it held. ``owner_gone``: writers may have outlived the
    recorder, so each file is first watched until it is quiet, 5 s at most for all.
    """
    give_up_s = time.monotonic() + _WAIT_S
    settled = {}
    for name, entry in artifacts.items():
        settled[name] = entry
        if entry.get("growing"):
            quiet = not owner_gone or _is_quiet(bundle.path / entry["path"], give_up_s)
            settled[name] = _sealed(bundle, entry, platform, quiet=quiet)
    return settled


def _is_quiet(path: Path, give_up_s: float) -> bool:
    """Watch a file until it did not change for a while; False if it never rested."""
    seen, since_s = _state(path), time.monotonic()
    while time.monotonic() - since_s < _QUIET_S:
        if time.monotonic() > give_up_s:
            return False
        time.sleep(_POLL_S)
        now = _state(path)
        if now != seen:
            seen, since_s = now, time.monotonic()
    return True


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _sealed(bundle: Bundle, entry: dict[str, Any], platform: Platform, *, quiet: bool) -> dict[str, Any]:
    path = bundle.path / entry["path"]
    whole = {"media_type": entry["media_type"]}
    if path.is_symlink() or not path.is_file():  # a link would let the bundle's bytes lie elsewhere
        return whole | {"missing": entry["path"], "bytes": None, "sha256": None}
    before = _state(path)
    if quiet:
        platform.sync_file(path)
        digest, size = sha256_file(path), path.stat().st_size
    if not quiet or _state(path) != before:
        digest, size = copy_file(path, path, platform)
    platform.sync_directory(path.parent)
    return whole | {"path": entry["path"], "bytes": size, "sha256": digest}


def copy_file(source: Path, target: Path, platform: Platform) -> tuple[str, int]:
    """Make ``target`` a durable copy of what ``source`` holds now; return its SHA-256 and size.

    ``target`` may be ``source``: whoever has it open then goes on in a file without a name.
    """
    digest, size = hashlib.sha256(), 0
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    fd = platform.create(partial)
    try:
        with source.open("rb") as file:
            left = os.fstat(file.fileno()).st_size  # a file that grows faster than it is read has no end
            while left > 0 and (chunk := file.read(min(_CHUNK_BYTES, left))):
                digest.update(chunk)
                left -= len(chunk)
                size += platform.write(fd, [chunk])
        platform.data_sync(fd)
    finally:
        platform.close(fd)
    platform.replace(partial, target)
    platform.sync_directory(target.parent)
    return digest.hexdigest(), size
