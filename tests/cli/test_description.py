"""What `show --json` says of a sealed sequence, from its manifests alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import gapless
from gapless.cli.description import describe, topic_of
from gapless.cli.show import flat, ledger_text
from gapless.errors import FormatUnknown, IntegrityError, NotFound

LEDGER = {"produced": 10, "written": 9, "dropped": 1, "gapped": 0}


def topic(rows: int, start_ns: int | None, end_ns: int | None) -> dict[str, Any]:
    """Return a topic as a manifest holds it."""
    part = {"path": "topics/a/part-00000.parquet", "rows": rows, "bytes": 100 * rows}
    return {
        "ontology": {"tag": "IMU", "version": 1, "fingerprint": "f"},
        "metadata": {},
        "clock": "producer",
        "fields": [{"name": "x", "type": "double", "nullable": True, "unit": "m/s^2"}],
        "rows": rows,
        "start_ns": start_ns,
        "end_ns": end_ns,
        "parts": [part],
        "ledger": dict(LEDGER),
    }


def write_manifest(folder: Path, topics: dict[str, Any], *, name: str = "m", **content: Any) -> None:
    """Write a manifest of format 1."""
    folder.mkdir(parents=True)
    body = {
        "name": name,
        "group": "g",
        "metadata": {"a": {"b": 1}},
        "topics": topics,
        "artifacts": {},
        "ledger": LEDGER,
    }
    record = {"outcome": "completed", "opened_ns": 5, "sealed_ns": 9, "producer": {"host": "h", "pid": 1}}
    manifest = {"format": 1, "content_digest": "sha256:0", "content": {**body, **content}, "record": record}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_the_stable_keys_are_there(tmp_path: Path) -> None:
    """name, state, outcome, topics and ledger come from the manifest as it is."""
    write_manifest(
        tmp_path / "m", {"a": topic(9, 1_000_000_000, 3_000_000_000), "_gaps": topic(0, None, None)}
    )
    known = describe(tmp_path / "m")
    assert (known["name"], known["state"], known["outcome"], known["group"]) == (
        "m",
        "sealed",
        "completed",
        "g",
    )
    assert known["ledger"] == LEDGER
    assert known["topics"]["a"]["fields"][0]["unit"] == "m/s^2"
    assert (known["start_ns"], known["duration_s"], known["bytes"]) == (1_000_000_000, 2.0, 900)


def test_layers_are_added_to_the_base(tmp_path: Path) -> None:
    """Rows, bytes, times and ledger of a layer's topic are added to those of the base."""
    write_manifest(tmp_path / "m", {"a": topic(9, 10, 30)})
    write_manifest(
        tmp_path / "m/layers/00001-later", {"a": topic(1, 5, 40), "b": topic(2, 7, 8)}, name="later"
    )
    known = describe(tmp_path / "m")
    assert [layer["name"] for layer in known["layers"]] == ["later"]
    assert (known["topics"]["a"]["rows"], known["topics"]["a"]["ledger"]["produced"]) == (10, 20)
    assert (known["start_ns"], known["end_ns"]) == (5, 40)
    assert known["topics"]["b"]["rows"] == 2


def test_a_broken_manifest_is_an_integrity_error(tmp_path: Path) -> None:
    """A manifest that is no JSON, or lacks its parts, is refused by name."""
    for number, text in enumerate(["{", "[]", '{"format": 1}']):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "manifest.json").write_text(text, encoding="utf-8")
        with pytest.raises(IntegrityError, match="manifest"):
            describe(folder)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """A manifest of a format from the future is not guessed at."""
    write_manifest(tmp_path / "m", {})
    path = tmp_path / "m" / "manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"format": 1', '"format": 2'), encoding="utf-8")
    with pytest.raises(FormatUnknown):
        describe(tmp_path / "m")


def test_metadata_paths_are_those_of_queries() -> None:
    """Nested keys are joined by dots, and a dot inside a key is escaped."""
    assert flat({"a": {"b.c": 1, "d": {}}, "e": [1, 2]}) == [("a.b\\.c", "1"), ("a.d", "{}"), ("e", "[1, 2]")]


def test_the_ledger_reads_as_an_equation() -> None:
    """The balance is shown whole."""
    assert ledger_text(LEDGER) == "10 produced = 9 written + 1 dropped + 0 gapped"


def test_a_reserved_topic_is_there_as_it_is_for_readers(tmp_path: Path) -> None:
    """With its fields, whether it has rows or not, while the sequence is open and once it is sealed."""
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("walk") as sequence:
            sequence.log("x", 1.0)
            sequence.flush()
            bundle = client.sequence_handler("walk").path
            is_open = topic_of(describe(bundle), "_gaps")
        sealed = describe(bundle)
        gaps, health = topic_of(sealed, "_gaps"), topic_of(sealed, "_health")
        rows = client.sequence_handler("walk").topic("_health").rows
    assert (is_open["rows"], is_open["bytes"]) == (0, None)
    assert (gaps["rows"], gaps["bytes"]) == (0, 0)
    assert [f["name"] for f in gaps["fields"]] == [f["name"] for f in is_open["fields"]]
    assert health["rows"] == rows > 0
    assert health["bytes"] > 0
    with pytest.raises(NotFound):
        topic_of(sealed, "_nothing")
