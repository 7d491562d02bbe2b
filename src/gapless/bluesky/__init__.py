"""Bluesky documents to sequences and back: nothing here imports Bluesky, Tiled or a file format."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gapless.bluesky.delivery import deliver as deliver
    from gapless.bluesky.document_source import documents as documents
    from gapless.bluesky.normalizer import RunNormalizer as RunNormalizer
    from gapless.bluesky.router import RunRouter as RunRouter
    from gapless.bluesky.run_writer import RunWriter as RunWriter
    from gapless.bluesky.stored_run import StoredRun as StoredRun
    from gapless.bluesky.tiled_writer import TiledWriter as TiledWriter
    from gapless.bluesky.writer import Writer as Writer

_HOMES: Final = {
    "Writer": "writer",
    "RunNormalizer": "normalizer",
    "RunRouter": "router",
    "RunWriter": "run_writer",
    "documents": "document_source",
    "StoredRun": "stored_run",
    "deliver": "delivery",
    "TiledWriter": "tiled_writer",
}

__all__ = [
    "RunNormalizer",
    "RunRouter",
    "RunWriter",
    "StoredRun",
    "TiledWriter",
    "Writer",
    "deliver",
    "documents",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is used first."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
