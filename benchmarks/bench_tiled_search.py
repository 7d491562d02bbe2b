"""Finding and paging 100,000 runs through Tiled's own client, against Tiled's tree of a mapping in memory."""

from __future__ import annotations

import os
import random
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import Bench, cost, main
from tiled.adapters.mapping import MapAdapter
from tiled.client import from_context
from tiled.client.context import Context
from tiled.config import Authentication
from tiled.queries import Comparison, Eq, FullText, Regex
from tiled.server.app import build_app

import gapless
from gapless.bluesky.tiled import application
from gapless.catalog.bundle_facts import BundleFacts
from gapless.catalog.look import directory_stamp
from gapless.catalog.reconcile import upsert

_KEY = "secret"
_PLANS = ("count", "scan", "grid_scan", "fly")
Question = Callable[[Any], Any]


def run(bench: Bench) -> None:
    """Ask the same questions of both, through the same client in this process."""
    count = bench.size(100_000, 300)
    folder = bench.folder("runs")
    starts = _starts(count)
    with cost() as filling:
        _fill(folder, starts)
    bench.limit(
        f"filling the catalog with {count:,} runs", "CPU µs/run", [filling.cpu_ns / 1e3 / count], None
    )
    peer = MapAdapter({s["uid"]: MapAdapter({}, metadata={"start": s}) for s in starts})
    questions: dict[str, Question] = {
        "count the runs of one plan and sample": lambda root: len(
            root.search(Eq("start.plan_name", "scan")).search(Eq("start.sample.name", "sample-7"))
        ),
        "the first 20 of a range": lambda root: list(
            root.search(Comparison("gt", "start.scan_id", count - 50)).keys().head(20)
        ),
        "a regular expression": lambda root: len(root.search(Regex("start.sample.name", "^sample-1[0-3]$"))),
        "words anywhere": lambda root: len(root.search(FullText("cryostat"))),
        "a page in the middle": lambda root: list(root.keys()[count // 2 : count // 2 + 20]),
    }
    served = build_app(peer, Authentication(single_user_api_key=_KEY))
    with (
        Context.from_app(application(folder, api_key=_KEY), api_key=_KEY) as ours,
        Context.from_app(served, api_key=_KEY) as theirs,
    ):
        roots = {"gapless": from_context(ours), "peer": from_context(theirs)}
        for what, question in questions.items():
            _compare(bench, f"{what}, of {count:,}", question, roots)


def _compare(bench: Bench, what: str, question: Question, roots: dict[str, Any]) -> None:
    found = bench.interleave({name: _timed(question, root) for name, root in roots.items()})
    ours, theirs = found["gapless"], found["peer"]
    same = ours[0][1] == theirs[0][1]
    bench.compare(
        what,
        "ms",
        [spent for spent, _ in ours],
        "Tiled's MapAdapter in memory",
        [spent for spent, _ in theirs],
        note="the same answer" if same else f"THE ANSWERS DIFFER: {ours[0][1]} and {theirs[0][1]}",
    )


def _timed(question: Question, root: Any) -> Callable[[], tuple[float, Any]]:
    def once() -> tuple[float, Any]:
        began = time.perf_counter()
        answer = question(root)
        return (time.perf_counter() - began) * 1e3, answer

    return once


def _starts(count: int) -> list[dict[str, Any]]:
    """Return start documents in order of time."""
    rng = random.Random(4)
    return [
        {
            "uid": f"{rng.getrandbits(128):032x}",
            "time": 1_700_000_000.0 + number,
            "scan_id": number,
            "plan_name": rng.choice(_PLANS),
            "sample": {
                "name": f"sample-{rng.randrange(200)}",
                "stage": "cryostat" if number % 97 == 0 else "air",
            },
            "motors": ["x", "y"][: 1 + number % 2],
        }
        for number in range(count)
    ]


def _fill(folder: Path, starts: list[dict[str, Any]]) -> None:
    """Fill a catalog as reconciling fills it, 500 runs a transaction, without 100,000 folders."""
    with gapless.connect(folder) as client:
        database = client.catalog.database
        for first in range(0, len(starts), 500):
            with database.transaction():
                for number, start in enumerate(starts[first : first + 500], first):
                    facts = BundleFacts(
                        start["uid"],
                        start["uid"],
                        "sealed",
                        "sealed;",
                        created_ns=number,
                        metadata={"start": start},
                    )
                    upsert(database, facts)
        names = folder / "sequences"
        os.utime(names, (1_700_000_000, 1_700_000_000))  # a folder that changed just now is looked at again
        stamp = directory_stamp(names)
        with database.transaction():  # its names are known, so nobody looks for 100,000 folders
            database.rows("INSERT OR REPLACE INTO seen (key, value) VALUES ('sequences', ?)", (stamp,))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(run))
