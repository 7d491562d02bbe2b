"""What became of the documents of one run, in numbers; kept in the sequence's metadata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

SPEC_UNKNOWN: Final = "spec-unknown"  # the code of the finding that nothing is known of a resource's spec
_COUNTED_LATER: Final = ("unresolved_datums", "unknown_specs")


@dataclass(slots=True)
class StreamReport:
    """The counts of one stream.

    ``events`` were handed over; ``rows`` were written; ``duplicates`` had come before and were not written
    again; ``superseded`` rows were replaced by a later event of the same seq_num; ``reordered`` came after a
    greater seq_num; ``missing`` seq_nums never came, ``external_missing`` are those of external keys;
    ``violations`` are cells that are not as declared.
    """

    events: int = 0
    rows: int = 0
    duplicates: int = 0
    superseded: int = 0
    reordered: int = 0
    missing: int = 0
    external_rows: int = 0
    external_duplicates: int = 0
    external_missing: int = 0
    violations: int = 0


@dataclass(slots=True)
class RunReport:
    """The counts of one run.

    ``documents`` by name as they came from the normalizer; ``parked`` waited for one that they refer to;
    ``quarantined`` went to the spool. ``unresolved_datums`` are references of events to datums that never came,
    ``unknown_specs`` the different specs of resources that nobody knows.
    """

    documents: Counter[str] = field(default_factory=Counter)
    streams: dict[str, StreamReport] = field(default_factory=dict)
    rules: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)
    parked: int = 0
    quarantined: int = 0
    unresolved_datums: int = 0
    unknown_specs: int = 0

    def stream(self, name: str) -> StreamReport:
        """Return the counts of a stream."""
        return self.streams.setdefault(name, StreamReport())

    def learn(self, normalizer: object) -> None:
        """Take over what the normalizer of the run says of itself, as far as it says anything."""
        self.rules = dict(getattr(normalizer, "rules_used", {}))
        self.notes = [str(note) for note in getattr(normalizer, "notes", [])]
        self.findings = [dict(finding) for finding in getattr(normalizer, "findings", [])]
        self.unknown_specs = sum(finding.get("code") == SPEC_UNKNOWN for finding in self.findings)

    @staticmethod
    def read(words: Mapping[str, Any]) -> dict[str, Any]:
        """Return a report out of a sequence's metadata; what its writer did not count yet is 0. Empty without one."""
        return {name: 0 for name in _COUNTED_LATER if words} | dict(words)

    def to_json(self) -> dict[str, Any]:
        """Return the report as the sequence's metadata keeps it."""
        words = asdict(self)
        words["documents"] = dict(self.documents)
        return words
