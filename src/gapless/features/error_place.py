"""Where in somebody's own files an error comes from."""

from __future__ import annotations

import os
import sysconfig
import traceback
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def error_place(error: BaseException) -> str:
    """Return FILE:LINE of an error, in the innermost file that is not installed; "" if there is none.

    A file below the working folder is named from there.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(error.filename)}:{error.lineno}"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename)]
    return f"{_short(own[-1].filename)}:{own[-1].lineno}" if own else ""


def _is_own(name: str) -> bool:
    return not name.startswith("<") and not name.startswith(_installed())


@cache
def _installed() -> tuple[str, ...]:
    """Return the folders of this package, of Python and of everything installed."""
    folders = {sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(f"{folder}{os.sep}" for folder in sorted(folders | {str(_PACKAGE)}))


def _short(name: str) -> str:
    path = Path(name)
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else name
