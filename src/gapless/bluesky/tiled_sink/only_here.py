"""What of a recorded run never goes to a server: documents as they came, where recording them changed them."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from gapless.bluesky.stream_schema import DOCUMENTS

if TYPE_CHECKING:
    from gapless.client.sequence_handler import SequenceHandler


def only_here(handler: SequenceHandler) -> list[str]:
    """Return what only the recording has: originals that cannot be read from the documents made of them.

    A document to which the normalizer only added something is held by what the server gets.
    """
    if DOCUMENTS not in handler.topics:
        return []
    kept: Counter[str] = Counter()
    changed = pc.field("original").is_valid()
    for batch in handler.topic(DOCUMENTS).scan(columns=["name", "document", "original"], filter=changed):
        for row in batch.to_pylist():
            if row["document"] is None or not _holds(
                json.loads(row["document"]), json.loads(row["original"])
            ):
                kept[row["name"]] += 1
    if not kept:
        return []
    counts = ", ".join(f"{count} {name}" for name, count in sorted(kept.items()))
    return [f"documents that were rewritten ({counts}) are as they came only in the recording"]


def _holds(new: Any, old: Any) -> bool:
    """Tell whether everything in ``old`` is in ``new`` unchanged; both are parsed JSON."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(
            key in new and _holds(new[key], inner) for key, inner in old.items()
        )
    return type(new) is type(old) and bool(new == old)
