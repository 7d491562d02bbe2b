"""Annotations of a class body become field specifications; what cannot be a column is refused there."""

from __future__ import annotations

import collections.abc
import inspect
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeGuard

from gapless.errors import SchemaRefused
from gapless.model.ontology.leaf import DTYPES, PYTHON_TYPES, LeafType, ListOf, Scalar

if TYPE_CHECKING:
    from gapless.model.ontology.declaration import OntologyMeta

_LISTS = (list, collections.abc.Sequence)


@dataclass(frozen=True, slots=True)
class FieldOptions:
    """What :func:`field` was given."""

    default: object
    default_factory: object
    unit: str | None = None
    description: str | None = None
    uncertainty: str | float | None = None
    allow_nan: bool | None = None
    shape: tuple[int, ...] | None = None
    dtype: str | None = None


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One declared field: a leaf, a nested type, or a list of a nested type (``many``)."""

    name: str
    options: FieldOptions
    optional: bool = False
    leaf: LeafType | None = None
    nested: OntologyMeta | None = None
    many: bool = False


def resolve(cls: type, frame: types.FrameType) -> dict[str, Any]:
    """Return the class's own annotations as objects, names looked up where the class statement stands."""
    # A holder, since get_type_hints of the class itself would resolve the parents' annotations again.
    holder = type("holder", (), {"__annotations__": dict(inspect.get_annotations(cls))})
    try:
        return typing.get_type_hints(holder, frame.f_globals, frame.f_locals, include_extras=True)
    except NameError as problem:
        raise SchemaRefused(
            f"an annotation of {cls.__qualname__} cannot be resolved: {problem}",
            next_step="import the name above the class, outside of `if TYPE_CHECKING`",
        ) from problem
    except (TypeError, SyntaxError) as problem:
        raise SchemaRefused(f"an annotation of {cls.__qualname__} is not a type: {problem}") from problem


def specify(owner: str, name: str, hint: object, options: FieldOptions) -> FieldSpec | None:
    """Return the specification of one field; None for a ``ClassVar``. Raises SchemaRefused."""
    if typing.get_origin(hint) is ClassVar or hint is ClassVar:
        return None
    hint, optional = _without_none(owner, name, hint)
    spec = FieldSpec(name, options, optional)
    if _is_ontology(hint):
        _no_array_options(owner, spec)
        return replace(spec, nested=hint)
    items = typing.get_args(hint)
    if typing.get_origin(hint) in _LISTS and len(items) == 1 and _is_ontology(items[0]):
        _no_array_options(owner, spec)
        return replace(spec, nested=items[0], many=True)
    return replace(spec, leaf=_leaf(owner, name, hint, options))


def _is_ontology(hint: object) -> TypeGuard[OntologyMeta]:
    return isinstance(hint, type) and hasattr(hint, "_declaration")


def _no_array_options(owner: str, spec: FieldSpec) -> None:
    if spec.options.shape is not None or spec.options.dtype is not None:
        raise SchemaRefused(f"a nested type of {owner} takes neither shape nor dtype", field=spec.name)


def _without_none(owner: str, name: str, hint: object) -> tuple[Any, bool]:
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    members = [member for member in typing.get_args(hint) if member is not type(None)]
    if len(members) != 1 or len(members) == len(typing.get_args(hint)):
        raise SchemaRefused(
            f"a field of {owner} can be one type, or one type or None", field=name, found=hint
        )
    return members[0], True


def _leaf(owner: str, name: str, hint: object, options: FieldOptions) -> LeafType:
    kind = _type_of(owner, name, hint, options.dtype)
    if options.shape is None:
        return kind
    if not isinstance(kind, ListOf) or not options.shape or min(options.shape) < 1:
        raise SchemaRefused(
            f"a shape belongs to a list field of {owner} and has sizes of at least 1",
            field=name,
            found=options.shape,
        )
    return ListOf(kind.item, math.prod(options.shape))


def _type_of(owner: str, name: str, hint: object, dtype: str | None) -> LeafType:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in _LISTS and len(args) == 1:
        return ListOf(_type_of(owner, name, args[0], dtype))
    found = dtype or (args[1] if origin is Annotated else _python_type(hint))
    if found not in DTYPES:
        raise SchemaRefused(
            f"a field of {owner} has a type that is no column",
            field=name,
            found=dtype or hint,
            expected="float, int, bool, str, bytes, an alias such as Float32, a list, or an Ontology type",
        )
    return Scalar(found)


def _python_type(hint: object) -> str | None:
    return PYTHON_TYPES.get(hint) if isinstance(hint, collections.abc.Hashable) else None


def inherit(parent: FieldOptions, child: FieldOptions) -> FieldOptions:
    """Return a nested field's options: a unit or allow_nan of the member holds where the child is silent."""
    return replace(
        child,
        unit=parent.unit if child.unit is None else child.unit,
        uncertainty=parent.uncertainty if child.uncertainty is None else child.uncertainty,
        allow_nan=parent.allow_nan if child.allow_nan is None else child.allow_nan,
        description=": ".join(text for text in (parent.description, child.description) if text) or None,
    )


def take_options(namespace: dict[str, Any], plain: FieldOptions) -> Mapping[str, FieldOptions]:
    """Replace ``field(...)`` in a class body by the defaults that msgspec understands; return the options."""
    import msgspec

    taken = {name: value for name, value in namespace.items() if isinstance(value, FieldOptions)}
    for name, options in taken.items():
        if options.default_factory is not plain.default_factory:
            namespace[name] = msgspec.field(default_factory=typing.cast("Any", options.default_factory))
        elif options.default is not plain.default:
            namespace[name] = options.default
        else:
            del namespace[name]
    return taken
