"""The topics that a new layer may only add to with the same columns: those of its base and of other layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from gapless.model.names import fold
from gapless.store.bundle_state import Folder, load_manifest
from gapless.store.declaration import TopicDeclaration
from gapless.store.journal import read_topics
from gapless.store.layout import Bundle

Known = tuple[str, pa.Schema]


class LayerTopics(Mapping[str, Known]):
    """Folded name to name and schema.

    A name that was not there when the layer began is looked for in the other layers whenever it is asked for:
    they may be recorded at the same time, and a topic of one name and two schemas could not be read.
    """

    def __init__(self, base: Path, layer: Path, known: Mapping[str, Known]) -> None:
        self._base = base
        self._layer = layer
        self._known = dict(known)

    def __getitem__(self, name: str) -> Known:
        if name not in self._known:
            for path in Bundle(self._base).layer_paths():
                if path != self._layer:
                    self._known |= {fold(n): (n, s) for n, s in _declared(path) if fold(n) not in self._known}
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _declared(layer: Path) -> Iterator[Known]:
    """Yield the user's topics of a layer in any state; none of one that is gone."""
    lines = [TopicDeclaration.from_json(line) for line in read_topics(Bundle(layer))]
    manifest = load_manifest(layer)  # after the journal: sealing deletes it when the manifest is there
    if manifest is not None:
        folder = Folder(layer, manifest, None)
        yield from ((n, folder.declaration(n).schema) for n in folder.topic_names() if not n.startswith("_"))
        return
    yield from ((line.name, line.schema) for line in lines)
