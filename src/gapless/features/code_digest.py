"""A digest of a class's source that moves with what it does, not with how it is laid out or commented."""

from __future__ import annotations

import hashlib
import sys
from types import CodeType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from gapless.errors import IdentityRefused
from gapless.features.canonical import canonical_text
from gapless.features.loaded_code import runs_as_written
from gapless.features.source_reach import SourceReach, source_name

UNKNOWN = "unknown"  # the file was changed after it was loaded: what runs is in no file
_KNOWN: WeakKeyDictionary[type, tuple[frozenset[str], tuple[CodeType, ...], str | None]] = WeakKeyDictionary()


def code_digest(cls: type) -> str | None:
    """Return the SHA-256 of a class's source and of all that it reaches by name in its own package.

    Counted are its bases, and the functions, classes, decorators and constants that these use, transitively;
    those of other packages, data files, comments, docstrings and layout are not. A module without a package
    counts those in its own folder as its package. None where there is no source to read. The source is read
    again only after code was loaded again, so the digest is that of the code which runs.
    """
    known = _KNOWN.get(cls)
    if known is not None and known[1] == _loaded_code(cls, known[0]):
        return known[2]
    modules, digest = _read(cls)
    if digest is not None and not runs_as_written(_loaded_code(cls, modules)):
        digest = UNKNOWN
    _KNOWN[cls] = modules, _loaded_code(cls, modules), digest
    return digest


def feature_code(feature: Any, ds: Any = None) -> str | None:
    """Return the digest of a feature's source, and of the class that its ``code_class(ds)`` names, if it has that."""
    own = code_digest(type(feature))
    ask = getattr(feature, "code_class", None)
    cls = None if ask is None else ask(ds)
    theirs = None if cls is None else code_digest(cls)
    return own if theirs is None else hashlib.sha256(f"{own}\n{theirs}".encode()).hexdigest()


def user_code(cls: type) -> str | None:
    """Return the digest of a class of the user's; None for one of gapless, whose version says that it changed."""
    return None if cls.__module__.partition(".")[0] == "gapless" else code_digest(cls)


def _read(cls: type) -> tuple[frozenset[str], str | None]:
    """Return the modules that a class's source reaches, and the digest of what it reaches in them."""
    reach = SourceReach.of(cls)
    if reach is None or not reach.add(cls):
        return frozenset(), None
    made_from = getattr(cls, "__wrapped__", None)  # the function that a decorator made a class of
    own = [thing for thing in (*cls.__mro__[1:], made_from) if thing is not None and reach.owns(thing)]
    for thing in own:
        reach.add(thing)
    shapes = {**reach.shapes, **_enclosed(cls)}
    text = "\n".join(f"{name}\n{shape}" for name, shape in sorted(shapes.items()))
    return frozenset(name for name, source in reach.modules.items() if source), hashlib.sha256(
        text.encode()
    ).hexdigest()


def _enclosed(cls: type) -> dict[str, str]:
    """Return the values that a class's functions took from the function that made it, where they are values."""
    found = {}
    for name, function in vars(cls).items():
        if not isinstance(function, FunctionType):
            continue
        for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                found[f"{name} {variable}"] = canonical_text(cell.cell_contents)
            except (IdentityRefused, ValueError) as error:  # a class, a function, or not set yet
                found[f"{name} {variable}"] = type(error).__name__
    return found


def _loaded_code(cls: type, modules: frozenset[str]) -> tuple[CodeType, ...]:
    """Return the code that is loaded of a class and of modules; loading a changed source changes it."""
    loaded = [vars(module) for name in sorted(modules) if (module := sys.modules.get(name)) is not None]
    if source_name(cls) != cls.__module__:  # a script is loaded under another name
        loaded.append(vars(sys.modules[cls.__module__]))
    code: list[CodeType] = []
    for names in (vars(cls), *loaded):
        for value in list(names.values()):
            code += _code_of(value, names.get("__name__"))
    return tuple(code)


def _code_of(value: Any, module: object) -> list[CodeType]:
    if isinstance(value, FunctionType):
        return [value.__code__]
    if isinstance(value, type) and value.__module__ == module:
        return [part.__code__ for part in vars(value).values() if isinstance(part, FunctionType)]
    return []
