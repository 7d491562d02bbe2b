"""What the source of a class reaches by name, read from files: nothing is imported and nothing is run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

_LIBRARY = "gapless.features.library"
_SCRIPTS = ("__main__", "__mp_main__")  # a script, and the same in a process that it started
_FOREIGN_FOLDERS = ("site-packages", "dist-packages")
Imports = ast.Import | ast.ImportFrom
Functions = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class ModuleSource:
    """One module: the statements of its top level that bind each name."""

    name: str
    is_package: bool
    bindings: dict[str, list[ast.stmt]]

    def absolute(self, node: ast.ImportFrom) -> str:
        """Return the module that an import names, with the dots resolved."""
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        kept = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*kept, *([node.module] if node.module else [])])


@dataclass
class SourceReach:
    """The top-level statements that were reached so far, as text, by module and name.

    ``folder`` holds ``package``; a ``package`` of None stands for every module in the folder.
    """

    folder: Path
    package: str | None
    shapes: dict[str, str] = field(default_factory=dict)
    modules: dict[str, ModuleSource | None] = field(default_factory=dict)
    _seen: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, thing: Any) -> SourceReach | None:
        """Return an empty reach for the package of a class; None if it comes from no file."""
        file = getattr(sys.modules.get(thing.__module__), "__file__", None)
        if file is None or not Path(file).is_file():
            return None
        path, name = Path(file), source_name(thing)
        depth = name.count(".") + (path.name == "__init__.py")
        folder = path.parents[depth]
        alone = depth == 0 and folder.name not in _FOREIGN_FOLDERS
        return cls(folder, None if alone else _reached_package(name))

    def owns(self, thing: Any) -> bool:
        """Whether a class or function is of the package."""
        return self._source(source_name(thing)) is not None

    def add(self, thing: Any) -> bool:
        """Add a class or function with all that it reaches; False if its module does not define it."""
        source = self._source(source_name(thing))
        outermost = thing.__qualname__.partition(".")[0]
        if source is None or outermost not in source.bindings:
            return False
        self._follow(source, source.bindings, [outermost])
        return True

    def _source(self, name: str) -> ModuleSource | None:
        if name not in self.modules:
            self.modules[name] = self._parsed(name)
        return self.modules[name]

    def _parsed(self, name: str) -> ModuleSource | None:
        parts = name.split(".")
        if self.package is not None and name != self.package and not name.startswith(f"{self.package}."):
            return None
        place = self.folder.joinpath(*parts)
        for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            try:
                tree = ast.parse(path.read_bytes())
            except (FileNotFoundError, NotADirectoryError):
                continue
            except SyntaxError:
                return None
            return ModuleSource(name, path.name == "__init__.py", _bindings(tree.body))
        return None

    def _follow(self, source: ModuleSource, scope: dict[str, list[ast.stmt]], parts: list[str]) -> None:
        """Add what a dotted name stands for in a module."""
        for statement in scope.get(parts[0], source.bindings.get("*", [])):
            if isinstance(statement, Imports):
                for name in _imported(source, statement, parts):
                    self._enter(name.split("."))
            else:
                self._add(source, parts[0], statement)

    def _enter(self, parts: list[str]) -> None:
        """Add what an absolute dotted name stands for: the longest module in it, then a name of that."""
        for length in range(len(parts), 0, -1):
            source = self._source(".".join(parts[:length]))
            if source is not None:
                if length < len(parts):
                    self._follow(source, source.bindings, parts[length:])
                return

    def _add(self, source: ModuleSource, name: str, statement: ast.stmt) -> None:
        if id(statement) in self._seen:
            return
        self._seen.add(id(statement))
        place = f"{source.name}.{name}"
        self.shapes[place] = f"{self.shapes.get(place, '')}{_shape(statement)}"
        local = _bindings([node for node in ast.walk(statement) if isinstance(node, Imports)])
        for used in _names(statement):
            self._follow(source, source.bindings | local, used)


def _reached_package(module: str) -> str:
    """Return the package whose code is a feature's own.

    Of a feature that comes with gapless only the library is: what lies under it changes with releases, which
    keep its values or raise its version.
    """
    top = module.partition(".")[0]
    if top != "gapless":
        return top
    return _LIBRARY if module.startswith(f"{_LIBRARY}.") else module


def source_name(thing: Any) -> str:
    """Return what the module of a thing is called where it is imported: a script is the same code run or imported."""
    name = str(thing.__module__)
    if name not in _SCRIPTS:
        return name
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    return PurePath(file).stem if file else name


def _bindings(body: list[Any]) -> dict[str, list[ast.stmt]]:
    """Return the statements that bind each name, those in the branches of a module included."""
    found: dict[str, list[ast.stmt]] = {}
    for statement in _flat(body):
        for name in _bound(statement):
            found.setdefault(name, []).append(statement)
    for statement in _flat(body):
        for name in _filled(statement):
            known = found.get(name)
            if known and not isinstance(
                known[0], Imports
            ):  # a call on a module, such as logging, is no value
                known.append(statement)
    return found


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        if not isinstance(statement, Functions | ast.ClassDef):
            for _, value in ast.iter_fields(statement):
                inner = value if isinstance(value, list) else []
                yield from _flat([node for node in inner if isinstance(node, ast.stmt)])
                for handler in inner:
                    if isinstance(handler, ast.ExceptHandler):
                        yield from _flat(handler.body)


def _bound(statement: ast.stmt) -> list[str]:
    if isinstance(statement, Functions | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import):
        return [alias.asname or alias.name.partition(".")[0] for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        return [alias.asname or alias.name for alias in statement.names]
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return _stored(statement)
    if isinstance(statement, ast.For):
        return _stored(statement.target)
    if isinstance(statement, ast.With):
        kept = [item.optional_vars for item in statement.items if item.optional_vars is not None]
        return [name for target in kept for name in _stored(target)]
    return []


def _stored(node: ast.AST) -> list[str]:
    names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
    return [name.id for name in names if isinstance(name.ctx, ast.Store)]


def _filled(statement: ast.stmt) -> set[str]:
    """Return the names whose values a statement changes from inside: ``X["k"] = 1``, ``X.k = 1``, ``X.update(y)``."""
    if isinstance(statement, ast.Assign):
        changed: list[ast.expr] = statement.targets
    elif isinstance(statement, ast.AugAssign | ast.AnnAssign):
        changed = [statement.target]
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        changed = [statement.value.func]
    else:
        return set()
    return {root for node in changed if (root := _root(node))}


def _root(node: ast.expr) -> str:
    """Return the name that a subscript or attribute begins with, "" for anything else."""
    if not isinstance(node, ast.Subscript | ast.Attribute):
        return ""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _imported(
    source: ModuleSource, statement: ast.Import | ast.ImportFrom, parts: list[str]
) -> Iterator[str]:
    """Yield the absolute names that a dotted name may stand for after an import."""
    rest = ["", *parts[1:]]
    for alias in statement.names:
        if isinstance(statement, ast.ImportFrom):
            if alias.name == "*":
                yield f"{source.absolute(statement)}.{'.'.join(parts)}"
            elif (alias.asname or alias.name) == parts[0]:
                yield f"{source.absolute(statement)}.{alias.name}{'.'.join(rest)}"
        elif alias.asname == parts[0]:
            yield f"{alias.name}{'.'.join(rest)}"
        elif alias.asname is None and alias.name.partition(".")[0] == parts[0]:
            yield ".".join(parts)


def _names(node: ast.AST) -> Iterator[list[str]]:
    """Yield the dotted names that a statement uses; types of arguments and results change no value."""
    if isinstance(node, ast.Name):
        yield [node.id]
    elif isinstance(node, ast.Attribute) and (dotted := _dotted(node)):
        yield dotted
    else:
        for name, value in ast.iter_fields(node):
            if (isinstance(node, ast.arg) and name == "annotation") or name == "returns":
                continue
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, ast.AST):
                    yield from _names(item)


def _dotted(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (left := _dotted(node.value)):
        return [*left, node.attr]
    return []


def _shape(node: Any) -> str:
    """Return a syntax tree as text without positions and docstrings, alike in all versions of Python."""
    if isinstance(node, list):
        return f"[{','.join(map(_shape, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = []
    for name, value in ast.iter_fields(node):
        shown = value[1:] if name == "body" and _has_docstring(node) else value
        if shown is not None and shown != []:
            fields.append(f"{name}={_shape(shown)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _has_docstring(node: ast.AST) -> bool:
    if not isinstance(node, ast.ClassDef | Functions) or not node.body:
        return False
    first = node.body[0]
    return (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
