"""Files that belong to a sequence: copied into the bundle, or named by URI."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from gapless.errors import NameTaken, NotFound
from gapless.model.names import to_component
from gapless.store.layout import Bundle
from gapless.store.platform import Platform

_CHUNK_BYTES = 1 << 20


def artifact_entry(
    bundle: Bundle,
    path_or_uri: str | os.PathLike[str],
    name: str | None,
    media_type: str,
    platform: Platform,
    sequence: str,
) -> dict[str, Any]:
    """Return the entry of an artifact; a local file is copied and synced first."""
    text = os.fspath(path_or_uri)
    if "://" in text and not text.startswith("file://"):
        return {
            "name": name or text.rsplit("/", 1)[-1] or text,
            "media_type": media_type,
            "uri": text,
            "bytes": None,
            "sha256": None,
        }
    source = Path(text.removeprefix("file://"))
    if not source.is_file():
        raise NotFound("there is no such file to add", sequence=sequence, found=str(source))
    name = name or source.name
    target = bundle.artifacts / to_component(name)
    bundle.artifacts.mkdir(exist_ok=True)
    platform.sync_directory(bundle.path)
    if target.exists():
        raise NameTaken("the sequence has an artifact of that name", sequence=sequence, found=name)
    digest, size = _copy(source, target, platform)
    return {
        "name": name,
        "media_type": media_type,
        "path": target.relative_to(bundle.path).as_posix(),
        "bytes": size,
        "sha256": digest,
    }


def _copy(source: Path, target: Path, platform: Platform) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    fd = platform.create(partial)
    try:
        with source.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += platform.write(fd, [chunk])
        platform.data_sync(fd)
    finally:
        platform.close(fd)
    platform.replace(partial, target)
    platform.sync_directory(target.parent)
    return digest.hexdigest(), size
