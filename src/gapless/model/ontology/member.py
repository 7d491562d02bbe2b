"""Decide what may stand where a type is due; these run only off the fast path."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gapless.errors import ValueRefused
from gapless.model.ontology.declaration import OntologyMeta


def accept(value: Any, due: OntologyMeta, where: str) -> Any:
    """Return an object whose attributes are those of ``due``, or raise ValueRefused naming the member.

    Fits: a subclass or a type with the same columns, if no value would be left out; and a plain object
    where the type with mixins is due, which leaves their columns null.
    """
    given = value.__class__
    plain = due._declaration.root or due
    if not isinstance(given, OntologyMeta) or not _related(given, plain):
        raise _refused("a value has the wrong type", due, where, value)
    _nothing_left_out(value, given, due, where)
    if all(hasattr(value, name) for name in due.__struct_fields__):
        return value
    return due(**{name: getattr(value, name) for name in due.__struct_fields__ if hasattr(value, name)})


def _related(given: OntologyMeta, due: OntologyMeta) -> bool:
    theirs, ours = given._declaration.specs, due._declaration.specs
    return due in given.__mro__ or all(
        name in theirs and (theirs[name].leaf, theirs[name].many) == (spec.leaf, spec.many)
        for name, spec in ours.items()
    )


def _nothing_left_out(value: object, given: OntologyMeta, due: OntologyMeta, where: str) -> None:
    for name in given.__struct_fields__:
        if name in due.__struct_fields__ or getattr(value, name) is None:
            continue
        mixins = [mixin.__name__ for mixin in given._declaration.mixins if name in mixin._declaration.specs]
        if not mixins:
            raise _refused("a value has fields that the topic has no columns for", due, where, value)
        call = f"T.using(**{{{where!r}: {mixins[0]}}})" if where else f"{due.__name__}.using({mixins[0]})"
        raise ValueRefused(
            f"the {due.__name__} carries {name!r}, and the topic has no column for it",
            field=f"{where}.{name}" if where else name,
            next_step=f"create the topic with ontology_type={call}",
        )


def _refused(message: str, due: OntologyMeta, where: str, value: object) -> ValueRefused:
    return ValueRefused(message, field=where or None, found=repr(value), expected=due.__qualname__)


def convert_list(
    items: Any, convert: Callable[[object, str], dict[str, Any]], optional: bool, where: str
) -> list[dict[str, Any]] | None:
    """Return the items as mappings, or raise ValueRefused naming the list field."""
    if items is None and optional:
        return None
    if not isinstance(items, Iterable) or isinstance(items, (str, bytes, dict)):
        raise ValueRefused(
            "a value has the wrong type", field=where, found=repr(items), expected="a list of objects"
        )
    return [convert(item, where) for item in items]
