"""How a delivered run leaves the local store: never with rows that came in the last moment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gapless.client.tombstone import tombstone_of
from gapless.errors import SequenceOwned
from gapless.store.folder import FolderStore
from gapless.store.layout import Bundle

if TYPE_CHECKING:
    from gapless.client.client import Client
    from gapless.client.sequence_handler import SequenceHandler


def leave(client: Client, handler: SequenceHandler) -> bool:
    """Move a sequence to the trash if it has no layer beyond those that ``handler`` read; else it stays, False.

    A layer that was only begun counts. The layers are compared again when the sequence is out of the way, since
    from then on none can begin; one that another thread is writing goes on when the sequence is back in its
    place. Raises what discarding raises.
    """
    known = _layer_folders(handler.path)
    if len(known) != len(handler.layers):
        return False
    store = FolderStore(client.path, create=False)
    bundle = store.bundle(handler.name)
    try:
        buried = store.discard_unsealed(bundle, tombstone_of(handler.name, bundle))
    except SequenceOwned:
        if not bundle.manifest.exists():
            raise
        return False  # a layer of it was begun a moment ago
    trashed = store.trash / buried.stem
    if _layer_folders(trashed) == known:
        client.catalog.forget(handler.name)
        return True
    store.platform.replace(trashed, bundle.path)
    for tombstone in (buried, bundle.path / "tombstone.json"):
        tombstone.unlink()
    return False


def _layer_folders(path: Path) -> list[str]:
    return [layer.name for layer in Bundle(path).layer_paths()]
