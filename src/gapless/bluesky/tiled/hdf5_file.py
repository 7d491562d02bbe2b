"""A part of the tree as one HDF5 file: containers and tables are groups, columns and arrays datasets.

Metadata is the attribute ``metadata`` of a group or dataset, as JSON. Where HDF5 knows no null, a float is
NaN, an integer or boolean column has a second dataset ``<column>__valid``, and a text is "". Lists of
different lengths are JSON texts.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gapless.bluesky.tiled.array_node import ArrayNode
from gapless.bluesky.tiled.cells import column_dtype, column_values, is_number
from gapless.bluesky.tiled.refusal import told
from gapless.bluesky.tiled.table_node import ServedTable, TableNode
from gapless.errors import MissingExtra

_VALID = "__valid"


def write_hdf5(path: Path, node: Any, metadata: Any = None) -> None:
    """Write a container, table or array and everything below it; memory is bounded by one partition."""
    with told(), _h5py().File(path, "w") as file:
        _note(file, metadata if metadata is not None else _metadata_of(node))
        _write_into(file, node)


def _h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "writing HDF5 needs h5py, which is not installed", next_step="pip install 'gapless[bluesky]'"
        ) from error


def _write_into(group: Any, node: Any) -> None:
    if isinstance(node, ServedTable):
        _append(group, node.arrow)
    elif isinstance(node, TableNode):
        _write_table(group, node)
    else:
        for key, child in node.items():
            _write_child(group, key, child)


def _write_child(group: Any, key: str, child: Any) -> None:
    if isinstance(child, ArrayNode):
        _note(_write_array(group, key, child), child.metadata())
    else:
        inner = group.create_group(key)
        _note(inner, child.metadata())
        _write_into(inner, child)


def _write_array(group: Any, key: str, node: ArrayNode) -> Any:
    structure = node.structure()
    dtype = structure.data_type.to_numpy_dtype()
    dataset = group.create_dataset(key, structure.shape, _text_type() if dtype.kind == "U" else dtype)
    start = 0
    for rows in structure.chunks[0]:
        if rows and all(structure.shape):
            dataset[start : start + rows] = node.read(_first_axis(start, start + rows))
        start += rows
    return dataset


def _first_axis(start: int, stop: int) -> Any:
    from tiled.ndslice import NDSlice

    return NDSlice(slice(start, stop), ...)


def _write_table(group: Any, node: TableNode) -> None:
    for partition in range(len(node.rows.lengths)):
        _append(group, node.read_partition(partition).arrow, node.rows.with_nulls)


def _append(group: Any, table: pa.Table, with_nulls: frozenset[str] | None = None) -> None:
    """Add rows to the datasets of a table, made with the first of them."""
    for name in table.column_names:
        column = table.column(name)
        nulls = column.null_count > 0 if with_nulls is None else name in with_nulls
        masked = nulls and is_number(column.type) and not pa.types.is_floating(column.type)
        if masked:
            _extend(group, name + _VALID, pc.is_valid(column).to_numpy(), {})
            column = column.fill_null(False if pa.types.is_boolean(column.type) else 0)
        values = column_values(column, column_dtype(column.type, nulls=False))
        _extend(group, name, values, _facts(table.schema.field(name)))


def _extend(group: Any, name: str, values: npt.NDArray[Any], facts: dict[str, str]) -> None:
    if name not in group:
        kind = _text_type() if values.dtype == object else values.dtype
        dataset = group.create_dataset(name, (0,), kind, maxshape=(None,), chunks=True)
        for key, value in facts.items():
            dataset.attrs[key] = value
    dataset = group[name]
    before = len(dataset)
    dataset.resize(before + len(values), axis=0)
    if len(values):
        dataset[before:] = values


def _text_type() -> Any:
    return _h5py().string_dtype("utf-8")


def _facts(field: pa.Field) -> dict[str, str]:
    known = field.metadata or {}
    return {key.decode(): known[key].decode() for key in (b"unit", b"description", b"shape") if key in known}


def _metadata_of(node: Any) -> Any:
    return node.metadata() if hasattr(node, "metadata") else None


def _note(place: Any, metadata: Any) -> None:
    if metadata:
        place.attrs["metadata"] = np.bytes_(json.dumps(metadata, default=str).encode())
