"""Planned files become one sequence: a topic for each, an event for each refused row.

Nothing is left behind when an import fails: the sequence is made with the policy that deletes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.errors import ImportRefused, NotFound
from gapless.exchange.report import BadRow, ImportReport
from gapless.model.names import from_component

if TYPE_CHECKING:
    import pyarrow as pa

    from gapless.exchange.ports import SequenceMaker

MAX_EVENTS = 1000  # a file of nothing but bad rows must not become a sequence of nothing but events


@dataclass(frozen=True)
class Intake:
    """One planned file: the topic it becomes, its schema, what was assumed, and its rows on demand."""

    topic: str
    path: Path
    schema: pa.Schema
    assumed: tuple[str, ...]
    batches: Callable[[Callable[[BadRow], None]], Iterator[pa.RecordBatch]]


def store(
    client: SequenceMaker,
    name: str,
    intakes: list[Intake],
    *,
    group: str | None,
    metadata: Mapping[str, Any] | None,
    source: Path,
    form: str,
) -> ImportReport:
    """Store planned files as a new sequence and return what was stored and what was refused.

    Metadata gains ``import``: for each file its name, size and SHA-256, and what was assumed of it.
    """
    report = ImportReport(name, assumed=[line for intake in intakes for line in intake.assumed])
    told: dict[str, Any] = dict(metadata or {})
    told.setdefault("import", {"format": form, "source": source.name, "files": [_origin(i) for i in intakes]})
    with client.sequence_create(name, told, group=group) as sequence:
        for intake in intakes:
            topic = sequence.topic_create(
                intake.topic, metadata={"file": intake.path.name}, schema=intake.schema
            )
            report.rows[intake.topic] = 0
            for batch in intake.batches(_refuser(report, sequence, intake)):
                topic.push_batch(batch)
                report.rows[intake.topic] += batch.num_rows
        if report.bad_rows:
            # The kind makes it one of the sequence's notifications, which `gapless show` lists.
            data = {"rows": report.bad_rows}
            sequence.event("warning", "notification", f"{report.bad_rows} rows were not imported", data=data)
    return report


def default_name(path: Path) -> str:
    """Return the sequence name for an import without one: the file's or folder's own, without its suffix."""
    path = path.resolve()
    return path.name if path.is_dir() else path.stem


def topic_of_file(path: Path) -> str:
    """Return the topic for a file or folder as an export names it: ``sensors%2Fimu.csv`` is sensors/imu."""
    name = from_component(path.name if path.is_dir() else path.stem)
    return name.lstrip("_") or "data"  # names with a leading underscore are kept for gapless itself


def folder_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files of a folder with one of these suffixes, in the order of their names."""
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in suffixes and not f.name.startswith("."))
    if not files:
        raise NotFound(
            f"the folder holds no {' or '.join(suffixes)} file", found=str(folder), next_step="check the path"
        )
    topics = [topic_of_file(f).casefold() for f in files]
    twice = next((f for f, t in zip(files, topics, strict=True) if topics.count(t) > 1), None)
    if twice is not None:
        raise ImportRefused(
            "two files of the folder would become one topic", found=twice.name, next_step="rename one of them"
        )
    return files


def _refuser(report: ImportReport, sequence: Any, intake: Intake) -> Callable[[BadRow], None]:
    def refuse(row: BadRow) -> None:
        report.add_bad(row._replace(file=intake.path.name))
        if report.bad_rows <= MAX_EVENTS:
            data = {"file": intake.path.name, "line": row.line, "reason": row.reason, "text": row.text}
            message = f"line {row.line} was not imported: {row.reason}"
            sequence.event("warning", "import", message, source=intake.topic, data=data)

    return refuse


def _origin(intake: Intake) -> dict[str, Any]:
    origin: dict[str, Any] = {"file": intake.path.name, "assumed": list(intake.assumed)}
    if intake.path.is_file():
        with intake.path.open("rb") as file:
            origin["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        origin["bytes"] = intake.path.stat().st_size
    return origin
