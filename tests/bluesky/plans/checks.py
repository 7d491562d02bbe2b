"""What holds for every run, whoever emitted its documents."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bluesky_tiled_plugins.writing.tiled_writer import RunNormalizer as LiveNormalizer
from tests.bluesky.plans.plain import Document, by_run, of_kind, plain, single

import gapless
from gapless.bluesky import RunNormalizer, StoredRun

OUTCOMES = {"success": "completed", "abort": "aborted", "fail": "failed"}


def normalized(normalizer: Any, run: list[Document]) -> list[tuple[str, Any]]:
    """Return what a normalizer emits for the documents of one run, as single plain documents.

    The live normalizer tells in the stop document what it changed; that is left out.
    """
    found: list[Document] = []
    normalizer.subscribe(lambda name, doc: found.append((name, copy.deepcopy(doc))))
    for name, doc in copy.deepcopy(run):
        normalizer(name, doc)
    told = single(found)
    for name, doc in told:
        if name == "stop":
            doc.pop("_run_normalizer_notes", None)
    return told


def check_normalizers(seen: list[Document]) -> None:
    """Ours emits what the live one emits, apart from the listed differences; modern runs in the same order."""
    for run in by_run(seen).values():
        ours, live = normalized(RunNormalizer(), run), normalized(LiveNormalizer(), run)
        if not of_kind(run, "resource"):
            assert [name for name, _ in ours] == [name for name, _ in live]
        for kind in sorted({name for name, _ in ours + live}):
            found, expected = comparable(of_kind(ours, kind)), comparable(of_kind(live, kind))
            assert found == expected, f"{kind}\nours: {found}\nlive: {expected}"
            if kind not in ("stream_resource", "stream_datum"):
                assert of_kind(ours, kind) == of_kind(live, kind)


def comparable(docs: list[Any]) -> list[Any]:
    """Return documents without what is known to differ from the live normalizer, each for a reason.

    - a stream_resource keeps its ``run_start``: it is valid, and the live one throws it away;
    - what is no URI because of spaces or ``#`` is percent-encoded;
    - keywords of each datum are kept, in one more stream_resource ``<uid>-2`` where they change; the live one
      keeps those of the first datum for all;
    - a datum that comes after its event is emitted when it comes; the live one waits for the stop document.
    """
    found: dict[str, Any] = {}
    for doc in docs:
        doc = dict(doc)
        if "uri" in doc:
            doc.pop("run_start", None)
            doc["uri"] = unquote(doc["uri"])
            doc["uid"] = _first_uid(doc["uid"])
        if "stream_resource" in doc:
            doc["stream_resource"] = _first_uid(doc["stream_resource"])
        found.setdefault(doc["uid"], doc)
    return [found[uid] for uid in sorted(found)]


def _first_uid(uid: str) -> str:
    return re.sub(r"-\d{1,3}$", "", uid)


def check_store(store: Path, seen: list[Document]) -> None:
    """Every run is there with its outcome, every event with its number, times and values."""
    runs = by_run(seen)
    with gapless.connect(store) as client:
        assert set(client.list_sequences()) == set(runs)
        for uid, run in runs.items():
            handler = client.sequence_handler(uid)
            [stop] = of_kind(run, "stop")
            assert handler.outcome == OUTCOMES[stop["exit_status"]]
            assert handler.ledger["dropped"] == 0
            assert [f for f in client.verify(uid, deep=True) if f.severity == "error"] == []
            check_events(StoredRun(client, uid), violated_cells(handler), normalized(RunNormalizer(), run))


def check_events(stored: StoredRun, violated: set[tuple[str, str]], run: list[tuple[str, Any]]) -> None:
    """Compare every cell that is as its descriptor says; the others are null and have a violation."""
    names = {doc["uid"]: doc["name"] for doc in of_kind(run, "descriptor")}
    assert set(stored.streams) == set(names.values())
    events: dict[str, list[Any]] = {}
    for event in of_kind(run, "event"):
        events.setdefault(names[event["descriptor"]], []).append(event)
    for name, of_stream in events.items():
        rows = {row["uid"]: row for row in stored[name].read(all=True).to_pylist()}
        assert len(rows) == len(of_stream)
        for event in of_stream:
            row = rows[event["uid"]]
            assert (row["seq_num"], row["time"]) == (event["seq_num"], event["time"])
            for key, value in event["data"].items():
                if (event["uid"], key) in violated:
                    assert row[key] is None
                else:
                    assert flat(plain(row[key])) == flat(value), (name, key)
                    assert row[f"ts_{key}"] == event["timestamps"][key]


def violated_cells(handler: gapless.SequenceHandler) -> set[tuple[str, str]]:
    """Return event and key of each cell that is not as its descriptor says."""
    if "bluesky/violations" not in handler.topics:
        return set()
    rows = handler.topic("bluesky/violations").to_arrow().to_pylist()
    return {(row["uid"], row["key"]) for row in rows}


def flat(value: Any) -> Any:
    """Return an array's values in one list, as its column holds them."""
    while isinstance(value, list) and value and isinstance(value[0], list):
        value = [inner for row in value for inner in row]
    return value


def check_back(store: Path, seen: list[Document]) -> None:
    """What `documents` emits is what was normalised: each stream in its order, all after what they name."""
    from gapless.bluesky import documents

    with gapless.connect(store) as client:
        for uid, run in by_run(seen).items():
            told = normalized(RunNormalizer(), run)
            back = single(documents(client.sequence_handler(uid)))
            assert (back[0][0], back[-1][0]) == ("start", "stop")
            for kind in ("start", "descriptor", "stream_resource", "stop"):
                assert of_kind(back, kind) == of_kind(told, kind)
            for descriptor in of_kind(told, "descriptor"):
                for kind in ("event", "stream_datum"):
                    assert of(back, kind, descriptor["uid"]) == of(told, kind, descriptor["uid"])
            check_order(back)
            assert len(back) == len(told)


def of(run: list[tuple[str, Any]], kind: str, descriptor: str) -> list[Any]:
    """Return the documents of a kind that name a descriptor."""
    return [doc for name, doc in run if name == kind and doc["descriptor"] == descriptor]


def check_order(run: list[tuple[str, Any]]) -> None:
    """Nothing comes before what it names."""
    known: set[str] = set()
    for name, doc in run:
        for reference in ("run_start", "descriptor", "stream_resource"):
            if reference in doc:
                assert doc[reference] in known, (name, reference)
        known.add(doc["uid"])
