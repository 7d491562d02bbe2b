"""Where a registry lives: in the catalog of a store, or in an SQLite file of its own."""

from __future__ import annotations

from pathlib import Path

from gapless.catalog.catalog import Catalog
from gapless.catalog.feature_rows import RunTables
from gapless.catalog.schema import FEATURE_SCHEMA
from gapless.catalog.state_database import DurableDatabase
from gapless.errors import NotFound


def open_tables(path: Path) -> tuple[RunTables, Path | None]:
    """Return the tables at ``path`` and the root of the store, None for a file of its own.

    ``path`` is a store, its ``features/`` folder, its ``catalog.db``, or a database file, which is made if
    it is absent. Raises NotFound for a folder that is not there.
    """
    root = _store_of(path)
    if root is not None:
        return Catalog(root).database, root
    if not path.suffix and not path.exists() and not path.name.startswith("."):
        raise NotFound(
            "there is no such store or registry",
            found=str(path),
            expected="a store, its features folder, or a database file such as registry.db",
        )
    return RegistryFile(path), None


class RegistryFile(DurableDatabase):
    """A registry outside of any store. Nothing else knows what is in it, so it is never made anew."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.ensure(FEATURE_SCHEMA)


def _store_of(path: Path) -> Path | None:
    """Return the root of the store that a path means; None if it means a file outside of any."""
    if path.name == "features" and (path.is_dir() or (not path.exists() and path.parent.is_dir())):
        return path.parent
    if path.is_dir():
        return path
    return path.parent if path.name == "catalog.db" else None
