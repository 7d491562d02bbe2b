"""The folder of one feature run: its identity, the ledger of its entries, its state and its manifest.

Everything is either whole or absent after a crash: files come by rename, and the ledger is append-only
lines that carry a checksum, of which a torn last one is passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crc32c import crc32c

from gapless.errors import IntegrityError
from gapless.features.entry import EntryKey, EntryRecord, KnownEntry
from gapless.features.identity import RunIdentity
from gapless.model.names import to_component
from gapless.store.parquet import sha256_file
from gapless.store.platform import PLATFORM

FORMAT = 1
_LAST_FAILURES_BYTES = 1 << 20


def now_text() -> str:
    """Return the present time as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run, and what is written to them."""

    path: Path

    @classmethod
    def of(cls, root: Path, storage: str, run_id: str) -> RunFolder:
        """Return the folder of a run in the store at ``root``; it need not exist."""
        return cls(root / "features" / to_component(storage) / to_component(run_id))

    @property
    def identity(self) -> Path:
        """What the run is: written before anything else."""
        return self.path / "identity.json"

    @property
    def entries(self) -> Path:
        """The ledger: one line for each recorded entry, the last one counts."""
        return self.path / "entries.jsonl"

    @property
    def errors(self) -> Path:
        """One line for each failure, with its traceback."""
        return self.path / "errors.jsonl"

    @property
    def manifest(self) -> Path:
        """Present when everything that was asked for is there."""
        return self.path / "manifest.json"

    @property
    def state(self) -> Path:
        """What the feature learned from all entries; committed by a rename."""
        return self.path / "state"

    @property
    def state_record(self) -> Path:
        """The digest of the state, and of what it was learned from."""
        return self.path / "state.json"

    # -- the beginning -------------------------------------------------------------------------

    def begin(self, identity: RunIdentity, code_digest: str | None) -> None:
        """Make the folder and write what the run is; an existing one stays as it is."""
        if self.identity.exists():
            return
        _make_folder(self.path)
        document = {
            "scheme": identity.document.get("scheme"),
            "feature": identity.storage,
            "name": identity.feature,
            "version": identity.version,
            "run_id": identity.run_id,
            "digest": identity.digest,
            "document": identity.document,
            "params_json": identity.params_json,
            "params_hash": identity.params_hash,
            "inputs_json": identity.inputs_json,
            "upstream": [list(pair) for pair in identity.upstream],
            "code_digest": code_digest,
            "started_at": now_text(),
        }
        write_whole(self.identity, _json(document))

    def digest(self) -> str | None:
        """Return the whole digest of the run that has this folder, None if nobody has it."""
        try:
            found = json.loads(self.identity.read_bytes())["digest"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"the identity of a run cannot be read: {self.identity}") from error
        return str(found)

    # -- the ledger ----------------------------------------------------------------------------

    def append(self, records: Sequence[EntryRecord]) -> None:
        """Make records durable, and before them the directory entries of the files they name."""
        PLATFORM.sync_directory(self.path)
        _append_lines(self.entries, [_line_of(record.text) for record in records])
        failures = [record for record in records if record.status == "failed"]
        if failures:
            _append_lines(self.errors, [_line(_failure(record)) for record in failures])

    def records(self) -> dict[EntryKey, EntryRecord]:
        """Return the last good record of each entry."""
        found: dict[EntryKey, EntryRecord] = {}
        for document in read_lines(self.entries):
            record = EntryRecord.from_json(document)
            found[record.entry_key] = record
        return found

    def failures(self, most: int) -> list[dict[str, Any]]:
        """Return the newest failures, at most so many and the newest first, also of entries that went well since.

        Each is ``{"group", "sequence", "recorded_ns", "type", "message", "traceback"}``.
        """
        newest = list(read_lines(self.errors, last_bytes=_LAST_FAILURES_BYTES))[-most:]
        return newest[::-1]

    def leftovers(self) -> list[Path]:
        """Return outputs and states that are being written, or that a process which died did not complete."""
        return [*self.path.glob(".*.parquet.*.partial"), *self.path.glob(".state.*.partial")]

    # -- the state -----------------------------------------------------------------------------

    @contextmanager
    def new_state(self, learned_from: Mapping[str, str], code: str | None = None) -> Iterator[Path]:
        """Give a folder for the state; when the block ends well it replaces the state there was."""
        folder = self.path / f".state.{uuid.uuid4().hex}.partial"
        folder.mkdir()
        try:
            yield folder
            digest = tree_digest(folder)
            for file in _files(folder):
                PLATFORM.sync_file(file)
            for inner in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
                PLATFORM.sync_directory(inner)
            self.state_record.unlink(missing_ok=True)  # no state is valid while it is exchanged
            if self.state.exists():
                shutil.rmtree(self.state)
            folder.rename(self.state)
            PLATFORM.sync_directory(self.path)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        document = {"digest": digest, "learned_from": dict(learned_from), "code": code}
        write_whole(self.state_record, _json(document))

    def state_document(self) -> dict[str, Any] | None:
        """Return the digest of the state, what it was learned from and by; None without a whole state."""
        try:
            document = json.loads(self.state_record.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return None
        whole = (
            isinstance(document, dict)
            and isinstance(document.get("digest"), str)
            and isinstance(document.get("learned_from"), dict)
        )
        return document if whole and self.state.is_dir() else None

    # -- the end -------------------------------------------------------------------------------

    def finish(self, identity: RunIdentity, records: Mapping[EntryKey, KnownEntry]) -> str:
        """Write the manifest and return the time that it gives as the end."""
        finished_at = now_text()
        state = self.state_document()
        document = {
            "format": FORMAT,
            "feature": identity.storage,
            "run_id": identity.run_id,
            "digest": identity.digest,
            "finished_at": finished_at,
            "state_digest": state["digest"] if state else None,
            "entries": [
                [r.group, r.sequence, r.status, r.n_rows, r.sha256] for _, r in sorted(records.items())
            ],
        }
        write_whole(self.manifest, _json(document))
        return finished_at

    def reopen(self) -> None:
        """Take the manifest away: something is to be computed again."""
        self.manifest.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Make ``data`` the content of a file, durably and at once, whoever else does the same."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    fd = PLATFORM.create(temporary)
    try:
        PLATFORM.write(fd, [data])
        PLATFORM.data_sync(fd)
    finally:
        PLATFORM.close(fd)
    PLATFORM.replace(temporary, path)
    PLATFORM.sync_directory(path.parent)


def tree_digest(folder: Path) -> str:
    """Return a digest over the names and contents of all files in a folder."""
    digest = hashlib.sha256()
    for file in _files(folder):
        digest.update(f"{file.relative_to(folder).as_posix()}\0{sha256_file(file)}\n".encode())
    return digest.hexdigest()


def read_lines(path: Path, *, last_bytes: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the objects of the whole lines of a ledger; a torn or damaged line is passed over.

    ``last_bytes``: only the lines that lie wholly in the end of the file of that size.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0 if last_bytes is None else max(0, size - last_bytes))
            data = file.read()
    except FileNotFoundError:
        return
    for line in data.split(b"\n"):
        if not line:
            continue
        document = _checked(line)
        if document is not None:
            yield document


def _checked(line: bytes) -> dict[str, Any] | None:
    try:
        outer = json.loads(line)
        record = outer["record"]
        good = isinstance(record, dict) and outer["crc"] == _crc(record)
    except (ValueError, KeyError, TypeError):
        return None
    return record if good else None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _failure(record: EntryRecord) -> dict[str, Any]:
    return {
        "group": record.group,
        "sequence": record.sequence,
        "recorded_ns": record.recorded_ns,
        "type": record.error_type,
        "message": record.error_message,
        "traceback": record.error_traceback,
    }


def _canonical(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _crc(record: Mapping[str, Any]) -> str:
    return f"{crc32c(_canonical(record).encode()):08x}"


def _line(record: Mapping[str, Any]) -> bytes:
    return _line_of(_canonical(record))


def _line_of(text: str) -> bytes:
    return f'{{"crc":"{crc32c(text.encode()):08x}","record":{text}}}\n'.encode()


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"


def _append_lines(path: Path, lines: Sequence[bytes]) -> None:
    """Append whole lines and sync them; a line torn by a crash is ended first, so that it spoils no other."""
    new = not path.exists()
    fd = PLATFORM.open_append(path)
    try:
        torn = not new and not _ends_whole(path)
        PLATFORM.write(fd, [(b"\n" if torn else b"") + b"".join(lines)])
        PLATFORM.data_sync(fd)
    finally:
        PLATFORM.close(fd)
    if new:
        PLATFORM.sync_directory(path.parent)


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return True
        file.seek(size - 1)
        return file.read(1) == b"\n"


def _make_folder(path: Path) -> None:
    missing = [path]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        PLATFORM.sync_directory(folder.parent)
