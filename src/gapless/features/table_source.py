"""Where the rows of one input of one entry lie: files of a sequence's topic, or one entry of a feature run.

A source travels to workers instead of rows; each worker reads for itself, with every check of the store.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from gapless.errors import IntegrityError, NotFound
from gapless.features.entry import KnownEntry
from gapless.store.declaration import SEQ, TIME
from gapless.store.merge import SortedStream, merge_sorted
from gapless.store.parquet import sha256_file
from gapless.store.part_reader import Part
from gapless.store.selection import Selection

_BATCH_ROWS = 1 << 20
_SMALL_BYTES = 8 << 20
_TAIL_BYTES = 8  # length of the footer, then PAR1


class SourceFile(Struct, frozen=True, gc=False):
    """One sealed Parquet file; ``sealed_ns`` is a time after which nobody had a reason to change it."""

    folder: str
    path: str
    rows: int
    bytes: int
    sha256: str
    footer_sha256: str
    start_ns: int | None
    end_ns: int | None
    sealed_ns: int

    def part(self, topic: str) -> Part:
        """Return the reader of the file."""
        entry = {name: getattr(self, name) for name in ("path", "rows", "bytes", "footer_sha256")}
        return Part.of(Path(self.folder), {**entry, "start_ns": self.start_ns, "end_ns": self.end_ns}, topic)

    def read_small(self) -> pa.Table | None:
        """Return the rows without ``_seq`` of a small file with times, read in one piece: half of the work.

        The checks are those of :class:`Part`: size, footer, page checksums, number of rows, order. None for a file
        that is not small, or whose rows :class:`Part` must judge because something about them is not as it should be.
        """
        if not 0 < self.bytes <= _SMALL_BYTES or self.start_ns is None or ".." in self.path:
            return None
        try:
            with open(f"{self.folder}/{self.path}", "rb") as file:
                data = file.read(self.bytes + 1)
            footer = data[-int.from_bytes(data[-_TAIL_BYTES:-4], "little") - _TAIL_BYTES :]
            if len(data) != self.bytes or hashlib.sha256(footer).hexdigest() != self.footer_sha256:
                return None
            found = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
            schema = found.metadata.schema.to_arrow_schema()
            table = found.read(use_threads=False)
            table.validate()
        except (OSError, pa.ArrowException, UnicodeDecodeError):
            return None
        names = table.column_names
        if table.num_rows != self.rows or names[:1] != [TIME] or not schema.equals(table.schema):
            return None
        times = table.column(TIME).to_numpy()
        if not len(times) or bool((times[1:] < times[:-1]).any()):
            return None
        table = table.replace_schema_metadata(schema.metadata)
        return table.drop_columns([SEQ]) if SEQ in names else table

    def look(self, *, deep: bool = False, known: str | None = None) -> tuple[str, str]:
        """Return the digest of the file as it is now, and the stamp (size, time, inode) that it has.

        It is the sealed digest while the stamp is ``known``, or, of a file that was not looked at before, while
        it is not younger than its seal. ``deep`` reads the file whatever they say. A missing file gives a text
        that no digest equals.
        """
        name = f"{self.folder}/{self.path}"
        try:
            status = os.stat(name)
        except OSError:
            return "missing", ""
        stamp = f"{status.st_size}:{status.st_mtime_ns}:{status.st_ino}"
        if deep:
            return sha256_file(Path(name)), stamp
        trusted = stamp == known if known is not None else status.st_mtime_ns <= self.sealed_ns
        if trusted and status.st_size == self.bytes:
            return self.sha256, stamp
        return _digest_once(name, stamp), stamp


@lru_cache(maxsize=65_536)
def _digest_once(name: str, stamp: str) -> str:
    """Return a file's digest; a file of the same name, size, time and inode is not read twice."""
    del stamp
    return sha256_file(Path(name))


