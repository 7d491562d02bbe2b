"""Declare a row type as a small class; its Arrow schema, fingerprint and fast converters follow from it.

::

    class Battery(Ontology, tag="Battery", version=1):
        "A cell."

        voltage: float = field(unit="V")
        cells: list[float] = field(shape=(4,), unit="V")
        attitude: Quaternion | None = None

Instances are msgspec structs: making one costs a fraction of a microsecond and checks nothing; values
are checked when they are pushed. The class itself answers ``tag, version, leaves(), schema(),
fingerprint(), flatten, unflatten, using(), Q``; these live on the metaclass, so that fields may have
almost any name.
"""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from dataclasses import field as attribute
from functools import cached_property
from typing import TYPE_CHECKING, Any, dataclass_transform

import msgspec

from gapless.errors import SchemaRefused
from gapless.model.ontology.annotation import FieldOptions, FieldSpec, inherit, resolve, specify, take_options
from gapless.model.ontology.leaf import NUMBERS, Leaf, LeafType, ListOf, Scalar, StructOf, innermost

if TYPE_CHECKING:
    import pyarrow as pa

_NO_DEFAULT: Any = object()
_PLAIN = FieldOptions(_NO_DEFAULT, _NO_DEFAULT)
# Names of the class interface; `tag` and `version` are free because properties of the metaclass win.
RESERVED = frozenset(
    {"Q", "fingerprint", "flatten", "leaves", "schema", "timestamp_ns", "unflatten", "using"}
)


def field(
    *,
    default: Any = _NO_DEFAULT,
    default_factory: Callable[[], Any] = _NO_DEFAULT,
    unit: str | None = None,
    description: str | None = None,
    uncertainty: str | float | None = None,
    allow_nan: bool | None = None,
    shape: tuple[int, ...] | None = None,
    dtype: str | None = None,
) -> Any:
    """Say more about a field than its annotation does.

    ``unit``, ``uncertainty`` and ``allow_nan`` of a nested member hold for its numbers that have none of
    their own; an empty text says that a number has none. ``shape`` makes a list field fixed in size
    (values may be arrays of that shape). ``uncertainty`` is a number, a text, or the name of a sibling field.
    """
    return FieldOptions(default, default_factory, unit, description, uncertainty, allow_nan, shape, dtype)


@dataclass(eq=False)
class Declaration:
    """What a class statement declared, and what was computed from it."""

    owner: OntologyMeta
    tag: str
    version: int
    specs: dict[str, FieldSpec]
    kind: str = "type"  # "type", "abstract" (shared fields only) or "mixin" (optional extra columns)
    root: OntologyMeta | None = None  # the type that mixins were added to
    mixins: frozenset[OntologyMeta] = frozenset()
    members: dict[str, frozenset[OntologyMeta]] = attribute(default_factory=dict)
    variants: dict[object, OntologyMeta] = attribute(default_factory=dict)

    @property
    def ordered(self) -> list[FieldSpec]:
        """The fields in the order of the constructor."""
        return [self.specs[name] for name in self.owner.__struct_fields__]

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """The columns, in order."""
        return tuple(_leaves(self.owner, "", _PLAIN, nullable=False))

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits over tag, version and the identity of each column."""
        import hashlib

        from gapless.model.metadata import canonical_json

        identity = {
            "tag": self.tag,
            "version": self.version,
            "leaves": [leaf.identity() for leaf in self.leaves],
        }
        return hashlib.sha256(canonical_json(identity)).hexdigest()[:16]

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema: timestamp_ns first, then one flat column per leaf."""
        import pyarrow as pa

        time = pa.field("timestamp_ns", pa.int64(), nullable=False)
        return pa.schema([time, *(leaf.arrow_field() for leaf in self.leaves)])

    @cached_property
    def flatten(self) -> Callable[[object], tuple[Any, ...]]:
        """The compiled function from object to row."""
        from gapless.model.ontology.codegen import compile_flatten

        return compile_flatten(self.owner)

    @cached_property
    def unflatten(self) -> Callable[[Any], Any]:
        """The compiled function from row to object."""
        from gapless.model.ontology.codegen import compile_unflatten

        return compile_unflatten(self.owner)


