"""Files of JSON lines that carry a checksum: appended durably, read as far as they are whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gapless.store.platform import PLATFORM


def canonical_json(document: Any) -> str:
    """Return JSON text that is the same for equal documents."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Append a record, durable when this returns; the file and its folder are made if need be."""
    new = not path.exists()
    if new:
        path.parent.mkdir(parents=True, exist_ok=True)
    text = canonical_json(record)
    line = f'\n{{"crc":"{_checksum(text)}","record":{text}}}\n'  # the first \n ends a line torn by a crash
    fd = PLATFORM.open_append(path)
    try:
        PLATFORM.write(fd, [line.encode()])
        PLATFORM.data_sync(fd)
    finally:
        PLATFORM.close(fd)
    if new:
        PLATFORM.sync_directory(path.parent)


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of the whole lines of a file; torn and damaged lines are passed over."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for line in data.split(b"\n"):
        record = _checked(line) if line else None
        if record is not None:
            yield record


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, an empty one without a file; ValueError for anything else."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    if not isinstance(document, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return document


def _checked(line: bytes) -> dict[str, Any] | None:
    try:
        outer = json.loads(line)
        record = outer["record"]
        good = isinstance(record, dict) and outer["crc"] == _checksum(canonical_json(record))
    except (ValueError, KeyError, TypeError):
        return None
    return record if good else None


def _checksum(text: str) -> str:
    from crc32c import crc32c

    return f"{crc32c(text.encode()):08x}"
