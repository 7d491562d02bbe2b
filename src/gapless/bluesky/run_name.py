"""The name of a run's sequence, made of its start document by a pattern."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gapless.errors import ArgumentRefused, NameRefused
from gapless.model.names import check_sequence_name


class _Fields(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return f"no-{key}"


def check_pattern(pattern: str) -> str:
    """Return the pattern, or raise ArgumentRefused for one that is none."""
    try:
        parts = list(string.Formatter().parse(pattern))
    except (ValueError, TypeError) as error:
        raise ArgumentRefused(
            "a run's name is a format pattern", field="name", found=repr(pattern)
        ) from error
    if not any(name in ("uid", "uid8") for _, name, _, _ in parts):
        raise ArgumentRefused(
            "a run's name must hold its uid, for two runs may share all else",
            field="name",
            found=repr(pattern),
            expected="a pattern with {uid} or {uid8}, such as '{date}-{scan_id}-{uid8}'",
        )
    return pattern


def run_name(pattern: str, start: Mapping[str, Any]) -> str:
    """Return the pattern filled: start's own keys, ``uid8`` (8 characters), ``date`` and ``time`` (UTC).

    A field that the start document lacks reads ``no-<field>``. What cannot be a sequence's name, being too
    long or holding control characters, becomes ``run-<digest of the uid>``.
    """
    fields = _Fields({key: value for key, value in start.items() if isinstance(value, str | int | float)})
    fields["uid8"] = str(start["uid"])[:8]
    begun = _instant(start.get("time"))
    if begun is not None:
        fields["date"], fields["time"] = begun.strftime("%Y%m%d"), begun.strftime("%H%M%S")
    else:
        fields["date"] = fields["time"] = "no-time"
    try:
        return check_sequence_name(pattern.format_map(fields))
    except (ValueError, AttributeError, IndexError) as error:
        raise ArgumentRefused(
            "a run's name cannot be made of its start document", field="name", found=f"{pattern}: {error}"
        ) from error
    except NameRefused:
        return f"run-{hashlib.sha256(str(start['uid']).encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _instant(seconds: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(seconds), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
