"""What a delivery of documents did, and what a person should look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from gapless.bluesky.backup_files import PlacedDocument, TornLine

Doc = Mapping[str, Any]

#: Every finding of a delivery: code -> meaning.
FINDINGS: Final[dict[str, str]] = {
    "B101": "A line of a backup holds no whole document: its writer was interrupted; the other lines are delivered.",
    "B102": "A document makes no sense and was not delivered; its file stays where it is.",
    "B103": "A document refers to a run or descriptor that is in none of the files; its file stays where it is.",
    "B104": "The run is still being recorded; deliver again when it has ended.",
    "B105": "No stop document of the run is there: its sequence is marked as interrupted.",
    "B106": "The server did not take a run; it stays in the store or the spool, to be delivered again.",
    "B107": "The run was recorded with patches or a normalizer of its own; deliver from Python with make_normalizer=.",
}


@dataclass(frozen=True, slots=True)
class DeliveryFinding:
    """Something that a person should look at. ``line`` counts from 1, None for a whole run."""

    code: str
    file: str
    line: int | None
    message: str


@dataclass(slots=True)
class DeliveredRun:
    """What became of one run: ``recorded``, ``added`` as a layer, ``complete`` (nothing was new), ``open``,
    ``refused``, ``sent`` from the store to a server, ``there`` on the server before, or ``discarded`` there, as
    its recorder had ended it or somebody did since.

    ``stop`` tells where its stop document is: ``delivered`` now, in the ``store`` before, or ``missing``.
    ``only_here``: what of a sent run the server does not hold as it came.
    """

    uid: str
    sequence: str
    result: str
    documents: int = 0
    repeated: int = 0
    layer: str | None = None
    stop: str = "missing"
    only_here: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Delivery:
    """What a delivery did, or with ``dry_run`` would do."""

    runs: list[DeliveredRun] = field(default_factory=list)
    findings: list[DeliveryFinding] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    dry_run: bool = False

    @property
    def exit_code(self) -> int:
        """0 when everything was delivered, 1 with findings."""
        return 1 if self.findings else 0

    def find(self, code: str, place: object, message: str) -> None:
        """Add a finding at the place that a document, a torn line or a file is."""
        if isinstance(place, PlacedDocument | TornLine):
            self.findings.append(DeliveryFinding(code, str(place.file), place.line, message))
        else:
            file = str(place) if isinstance(place, Path) else ""
            self.findings.append(DeliveryFinding(code, file, None, message))

    def refuse(self, name: str, doc: Doc, error: BaseException) -> None:
        """Add the finding of a document that was not delivered."""
        self.find("B102", doc, f"{name}: {error}")

    def to_json(self) -> dict[str, Any]:
        """Return the delivery as JSON with stable keys."""
        return asdict(self)
