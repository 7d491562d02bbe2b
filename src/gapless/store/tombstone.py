"""Tombstones as they are read: one that is damaged is told, and hides none of the others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapless.errors import IntegrityError
from gapless.model.metadata import INT64_MAX, INT64_MIN
from gapless.model.names import name_of

TOMBSTONE = "tombstone.json"  # in a bundle that is, or is about to be, in the trash
UNREADABLE = "unreadable"  # in the words of a tombstone of which a copy is damaged: which, and what to do
_TEXTS = ("group", "outcome", "error", "reason", "uid")  # where they are there
_UNKNOWN: dict[str, Any] = {
    "group": None, "metadata": {}, "discarded_ns": None, "outcome": None, "rows": {}, "ledger": None,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is known of a discarded sequence; ``kept_as`` is its folder in the trash, such as ``mission-1``.

    ``damage`` says which copy cannot be read: the words are then those of the other copy, or only the name.
    """

    kept_as: str
    words: dict[str, Any]
    damage: IntegrityError | None = None

    @property
    def discarded_ns(self) -> int | None:
        """When it was discarded; None where no copy tells."""
        since_ns: int | None = self.words["discarded_ns"]
        return since_ns


def read_tombstone(root: Path, kept_as: str) -> Tombstone | None:
    """Return the tombstone of the store at ``root`` that is kept under that name; None where there is none.

    The copy in ``discarded/`` counts; that in the trash stands in for one that is missing or damaged.
    """
    kept = _read(root, f"discarded/{kept_as}.json")
    if isinstance(kept, dict):
        return Tombstone(kept_as, kept)
    trashed = _read(root, f"trash/{kept_as}/{TOMBSTONE}")
    damage = kept or (trashed if isinstance(trashed, IntegrityError) else None)
    words = trashed if isinstance(trashed, dict) else None
    if damage is None:
        return None if words is None else Tombstone(kept_as, words)
    known = words or {"name": _name(kept_as), "trash": kept_as, **_UNKNOWN, "error": str(damage)}
    return Tombstone(kept_as, {**known, UNREADABLE: str(damage)}, damage)


def read_tombstones(root: Path) -> list[Tombstone]:
    """Return the tombstones of the store at ``root`` as its files have them now, oldest first.

    One that a crash left in the trash only is among them.
    """
    kept = {path.stem for path in (root / "discarded").glob("*.json")}
    kept |= {path.parent.name for path in (root / "trash").glob(f"*/{TOMBSTONE}")}
    found = (read_tombstone(root, kept_as) for kept_as in sorted(kept))
    return sorted((s for s in found if s is not None), key=lambda stone: stone.discarded_ns or 0)


def is_tombstone(document: object) -> bool:
    """Tell whether a JSON value is a tombstone: everything that it has is of the type that its readers count on."""
    return (
        isinstance(document, dict)
        and isinstance(document.get("name"), str)
        and _is_int64(document.get("discarded_ns"))
        and all(isinstance(document.get(word), str | None) for word in _TEXTS)
        and isinstance(document.get("metadata", {}), dict)
        and _are_int64(document.get("rows", {}))
        and (document.get("ledger") is None or _are_int64(document["ledger"]))
    )


def _are_int64(value: object) -> bool:
    return isinstance(value, dict) and all(_is_int64(count) for count in value.values())


def _is_int64(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and INT64_MIN <= value <= INT64_MAX


def _read(root: Path, place: str) -> dict[str, Any] | IntegrityError | None:
    """Return the words of a copy, what is wrong with it, or None where there is none."""
    try:
        document = json.loads((root / place).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return _damaged(place, error.strerror or type(error).__name__)
    except (ValueError, RecursionError) as error:
        return _damaged(place, str(error))
    if not is_tombstone(document):
        return _damaged(place, "it is JSON, but no tombstone")
    words: dict[str, Any] = document
    return words


def _damaged(place: str, reason: str) -> IntegrityError:
    return IntegrityError(
        "a tombstone cannot be read, so nothing of what it stands for is deleted",
        found=f"{place}: {reason}",
        next_step="put a good copy in its place (a backup, or the one in the trash), or delete this file",
    )


def _name(kept_as: str) -> str:
    component = kept_as.rpartition("-")[0]
    return name_of(component) or component or kept_as
