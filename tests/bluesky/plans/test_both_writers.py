"""What the live TiledWriter and ours make of the same odd runs, side by side; ours is asserted, both are printed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from bluesky_tiled_plugins.writing.tiled_writer import TiledWriter as LiveWriter
from tests.bluesky.plans.odd_runs import CASES, Document
from tests.bluesky.plans.plain import plain
from tests.bluesky.tiled_server import TiledServer, environment

import gapless
from gapless.bluesky import StoredRun, Writer
from gapless.bluesky.lossless import decode

pytestmark = pytest.mark.filterwarnings("ignore")  # the other writer and its client warn of many things


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TiledServer]:
    """Start the server that the live writer writes to."""
    with TiledServer(tmp_path / "tiled") as started:
        yield started


def feed(writer: Callable[[str, Any], Any], documents: list[Document]) -> str:
    """Hand over the documents and tell which errors the caller would have met."""
    with ThreadPoolExecutor(1) as pool:
        raised = [pool.submit(writer, name, copy.deepcopy(doc)).exception() for name, doc in documents]
    names = [type(error).__name__ for error in raised if error is not None]
    told = {name: names.count(name) for name in names}
    return ", ".join(f"raised {name}" + (f" ×{n}" if n > 1 else "") for name, n in told.items())


def uid_of(documents: list[Document]) -> str:
    """Return the uid of the run."""
    return str(next(doc.get("run_start", doc["uid"]) for name, doc in documents if name in ("start", "stop")))


def theirs(documents: list[Document], batch: int, server: TiledServer) -> str:
    """Return what the live TiledWriter leaves on its server, in words."""
    client = server.client()
    words = [feed(LiveWriter(client, batch_size=batch), documents)]
    uid = uid_of(documents)
    if uid not in client:
        return ", ".join(word for word in [*words, "no run"] if word)
    run = client[uid]
    stream = run["primary"].base if "primary" in run else {}
    if "internal" in stream:
        table = stream["internal"].read()
        words.insert(0, rows_in_words({name: table[name].tolist() for name in table.columns}))
    else:
        words.insert(0, "no rows")
    words.append("stop" if "stop" in run.metadata else "no stop")
    return ", ".join(word for word in words if word)


def rows_in_words(columns: dict[str, list[Any]]) -> str:
    """Return numbers and values of the rows."""
    values = {name: column for name, column in columns.items() if name in ("v", "w", "v2", "image")}
    parts = [f"{name} {json.dumps(plain(column), default=str)}" for name, column in values.items()]
    return " ".join([f"seq_num {columns['seq_num']}", *parts])


def ours(documents: list[Document], store: Path) -> str:
    """Return what our writer leaves in its store, in words."""
    writer = Writer(store)
    raised = feed(writer, documents)
    writer.close()
    words: list[str] = []
    with gapless.connect(store) as client:
        for name in client.list_sequences():
            words += run_in_words(client, StoredRun(client, name))
    for path in sorted(writer.spool.glob("*.jsonl")):
        kept = [json.loads(line)["name"] for line in path.read_text().splitlines()]
        words.append("in the spool: " + " and ".join(f"{kept.count(n)} {n}" for n in dict.fromkeys(kept)))
    return ", ".join(word for word in [*words, raised] if word)


def run_in_words(client: gapless.Client, run: StoredRun) -> list[str]:
    """Return rows, counts, violations, late layers and the outcome of a run."""
    words: list[str] = []
    if "primary" in run.streams:
        stream = run["primary"]
        words.append(rows_in_words(stream.read().to_pydict()))
        if stream.read(all=True).num_rows != stream.read().num_rows:
            words.append(f"superseded: {stream.read(all=True).num_rows - stream.read().num_rows}")
        for row in stream.violations().to_pylist():
            raw = "" if row["value"] is None else f" {plain(decode(row['value']))}"
            words.append(f"event {row['seq_num']}: {row['key']} {row['kind']}{raw}")
        counts = run.report["streams"]["primary"]
        words += [f"{key}: {counts[key]}" for key in ("duplicates", "reordered") if counts[key]]
    words += [f"{key}: {run.report[key]}" for key in ("parked", "quarantined") if run.report[key]]
    words += [f"{finding['code']}: {finding['count']}" for finding in run.report["findings"]]
    words += [f"layer {layer}" for layer in client.sequence_handler(run.name).layers]
    return [*words, str(run.outcome)]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_odd_runs_lose_nothing(server: TiledServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours is as the table says; the other column is what their writer left this time."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_ATTEMPTS", 2)  # of ten: the answer is the same
    found: dict[str, str] = {}
    print("\n\n| input | TiledWriter | gapless |\n|---|---|---|")
    for number, (kind, case) in enumerate(CASES.items()):
        documents = case.documents()
        found[kind] = ours(documents, tmp_path / str(number))
        print(f"| {kind} | {theirs(documents, case.batch, server)} | {found[kind]} |", flush=True)
    assert found == {name: case.ours for name, case in CASES.items()}
