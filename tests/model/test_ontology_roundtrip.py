"""Property: every shipped type survives flatten, Arrow and unflatten, with and without mixins."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gapless.model.ontology import OntologyMeta, OntologyRegistry
from gapless.model.ontology.leaf import FLOATS, LeafType, ListOf, Scalar
from gapless.model.ontology.mixins import MIXINS
from gapless.model.ontology.shipped import MODULE_OF

REGISTRY = OntologyRegistry()


def scalars(name: str) -> st.SearchStrategy[Any]:
    """Return values of a scalar type; NaN is left out because it is unlike itself."""
    if name in FLOATS:
        return st.floats(width={"float16": 16, "float32": 32}.get(name, 64), allow_nan=False)  # type: ignore[arg-type]  # 16, 32, 64
    if name == "bool":
        return st.booleans()
    if name == "string":
        return st.text(max_size=5)
    if name.endswith("binary"):
        return st.binary(max_size=5)
    bits = int(name.lstrip("uint"))
    return (
        st.integers(0, 2**bits - 1)
        if name[0] == "u"
        else st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )


def leaves(kind: LeafType) -> st.SearchStrategy[Any]:
    """Return values of a column type."""
    if isinstance(kind, Scalar):
        return scalars(kind.name)
    assert isinstance(kind, ListOf)
    return st.lists(leaves(kind.item), min_size=kind.size or 0, max_size=kind.size or 3)


def says_something(cls: OntologyMeta, row: Any) -> bool:
    """Return whether any leaf has a value: an optional member without one reads back as None."""
    return any(value is not None for value in cls.flatten(row))


def objects(cls: OntologyMeta) -> st.SearchStrategy[Any]:
    """Return rows of a type; an optional member is left out or has at least one value."""
    members: list[st.SearchStrategy[Any]] = []
    for spec in cls._declaration.ordered:
        if spec.leaf is not None:
            member = leaves(spec.leaf)
        else:
            assert spec.nested is not None
            member = objects(spec.nested)
            if spec.many:
                member = st.lists(member, max_size=2)
            elif spec.optional:
                member = member.filter(partial(says_something, spec.nested))
        members.append(st.none() | member if spec.optional else member)
    return st.builds(cls, *members)


def check(cls: OntologyMeta, row: Any) -> None:
    """Assert that a row is itself again after flatten, Arrow and unflatten."""
    values = cls.flatten(row)
    assert cls.unflatten(values) == row
    arrays = [pa.array([value], leaf.type.arrow()) for value, leaf in zip(values, cls.leaves(), strict=True)]
    assert cls.unflatten([array.to_pylist()[0] for array in arrays]) == row
    for value, leaf in zip(values, cls.leaves(), strict=True):
        assert leaf.nullable or value is not None


QUICK = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("tag", sorted(MODULE_OF))
@given(data=st.data())
@QUICK
def test_a_row_is_itself_again(tag: str, data: st.DataObject) -> None:
    """What is pushed as an object is read back as an equal object of the same class."""
    cls = REGISTRY.get(tag)
    assert cls is not None
    check(cls, data.draw(objects(cls)))


@pytest.mark.parametrize("tag", sorted(set(MODULE_OF) - {"Header"}))
@given(data=st.data())
@settings(QUICK, max_examples=3)
def test_a_row_with_mixins_is_itself_again(tag: str, data: st.DataObject) -> None:
    """The same holds with header, covariance and variance."""
    cls = REGISTRY.get(tag)
    assert cls is not None
    variant = cls.using(*MIXINS)
    check(variant, data.draw(objects(variant)))
    assert REGISTRY.resolve(tag, variant.fingerprint(), variant.schema().names) is variant
