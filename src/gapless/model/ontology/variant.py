"""A variant is a type with the optional columns of mixins added, under the same tag."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gapless.errors import SchemaRefused
from gapless.model.ontology.declaration import OntologyMeta

if TYPE_CHECKING:
    import pyarrow as pa

Mixins = frozenset[OntologyMeta]


def root_of(cls: OntologyMeta) -> OntologyMeta:
    """Return the type without mixins."""
    return cls._declaration.root or cls


def make_variant(
    cls: OntologyMeta,
    mixins: Iterable[OntologyMeta],
    members: Mapping[str, OntologyMeta | tuple[OntologyMeta, ...]],
) -> OntologyMeta:
    """Return the variant of ``cls`` with these mixins as well; the same request gives the same class."""
    root, declaration = root_of(cls), cls._declaration
    top = declaration.mixins | _checked(mixins)
    nested = dict(declaration.members)
    for path, added in members.items():
        nested[path] = nested.get(path, frozenset()) | _checked(
            added if isinstance(added, tuple) else (added,)
        )
    if not top and not any(nested.values()):
        return root
    if top == declaration.mixins and nested == declaration.members:
        return cls
    key = (top, frozenset((path, added) for path, added in nested.items()))
    variants = root._declaration.variants
    if key not in variants:
        return variants.setdefault(key, _build(root, top, nested))  # two threads get the same class
    return variants[key]


def _checked(mixins: Iterable[OntologyMeta]) -> Mixins:
    for mixin in mixins:
        if not isinstance(mixin, OntologyMeta) or mixin._declaration.kind != "mixin":
            raise SchemaRefused(
                "using() takes mixins", found=mixin, expected="HeaderMixin, CovarianceMixin …"
            )
    return frozenset(mixins)


def _build(root: OntologyMeta, top: Mixins, nested: Mapping[str, Mixins]) -> OntologyMeta:
    ordered = sorted(top, key=lambda mixin: mixin.tag)  # the order of the call must not change the columns
    clash = [
        name for mixin in ordered for name in mixin._declaration.specs if name in root._declaration.specs
    ]
    if clash:
        raise SchemaRefused(f"{root.tag} has a field of this name already", field=clash[0])
    namespace: dict[str, Any] = {
        "__module__": root.__module__,
        "__doc__": root.__doc__,
        "__annotations__": {},
    }
    made = OntologyMeta(root.__name__, (root, *ordered), namespace, tag=root.tag, version=root.version)
    declaration = made._declaration
    declaration.root, declaration.mixins, declaration.members = root, top, dict(nested)
    for head, inner in _by_head(nested).items():
        spec = declaration.specs.get(head)
        if spec is None or spec.nested is None:
            raise SchemaRefused(f"{root.tag} has no nested member of this name", field=head)
        own = inner.pop("", frozenset())
        rest = {path: tuple(added) for path, added in inner.items()}
        declaration.specs[head] = replace(spec, nested=make_variant(spec.nested, own, rest))
    return made


def _by_head(nested: Mapping[str, Mixins]) -> dict[str, dict[str, Mixins]]:
    heads: dict[str, dict[str, Mixins]] = {}
    for path, added in nested.items():
        head, _, rest = path.partition(".")
        heads.setdefault(head, {})[rest] = added
    return heads


def variant_for(cls: OntologyMeta, names: Iterable[str], known: Iterable[OntologyMeta]) -> OntologyMeta:
    """Return the variant of ``cls`` that has these columns, judged by the first columns of the mixins.

    ``names`` may hold the members of list items too, as :func:`item_paths` gives them.
    """
    columns = set(names)
    top: list[OntologyMeta] = []
    members: dict[str, tuple[OntologyMeta, ...]] = {}
    for path in ("", *member_paths(root_of(cls), items=True)):
        prefix = f"{path}." if path else ""
        found = [mixin for mixin in known if f"{prefix}{mixin.leaves()[0].name}" in columns]
        if path and found:
            members[path] = tuple(found)
        elif found:
            top = found
    return make_variant(root_of(cls), top, members)


def member_paths(cls: OntologyMeta, prefix: str = "", *, items: bool = False) -> list[str]:
    """Return the dotted paths of all nested members that become flat columns, and of list items if asked."""
    paths: list[str] = []
    for spec in cls._declaration.ordered:
        if spec.nested is not None and (items or not spec.many):
            inner = member_paths(spec.nested, f"{prefix}{spec.name}.", items=items)
            paths += [f"{prefix}{spec.name}", *inner]
    return paths


def item_paths(schema: pa.Schema) -> list[str]:
    """Return the dotted paths of the members of the structs that the lists of a schema hold."""
    return [path for column in schema for path in _inner_paths(column.type, column.name)]


def _inner_paths(kind: pa.DataType, path: str) -> list[str]:
    import pyarrow.types as kinds

    while kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        kind = kind.value_type
    if not kinds.is_struct(kind):
        return [path]
    return [inner for member in kind for inner in _inner_paths(member.type, f"{path}.{member.name}")]


def queryable_paths(cls: OntologyMeta) -> list[str]:
    """Return every column that rows of this tag can have: time, leaves, and those of the known mixins."""
    from gapless.model.ontology.mixins import MIXINS

    paths = ["timestamp_ns", *(leaf.name for leaf in cls.leaves())]
    for prefix in ("", *(f"{path}." for path in member_paths(root_of(cls)))):
        paths += [f"{prefix}{leaf.name}" for mixin in MIXINS for leaf in mixin.leaves()]
    return list(dict.fromkeys(paths))
