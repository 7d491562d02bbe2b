"""Sealed bundles written with pyarrow alone: the reader is tested against the format, not the writer."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gapless.model.names import to_component
from gapless.store.pyramid import group_buckets, pyramid_schema
from gapless.store.reserved import EVENTS, GAPS

TIME = pa.field("timestamp_ns", pa.int64(), nullable=False)
XS = pa.schema([TIME, pa.field("x", pa.float64(), metadata={"unit": "V"}), pa.field("label", pa.string())])

Parts = Sequence[pa.Table]


def canonical(document: object) -> bytes:
    """Return canonical JSON."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def xs(times: Sequence[int], first_seq: int = 0) -> pa.Table:
    """Return a part of the XS schema: x is the ``_seq`` as a float, so that every row is told apart."""
    order = np.argsort(np.array(times, dtype=np.int64), kind="stable")
    seq = order + first_seq
    return table(XS, np.array(times, dtype=np.int64)[order], [seq * 1.0, [f"row {s}" for s in seq]], seq)


def table(schema: pa.Schema, times: Any, columns: Sequence[Any], seq: Any) -> pa.Table:
    """Return a part as it is stored: the columns of the schema, then ``_seq``."""
    stored = schema.append(pa.field("_seq", pa.int64(), nullable=False))
    arrays = [
        pa.array(values, column.type) for values, column in zip([times, *columns, seq], stored, strict=True)
    ]
    return pa.table(arrays, schema=stored)


def write_bundle(
    path: Path,
    topics: Mapping[str, tuple[pa.Schema, Parts]],
    *,
    name: str = "run",
    group_rows: int = 65_536,
    base: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    ontologies: dict[str, dict[str, Any]] | None = None,
    record: dict[str, Any] | None = None,
    artifacts: dict[str, Any] | None = None,
    pyramids: bool = False,
) -> dict[str, Any]:
    """Write a sealed bundle and return its manifest."""
    everything = {"_events": (EVENTS, []), "_gaps": (GAPS, []), **topics}
    entries = {
        topic: _write_topic(path, topic, schema, parts, group_rows, (ontologies or {}).get(topic))
        for topic, (schema, parts) in everything.items()
    }
    rows = sum(entries[topic]["rows"] for topic in topics)
    drawn = {t: _write_pyramid(path, t, schema, parts, group_rows) for t, (schema, parts) in topics.items()}
    content = {
        "name": name,
        "group": "field",
        "metadata": metadata or {},
        "base": base,
        "topics": entries,
        "artifacts": artifacts or {},
        "ledger": {"produced": rows, "written": rows, "dropped": 0, "gapped": 0},
    }
    recorded = {"uid": "u", "outcome": "completed", "cause": None, "health": None,
                "pyramids": drawn if pyramids else {}, "notifications": [], **(record or {})}  # fmt: skip
    manifest = {
        "format": 1,
        "content_digest": "sha256:" + hashlib.sha256(canonical(content)).hexdigest(),
        "record_digest": "sha256:" + hashlib.sha256(canonical(recorded)).hexdigest(),
        "content": content,
        "record": recorded,
    }
    (path / "manifest.json").write_bytes(canonical(manifest))
    return manifest


def _write_topic(
    path: Path, topic: str, schema: pa.Schema, parts: Parts, group_rows: int, ontology: dict[str, Any] | None
) -> dict[str, Any]:
    stored = schema.append(pa.field("_seq", pa.int64(), nullable=False))
    folder = path / "topics" / to_component(topic)
    folder.mkdir(parents=True)
    written = [
        _write_part(path, folder / f"part-{n:05d}.parquet", part, group_rows)
        for n, part in enumerate(parts or [stored.empty_table()])
    ]
    rows = sum(part["rows"] for part in written)
    spans = [part for part in written if part["rows"]]
    return {
        "ontology": ontology or {"tag": None, "version": 1, "fingerprint": "0" * 16},
        "metadata": {"sensor": topic},
        "clock": "producer",
        "fields": [{"name": f.name, "type": str(f.type), "nullable": f.nullable} for f in schema],
        "schema": base64.b64encode(schema.serialize().to_pybytes()).decode(),
        "rows": rows,
        "start_ns": min((p["start_ns"] for p in spans), default=None),
        "end_ns": max((p["end_ns"] for p in spans), default=None),
        "parts": written,
        "ledger": {"produced": rows, "written": rows, "dropped": 0, "gapped": 0},
    }


def _write_pyramid(
    path: Path, topic: str, schema: pa.Schema, parts: Parts, group_rows: int
) -> dict[str, Any]:
    batches = []
    for number, part in enumerate(parts):
        for start in range(0, part.num_rows, group_rows):
            batches += group_buckets(part.slice(start, group_rows), schema, number, start)
    file = path / "pyramids" / f"{to_component(topic)}.parquet"
    file.parent.mkdir(exist_ok=True)
    pq.write_table(
        pa.Table.from_batches(batches, schema=pyramid_schema(schema)), file, write_page_checksum=True
    )
    data = file.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return {"path": file.relative_to(path).as_posix(), "bytes": len(data), "sha256": digest}


def _write_part(bundle: Path, path: Path, part: pa.Table, group_rows: int) -> dict[str, Any]:
    part = part.replace_schema_metadata({b"gapless.stats": json.dumps(_stats(part)).encode()})
    pq.write_table(part, path, row_group_size=group_rows, compression="zstd", write_page_checksum=True)
    data = path.read_bytes()
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") :]
    times = part["timestamp_ns"].to_numpy()
    return {
        "path": path.relative_to(bundle).as_posix(),
        "rows": part.num_rows,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "footer_sha256": hashlib.sha256(footer).hexdigest(),
        "start_ns": int(times[0]) if len(times) else None,
        "end_ns": int(times[-1]) if len(times) else None,
    }


def _stats(part: pa.Table) -> dict[str, dict[str, Any]]:
    counts = {}
    for name in part.column_names:
        if pa.types.is_floating(part[name].type):
            values = part[name].to_numpy()
            counts[name] = {"nans": int(np.isnan(values).sum()) - part[name].null_count}
    return counts


def naive(parts: Sequence[pa.Table]) -> list[tuple[int, int]]:
    """Return (timestamp, _seq) of all rows as a plain sort gives them: by time, part, ``_seq``."""
    rows = [
        (t, n, s)
        for n, part in enumerate(parts)
        for t, s in zip(part["timestamp_ns"].to_pylist(), part["_seq"].to_pylist(), strict=True)
    ]
    return [(t, s) for t, _, s in sorted(rows)]
