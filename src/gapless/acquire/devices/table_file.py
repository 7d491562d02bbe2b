"""Tables that describe devices: those shipped with the package by name, others by path."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any


def shipped_tables() -> list[str]:
    """Return the names of the tables that come with the package."""
    return sorted(item.name.removesuffix(".toml") for item in files(__package__).joinpath("tables").iterdir())


def read_table(name: str, kind: str) -> dict[str, Any]:
    """Return the content of a table for ``kind`` of device (``modbus`` or ``line``).

    A name that ends in .toml or holds a slash is a path. Raises ValueError with words for a person.
    """
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise ValueError(f"there is no table {name}")
        text = path.read_text(encoding="utf-8")
    elif name in shipped_tables():
        text = files(__package__).joinpath("tables", f"{name}.toml").read_text(encoding="utf-8")
    else:
        raise ValueError(f"no table is called {name!r}; there are: {', '.join(shipped_tables())}")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"table {name} is no TOML: {error}") from error
    found = table.pop("kind", None)
    if found != kind:
        raise ValueError(f"table {name} is of kind {found!r}; this device takes tables of kind {kind!r}")
    return table


__all__ = ["read_table", "shipped_tables"]
