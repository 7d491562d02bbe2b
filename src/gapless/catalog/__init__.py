"""Many sequences, findable: a cache of manifests in SQLite, and queries over it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gapless.catalog.catalog import Catalog as Catalog

__all__ = ["Catalog"]


def __getattr__(name: str) -> Any:
    """Import the one public name when it is used first."""
    if name != "Catalog":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("gapless.catalog.catalog").Catalog
