"""When a recording act began and ended, by the clock of the machine that recorded."""

from __future__ import annotations

from gapless.store.bundle_state import Folder


def opened_ns(folder: Folder) -> int:
    """Return when a sequence or layer was opened, in ns since 1970."""
    known = folder.manifest["record"] if folder.manifest is not None else folder.description
    return int(known.get("opened_ns") or 0)


def sealed_ns(folder: Folder) -> int | None:
    """Return when it was sealed, None while it is not."""
    if folder.manifest is None:
        return None
    found = folder.manifest["record"].get("sealed_ns")
    return None if found is None else int(found)
