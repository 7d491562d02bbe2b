"""How Tiled writes what is in the tree: runs as documents, anything as HDF5, tables in every table format.

Importing this module registers the writers for our specs, before Tiled copies its registry. The general ones
refuse nested metadata, know only pandas, and begin each JSON line with a mark that Tiled's own page cannot
read.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tiled.media_type_registration import default_serialization_registry as registry
from tiled.serialization import register_builtin_serializers
from tiled.structures.core import StructureFamily
from tiled.utils import APACHE_ARROW_FILE_MIME_TYPE, XLSX_MIME_TYPE, SerializationError

from gapless.bluesky.document_source import documents
from gapless.bluesky.tiled.cells import as_text
from gapless.bluesky.tiled.hdf5_file import write_hdf5
from gapless.bluesky.tiled.run_node import RUN_SPECS
from gapless.bluesky.tiled.sequence_node import SEQUENCE_SPEC, SequenceNode
from gapless.bluesky.tiled.store_tree import ROOT_SPECS, StoreTree
from gapless.bluesky.tiled.stream_node import STREAM_SPECS
from gapless.bluesky.tiled.table_node import TABLE_SPEC, ServedTable, TableNode

_HDF5 = "application/x-hdf5"
_JSON_SEQ = "application/json-seq"
_JSON = "application/json"
_PIECE_BYTES = 1 << 20
_BY_TILED = (
    "text/csv",
    "text/x-comma-separated-values",
    "text/plain",
    "application/vnd.ms-excel",
    "text/html",
    XLSX_MIME_TYPE,
    _JSON,
)


def run_documents(_mimetype: str, node: SequenceNode, _metadata: Any, _filter: Any) -> Iterator[bytes]:
    """Yield a sequence as Bluesky documents, one JSON object ``{"name", "doc"}`` each (RFC 7464)."""
    return (
        b"\x1e" + json.dumps({"name": name, "doc": doc}, default=_as_json).encode() + b"\n"
        for name, doc in documents(node.handler)
    )


async def as_hdf5(
    _mimetype: str, node: Any, _metadata: Any, filter_for_access: Any = None
) -> Iterator[bytes]:
    """Return everything below a node as an HDF5 file, made on disk and sent in pieces."""
    from anyio.to_thread import run_sync

    allowed = (
        node if filter_for_access is None or isinstance(node, TableNode) else await filter_for_access(node)
    )
    return await run_sync(_hdf5_pieces, allowed)


def refuse_root(_mimetype: str, _node: StoreTree, _metadata: Any, _filter: Any) -> bytes:
    """Refuse to write a whole store into one answer."""
    raise SerializationError("a whole store is not exported at once; export one of its sequences")


def table_as_arrow(_mimetype: str, table: ServedTable, _metadata: Any) -> memoryview:
    """Return rows as an Arrow file: types, nulls and units as they are stored."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.arrow.schema) as writer:
        writer.write_table(table.arrow)
    return memoryview(sink.getvalue())


def table_as_parquet(_mimetype: str, table: ServedTable, _metadata: Any) -> memoryview:
    """Return rows as a Parquet file: types, nulls and units as they are stored."""
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table.arrow, sink)
    return memoryview(sink.getvalue())


def table_as_lines(_mimetype: str, table: ServedTable, _metadata: Any) -> Iterator[bytes]:
    """Yield one JSON object per row and line, NaN as null; without the mark of RFC 7464 before each."""
    return (
        json.dumps(_finite(row), default=_as_json).encode() + b"\n"
        for batch in table.arrow.to_batches()
        for row in batch.to_pylist()
    )


def table_as_hdf5(_mimetype: str, table: ServedTable, metadata: Any) -> Iterator[bytes]:
    """Return rows as an HDF5 file with one dataset for each column."""
    return _hdf5_pieces(table, metadata)


def table_by_tiled(mimetype: str, table: ServedTable, metadata: Any) -> Any:
    """Return rows as Tiled writes a table; lists and structs are JSON texts in formats of flat cells."""
    media_type = mimetype.partition(";")[0]
    write = registry.dispatch(StructureFamily.table, media_type)
    flat = table.arrow if media_type == _JSON else _flat(table.arrow)
    return write(mimetype, ServedTable(flat, "").to_pandas(), metadata)


def _flat(table: pa.Table) -> pa.Table:
    for place, field in enumerate(table.schema):
        if (
            pa.types.is_nested(field.type)
            or pa.types.is_large_binary(field.type)
            or pa.types.is_binary(field.type)
        ):
            table = table.set_column(place, field.name, pa.array(as_text(table.column(place)), pa.string()))
    return table


def _hdf5_pieces(node: Any, metadata: Any = None) -> Iterator[bytes]:
    folder = tempfile.TemporaryDirectory(prefix="gapless-")
    path = Path(folder.name) / "export.h5"
    try:
        write_hdf5(path, node, metadata)
    except BaseException:
        folder.cleanup()
        raise
    return _pieces_of(path, folder)


def _pieces_of(path: Path, folder: tempfile.TemporaryDirectory[str]) -> Iterator[bytes]:
    with folder, path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _as_json(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    return str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return value


def _register() -> None:
    register_builtin_serializers()  # ours may call them
    for spec in (*RUN_SPECS, SEQUENCE_SPEC):
        registry.register(spec.name, _JSON_SEQ, run_documents)
    for spec in (*RUN_SPECS, SEQUENCE_SPEC, STREAM_SPECS[0]):
        registry.register(spec.name, _HDF5, as_hdf5)
    for media_type in (_HDF5, _JSON):
        registry.register(ROOT_SPECS[0].name, media_type, refuse_root)
    for media_type in _BY_TILED:
        registry.register(TABLE_SPEC.name, media_type, table_by_tiled)
    registry.register(TABLE_SPEC.name, APACHE_ARROW_FILE_MIME_TYPE, table_as_arrow)
    registry.register(TABLE_SPEC.name, "application/x-parquet", table_as_parquet)
    registry.register(TABLE_SPEC.name, _JSON_SEQ, table_as_lines)
    registry.register(TABLE_SPEC.name, _HDF5, table_as_hdf5)


_register()
