"""Files that a dead writer was adding to a sequence and never noted: they belong to no artifact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gapless.store.layout import Bundle
from gapless.store.platform import Platform


def put_unnoted_aside(bundle: Bundle, artifacts: Iterable[Mapping[str, Any]], platform: Platform) -> None:
    """Move every file of ``artifacts/`` that the journal never named to ``journal/quarantine``, under its name.

    A copy or an upload is noted after its last byte is durable, so such a file is one that nobody was told
    of. Its bytes stay, but not as a part of the sequence.
    """
    noted = {entry.get("path") for entry in artifacts}
    found = bundle.artifacts.iterdir() if bundle.artifacts.is_dir() else ()
    stray = [path for path in found if path.relative_to(bundle.path).as_posix() not in noted]
    if not stray:
        return
    folder = bundle.journal / "quarantine"
    folder.mkdir(exist_ok=True)
    for path in stray:
        platform.replace(path, folder / path.name)
    platform.sync_directory(folder)
    platform.sync_directory(bundle.journal)
    platform.sync_directory(bundle.artifacts)
