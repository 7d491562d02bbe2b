"""The configuration of a run, sealed with its data: the rig, the curves and the method as they were used."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.acquire.binding import snapshot
from gapless.model.metadata import canonical_json

if TYPE_CHECKING:
    from gapless.acquire.rig import Rig
    from gapless.client.sequence_writer import SequenceWriter


def keep_configuration(sequence: SequenceWriter, rig: Rig, method: Any) -> None:
    """Add ``rig.json`` (secrets masked), ``calibration.json`` and ``method.json`` to the sequence."""
    documents: dict[str, Any] = {"rig.json": rig.snapshot(), "calibration.json": snapshot(rig.channels)}
    if method is not None:
        documents["method.json"] = method.snapshot()
    with tempfile.TemporaryDirectory(prefix="gapless-") as folder:
        for name, document in documents.items():
            path = Path(folder) / name
            path.write_bytes(canonical_json(document))
            sequence.add_artifact(path, name, "application/json")
