"""What became of one run that was brought to a Tiled server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Delivered:
    """The server holds every row of the run, each once.

    ``has_stop``: the stop document is there too. ``findings``: what the server does not hold as it came,
    so that the recording must stay. ``problems``: what reading the run back from the server found.
    """

    uid: str
    rows: int
    has_stop: bool
    findings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def also(self, findings: list[str]) -> Self:
        """Return the same with these findings too."""
        return replace(
            self, findings=[*self.findings, *(text for text in findings if text not in self.findings)]
        )

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the run is only in the recording."""
        return self.has_stop and not self.findings and not self.problems

    @classmethod
    def told_by(cls, uid: str, metadata: Mapping[str, Any], words: Mapping[str, Any]) -> Self | None:
        """Return what an earlier delivery said of itself on the server, None if none did.

        ``words``: what a delivery of the same content, layers included, says.
        """
        said = metadata.get("gapless") or {}
        if any(said.get(name) != value for name, value in words.items()):
            return None
        findings = ["the notes of the run on the server say what is not there"] if said["findings"] else []
        return cls(uid, said["rows"], has_stop="stop" in metadata, findings=findings)
