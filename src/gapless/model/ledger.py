"""The ledger: what became of every message a topic was offered."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ledger:
    """``produced = written + dropped + gapped``, in messages.

    written: rows in the topic. dropped: given up by a named policy. gapped: covered by a gap row with a
    known count. What cannot be counted (after a kill) has a gap row without a count.
    """

    produced: int = 0
    written: int = 0
    dropped: int = 0
    gapped: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every message is accounted for."""
        return self.produced == self.written + self.dropped + self.gapped

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(
            self.produced + other.produced,
            self.written + other.written,
            self.dropped + other.dropped,
            self.gapped + other.gapped,
        )

    def to_json(self) -> dict[str, int]:
        """Return the four counts."""
        return {
            "produced": self.produced,
            "written": self.written,
            "dropped": self.dropped,
            "gapped": self.gapped,
        }

    @classmethod
    def from_json(cls, document: dict[str, int]) -> Ledger:
        """Return the ledger of four counts."""
        return cls(document["produced"], document["written"], document["dropped"], document["gapped"])
