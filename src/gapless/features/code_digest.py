"""A digest of a class's source that moves with what it does, not with how it is laid out or commented."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import textwrap
from functools import lru_cache
from pathlib import PurePath
from types import ModuleType
from typing import Any


@lru_cache(maxsize=1024)
def code_digest(cls: type) -> str | None:
    """Return the digest of a class and of all that it reaches by name within its own package.

    Comments, docstrings and layout do not count. None where there is no source to read.
    """
    seen: dict[str, str] = {}
    if not _add(cls, _module_name(cls).partition(".")[0], seen):
        return None
    text = "\n".join(f"{name}\n{tree}" for name, tree in sorted(seen.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def _add(thing: Any, package: str, seen: dict[str, str]) -> bool:
    name = f"{_module_name(thing)}.{thing.__qualname__}"
    if name in seen:
        return True
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    except (OSError, TypeError, SyntaxError):
        return False
    _strip(tree)
    seen[name] = ast.dump(tree)
    module = sys.modules.get(thing.__module__)
    if module is not None:
        for used in sorted(_names(tree)):
            _add_used(used, module, package, seen)
    for parent in getattr(thing, "__bases__", ()):
        if _module_name(parent).partition(".")[0] == package:
            _add(parent, package, seen)
    return True


def _add_used(dotted: str, module: ModuleType, package: str, seen: dict[str, str]) -> None:
    """Follow a name from a module: into functions and classes of the package, and to constants."""
    first, *rest = dotted.split(".")
    value = vars(module).get(first)
    for attribute in rest:
        if not isinstance(value, ModuleType):
            break
        value = vars(value).get(attribute)
    if inspect.isclass(value) or inspect.isfunction(value):
        if _module_name(value).partition(".")[0] == package:
            _add(value, package, seen)
    elif first in vars(module) and isinstance(value, int | float | str | bytes | tuple | frozenset | bool):
        seen[f"{_name_of_module(module.__name__)}.{dotted}"] = repr(value)


def _module_name(thing: Any) -> str:
    return _name_of_module(thing.__module__)


def _name_of_module(name: str) -> str:
    """Return what a module is called where it is imported; a script is the same code run or imported."""
    if name != "__main__":
        return name
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return str(spec.name)
    return PurePath(file).stem if file else name


def _names(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            dotted = _dotted(node)
            if dotted:
                found.add(dotted)
    return found


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        left = _dotted(node.value)
        return f"{left}.{node.attr}" if left else ""
    return ""


def _strip(tree: ast.AST) -> None:
    """Take docstrings out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
