"""The columns that a request names: whole ones, and values inside of them such as ``joints[3]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from gapless.errors import NotFound
from gapless.store.declaration import TIME
from gapless.store.leaf import Leaf
from gapless.store.selection import Selection


@dataclass(frozen=True, slots=True)
class DataColumns:
    """What is read of a topic (None: all of it), and what becomes of it: ``schema``, with the time first."""

    read: list[str] | None
    schema: pa.Schema
    leaves: tuple[Leaf, ...] = ()

    @classmethod
    def of(cls, schema: pa.Schema, asked: Sequence[str] | None, topic: str) -> DataColumns:
        """Return the columns, each once and in the order asked for; None: all. NotFound for one that is not there."""
        names = None if asked is None else list(dict.fromkeys(asked))
        if names is None or set(names) <= set(schema.names):
            chosen = Selection.of(schema, names, None, None, with_seq=False, filter=None, topic=topic)
            return cls(names, chosen.output)
        leaves = tuple(Leaf.of(schema, name, topic) for name in names if name != TIME)
        fields = [schema.field(TIME), *map(_field, leaves)]
        return cls([leaf.column for leaf in leaves], pa.schema(fields, metadata=schema.metadata), leaves)

    def taken(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return what was asked for of a batch of what is read."""
        if not self.leaves:
            return batch
        arrays = [batch.column(TIME), *(leaf.values(batch) for leaf in self.leaves)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def named_columns(asked: Sequence[str] | None, schema: pa.Schema) -> list[str] | None:
    """Return the columns that a request names, each by itself or several with commas between them."""
    if not asked:
        return None
    return [
        name for text in asked for name in ([text] if _is_known(schema, text) else text.split(",")) if name
    ]


def _is_known(schema: pa.Schema, name: str) -> bool:
    if name in schema.names:
        return True
    try:
        Leaf.of(schema, name, "")
    except NotFound:
        return False
    return True


def _field(leaf: Leaf) -> pa.Field:
    """Return a column as it was declared; of a value inside of one only the unit holds, too."""
    if not leaf.steps:
        return leaf.declared
    return pa.field(leaf.name, leaf.type, metadata=None if leaf.unit is None else {"unit": leaf.unit})
