"""API keys: made, listed and revoked in state.db, where only their hash is kept.

A key is ``gapless_<id>_<secret>``. The id names it in lists and audit rows; the secret is 256 random bits.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gapless.catalog.sqlite import Row
from gapless.catalog.state_database import StateDatabase, look
from gapless.errors import NotFound, UsageError
from gapless.serve.rights import Right

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS api_key (
    key_id TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    level TEXT NOT NULL,
    label TEXT NOT NULL,
    made_ns INTEGER NOT NULL,
    expires_ns INTEGER,
    revoked_ns INTEGER,
    used_ns INTEGER
);
CREATE TABLE IF NOT EXISTS api_key_group (
    key_id TEXT NOT NULL REFERENCES api_key (key_id),
    grp TEXT NOT NULL,
    PRIMARY KEY (key_id, grp)
);
"""
_TOKEN: Final = re.compile(r"gapless_([0-9a-f]{8})_[0-9a-f]{64}")
_DAY_NS: Final = 86_400_000_000_000


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key as it is kept. ``groups`` None: all groups; times in ns since 1970, None: never."""

    key_id: str
    digest: str
    right: Right
    groups: frozenset[str] | None
    label: str
    made_ns: int
    expires_ns: int | None
    revoked_ns: int | None
    used_ns: int | None

    def counts(self, now_ns: int) -> bool:
        """Tell whether the key is neither revoked nor over."""
        return self.revoked_ns is None and (self.expires_ns is None or now_ns < self.expires_ns)


def digest_of(token: str) -> str:
    """Return what is kept of a key: its SHA-256, in hex.

    A slow or salted hash protects what people choose; 256 random bits cannot be guessed, whatever a try costs,
    and a fast hash lets the server check each request.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def key_id_of(token: str) -> str | None:
    """Return the id in a key, or None for text that is no key."""
    found = _TOKEN.fullmatch(token)
    return None if found is None else found[1]


def make_key(
    database: StateDatabase,
    right: Right,
    *,
    groups: Sequence[str] = (),
    label: str = "",
    expires_days: float | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; return it and its text, which cannot be had again. No ``groups``: all of them.

    Raises UsageError for an empty group name or for days that are not above 0.
    """
    if any(not group for group in groups):
        raise UsageError("a group has a name", found="an empty one", field="--group")
    if expires_days is not None and not 0 < expires_days < 1e5:
        raise UsageError("a key ends after some days", found=expires_days, field="--expires")
    key_id = secrets.token_hex(4)
    token = f"gapless_{key_id}_{secrets.token_hex(32)}"
    now_ns = time.time_ns()
    ends_ns = None if expires_days is None else now_ns + int(expires_days * _DAY_NS)
    database.ensure(_TABLE)
    with database.transaction():
        database.rows(
            "INSERT INTO api_key (key_id, digest, level, label, made_ns, expires_ns) VALUES (?, ?, ?, ?, ?, ?)",
            (key_id, digest_of(token), right.word, label, now_ns, ends_ns),
        )
        database.many(
            "INSERT INTO api_key_group (key_id, grp) VALUES (?, ?)",
            [(key_id, g) for g in sorted(set(groups))],
        )
    limited = frozenset(groups) if groups else None
    return ApiKey(key_id, digest_of(token), right, limited, label, now_ns, ends_ns, None, None), token


def list_keys(root: Path) -> list[ApiKey]:
    """Return every key that was ever made for a store, oldest first; changes nothing."""
    rows = look(
        root,
        "SELECT key_id, digest, level, label, made_ns, expires_ns, revoked_ns, used_ns, grp"
        " FROM api_key LEFT JOIN api_key_group USING (key_id) ORDER BY made_ns, key_id, grp",
    )
    groups: dict[str, set[str]] = {}
    for row in rows:
        groups.setdefault(row[0], set()).update(() if row[-1] is None else (row[-1],))
    return [_key(row, groups[row[0]]) for row in {row[0]: row for row in rows}.values()]


def _key(row: Row, groups: set[str]) -> ApiKey:
    key_id, digest, level, *rest = row[:-1]
    return ApiKey(key_id, digest, Right.named(level), frozenset(groups) or None, *rest)


def revoke_key(database: StateDatabase, key_id: str) -> None:
    """Let a key count no longer, for ever; NotFound without one of that id. Revoking again changes nothing."""
    database.ensure(_TABLE)
    with database.transaction():
        if not database.rows("SELECT 1 FROM api_key WHERE key_id = ?", (key_id,)):
            raise NotFound("there is no key of that id", found=key_id, next_step="`gapless keys ls`")
        database.rows(
            "UPDATE api_key SET revoked_ns = ? WHERE key_id = ? AND revoked_ns IS NULL",
            (time.time_ns(), key_id),
        )


def note_used(database: StateDatabase, used_ns: dict[str, int]) -> None:
    """Keep when keys were used last: key id -> time."""
    with database.transaction():
        database.many(
            "UPDATE api_key SET used_ns = ? WHERE key_id = ? AND coalesce(used_ns, 0) < ?",
            [(time_ns, key_id, time_ns) for key_id, time_ns in used_ns.items()],
        )
