"""The types that one client knows, by tag; two different types under one tag are an error.

Shipped types and those of installed packages (entry point group ``gapless.ontology``, entry name =
tag) are imported when their tag is first asked for. Nothing is shared between registries.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from importlib.metadata import entry_points

from gapless.errors import OntologyConflict, SchemaRefused
from gapless.model.ontology.declaration import OntologyMeta
from gapless.model.ontology.mixins import MIXINS
from gapless.model.ontology.rows import GenericType, generic_type
from gapless.model.ontology.shipped import MODULE_OF
from gapless.model.ontology.variant import root_of, variant_for

GROUP = "gapless.ontology"


class OntologyRegistry:
    """Tag to type. Safe to use from several threads: each entry is set once, by one atomic setdefault."""

    def __init__(self) -> None:
        self._types: dict[str, OntologyMeta] = {}
        self._variants: dict[tuple[str, str], OntologyMeta] = {}

    def register(self, ontology_type: OntologyMeta) -> OntologyMeta:
        """Make the type known under its tag and return it; registering it again changes nothing.

        Raises OntologyConflict if another type has the tag. Variants made by ``using`` share the tag of
        their type and do not conflict with it.
        """
        if not isinstance(ontology_type, OntologyMeta) or ontology_type._declaration.kind != "type":
            raise SchemaRefused("only a concrete Ontology class can be registered", found=ontology_type)
        root = root_of(ontology_type)
        known = self._lookup(root.tag) or self._types.setdefault(root.tag, root)
        if known.fingerprint() != root.fingerprint():
            raise OntologyConflict(
                f"two different types have the tag {root.tag!r}",
                found=describe(root),
                expected=describe(known),
            )
        if ontology_type is not root:
            self._variants[root.tag, ontology_type.fingerprint()] = ontology_type
        return ontology_type

    def get(self, tag: str | None) -> OntologyMeta | None:
        """Return the type of a tag, importing it if need be; None if no type has the tag."""
        return None if tag is None else self._lookup(tag)

    def resolve(
        self, tag: str | None, fingerprint: str | None, columns: Iterable[str] = ()
    ) -> OntologyMeta | None:
        """Return the type or variant that rows of this tag and fingerprint read back as, or None.

        None means that the class here differs from the one that wrote; :func:`generic_type` reads then.
        """
        known = self.get(tag)
        if known is None or fingerprint is None or known.fingerprint() == fingerprint:
            return known
        registered = self._variants.get((known.tag, fingerprint))
        variant = registered or variant_for(known, columns, MIXINS)
        return variant if variant.fingerprint() == fingerprint else None

    def reader(
        self, tag: str | None, fingerprint: str | None, columns: list[str], items: Iterable[str] = ()
    ) -> OntologyMeta | GenericType:
        """Return what turns stored rows into objects: the type that wrote them, else rows by column name.

        ``items`` are the members of list items, by which mixins of items are told.
        """
        return self.resolve(tag, fingerprint, [*columns, *items]) or generic_type(columns, tag)

    def names(self) -> list[str]:
        """Return all tags that ``get`` finds, sorted, without importing their types."""
        installed = {entry.name for entry in entry_points(group=GROUP)}
        return sorted({*self._types, *MODULE_OF, *installed})

    def _lookup(self, tag: str) -> OntologyMeta | None:
        known = self._types.get(tag)
        if known is None:
            found = _shipped(tag) or _installed(tag)
            known = None if found is None else self._types.setdefault(tag, found)
        return known


def _shipped(tag: str) -> OntologyMeta | None:
    module = MODULE_OF.get(tag)
    if module is None:
        return None
    found: OntologyMeta = getattr(importlib.import_module(module), tag)
    return found


def _installed(tag: str) -> OntologyMeta | None:
    for entry in entry_points(group=GROUP, name=tag):
        found = entry.load()
        if not isinstance(found, OntologyMeta) or found.tag != tag:
            raise SchemaRefused(
                f"the entry point {entry.name!r} of {GROUP} is not an ontology type with that tag",
                found=entry.value,
                next_step="upgrade or remove the package that declares it",
            )
        return found
    return None


def describe(ontology_type: OntologyMeta) -> str:
    """Return the one-line description of a type used in messages."""
    return (
        f"{ontology_type.__module__}.{ontology_type.__qualname__} "
        f"version {ontology_type.version} ({ontology_type.fingerprint()})"
    )
