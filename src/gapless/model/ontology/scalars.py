"""Types of one value: numbers of each width, truth values and text."""

from __future__ import annotations

from gapless.model.ontology import leaf
from gapless.model.ontology.declaration import Ontology


class Integer8(Ontology):
    """A signed integer of 8 bits."""

    data: leaf.Int8


class Integer16(Ontology):
    """A signed integer of 16 bits."""

    data: leaf.Int16


class Integer32(Ontology):
    """A signed integer of 32 bits."""

    data: leaf.Int32


class Integer64(Ontology):
    """A signed integer of 64 bits."""

    data: leaf.Int64


class Unsigned8(Ontology):
    """An unsigned integer of 8 bits."""

    data: leaf.UInt8


class Unsigned16(Ontology):
    """An unsigned integer of 16 bits."""

    data: leaf.UInt16


class Unsigned32(Ontology):
    """An unsigned integer of 32 bits."""

    data: leaf.UInt32


class Unsigned64(Ontology):
    """An unsigned integer of 64 bits."""

    data: leaf.UInt64


class Floating16(Ontology):
    """A floating-point number of 16 bits."""

    data: leaf.Float16


class Floating32(Ontology):
    """A floating-point number of 32 bits."""

    data: leaf.Float32


class Floating64(Ontology):
    """A floating-point number of 64 bits."""

    data: leaf.Float64


class Boolean(Ontology):
    """A truth value."""

    data: bool


class String(Ontology):
    """A text."""

    data: str
