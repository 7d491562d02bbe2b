"""Sealing a journal into a bundle, against pyarrow writing the same table with the same encodings."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from harness import Bench, cost, in_child, main, peak_rss_bytes
from motion import SCHEMA, Recording, batches, push_all, times, values

from gapless.store.layout import ROW_GROUP_ROWS
from gapless.store.parquet import leaf_encodings
from gapless.store.recover import recover

_PACKED, _ARROW = "rows pushed one by one", "rows pushed in blocks of 1,000"


def run(bench: Bench) -> None:
    count = bench.size(2 << 20, 20_000)  # two whole parts
    journals = {_PACKED: _journal(bench, count, packed=True), _ARROW: _journal(bench, count, packed=False)}
    found = bench.interleave(
        {
            _PACKED: lambda: _seal(bench, journals[_PACKED], count),
            _ARROW: lambda: _seal(bench, journals[_ARROW], count),
            "pyarrow": lambda: _pyarrow(bench, count),
        }
    )
    for how in journals:
        bench.compare(
            f"recover a journal of {how}", "CPU ns/row", [cpu for cpu, _ in found[how]],
            "pyarrow, same encodings", [cpu for cpu, _ in found["pyarrow"]], at_most=1.7,
            note="ours reads and checks the journal twice, counts statistics, pyramid and sha256, and syncs",
        )  # fmt: skip
    bench.compare(
        "size of the sealed topic", "bytes/row", [size for _, size in found[_PACKED]],
        "pyarrow, same encodings", [size for _, size in found["pyarrow"]],
        note="ours holds the arrival number too",
    )  # fmt: skip
    for factor in (1, 2):
        journal = journals[_PACKED] if factor == 1 else _journal(bench, factor * count, packed=True)
        peak = in_child(Path(__file__), "--recover", str(_copy(bench, journal)))["peak_rss_bytes"]
        bench.limit(f"recover {factor * count:,} rows", "peak RSS MB", [peak / 1e6], 300)


def _journal(bench: Bench, count: int, *, packed: bool) -> Path:
    """Record and abandon: the journal a killed process leaves, all rows durable."""
    store = bench.folder("journal")
    with Recording(store, background_seal=False) as sequence:
        topic = sequence.topic_create("imu", schema=SCHEMA)
        if packed:
            push_all(topic.push_row, times(count), values())
        else:
            for batch in batches(count, 1_000):
                topic.push_batch(batch)
    [bundle] = (store / "sequences").iterdir()
    return bundle


def _copy(bench: Bench, journal: Path) -> Path:
    return Path(shutil.copytree(journal, bench.folder("copy") / journal.name))


def _seal(bench: Bench, journal: Path, count: int) -> tuple[float, float]:
    bundle = _copy(bench, journal)
    with cost() as spent:
        recover(bundle)
    size = sum(path.stat().st_size for path in bundle.glob("topics/imu/*"))
    shutil.rmtree(bundle)
    return spent.cpu_ns / count, size / count


def _table(count: int) -> pa.Table:
    return pa.Table.from_batches(batches(count, 10_000)).combine_chunks()


def _pyarrow(bench: Bench, count: int) -> tuple[float, float]:
    table = _table(count)
    path = bench.folder("pyarrow") / "imu.parquet"
    dictionary, encodings = leaf_encodings(table.schema)
    with cost() as spent:
        pq.write_table(
            table, path, compression="zstd", compression_level=1, use_dictionary=list(dictionary) or False,
            column_encoding=dict(encodings), write_page_checksum=True, row_group_size=ROW_GROUP_ROWS,
        )  # fmt: skip
    size = path.stat().st_size
    path.unlink()
    return spent.cpu_ns / table.num_rows, size / table.num_rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["--recover"]:
        recover(Path(sys.argv[2]))
        print(json.dumps({"peak_rss_bytes": peak_rss_bytes()}))
        raise SystemExit(0)
    raise SystemExit(main(run))
