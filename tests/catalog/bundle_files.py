"""Sealed bundles written with pyarrow alone, so that the catalog is tested against the format."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gapless.model.names import to_component

TIME = pa.field("timestamp_ns", pa.int64(), nullable=False)
Row = dict[str, Any]


@dataclass
class TopicSpec:
    """A topic as a test writes it: parts of rows, each row a dict with ``timestamp_ns``."""

    columns: dict[str, pa.DataType]
    parts: Sequence[Sequence[Row]]
    tag: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def schema(self) -> pa.Schema:
        """The schema without ``_seq``."""
        return pa.schema([TIME, *(pa.field(name, kind) for name, kind in self.columns.items())])


def canonical(document: object) -> bytes:
    """Return canonical JSON."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def write_bundle(
    store: Path,
    name: str,
    topics: Mapping[str, TopicSpec] | None = None,
    *,
    metadata: Mapping[str, Any] | None = None,
    group: str | None = None,
    outcome: str = "completed",
    opened_ns: int = 1_000,
    group_rows: int = 65_536,
    layer: str | None = None,
    with_stats: bool = True,
) -> Path:
    """Write a sealed bundle (or a sealed layer of one) and return the bundle's folder."""
    bundle = store / "sequences" / to_component(name)
    folder = bundle if layer is None else bundle / "layers" / f"00001-{to_component(layer)}"
    folder.mkdir(parents=True)
    base = None
    if layer is not None:
        digest = json.loads((bundle / "manifest.json").read_bytes())["content_digest"]
        base = {"name": name, "content_digest": digest}
    entries = {t: _write_topic(folder, t, spec, group_rows, with_stats) for t, spec in (topics or {}).items()}
    rows = sum(entry["rows"] for entry in entries.values())
    ledger = {"produced": rows, "written": rows, "dropped": 0, "gapped": 0}
    content = {"name": layer or name, "group": group, "metadata": metadata or {}, "base": base,
               "topics": entries, "artifacts": {}, "ledger": ledger}  # fmt: skip
    record: dict[str, Any] = {"uid": name, "outcome": outcome, "cause": None, "opened_ns": opened_ns,
              "sealed_ns": opened_ns + 1, "health": None, "pyramids": {}, "notifications": []}  # fmt: skip
    digests = {
        f"{part}_digest": "sha256:" + hashlib.sha256(canonical(document)).hexdigest()
        for part, document in (("content", content), ("record", record))
    }
    manifest = {"format": 1, **digests, "content": content, "record": record}
    (folder / "manifest.json").write_bytes(canonical(manifest))
    return bundle


def _write_topic(
    folder: Path, topic: str, spec: TopicSpec, group_rows: int, with_stats: bool
) -> dict[str, Any]:
    seq = 0
    parts = []
    for number, rows in enumerate(spec.parts or [[]]):
        stored = spec.schema.append(pa.field("_seq", pa.int64(), nullable=False))
        numbered = [{**row, "_seq": seq + i} for i, row in enumerate(rows)]
        seq += len(rows)
        numbered.sort(key=lambda row: (row["timestamp_ns"], row["_seq"]))
        table = pa.Table.from_pylist(numbered, schema=stored)
        relative = f"topics/{to_component(topic)}/part-{number:05d}.parquet"
        parts.append(_write_part(folder, relative, table, group_rows, with_stats))
    starts = [p["start_ns"] for p in parts if p["rows"]]
    ends = [p["end_ns"] for p in parts if p["rows"]]
    return {
        "ontology": {"tag": spec.tag, "version": 1, "fingerprint": ""},
        "metadata": spec.metadata,
        "clock": "producer",
        "fields": [{"name": f.name, "type": str(f.type), "nullable": f.nullable} for f in spec.schema][1:],
        "schema": base64.b64encode(spec.schema.serialize().to_pybytes()).decode(),
        "rows": seq,
        "start_ns": min(starts, default=None),
        "end_ns": max(ends, default=None),
        "parts": parts,
        "ledger": {"produced": seq, "written": seq, "dropped": 0, "gapped": 0},
    }


def _write_part(
    folder: Path, relative: str, table: pa.Table, group_rows: int, with_stats: bool
) -> dict[str, Any]:
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, table.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(table, row_group_size=group_rows)
        if with_stats:
            writer.add_key_value_metadata({b"gapless.stats": json.dumps(table_stats(table)).encode()})
    data = path.read_bytes()
    footer = data[-int.from_bytes(data[-8:-4], "little") - 8 :]
    times = table.column("timestamp_ns").to_pylist()
    return {
        "path": relative,
        "rows": table.num_rows,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "footer_sha256": hashlib.sha256(footer).hexdigest(),
        "start_ns": times[0] if times else None,
        "end_ns": times[-1] if times else None,
    }


def table_stats(table: pa.Table) -> dict[str, dict[str, Any]]:
    """Return ``gapless.stats`` of a table, by plain Python."""
    found = {}
    for column in table.schema:
        kind = column.type
        counted = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string)
        if column.name == "_seq" or not any(test(kind) for test in counted):
            continue
        values = table.column(column.name)
        if pa.types.is_float16(kind):
            values = pc.cast(values, pa.float32())
        present = [v for v in values.to_pylist() if v is not None]
        numbers = [v for v in present if not (isinstance(v, float) and math.isnan(v))]
        wide = any(isinstance(v, str) and len(v) > 256 for v in numbers)
        stats: dict[str, Any] = {
            "min": _plain(min(numbers, default=None)) if not wide else None,
            "max": _plain(max(numbers, default=None)) if not wide else None,
            "nulls": table.num_rows - len(present),
            "nans": len(present) - len(numbers),
        }
        found[column.name] = stats | ({"wide": True} if wide else {})
    return found


def _plain(value: Any) -> Any:
    return ("inf" if value > 0 else "-inf") if isinstance(value, float) and math.isinf(value) else value
