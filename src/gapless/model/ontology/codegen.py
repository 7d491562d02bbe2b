"""Compile a type's converters once: object to row and back without reflection per call.

The generated functions name attributes literally, so that flattening an IMU is a handful of attribute
loads and one tuple.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gapless.errors import ValueRefused
from gapless.model.ontology.member import accept, convert_list

if TYPE_CHECKING:
    from gapless.model.ontology.annotation import FieldSpec
    from gapless.model.ontology.declaration import OntologyMeta


class _Source:
    """Lines of one function, and the objects that its names stand for."""

    def __init__(self, **names: object) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = dict(names)
        self._count = 0

    def fresh(self, prefix: str) -> str:
        """Return a name that is not used yet."""
        self._count += 1
        return f"{prefix}{self._count}"

    def bind(self, value: object) -> str:
        """Return a name that stands for the object."""
        name = self.fresh("k")
        self.names[name] = value
        return name

    def compile(self, name: str, signature: str) -> Any:
        """Return the function made of the lines."""
        text = f"def {name}({signature}):\n" + "\n".join(f"    {line}" for line in self.lines)
        exec(compile(text, f"<gapless {name}>", "exec"), self.names)
        return self.names[name]


def compile_flatten(cls: OntologyMeta) -> Callable[[object], tuple[Any, ...]]:
    """Return the function from object to tuple of leaf values; a wrong object raises ValueRefused."""
    source = _Source(accept=accept, convert_list=convert_list)
    top = source.bind(cls)
    source.lines.append(f'if row.__class__ is not {top}: row = accept(row, {top}, "")')
    values = _read_members(source, cls, "row", "", "", assign=False)
    source.lines.append(f"return ({', '.join(values)},)")
    function: Callable[[object], tuple[Any, ...]] = source.compile("flatten", "row")
    return function


def _read_members(
    source: _Source, cls: OntologyMeta, holder: str, path: str, indent: str, *, assign: bool
) -> list[str]:
    """Emit the reading of all members of ``holder``; return the expressions of their leaves.

    Below an optional member each leaf is assigned to a variable, since its value depends on a branch.
    """
    values: list[str] = []
    for spec in cls._declaration.ordered:
        expression, where = f"{holder}.{spec.name}", f"{path}{spec.name}"
        if spec.nested is None or spec.many:
            if spec.nested is not None:
                item = source.bind(compile_to_struct(spec.nested))
                expression = f'convert_list({expression}, {item}, {spec.optional}, "{where}")'
            values.append(_assign(source, expression, indent) if assign else expression)
            continue
        values += _read_nested(source, spec, spec.nested, expression, where, indent, assign)
    return values


def _assign(source: _Source, expression: str, indent: str) -> str:
    name = source.fresh("v")
    source.lines.append(f"{indent}{name} = {expression}")
    return name


def _read_nested(
    source: _Source,
    spec: FieldSpec,
    nested: OntologyMeta,
    expression: str,
    where: str,
    indent: str,
    assign: bool,
) -> list[str]:
    kind = source.bind(nested)
    member = _assign(source, expression, indent)
    if not spec.optional:
        source.lines.append(
            f'{indent}if {member}.__class__ is not {kind}: {member} = accept({member}, {kind}, "{where}")'
        )
        return _read_members(source, nested, member, f"{where}.", indent, assign=assign)
    outer, source.lines = source.lines, []
    values = _read_members(source, nested, member, f"{where}.", f"{indent}    ", assign=True)
    inner, source.lines = source.lines, outer
    source.lines += [
        f"{indent}if {member} is None: {' = '.join(values)} = None",
        f"{indent}else:",
        f'{indent}    if {member}.__class__ is not {kind}: {member} = accept({member}, {kind}, "{where}")',
        *inner,
    ]
    return values


def compile_unflatten(cls: OntologyMeta) -> Callable[[Any], Any]:
    """Return the function from a sequence of leaf values to an object."""
    source = _Source(ValueRefused=ValueRefused)
    width = len(cls.leaves())
    names = [f"v{n}" for n in range(width)]
    source.lines += [
        f"try: {', '.join(names)}, = values",
        "except (TypeError, ValueError) as problem:",
        f'    raise ValueRefused("a {cls.tag} has {width} leaf values", found=values) from problem',
    ]
    source.lines.append(f"return {_build(source, cls, names)}")
    return source.compile("unflatten", "values")  # type: ignore[no-any-return]  # compiled just now


def _build(source: _Source, cls: OntologyMeta, names: list[str]) -> str:
    """Return the expression that builds an object from variables; consumes their names in order."""
    values = []
    for spec in cls._declaration.ordered:
        if spec.nested is None:
            values.append(names.pop(0))
        elif spec.many:
            name, item = names.pop(0), source.bind(compile_from_struct(spec.nested))
            values.append(f"None if {name} is None else [{item}(i) for i in {name}]")
        else:
            before = list(names)
            text = _build(source, spec.nested, names)
            if spec.optional:
                used = before[: len(before) - len(names)]
                text = f"None if {' is '.join((*used, 'None'))} else {text}"
            values.append(text)
    return f"{source.bind(cls)}({', '.join(values)})"


def compile_to_struct(cls: OntologyMeta) -> Callable[[object, str], dict[str, Any]]:
    """Return the function from an item of a list to the mapping that Arrow stores; mappings pass."""
    source = _Source(accept=accept, convert_list=convert_list)
    top = source.bind(cls)
    entries = []
    for spec in cls._declaration.ordered:
        text = f"row.{spec.name}"
        if spec.nested is not None:
            inner = source.bind(compile_to_struct(spec.nested))
            if spec.many:
                text = f"convert_list({text}, {inner}, {spec.optional}, where)"
            else:
                guard = f"None if {text} is None else " if spec.optional else ""
                text = f"{guard}{inner}({text}, where)"
        entries.append(f'"{spec.name}": {text}')
    source.lines += [
        f"if row.__class__ is not {top}:",
        "    if row.__class__ is dict: return row",
        f"    row = accept(row, {top}, where)",
        f"return {{{', '.join(entries)}}}",
    ]
    return source.compile("to_struct", "row, where")  # type: ignore[no-any-return]  # compiled just now


def compile_from_struct(cls: OntologyMeta) -> Callable[[Any], Any]:
    """Return the function from a mapping that Arrow stored to an item of a list."""
    source = _Source()
    values = []
    for spec in cls._declaration.ordered:
        text = f'row["{spec.name}"]'
        if spec.nested is not None:
            inner = source.bind(compile_from_struct(spec.nested))
            built = f"[{inner}(i) for i in {text}]" if spec.many else f"{inner}({text})"
            text = f"None if {text} is None else {built}" if spec.optional else built
        values.append(text)
    source.lines.append(f"return {source.bind(cls)}({', '.join(values)})")
    return source.compile("from_struct", "row")  # type: ignore[no-any-return]  # compiled just now
