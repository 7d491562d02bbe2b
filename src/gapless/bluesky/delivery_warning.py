"""What a person at the RunEngine is told when runs wait for a server."""

from __future__ import annotations

import warnings


class DeliveryWarning(UserWarning):
    """Runs wait in the local store because a server did not take them; the text says what to do."""


def warn_of_waiting(runs: int, server: str, found: str, later: str) -> None:
    """Warn that so many runs are not on a server, why, and what delivers them later."""
    text = (
        f"{runs} run{'s' * (runs > 1)} not on the {server}: {found}. Nothing is lost; "
        f"when it answers: {later}"
    )
    warnings.warn_explicit(text, DeliveryWarning, "gapless.bluesky", 1, module="gapless.bluesky")
