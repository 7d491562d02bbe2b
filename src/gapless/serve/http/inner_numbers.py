"""The numbers inside of a column: members of structs and elements of lists, as far as curves can show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Final

import pyarrow as pa

from gapless.errors import NotFound
from gapless.serve.http.declared_words import shape_of, word_of
from gapless.store.declaration import SEQ, TIME
from gapless.store.leaf import Leaf

ANY: Final = "[*]"
_ENDLESS: Final = 2**31  # whoever declares more knows no length


@dataclass(frozen=True, slots=True)
class InnerNumber:
    """A number in a column; ``name`` has ``[*]`` where the place of an element is to be put.

    ``lengths`` has one for each ``[*]``: how many elements there are, None where each row has as many as it likes.
    """

    column: str
    name: str
    type: pa.DataType
    unit: str | None
    description: str | None
    lengths: tuple[int | None, ...] = ()


def inner_numbers(schema: pa.Schema) -> list[InnerNumber]:
    """Return the numbers inside of a topic's columns, in their order; columns that are numbers are none."""
    columns = {field.name: field for field in schema if field.name not in (TIME, SEQ)}
    odd = [name for name in columns if "[" in name]
    return [
        number
        for field in columns.values()
        if field.type.num_fields > 0
        for number in _within(field, InnerNumber(field.name, field.name, field.type, None, None))
        if not _is_doubtful(odd, number) and _is_reached(columns, number)
    ]


def _within(field: pa.Field, outer: InnerNumber) -> Iterator[InnerNumber]:
    """Yield the numbers in a field; ``outer`` is what is known of it from outside: its place, and what words hold."""
    kind = field.type
    unit = word_of(field, "unit") or outer.unit
    here = replace(
        outer, type=kind, unit=unit, description=word_of(field, "description") or outer.description
    )
    if pa.types.is_struct(kind):
        for member in kind:
            yield from _within(member, replace(here, name=f"{here.name}.{member.name}"))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = (*here.lengths, _length(field))
        yield from _within(kind.value_field, replace(here, name=f"{here.name}{ANY}", lengths=lengths))
    else:
        yield here


def _length(field: pa.Field) -> int | None:
    if pa.types.is_fixed_size_list(field.type):
        return int(field.type.list_size)
    shape = shape_of(field) or [-1]
    length = prod(shape)
    return length if min(shape) >= 0 and length < _ENDLESS else None


def _is_doubtful(odd: Sequence[str], number: InnerNumber) -> bool:
    """Tell whether some element of it may be called as another column, or has no name at all."""
    first, *rest = number.name.split(ANY)
    if len(rest) != len(number.lengths) or 0 in number.lengths:
        return True
    return bool(rest) and any(name.startswith(f"{first}[") for name in odd if name != number.column)


def _is_reached(columns: Mapping[str, pa.Field], number: InnerNumber) -> bool:
    """Tell whether its name leads to a number there: a column's or member's own name may have dots and brackets."""
    name = number.name.replace(ANY, "[0]")
    likely = [columns[name[:end]] for end in range(1, len(name) + 1) if name[:end] in columns]
    try:
        leaf = Leaf.of(pa.schema(likely), name, "")
    except NotFound:
        return False
    return leaf.column == number.column and leaf.type == number.type and leaf.is_number
