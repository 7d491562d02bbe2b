"""What a recording wants a person to know: the error that ended it, a refused push, a full disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Notification:
    """One notification; ``source`` is the topic it is about, or "" for the whole sequence."""

    message: str
    timestamp_ns: int | None = None
    severity: str = "error"
    source: str = ""
    data: Any = None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Notification:
        """Return the notification that a manifest, pending.json or the topic ``_events`` holds."""
        message = entry.get("message")
        return cls(
            str(entry if message is None else message),
            entry.get("timestamp_ns"),
            str(entry.get("severity") or "error"),
            str(entry.get("source") or entry.get("topic") or ""),
            entry.get("data"),
        )
