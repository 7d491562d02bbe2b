"""How a sequence ends when an exception leaves its block: the words that are kept, and where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gapless.errors import MetadataRefused
from gapless.model.ledger import Ledger
from gapless.model.metadata import check_metadata
from gapless.model.outcome import Outcome
from gapless.store import journal
from gapless.store.deadline import within
from gapless.store.layout import Bundle
from gapless.store.writer import BundleWriter


def describe(error: BaseException) -> str:
    """Return an exception as text that can be stored, whatever its own text is like."""
    try:
        words = str(error)
    except BaseException as broken:  # noqa: BLE001 - the user's class may fail to describe itself
        words = f"its text raises {type(broken).__name__}"
    return storable(f"{type(error).__name__}: {words}".removesuffix(": "))


def storable(text: str) -> str:
    """Return a text with what no UTF-8 stands for (half of a character, a byte of a file's name) spelled out."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def tombstone(
    header: dict[str, Any], text: str | None, rows: dict[str, int], ledger: Ledger
) -> dict[str, Any]:
    """Return what is kept for ever of a sequence that its policy, or its recorder, gives up."""
    return {
        "name": header["name"],
        "group": header["group"],
        "metadata": header["metadata"],
        "outcome": str(Outcome.FAILED),
        "error": text,
        "rows": rows,
        "ledger": ledger.to_json(),
    }


def keep_pending(bundle: Bundle, writer: BundleWriter, text: str, *, told: bool, deadline_s: float) -> None:
    """Mark the bundle as pending, with the error as a notification unless an event has told it.

    The space was reserved when the sequence was opened, so a full disk does not refuse it.
    """
    note = {"severity": "error", "message": text, "timestamp_ns": writer.now_ns(), "source": ""}
    words = {"error": text, "notifications": [] if told else [note]}
    within(
        deadline_s,
        "keep",
        str(writer.header["name"]),
        lambda: journal.write_pending(bundle, words, writer.platform),
    )


def learned_metadata(
    sequence: str, known: Mapping[str, Any], learned: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the closing words that add metadata to what is known since the beginning, which never changes."""
    checked = check_metadata(learned, sequence=sequence)
    again = sorted(checked.keys() & known.keys())
    if again:
        raise MetadataRefused(
            "metadata given at creation is not changed at the end",
            sequence=sequence,
            field=again[0],
            next_step="give it at the end under another key",
        )
    return {"metadata": checked} if checked else {}
