"""Runs as the engine leaves them: a folder with its ledger, and the rows in the registry."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from gapless.features.entry import EntryKey, EntryRecord
from gapless.features.identity import RunIdentity
from gapless.features.registry import FeatureRegistry
from gapless.features.run_folder import RunFolder

Pair = tuple[str, str]


def identity(storage: str, number: int = 0, upstream: Sequence[Pair] = ()) -> RunIdentity:
    """Return an identity of version 0.10 whose run id depends on the storage and the number."""
    document = {"feature": storage, "number": number, "zero": "007", "upstream": [list(p) for p in upstream]}
    digest = hashlib.sha256(repr(document).encode()).hexdigest()
    return RunIdentity(
        storage, storage, "0.10", f"0.10-{digest[:12]}", digest, document, '{"a": 1}', "h", '["tracks"]',
        tuple(upstream),
    )  # fmt: skip


def record(group: str, sequence: str, status: str = "ok", **facts: object) -> EntryRecord:
    """Return a record of an entry with a file name and statistics."""
    fields = {
        "n_rows": 3,
        "file": f"{sequence}.parquet" if status == "ok" else "",
        "bytes": 100,
        "sha256": "ab" * 32,
        "start_ns": -5,
        "end_ns": 2**62,
        "fields": {"speed": "double", "ß": "string"},
        "stats": {"speed": {"min": 0.1, "max": "inf", "nulls": 0}},
        "recorded_ns": 1_700_000_000_000_000_001,
        "elapsed_s": 0.25,
        **facts,
    }
    return EntryRecord(group, sequence, status, "cd" * 32, {"tracks": "ef" * 32}, **fields)  # type: ignore[arg-type]


def store_run(
    registry: FeatureRegistry,
    storage: str,
    entries: Iterable[EntryKey | EntryRecord],
    *,
    number: int = 0,
    upstream: Sequence[Pair] = (),
    state: bool = False,
    finish: bool = True,
) -> Pair:
    """Write a run in the order in which the engine does, to the folder first; return its name."""
    assert registry.root is not None
    who = identity(storage, number, upstream)
    pair = (who.storage, who.run_id)
    folder = RunFolder.of(registry.root, *pair)
    folder.begin(who, "code")
    registry.begin_run(who, code_digest="code")
    records = [each if isinstance(each, EntryRecord) else record(*each) for each in entries]
    if state:
        with folder.new_state({"entry:g/s": "0"}) as path:
            (path / "model.bin").write_bytes(b"learned")
        document = folder.state_document()
        registry.set_state(*pair, document["digest"] if document else "")
    folder.append(records)
    registry.save_records(*pair, records)
    if finish:
        folder.finish(who, {each.entry_key: each for each in records})
        registry.mark_finished(*pair)
    return pair


def remove_catalog(root: Path) -> None:
    """Delete the catalog of a store, as anybody may at any time."""
    for path in root.glob("catalog.db*"):
        path.unlink()


def all_rows(registry: FeatureRegistry) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of the tables of feature runs, in order."""
    tables = ("feature_runs", "feature_entries", "dependencies")
    return {table: sorted(registry._database.rows(f"SELECT * FROM {table}"), key=repr) for table in tables}
