"""Labels on time spans: one durable line each in the bundle's ``annotations.jsonl``, never rewritten.

A line is acknowledged when the call returns. A last line without its newline was cut by a crash, was
never acknowledged, and is dropped by the next append.
"""

from __future__ import annotations

import json
import operator
import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapless.errors import IntegrityError, NotFound, UsageError

FILE = "annotations.jsonl"
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Annotation:
    """A label or note on the span from ``start_ns`` to ``end_ns``, both included."""

    id: str
    start_ns: int
    end_ns: int
    name: str
    kind: str | None = None
    author: str | None = None
    confidence: float | None = None
    created_ns: int = 0


def append_annotation(
    bundle: Path,
    start_ns: int,
    end_ns: int,
    name: str,
    *,
    kind: str | None = None,
    author: str | None = None,
    confidence: float | None = None,
) -> Annotation:
    """Make a new annotation durable in the bundle and return it.

    Raises UsageError, with nothing written, for times that are no int64, a name, kind or author that is no
    text, an end before the start, and a confidence outside 0 to 1.
    """
    start_ns, end_ns = _checked_time("start_ns", start_ns), _checked_time("end_ns", end_ns)
    if end_ns < start_ns:
        raise UsageError("an annotation ends before it starts", found=(start_ns, end_ns))
    _check_text("name", name)
    for field, text in (("kind", kind), ("author", author)):
        if text is not None:
            _check_text(field, text)
    made = Annotation(
        uuid.uuid4().hex,
        start_ns,
        end_ns,
        name,
        kind,
        author,
        _checked_confidence(confidence),
        time.time_ns(),
    )
    _append(bundle, {"op": "add", **{key: getattr(made, key) for key in Annotation.__slots__}})
    return made


def remove_annotation(bundle: Path, annotation_id: str, *, author: str | None = None) -> None:
    """Make the removal of an annotation durable; its line stays. NotFound if there is none of that id."""
    if author is not None:
        _check_text("author", author)
    if all(known.id != annotation_id for known in read_annotations(bundle)):
        raise NotFound("there is no annotation of that id", found=annotation_id)
    _append(bundle, {"op": "remove", "id": annotation_id, "author": author, "created_ns": time.time_ns()})


def read_annotations(bundle: Path) -> list[Annotation]:
    """Return the annotations in force, in the order they were added; IntegrityError for a damaged line."""
    try:
        data = (bundle / FILE).read_bytes()
    except FileNotFoundError:
        return []
    held: dict[str, Annotation] = {}
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1):
        try:
            entry = json.loads(line)
            if entry["op"] == "remove":
                held.pop(entry["id"], None)
            else:
                held[entry["id"]] = _read_entry(entry)
        except (ValueError, KeyError, TypeError, RecursionError, UsageError) as error:
            raise IntegrityError(
                f"line {number} of {bundle / FILE} cannot be read", found=line[:80].decode(errors="replace")
            ) from error
    return list(held.values())


def _read_entry(entry: dict[str, Any]) -> Annotation:
    """Return the annotation of a line; UsageError for values that :func:`append_annotation` refuses."""
    for field in ("start_ns", "end_ns", "created_ns"):
        _checked_time(field, entry[field])
    for field in ("id", "name", "kind", "author"):
        if entry[field] is not None or field in ("id", "name"):
            _check_text(field, entry[field])
    _checked_confidence(entry["confidence"])
    return Annotation(**{key: entry[key] for key in Annotation.__slots__})


def _checked_time(field: str, value: object) -> int:
    """Return an integer of any kind as int; a float is refused because it has lost the last digits."""
    try:
        time_ns = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        time_ns = None
    if time_ns is None or isinstance(value, bool) or time_ns not in _INT64:
        raise UsageError(
            "a time of an annotation is an integer of nanoseconds", field=field, found=value, expected="int64"
        )
    return time_ns


def _check_text(field: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise UsageError(
            f"the {field} of an annotation is text of at least one character", field=field, found=value
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the {field} of an annotation holds half of a character", field=field, found=ascii(value)
        ) from error


def _checked_confidence(value: object) -> float | None:
    if value is None:
        return None
    try:
        confidence = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        confidence = -1.0
    if isinstance(value, (bool, str)) or not 0.0 <= confidence <= 1.0:
        raise UsageError("a confidence lies between 0 and 1", field="confidence", found=value)
    return confidence


def _append(bundle: Path, entry: dict[str, object]) -> None:
    line = json.dumps(entry, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    path = bundle / FILE
    new = not path.exists()
    fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
    try:
        with _alone(fd):
            size = os.fstat(fd).st_size
            end = _end_of_whole_lines(fd, size)
            if end < size:
                os.ftruncate(fd, end)
            os.lseek(fd, end, os.SEEK_SET)
            left = memoryview(line.encode() + b"\n")
            while left:
                left = left[os.write(fd, left) :]
            os.fsync(fd)
    finally:
        os.close(fd)
    if new:
        _sync_directory(bundle)


def _end_of_whole_lines(fd: int, size: int) -> int:
    """Return the offset after the last newline."""
    step = 1 << 16
    end = size
    while end > 0:
        start = max(0, end - step)
        os.lseek(fd, start, os.SEEK_SET)
        chunk = os.read(fd, end - start)
        found = chunk.rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


@contextmanager
def _alone(fd: int) -> Iterator[None]:
    """Keep other appenders out while the block runs."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
