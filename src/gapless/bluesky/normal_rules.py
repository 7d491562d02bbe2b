"""What a normalisation is: a rule with a name, a version and a promise, and the remarks it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from gapless.bluesky.document import Document


@dataclass(frozen=True, slots=True)
class Rule:
    """One change that makes a legacy document modern.

    ``document`` is the kind it applies to, ``promise`` says what holds afterwards. The version rises when
    the same input would become something else, so that a recording tells by which rules it was made.
    """

    name: str
    version: int
    document: str
    promise: str

    @property
    def versioned(self) -> str:
        """The name as reports hold it, such as ``reserved-key-renamed/1``."""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class DocumentRule(Rule):
    """A rule that turns a document into another one of its kind.

    ``change`` returns the very document it was given where the rule has nothing to do, else a new one; it
    never changes what it was given.
    """

    change: Callable[[Document, Remarks], Document]


@dataclass(slots=True)
class Remarks:
    """What the rules say about one run.

    ``notes`` are sentences for people, ``findings`` are what somebody should look at (``code``, ``message``
    and the facts), ``used`` counts how often each versioned rule changed something.
    """

    notes: list[str] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=dict)

    def count(self, rule: Rule, times: int = 1) -> None:
        """Count uses of a rule."""
        self.used[rule.versioned] = self.used.get(rule.versioned, 0) + times

    def note(self, sentence: str) -> None:
        """Keep a note, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def find(self, code: str, message: str, **facts: Any) -> None:
        """Keep a finding, once."""
        finding = {"code": code, "message": message, **facts}
        if finding not in self.findings:
            self.findings.append(finding)


def apply_rules(rules: Iterable[DocumentRule], doc: Document, remarks: Remarks) -> Document:
    """Return the document after all rules, in their order; the same object where none had anything to do."""
    for rule in rules:
        changed = rule.change(doc, remarks)
        if changed is not doc:
            remarks.count(rule)
            doc = changed
    return doc
