"""One entry of a feature run as it is recorded: what was computed from what, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Literal, Self

EntryKey = tuple[str, str]  # (group or "", sequence)
GLOBAL_ENTRY: EntryKey = ("", "__global__")  # what a feature without inputs leaves
Recorded = Literal["ok", "empty", "failed"]


@dataclass(frozen=True, slots=True)
class KnownEntry:
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
    inputs: Mapping[str, str] = field(default_factory=dict)
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
    stamps: Mapping[str, str] = field(default_factory=dict)
    error_type: str | None = None
    error_message: str | None = None
    error_traceback: str | None = None
    recorded_ns: int = 0
    elapsed_s: float = 0.0

    @property
    def entry_key(self) -> EntryKey:
        """Group and sequence."""
        return self.group, self.sequence


@dataclass(frozen=True, slots=True)
class EntryRecord(KnownEntry):
    """All that is recorded of an entry.

    ``fields`` are its columns with their Arrow types, ``stats`` the statistics in its footer.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    stats: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    _text: str = field(default="", init=False, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return {name: getattr(self, name) for name in _names()}

    def text(self) -> str:
        """Return the record as canonical JSON text, made once: the ledger and the registry both keep it."""
        if not self._text:
            text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            object.__setattr__(self, "_text", text)
        return self._text

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the record that :meth:`to_json` gave; unknown keys of a later release are passed over."""
        return cls(**{name: document[name] for name in _names() if name in document})


@cache
def _names() -> tuple[str, ...]:
    return tuple(each.name for each in fields(EntryRecord) if each.init)
