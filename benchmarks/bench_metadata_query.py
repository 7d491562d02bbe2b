"""Undeclared nested metadata paths over 100,000 sequences, against a JSON scan and hand-made expression indexes."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import Bench, cost, main

from gapless import Sequence
from gapless.catalog.bundle_facts import BundleFacts
from gapless.catalog.catalog import Catalog
from gapless.catalog.reconcile import upsert

_VEHICLE, _PLANNING, _SPEED = "vehicle.vehicle_id", "vehicle.software_stack.planning", "weather.wind.speed"
_REPEATS = 20  # one answer takes a tenth of a millisecond
Answer = Callable[[], list[str]]


def run(bench: Bench) -> None:
    count = bench.size(100_000, 500)
    folder = bench.folder("metadata")
    documents = _documents(count)
    with cost() as filling:
        catalog = _catalog(folder, documents)
    bench.limit(
        f"filling the catalog with {count:,} sequences",
        "CPU µs/sequence",
        [filling.cpu_ns / 1e3 / count],
        None,
    )
    scan, indexed = _sqlite(folder / "scan.db", documents), _sqlite(folder / "index.db", documents)
    for number, path in enumerate((_VEHICLE, _PLANNING, _SPEED)):
        indexed.execute(f"CREATE INDEX by_{number} ON doc (json_extract(body, '$.{path}'))")
    indexed.execute("ANALYZE")
    vehicle, planning, speed = (Sequence.Q.user_metadata[p] for p in (_VEHICLE, _PLANNING, _SPEED))
    body = {p: f"json_extract(body, '$.{p}')" for p in (_VEHICLE, _PLANNING, _SPEED)}
    questions: dict[str, tuple[Any, str, tuple[Any, ...]]] = {
        "one value": (vehicle.eq("veh_7"), f"{body[_VEHICLE]} = ?", ("veh_7",)),
        "a prefix": (
            planning.match("plan-3.1.*"),
            f"{body[_PLANNING]} >= ? AND {body[_PLANNING]} < ? AND {body[_PLANNING]} GLOB ?",
            ("plan-3.1.", "plan-3.1/", "plan-3.1.*"),
        ),
        "a range": (speed.between(10.0, 10.04), f"{body[_SPEED]} BETWEEN ? AND ?", (10.0, 10.04)),
        "three at once": (
            vehicle.eq("veh_7") & planning.match("plan-3.*") & speed.gt(10.0),
            f"{body[_VEHICLE]} = ? AND {body[_PLANNING]} GLOB ? AND {body[_SPEED]} > ?",
            ("veh_7", "plan-3.*", 10.0),
        ),
    }
    for what, (expression, where, values) in questions.items():
        found = bench.interleave(
            {
                "ours": _timed(
                    lambda expression=expression: [item.name for item in catalog.query(expression)]
                ),
                "index": _timed(_select(indexed, where, values)),
                "scan": _timed(_select(scan, where, values), repeats=1),
            }
        )
        hits = {name: sorted(runs[0][1]) for name, runs in found.items()}
        same = hits["ours"] == hits["scan"] == hits["index"]
        note = f"{len(hits['ours']):,} sequences found, " + (
            "the same in all" if same else "THE ANSWERS DIFFER"
        )
        ours = [spent for spent, _ in found["ours"]]
        bench.compare(
            f"{what} of {count:,}", "CPU ms", ours, "SQLite expression index", [s for s, _ in found["index"]],
            at_most=3, note=note,
        )  # fmt: skip
        bench.compare(
            f"{what} of {count:,}",
            "CPU ms",
            ours,
            "SQLite JSON scan",
            [s for s, _ in found["scan"]],
            at_least=50,
        )
    catalog.close()


def _documents(count: int) -> list[dict[str, Any]]:
    rng = random.Random(11)
    return [
        {
            "vehicle": {
                "vehicle_id": f"veh_{rng.randrange(500)}",
                "software_stack": {
                    "planning": f"plan-{rng.randrange(10)}.{rng.randrange(50)}.{rng.randrange(9)}",
                    "perception": f"perc-{rng.randrange(8)}.{rng.randrange(20)}",
                },
            },
            "weather": {"wind": {"speed": round(rng.uniform(0, 20), 3), "gusts": rng.random() < 0.2}},
            "operator": f"op-{rng.randrange(40)}",
            "site": rng.choice(("north", "south", "dock", "yard")),
            "tags": ["night"] if rng.random() < 0.3 else [],
        }
        for _ in range(count)
    ]


def _catalog(folder: Path, documents: list[dict[str, Any]]) -> Catalog:
    """Fill a catalog as reconciling fills it, 500 sequences a transaction, without 100,000 folders."""
    catalog = Catalog(folder)
    for start in range(0, len(documents), 500):
        with catalog._database.transaction():
            for number in range(start, min(start + 500, len(documents))):
                name = f"run-{number:06d}"
                facts = BundleFacts(
                    name, name, "sealed", "sealed;", created_ns=number, metadata=documents[number]
                )
                upsert(catalog._database, facts)
    return catalog


def _sqlite(path: Path, documents: list[dict[str, Any]]) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE doc (id INTEGER PRIMARY KEY, name TEXT NOT NULL, body TEXT NOT NULL)")
    connection.executemany(
        "INSERT INTO doc (name, body) VALUES (?, ?)",
        ((f"run-{number:06d}", json.dumps(document)) for number, document in enumerate(documents)),
    )
    connection.commit()
    return connection


def _select(connection: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> Answer:
    sql = f"SELECT name FROM doc WHERE {where} ORDER BY id"
    return lambda: [row[0] for row in connection.execute(sql, values).fetchall()]


def _timed(answer: Answer, repeats: int = _REPEATS) -> Callable[[], tuple[float, list[str]]]:
    def once() -> tuple[float, list[str]]:
        with cost() as spent:
            for _ in range(repeats):
                names = answer()
        return spent.cpu_ns / 1e6 / repeats, names

    return once


if __name__ == "__main__":
    raise SystemExit(main(run))
