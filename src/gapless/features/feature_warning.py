"""What a run says although it goes on: outputs are served that may be wrong, or there was nothing to compute."""

from __future__ import annotations

import warnings


class FeatureWarning(UserWarning):
    """Something about a run that a person should know; its text names the feature and what to do."""


def say(text: str) -> None:
    """Warn, every time it is said; the place in the code that says it is of no interest to anybody."""
    warnings.warn_explicit(text, FeatureWarning, "gapless.features", 1, module="gapless.features")
