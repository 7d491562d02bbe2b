"""Under which name an act of a page is recorded."""

from __future__ import annotations

from typing import Final

from gapless.serve.http.asking import HttpCall
from gapless.serve.keys import list_keys

NOBODY: Final = "page"


def signed(call: HttpCall, typed: str) -> str:
    """Return a name that somebody typed with the key that they came with: a name alone is nobody's word."""
    return typed if call.key_id is None else f"{typed} (key {call.key_id})"


def operator_of(call: HttpCall) -> str:
    """Return the label of the caller's key, its id where it has none, and ``page`` for a caller without a key."""
    if call.key_id is None:
        return NOBODY
    labels = {key.key_id: key.label for key in list_keys(call.served.root)}
    return labels.get(call.key_id) or call.key_id
