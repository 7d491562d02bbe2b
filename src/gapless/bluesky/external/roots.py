"""The folders below which external files may be opened for somebody else."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from gapless.errors import NotFound


class Roots:
    """Some folders. A file lies below one if it does so when all symbolic links are followed.

    Raises NotFound for a folder that there is not.
    """

    def __init__(self, folders: Iterable[str | os.PathLike[str]] = ()) -> None:
        if isinstance(folders, str):
            folders = [folders]
        self._folders = [_resolved(Path(folder)) for folder in folders]

    def __repr__(self) -> str:
        return f"Roots({[str(folder) for folder in self._folders]})"

    def check(self, path: Path, uri: str) -> None:
        """Raise NotFound for a file that lies below none of them, whether there is such a file or not."""
        found = path.resolve()
        if not any(found.is_relative_to(folder) for folder in self._folders):
            raise NotFound(
                "an external file lies in no folder that is read from here",
                found=uri,
                next_step=f"serve it with `--external-root {path.parent}` if everyone with the key may read that",
            )


def _resolved(folder: Path) -> Path:
    if not folder.is_dir():
        raise NotFound(
            "there is no such folder to read external files from",
            found=str(folder),
            next_step="name the folder that the detectors write into",
        )
    return folder.resolve()


#: No folder at all.
NOWHERE: Final = Roots()