class TableSource(Struct, frozen=True, gc=False):
    """The rows of one input: a topic of a sequence, or the output of a feature for it.

    Sources with one ``timebase`` have their rows at the same times.
    """

    label: str
    topic: str
    timebase: str
    files: tuple[SourceFile, ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(file.rows for file in self.files)

    def digest(self, *, deep: bool = False) -> str:
        """Return what identifies the rows as they are now."""
        return self.look(deep=deep)[0]

    def look(self, *, deep: bool = False, known: str | None = None) -> tuple[str, str]:
        """Return what identifies the rows as they are now, and the stamps of their files; ``known`` as before."""
        if len(self.files) == 1:
            return self.files[0].look(deep=deep, known=known)
        stamps = known.split(" ") if known is not None else []
        each = stamps if len(stamps) == len(self.files) else [None] * len(self.files)
        seen = [file.look(deep=deep, known=stamp) for file, stamp in zip(self.files, each, strict=True)]
        digest = hashlib.sha256("\n".join(content for content, _ in seen).encode()).hexdigest()
        return digest, " ".join(stamp for _, stamp in seen)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows in time order without ``_seq``; IntegrityError for damaged files.

        ``columns`` that the rows do not have raise NotFound; ``timestamp_ns`` always comes where it exists.
        """
        if columns is None and len(self.files) == 1:
            table = self.files[0].read_small()
            if table is not None:
                return table
        parts = [file.part(self.topic) for file in self.files]
        if not parts:
            return pa.table({TIME: pa.array([], pa.int64())})
        schema = parts[0].layout.schema.to_arrow_schema()
        if TIME not in schema.names:
            return _whole(parts[0], schema, columns)
        if SEQ in schema.names:
            schema = schema.remove(schema.get_field_index(SEQ))
        selection = Selection.of(schema, columns, None, None, with_seq=False, filter=None, topic=self.topic)
        batches = list(_batches(parts, selection))
        return pa.Table.from_batches(batches, schema=selection.output)

    def schema(self) -> pa.Schema:
        """Return the columns with their units."""
        if not self.files:
            return pa.schema([(TIME, pa.int64())])
        schema = self.files[0].part(self.topic).layout.schema.to_arrow_schema()
        return schema.remove(schema.get_field_index(SEQ)) if SEQ in schema.names else schema


def _batches(parts: Sequence[Part], selection: Selection) -> Iterator[pa.RecordBatch]:
    with_rows = [part for part in parts if part.rows]
    if len(with_rows) == 1:
        return with_rows[0].batches(selection, _BATCH_ROWS)

    def stream(part: Part) -> SortedStream:
        assert part.start_ns is not None
        return SortedStream(part.start_ns, lambda: part.batches(selection, _BATCH_ROWS))

    return merge_sorted([stream(part) for part in with_rows])


def _whole(part: Part, schema: pa.Schema, columns: Sequence[str] | None) -> pa.Table:
    """Return a table without time in the order it was written."""
    missing = sorted(set(columns or ()) - set(schema.names))
    if missing:
        raise NotFound("the table has no such column", field=missing[0], expected=", ".join(schema.names))
    try:
        table = pq.ParquetFile(part.path, metadata=part.layout, page_checksum_verification=True).read()
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(f"a file cannot be read: {part.path}", found=str(error)) from error
    return table if columns is None else table.select(list(columns))


def record_source(label: str, topic: str, folder: Path, record: KnownEntry) -> TableSource:
    """Return the source of a recorded entry of the run in ``folder``."""
    file = SourceFile(
        str(folder),
        record.file,
        record.n_rows,
        record.bytes,
        record.sha256,
        record.footer_sha256,
        record.start_ns,
        record.end_ns,
        record.mtime_ns,
    )
    return TableSource(label, topic, record.timebase or topic, (file,) if record.file else ())


class _ManifestPart(Struct, gc=False):
    """A part as a manifest lists it."""

    path: str
    rows: int
    bytes: int
    sha256: str
    footer_sha256: str
    start_ns: int | None
    end_ns: int | None


_PART = msgspec.json.Decoder(_ManifestPart)


def part_file(bundle: str, folder: str, entry: str, sealed_ns: int) -> SourceFile:
    """Return the file of a sealed topic: its layer's folder, its manifest entry as JSON, and its seal time."""
    part = _PART.decode(entry)
    return SourceFile(
        f"{bundle}/{folder}" if folder else bundle,
        part.path, part.rows, part.bytes, part.sha256, part.footer_sha256, part.start_ns, part.end_ns,
        sealed_ns,
    )  # fmt: skip
