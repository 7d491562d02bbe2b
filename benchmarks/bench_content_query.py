"""Which sequences have x above a threshold, and exactly when: 1,000 sequences of 100,000 rows against DuckDB."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from harness import Bench, Cost, cost, main

from gapless import Client, Ontology, connect
from gapless.model.ontology import Float32

_TOPIC = "sensors/motion"
_PERIOD_NS = 5_000_000
Spans = list[tuple[str, int, int]]


class Motion(Ontology):
    """Three single-precision values."""

    x: Float32
    y: Float32
    z: Float32


def run(bench: Bench) -> None:
    sequences, rows = bench.size(1_000, 20), bench.size(100_000, 5_000)
    store = bench.options.store or bench.folder("store")
    if not (store / "gapless.json").exists():
        _record(store, sequences, rows)
    questions = {
        f"x > 50: 1 % of {sequences:,} sequences match": (50.0, 0.1),
        f"x > 4.2: all of {sequences:,} match": (4.2 if not bench.quick else 2.5, 1.5),
        f"x > 99: none of {sequences:,} matches": (99.0, 0.1),
    }
    try:
        import duckdb
    except ModuleNotFoundError:
        for what in questions:
            bench.skip(what, "DuckDB", "duckdb is not installed: pip install duckdb")
        return
    with connect(store) as client, duckdb.connect() as connection:
        _gapless(client, 50.0)  # the footers' statistics enter the catalog with the first query
        for what, (threshold, at_most) in questions.items():
            found = bench.interleave(
                {
                    "fresh": _timed(lambda threshold=threshold: _fresh_gapless(store, threshold)),
                    "fresh peer": _timed(lambda threshold=threshold: _fresh_duckdb(store, threshold)),
                    "open": _timed(lambda threshold=threshold: _gapless(client, threshold)),
                    "open peer": _timed(lambda threshold=threshold: _duckdb(connection, store, threshold)),
                }
            )
            _report(bench, what, at_most, found)


def _report(bench: Bench, what: str, at_most: float, found: dict[str, list[tuple[Cost, Spans]]]) -> None:
    spans = found["fresh"][0][1]
    same = all(answer == spans for runs in found.values() for _, answer in runs)
    note = f"{len(spans):,} spans in {len({name for name, _, _ in spans}):,} sequences; "
    note += "the same spans in all" if same else "THE SPANS DIFFER"
    for how, words in (("open", "kept open"), ("fresh", "opened anew")):
        for figure, pick in (("CPU ms", "cpu_ns"), ("wall ms", "wall_ns")):
            bench.compare(
                f"{what}, {words}", figure, [getattr(c, pick) / 1e6 for c, _ in found[how]],
                "DuckDB", [getattr(c, pick) / 1e6 for c, _ in found[f"{how} peer"]],
                at_most=at_most if figure == "CPU ms" else None, note=note if figure == "CPU ms" else "",
            )  # fmt: skip


def _record(store: Path, sequences: int, rows: int) -> None:
    """Record noise; one sequence in a hundred (at least one) has ten short excursions above 50."""
    stamps = np.arange(rows, dtype=np.int64) * _PERIOD_NS
    with connect(store) as client:
        for number in range(sequences):
            rng = np.random.default_rng(number)
            values = rng.normal(size=(3, rows)).astype(np.float32)
            values[0, rng.integers(0, rows, 1)] = 5.0  # every sequence has a row above 4.2
            if number % 100 == 0:
                for at in rng.integers(0, rows - 20, 10):
                    values[0, at : at + 20] = 60.0
            with client.sequence_create(f"run-{number:04d}") as sequence:
                topic = sequence.topic_create(_TOPIC, ontology_type=Motion)
                topic.push_columns(stamps, dict(zip("xyz", values, strict=True)))


def _timed(query: Callable[[], Spans]) -> Callable[[], tuple[Cost, Spans]]:
    def once() -> tuple[Cost, Spans]:
        with cost() as spent:
            spans = query()
        return spent, sorted(spans)

    return once


def _fresh_gapless(store: Path, threshold: float) -> Spans:
    with connect(store) as client:
        return _gapless(client, threshold)


def _gapless(client: Client, threshold: float) -> Spans:
    answer = client.query(Motion.Q.x.gt(threshold))
    return [(item.name, *span) for item in answer for topic in item.topics for span in topic.spans]


def _fresh_duckdb(store: Path, threshold: float) -> Spans:
    import duckdb

    with duckdb.connect() as connection:
        return _duckdb(connection, store, threshold)


def _duckdb(connection: Any, store: Path, threshold: float) -> Spans:
    """Runs of consecutive rows: the file's row number minus the number among the rows that match."""
    files = f"{store}/sequences/*/topics/sensors%2Fmotion/part-*.parquet"
    found = connection.execute(
        """
        SELECT split_part(filename, '/', -4), min(timestamp_ns), max(timestamp_ns) FROM (
            SELECT filename, timestamp_ns, file_row_number
                   - row_number() OVER (PARTITION BY filename ORDER BY file_row_number) AS run
            FROM read_parquet(?, filename = true, file_row_number = true) WHERE x > ?::FLOAT)
        GROUP BY filename, run
        """,
        [files, threshold],
    ).fetchall()
    return [(str(name), int(first), int(last)) for name, first, last in found]


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="keep the recorded sequences here for the next time"
    )


if __name__ == "__main__":
    raise SystemExit(main(run, options=_options))