class OntologyMeta(msgspec.StructMeta):
    """Metaclass of all ontology types: the interface of the class, apart from that of its rows."""

    _declaration: Declaration

    def __new__(
        cls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        tag: str | None = None,
        version: int | None = None,
        abstract: bool = False,
        mixin: bool = False,
    ) -> OntologyMeta:
        """Make the class and its declaration, or raise SchemaRefused naming the field."""
        options = take_options(namespace, _PLAIN)
        parents, mixins = _split(name, bases)
        _add_mixin_fields(namespace, mixins)
        made = super().__new__(cls, name, parents or bases, namespace, gc=False)
        kind = "mixin" if mixin else "abstract" if abstract or not parents else "type"
        specs: dict[str, FieldSpec] = {}
        for source in (*parents, *mixins):
            specs.update(source._declaration.specs)
        added = {extra for one in mixins for extra in one._declaration.specs}
        own = {} if not parents else _own_specs(made, sys._getframe(1), options, added)
        root = _root(parents, mixins, own, tag)
        if root is not None:
            tag, version = root.tag, root.version
        made._declaration = Declaration(
            made,
            tag or name,
            1 if version is None else version,
            {**specs, **own},
            kind,
            root,
            frozenset(mixins),
        )
        _check(made, kind)
        return made

    @property
    def tag(self) -> str:
        """The name under which rows of this type are stored."""
        return self._declaration.tag

    @property
    def version(self) -> int:
        """The version of the type; raise it when a field changes its meaning."""
        return self._declaration.version

    def leaves(self) -> tuple[Leaf, ...]:
        """Return the columns, in order, without the time."""
        return self._declaration.leaves

    def schema(self) -> pa.Schema:
        """Return the Arrow schema: ``timestamp_ns``, then flat columns such as ``acceleration.x``."""
        return self._declaration.schema

    def fingerprint(self) -> str:
        """Return 16 hex digits that two types share only if their tags, versions and columns are the same."""
        return self._declaration.fingerprint

    @property
    def flatten(self) -> Callable[[object], tuple[Any, ...]]:
        """The function from object to tuple of leaf values; keep it in a loop. Raises ValueRefused."""
        return self._declaration.flatten

    @property
    def unflatten(self) -> Callable[[Any], Any]:
        """The function from leaf values to object, the inverse of ``flatten``.

        An optional member whose leaves are all null comes back as None.
        """
        return self._declaration.unflatten

    @property
    def Q(self) -> Any:  # noqa: N802 - the name that queries are known by
        """The root of query expressions: ``IMU.Q.acceleration.x.gt(9.8)``."""
        from gapless.model.expression import ontology_root
        from gapless.model.ontology.variant import queryable_paths

        return ontology_root(self.tag, queryable_paths(self))

    def using(self, *mixins: OntologyMeta, **members: OntologyMeta | tuple[OntologyMeta, ...]) -> Any:
        """Return this type with the columns of the mixins: same tag, its own fingerprint, made once.

        Keywords add mixins to nested members: ``IMU.using(HeaderMixin, acceleration=CovarianceMixin)``.
        """
        from gapless.model.ontology.variant import make_variant

        return make_variant(self, mixins, members)


def _reduce(cls: OntologyMeta) -> str | tuple[Any, ...]:
    """Tell pickle how to find a class: by name, or a variant by what was asked of ``using``."""
    declaration = cls._declaration
    root = declaration.root
    if root is None or cls not in root._declaration.variants.values():
        return cls.__qualname__
    return (
        _restore,
        (root, tuple(declaration.mixins), {k: tuple(v) for k, v in declaration.members.items()}),
    )


def _restore(root: OntologyMeta, mixins: tuple[OntologyMeta, ...], members: dict[str, Any]) -> Any:
    return root.using(*mixins, **members)


copyreg.pickle(OntologyMeta, _reduce)


def _split(name: str, bases: tuple[type, ...]) -> tuple[tuple[OntologyMeta, ...], list[OntologyMeta]]:
    """Return the one parent, and the mixins whose fields are copied: structs cannot have two layouts."""
    ontologies = [base for base in bases if isinstance(base, OntologyMeta)]
    mixins = [base for base in ontologies if base._declaration.kind == "mixin"]
    parents = [base for base in ontologies if base not in mixins]
    if mixins and not parents:
        parents = [Ontology]
    if ontologies and (len(parents) > 1 or len(ontologies) < len(bases)):
        raise SchemaRefused(f"{name} may have one parent type; the others must be mixins", found=bases)
    return tuple(parents), mixins


