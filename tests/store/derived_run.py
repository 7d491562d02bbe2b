"""The folder of a feature run, written byte by byte as the format says, without the engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from crc32c import crc32c

from gapless.model.names import to_component
from gapless.store import parquet
from gapless.store.pyramid import reductions
from gapless.store.statistics import STATS_KEY, PartStatistics, encode

RUN = "0.1-0123456789ab"
SPEED = pa.schema(
    [
        pa.field("timestamp_ns", pa.int64(), nullable=False),
        pa.field("speed", pa.float64(), metadata={"unit": "m/s"}),
        pa.field("moving", pa.bool_()),
    ]
)


def speeds(times: list[int], values: list[float]) -> pa.Table:
    """Return an output of a feature that gives a speed at each time."""
    return pa.table([times, values, [value > 0 for value in values]], schema=SPEED)


def begin_run(root: Path, feature: str, run_id: str = RUN) -> Path:
    """Write the identity of a run in a store and return the run's folder."""
    folder = root / "features" / to_component(feature) / run_id
    folder.mkdir(parents=True)
    identity = {
        "scheme": 1,
        "feature": feature,
        "name": feature,
        "run_id": run_id,
        "digest": f"{run_id[4:]:0<64}",
        "document": {},
        "params_json": "{}",
        "inputs_json": '["tracks"]',
        "params_hash": "0",
        "version": "0.1",
        "upstream": [],
        "code_digest": None,
        "started_at": "2026-01-01T00:00:00.000000+00:00",
    }
    (folder / "identity.json").write_text(json.dumps(identity))
    return folder


def record_entry(
    folder: Path, sequence: str, table: pa.Table | None, *, group: str = "field", **changes: Any
) -> dict[str, Any]:
    """Write an entry's file, if there are rows, and its line in the ledger; return the record."""
    written = {} if table is None else _write(folder, f"{to_component(sequence)}.parquet", table)
    nothing = {"n_rows": 0, "file": "", "bytes": 0, "sha256": "", "footer_sha256": "", "start_ns": None,
               "end_ns": None, "fields": {}, "stats": {}}  # fmt: skip
    record = {
        "group": group,
        "sequence": sequence,
        "status": "empty" if table is None else "ok",
        "key": "0" * 64,
        "inputs": {"tracks": "0" * 64},
        "mtime_ns": 0,
        "timebase": "tracks",
        "recorded_ns": 2_000_000_000_000_000_000,
        **nothing,
        **written,
        **changes,
    }
    with (folder / "entries.jsonl").open("ab") as ledger:
        ledger.write(line(record))
    return record


def line(record: Mapping[str, Any]) -> bytes:
    """Return a record as a line of a ledger."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f'{{"crc":"{crc32c(text.encode()):08x}","record":{text}}}\n'.encode()


def _write(folder: Path, name: str, table: pa.Table) -> dict[str, Any]:
    statistics = PartStatistics(table.schema)
    with parquet.open_writer(folder / name, table.schema) as writer:
        for start in range(0, table.num_rows, 65_536):
            group = table.slice(start, 65_536)
            statistics.add(group, reductions(group, table.schema))
            writer.write_table(group, row_group_size=group.num_rows)
        writer.add_key_value_metadata({STATS_KEY.decode(): encode(statistics.to_json())})
    timed = "timestamp_ns" in table.column_names
    return {
        **parquet.file_digests(folder / name),
        "file": name,
        "n_rows": table.num_rows,
        "start_ns": table["timestamp_ns"][0].as_py() if timed else None,
        "end_ns": table["timestamp_ns"][-1].as_py() if timed else None,
        "fields": {field.name: str(field.type) for field in table.schema},
        "stats": statistics.to_json(),
    }
