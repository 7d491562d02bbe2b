"""Many sequences, findable: a cache of manifests in SQLite, and queries over it."""

from __future__ import annotations

from gapless.catalog.catalog import Catalog

__all__ = ["Catalog"]