def _add_mixin_fields(namespace: dict[str, Any], mixins: list[OntologyMeta]) -> None:
    annotations = namespace.setdefault("__annotations__", {}) if mixins else {}
    for mixin in mixins:
        for name in mixin._declaration.specs:
            annotations[name] = object
            namespace[name] = None


def _own_specs(made: OntologyMeta, frame: Any, options: Any, added: set[str]) -> dict[str, FieldSpec]:
    own = {}
    for name, hint in resolve(made, frame).items():
        spec = None if name in added else specify(made.__qualname__, name, hint, options.get(name, _PLAIN))
        if spec is not None:
            own[name] = spec
    return own


def _root(
    parents: tuple[OntologyMeta, ...], mixins: list[OntologyMeta], own: dict[str, FieldSpec], tag: str | None
) -> OntologyMeta | None:
    """Return the type that a class only adds mixins to: the class is then a variant with the same tag."""
    if not mixins or own or tag is not None:
        return None
    return parents[0] if parents[0]._declaration.kind == "type" else None


def _check(made: OntologyMeta, kind: str) -> None:
    for name, spec in made._declaration.specs.items():
        if name in RESERVED or name.startswith("_"):
            raise SchemaRefused(
                f"{made.__qualname__} may not have a field of this name",
                field=name,
                next_step="rename the field",
            )
        if kind == "mixin" and not spec.optional:
            raise SchemaRefused(f"a field of the mixin {made.__qualname__} must be optional", field=name)
        if spec.nested is not None and spec.nested._declaration.kind != "type":
            raise SchemaRefused(f"{made.__qualname__} may not nest an abstract type", field=name)
    if kind == "type" and not made._declaration.specs:
        raise SchemaRefused(f"{made.__qualname__} has no fields", next_step="annotate at least one field")


def _leaves(owner: OntologyMeta, prefix: str, outer: FieldOptions, *, nullable: bool) -> Iterator[Leaf]:
    declaration = owner._declaration
    for spec in declaration.ordered:
        options = inherit(outer, spec.options)
        if options.uncertainty in declaration.specs:
            options = replace(options, uncertainty=f"{prefix}{options.uncertainty}")
        if spec.nested is not None and not spec.many:
            inner = nullable or spec.optional
            yield from _leaves(spec.nested, f"{prefix}{spec.name}.", options, nullable=inner)
        else:
            yield _leaf(spec, f"{prefix}{spec.name}", nullable or spec.optional, options)


def _leaf(spec: FieldSpec, name: str, nullable: bool, options: FieldOptions) -> Leaf:
    kind = column_type(spec)
    inner = innermost(kind)
    numeric = isinstance(inner, Scalar) and inner.name in NUMBERS
    uncertainty = options.uncertainty if numeric else spec.options.uncertainty
    return Leaf(
        name,
        kind,
        nullable,
        options.shape,
        (options.unit if numeric else spec.options.unit) or None,
        options.description,
        None if uncertainty == "" else uncertainty,
        options.allow_nan is not False,
    )


def column_type(spec: FieldSpec, *, nullable: bool = False) -> LeafType:
    """Return the type of the one column, or of the one struct member, that a field becomes.

    ``nullable``: the struct around it can be null, and then so are all its members.
    """
    if spec.nested is None:
        assert spec.leaf is not None
        return spec.leaf
    inside = not spec.many and (nullable or spec.optional)
    members = tuple(
        (inner.name, column_type(inner, nullable=inside), inside or inner.optional)
        for inner in spec.nested._declaration.ordered
    )
    return ListOf(StructOf(members)) if spec.many else StructOf(members)


@dataclass_transform(field_specifiers=(field,))  # on the class, since msgspec.Struct has one of its own
class Ontology(msgspec.Struct, metaclass=OntologyMeta):
    """A typed row. Subclass it to declare a type; see the module's first lines."""
