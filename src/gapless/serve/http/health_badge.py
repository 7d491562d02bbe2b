"""How a sequence stands, in one level and a few words, from what the catalog knows: nothing is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Level = Literal["ok", "warn", "bad", "live"]
_OUTCOMES: dict[str, tuple[Level, str]] = {
    "completed": ("ok", "complete"),
    "aborted": ("warn", "stopped by a person"),
    "failed": ("bad", "an error ended it"),
    "interrupted": ("bad", "its writer died"),
    "crashed": ("bad", "a fault ended the run"),
    "crashed_but_sealed": ("bad", "saturated, and sealed"),
}


class Health(BaseModel):
    """``words`` say what ``level`` means for this sequence, and what to do where something is to be done."""

    model_config = ConfigDict(extra="forbid")

    level: Level = Field(
        description="live: being recorded; ok; warn: look at it; bad: it is not what was meant"
    )
    words: str


def health_of(
    name: str,
    *,
    state: str,
    live: bool,
    outcome: str | None,
    ledger: Mapping[str, int],
    awaited: bool = False,
    problem: str | None = None,
    unsealed_layers: bool = False,
) -> Health:
    """Return the badge of a sequence; the worst of what is known of it decides."""
    if problem is not None:
        return Health(level="bad", words=f"damaged: gapless verify {name}")
    if live:
        lost = losses(ledger)
        return Health(level="live", words=f"being recorded; {lost}" if lost else "being recorded")
    if state == "open" and awaited:
        return Health(level="warn", words="its client is away and may come back")
    if state == "open":
        return Health(level="bad", words=f"its writer is gone: gapless recover {name}")
    if state == "pending":
        return Health(level="warn", words=f"kept after an error: gapless seal {name}")
    level, words = _OUTCOMES.get(outcome or "", ("warn", outcome or "no outcome"))
    lost = losses(ledger)
    if lost:
        level, words = ("warn" if level == "ok" else level), f"{words}; {lost}"
    if unsealed_layers and level == "ok":
        level, words = "warn", f"{words}; a layer is not sealed"
    return Health(level=level, words=words)


def losses(ledger: Mapping[str, int]) -> str:
    """Return what a ledger says is not there, "" where all is."""
    told = (("gapped", "missing"), ("dropped", "dropped by policy"))
    return ", ".join(f"{ledger[key]:,} {words}" for key, words in told if ledger.get(key))
