"""Who may look at what belongs to no group: a key for some groups sees neither pipelines nor trainings nor the hub."""

from __future__ import annotations

from gapless.errors import RightMissing
from gapless.serve.caller import Caller
from gapless.serve.rights import Right


def require_whole_store(caller: Caller, right: Right = Right.READ) -> None:
    """Raise RightMissing without the right, and for a key that is for some groups only."""
    caller.require(right)
    if caller.access.groups is not None:
        raise RightMissing(
            "the key is for some groups, and this is about the whole store",
            found=f"groups {', '.join(sorted(caller.access.groups)) or '(none)'}",
            expected="a key for all groups",
            next_step="ask for a key without groups: `gapless keys make` on the server makes one",
        )
