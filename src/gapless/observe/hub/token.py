"""Bearer tokens: made once, shown once, kept as a digest; the time they end at stands in them."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets

_PREFIX = "glh"


def new_token(expires_s: int | None = None) -> str:
    """Return a token that ends at a time in seconds since 1970, or never."""
    return f"{_PREFIX}.{expires_s or 0}.{secrets.token_urlsafe(32)}"


def digest_of(token: str) -> str:
    """Return what a hub keeps of a token. It is random, so a plain hash cannot be searched."""
    return hashlib.sha256(token.encode()).hexdigest()


def stated_expiry_s(token: str) -> float | None:
    """Return the time in seconds since 1970 at which a token says it ends, or None if it says nothing.

    Reads our own tokens and the ``exp`` claim of a JSON Web Token; nothing is verified here.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        if parts[0] == _PREFIX:
            return float(parts[1]) or None
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
