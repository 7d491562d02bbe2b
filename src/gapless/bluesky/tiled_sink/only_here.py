"""What of a run never goes to a server: documents that were changed, as they came, and those not recorded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from gapless.bluesky.backup_files import TornLine, read_backup
from gapless.bluesky.late_documents import known_uids
from gapless.bluesky.spool import FOLDER, Spool
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


def only_in_spool(store: Path, handler: SequenceHandler) -> list[str]:
    """Return what only the store's spool has: documents of the run that its sequence did not take.

    The documents of a run that a server did not take in time are there too, and in its sequence.
    """
    path = Spool(store / FOLDER).path(str(handler.metadata["start"]["uid"]))
    if not path.exists():
        return []
    known = known_uids(handler)
    count = sum(isinstance(line, TornLine) or not _is_known(line[1], known) for line in read_backup(path))
    count = max(count, handler.metadata.get("bluesky", {}).get("quarantined", 0))  # uids may come twice
    if not count:
        return []
    return [f"documents that were not recorded ({count}) are only in the spool beside the recording"]


def _is_known(doc: Mapping[str, Any], known: Collection[str]) -> bool:
    """Tell whether a document was recorded; a page has many uids."""
    uids = doc.get("uid") or doc.get("datum_id")
    found = uids if isinstance(uids, list) else [uids]
    return bool(found) and all(isinstance(uid, str) and uid in known for uid in found)


def _holds(new: Any, old: Any) -> bool:
    """Tell whether everything in ``old`` is in ``new`` unchanged; both are parsed JSON."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(
            key in new and _holds(new[key], inner) for key, inner in old.items()
        )
    return type(new) is type(old) and bool(new == old)
