"""Files that a client uploads into a sequence: there whole, synced and noted, or not at all."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gapless.client.remote import protocol
from gapless.errors import NameTaken, StorageFailed, UsageError, ValueRefused
from gapless.model.names import fold, to_component
from gapless.serve.native.writing_turn import BUSY_S
from gapless.store.frame import Kind
from gapless.store.layout import Bundle

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from pyarrow import flight

    from gapless.serve.call import Call
    from gapless.serve.limits import Limits
    from gapless.serve.native.reading_question import Question
    from gapless.serve.native.writing_sequence import IncomingSequence
    from gapless.store.platform import Platform

_PARTIAL: Final = ".upload"
_DIGEST_CHARACTERS: Final = 64
_SYNC_BYTES: Final = 32 << 20  # so that the sync at the end of a long file is short


class Upload:
    """One file on its way into a sequence, as a command describes it."""

    def __init__(
        self,
        call: Call,
        sequence: IncomingSequence,
        words: Question,
        limits: Limits,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        self._call = call
        self._sequence = sequence
        self._limits = limits
        self._writer = writer if words.document.get("answers") is True else None
        self._name = words.text("artifact")
        self._media_type = words.text("media_type")
        self._sha256 = words.text("sha256").lower()
        self._number = words.whole("n")
        self._component = to_component(self._name)
        if len(self._sha256) != _DIGEST_CHARACTERS:
            raise UsageError("an upload names the SHA-256 of its file", field="sha256", found=self._sha256)

    def take(self, reader: flight.MetadataRecordBatchReader) -> None:
        """Take the file: one binary column, any number of chunks. Durable and noted when the call returns.

        One that is noted already is passed over. A client that asks for answers gets one for each chunk, so that
        it knows whether a long file gets on. Raises ValueRefused when the bytes are not those announced,
        NameTaken, StateError for a number out of order, StorageFailed; nothing is left then.
        """
        if self._is_noted():
            for _ in reader:
                self._answer()
            return
        bundle, platform = self._sequence.recording.bundle, self._sequence.recording.platform
        partial = bundle.artifacts / f"{secrets.token_hex(8)}{_PARTIAL}"
        try:
            self._make_folder(bundle, platform)
            size_bytes = self._write(reader, partial, platform)
            self._note(bundle, partial, size_bytes)
        except OSError as error:
            raise StorageFailed(
                "the server's disk refused a file", sequence=self._sequence.name, found=str(error)
            ) from error
        finally:
            partial.unlink(missing_ok=True)

    def _is_noted(self) -> bool:
        """Tell whether the file is here already; NameTaken, StateError where it cannot be taken either."""
        told = {"name": self._name, "media_type": self._media_type, "sha256": self._sha256}
        if self._sequence.has_note(self._number, Kind.ARTIFACT, told):
            return True
        if fold(self._name) in self._sequence.artifacts:
            raise NameTaken(
                "the sequence has an artifact of that name", sequence=self._sequence.name, found=self._name
            )
        return False

    @staticmethod
    def _make_folder(bundle: Bundle, platform: Platform) -> None:
        if not bundle.artifacts.exists():
            bundle.artifacts.mkdir(exist_ok=True)
            platform.sync_directory(bundle.path)

    def _write(self, reader: flight.MetadataRecordBatchReader, partial: Path, platform: Platform) -> int:
        digest, size_bytes = hashlib.sha256(), 0
        fd = platform.create(partial)
        try:
            for data in self._chunks(reader):
                digest.update(data)
                before, size_bytes = size_bytes, size_bytes + platform.write(fd, [data])
                if before // _SYNC_BYTES != size_bytes // _SYNC_BYTES:
                    platform.data_sync(fd)
            if digest.hexdigest() != self._sha256:
                raise ValueRefused(
                    "a file arrived with other bytes than it was announced with",
                    sequence=self._sequence.name,
                    field=self._name,
                    found=digest.hexdigest(),
                    expected=self._sha256,
                )
            platform.data_sync(fd)
        finally:
            platform.close(fd)
        return size_bytes

    def _chunks(self, reader: flight.MetadataRecordBatchReader) -> Iterator[memoryview]:
        for chunk in reader:
            self._answer()
            if chunk.data is None:
                continue
            column = _bytes_of(chunk.data)
            self._limits.check_batch(chunk.data, sequence=self._sequence.name)
            if column.null_count:
                raise UsageError("a file travels as chunks of bytes", found="null")
            for value in column:
                yield memoryview(value.as_buffer())

    def _answer(self) -> None:
        """Tell that a chunk came; those before it are in the file."""
        import pyarrow as pa

        self._sequence.touch()
        if self._writer is not None:
            self._writer.write(pa.py_buffer(protocol.encode({})))

    def _note(self, bundle: Bundle, partial: Path, size_bytes: int) -> None:
        target = bundle.artifacts / self._component
        entry: dict[str, Any] = {
            "name": self._name,
            "media_type": self._media_type,
            "path": target.relative_to(bundle.path).as_posix(),
            "bytes": size_bytes,
            "sha256": self._sha256,
        }
        with self._sequence.turn(self._call, BUSY_S):
            if self._is_noted():  # a second attempt was quicker
                return
            platform = self._sequence.recording.platform
            platform.replace(partial, target)
            platform.sync_directory(bundle.artifacts)
            self._sequence.note(self._number, Kind.ARTIFACT, entry)


def _bytes_of(batch: pa.RecordBatch) -> pa.Array:
    """Return the one binary column of a batch; UsageError for others, and for a name that is no text."""
    import pyarrow as pa

    try:
        kinds = batch.schema.types
        if len(kinds) == 1 and (pa.types.is_binary(kinds[0]) or pa.types.is_large_binary(kinds[0])):
            return batch.column(0)
        found = str(batch.schema)
    except UnicodeDecodeError as error:
        found = str(error)
    raise UsageError("a file travels as one binary column", found=found)


def clear_uploads(bundle: Bundle, noted: set[str]) -> None:
    """Take away the files of uploads that were never noted: their client uploads them again."""
    for path in bundle.artifacts.iterdir() if bundle.artifacts.is_dir() else ():
        if path.is_file() and path.relative_to(bundle.path).as_posix() not in noted:
            path.unlink()
