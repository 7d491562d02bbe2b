"""Where an export writes: one file per topic, each complete or absent, never over a file that exists."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gapless.errors import NameTaken, NotFound, UsageError
from gapless.model.names import to_component

if TYPE_CHECKING:
    import pyarrow as pa

    from gapless.exchange.ports import ReadableSequence


def targets(
    sequence: ReadableSequence,
    path: Path,
    topics: Sequence[str] | None,
    suffixes: tuple[str, ...],
    *,
    overwrite: bool,
) -> list[tuple[str, Path]]:
    """Return the file of each topic: ``path`` itself when it has the suffix, else one in that folder.

    Raises NotFound for a topic that is not there and NameTaken for a file that is.
    """
    known = list(sequence.topics)
    chosen = list(topics) if topics is not None else known
    for topic in chosen:
        if topic in known or topic.startswith("_"):
            continue
        if topic.startswith("features/"):  # what feature runs made is not among the sequence's own topics
            sequence.topic(topic)  # raises NotFound before anything is written
        else:
            raise NotFound(
                "there is no such topic",
                sequence=sequence.name,
                topic=topic,
                expected=", ".join(known),
                next_step="name one of these",
            )
    if not chosen:
        raise NotFound(
            "the sequence has no topics to export",
            sequence=sequence.name,
            next_step=f"`gapless show {sequence.name}` lists what it holds",
        )
    if path.suffix.lower() in suffixes and not path.is_dir():
        if len(chosen) > 1:
            raise UsageError(
                "one file cannot hold several topics",
                sequence=sequence.name,
                found=", ".join(chosen),
                next_step="name one topic (--topic), or give a folder",
            )
        files = [(chosen[0], path)]
    else:
        files = [(topic, path / f"{to_component(topic)}{suffixes[0]}") for topic in chosen]
    for topic, file in files:
        if file.exists() and not overwrite:
            raise NameTaken(
                f"{file} exists",
                sequence=sequence.name,
                topic=topic,
                next_step="choose another path, or allow overwriting",
            )
    return files


def chosen_schema(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    """Return the fields to export: the time first, then the chosen columns that the topic has."""
    import pyarrow as pa

    names = [n for n in schema.names if n != "timestamp_ns" and (columns is None or n in columns)]
    return pa.schema([schema.field("timestamp_ns"), *map(schema.field, names)], metadata=schema.metadata)


def check_columns(sequence: ReadableSequence, topics: Sequence[str], columns: Sequence[str] | None) -> None:
    """Raise NotFound for a column that no exported topic has."""
    if columns is None:
        return
    known = {name for topic in topics for name in sequence.topic(topic).schema.names}
    for column in columns:
        if column not in known:
            raise NotFound(
                "no exported topic has this column",
                sequence=sequence.name,
                found=column,
                expected=", ".join(sorted(known)),
                next_step="name columns that are there",
            )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to; it becomes ``path`` when the block ends well and is gone when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
