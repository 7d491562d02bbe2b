"""What is kept of a discarded sequence for ever: a small JSON document."""

from __future__ import annotations

from typing import Any

from gapless.errors import GaplessError
from gapless.store import journal
from gapless.store.layout import Bundle


def tombstone_of(name: str, bundle: Bundle) -> dict[str, Any]:
    """Return the tombstone of a bundle in any state; what cannot be read any more is left out."""
    words: dict[str, Any] = {
        "name": name,
        "group": None,
        "metadata": {},
        "outcome": None,
        "error": None,
        "rows": {},
        "ledger": None,
    }
    try:
        if bundle.manifest.exists():
            return words | _sealed(bundle)
        return words | _unsealed(bundle)
    except (GaplessError, OSError, KeyError) as error:  # a damaged sequence can be discarded too
        return words | {"error": f"unreadable when discarded: {error}"}


def _sealed(bundle: Bundle) -> dict[str, Any]:
    manifest = journal.read_json(bundle.manifest)
    content = manifest["content"]
    return {
        "group": content["group"],
        "metadata": content["metadata"],
        "outcome": manifest["record"]["outcome"],
        "rows": {topic: entry["rows"] for topic, entry in content["topics"].items()},
        "ledger": content["ledger"],
        "content_digest": manifest["content_digest"],
        "uid": manifest["record"].get("uid"),
    }


def _unsealed(bundle: Bundle) -> dict[str, Any]:
    from gapless.model.ledger import Ledger
    from gapless.store.journal_view import JournalView

    view = JournalView.open(bundle.journal)
    ledgers = {name: ledger for name, ledger in view.ledger.items() if not name.startswith("_")}
    total = Ledger()
    for ledger in ledgers.values():
        total += ledger
    pending = journal.read_checked(bundle.pending) or {}
    return {
        "group": view.sequence["group"],
        "metadata": view.sequence["metadata"],
        "error": pending.get("error"),
        "outcome": (view.closed or {}).get("outcome"),
        "rows": {n: led.written for n, led in ledgers.items()},
        "ledger": total.to_json(),
        "uid": view.sequence.get("uid"),
    }
