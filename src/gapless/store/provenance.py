"""What made a recording: command, working tree, packages, machine."""

from __future__ import annotations

import platform as system
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any


def provenance(header: dict[str, Any]) -> dict[str, Any]:
    """Return where the sequence came from; read without running any program."""
    return {
        "sequence": header["name"],
        "uid": header["uid"],
        "producer": header["producer"],
        "command": list(sys.argv),
        "python": sys.version.split()[0],
        "system": system.platform(),
        "cwd": str(Path.cwd()),
        "git_commit": git_commit(Path.cwd()),
        "packages": _packages(),
    }


@lru_cache(maxsize=1)
def _packages() -> dict[str, str]:
    found = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found[str(name).lower()] = str(distribution.version)
    return dict(sorted(found.items()))


def git_commit(folder: Path) -> str | None:
    """Return the commit checked out in the folder or a parent of it, or None outside a git work tree."""
    for parent in (folder, *folder.parents):
        git = parent / ".git"
        if git.is_dir():
            return _head(git)
    return None


def _head(git: Path) -> str | None:
    try:
        text = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not text.startswith("ref: "):
            return text
        name = text.removeprefix("ref: ")
        loose = git / name
        if loose.exists():
            return loose.read_text(encoding="utf-8").strip()
        for line in (git / "packed-refs").read_text(encoding="utf-8").splitlines():
            if line.endswith(f" {name}"):
                return line.split(" ", 1)[0]
    except OSError:  # an unreadable or half-made repository is no reason not to record
        return None
    return None
