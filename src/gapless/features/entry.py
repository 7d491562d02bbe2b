"""One entry of a feature run as it is recorded: what was computed from what, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, Self

from msgspec import Struct

EntryKey = tuple[str, str]  # (group or "", sequence)
GLOBAL_ENTRY: EntryKey = ("", "__global__")  # what a feature without inputs leaves
Recorded = Literal["ok", "empty", "failed"]


class KnownEntry(Struct, frozen=True, gc=False):
    """What a look at an entry needs of its record; ``empty`` is a result, ``failed`` is none.

    ``key`` is the digest of ``inputs`` (label -> content digest). ``file`` lies in the run's folder, "" if
    there is none; ``code`` is the digest of the feature's source when it was computed; ``stamps`` are size,
    time and inode of the inputs' files then (label -> text), by which later looks believe that they did not
    change.
    """

    group: str
    sequence: str
    status: Recorded
    key: str
    inputs: Mapping[str, str] = {}
    n_rows: int = 0
    file: str = ""
    bytes: int = 0
    sha256: str = ""
    footer_sha256: str = ""
    start_ns: int | None = None
    end_ns: int | None = None
    mtime_ns: int = 0
    timebase: str | None = None
    code: str | None = None
    stamps: Mapping[str, str] = {}
    error_type: str | None = None
    error_message: str | None = None
    error_traceback: str | None = None
    recorded_ns: int = 0
    elapsed_s: float = 0.0

    @property
    def entry_key(self) -> EntryKey:
        """Group and sequence."""
        return self.group, self.sequence


class EntryRecord(KnownEntry, frozen=True, gc=True, dict=True):
    """All that is recorded of an entry.

    ``fields`` are its columns with their Arrow types, ``stats`` the statistics in its footer.
    """

    fields: Mapping[str, str] = {}
    stats: Mapping[str, Mapping[str, Any]] = {}

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    @cached_property
    def text(self) -> str:
        """The record as canonical JSON text: the ledger and the registry both keep it."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the record that :meth:`to_json` gave; unknown keys of a later release are passed over."""
        return cls(**{name: document[name] for name in cls.__struct_fields__ if name in document})
