"""Whether the code that a process runs is still what its file says."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from types import CodeType


def runs_as_written(loaded: Iterable[CodeType]) -> bool:
    """Tell whether functions that are loaded are those of their files now; one without a file is as written."""
    for code in loaded:
        written = _written(code.co_filename, _stamp(code.co_filename))
        if written is None:
            continue
        if not any(_same(code, other) for other in written.get(code.co_qualname, ())):
            return False
    return True


def _stamp(file: str) -> tuple[int, int]:
    try:
        status = Path(file).stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=256)
def _written(file: str, stamp: tuple[int, int]) -> dict[str, list[CodeType]] | None:
    """Return the functions of a file by qualified name; None where it is no source."""
    del stamp
    try:
        module = compile(Path(file).read_bytes(), file, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError):
        return None
    found: dict[str, list[CodeType]] = {}
    waiting = [module]
    while waiting:
        code = waiting.pop()
        found.setdefault(code.co_qualname, []).append(code)
        waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return found


def _same(one: CodeType, other: CodeType) -> bool:
    """Tell whether two functions do the same; where they stand in their files does not matter."""
    if (one.co_code, one.co_names, one.co_varnames) != (other.co_code, other.co_names, other.co_varnames):
        return False
    pairs = list(zip(one.co_consts, other.co_consts, strict=False))
    return len(one.co_consts) == len(other.co_consts) and all(_same_constant(a, b) for a, b in pairs)


def _same_constant(one: object, other: object) -> bool:
    if isinstance(one, CodeType) and isinstance(other, CodeType):
        return _same(one, other)
    if isinstance(one, str) and isinstance(other, str) and one != other:
        return False
    return type(one) is type(other) and one == other
