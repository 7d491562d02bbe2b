"""A feature that multiplies X."""

from __future__ import annotations

from typing import Any

from gapless.features.kit import TableFeature
from gapless.features.params import Params as AnyParams


class Double(TableFeature):
    """X times ``factor``, and a text that says whether it is high."""

    name = "double"
    version = "1.0"

    class Params(AnyParams):
        """``factor``: what X is multiplied by."""

        factor: float = 2.0

    def apply(self, df: Any) -> Any:
        """Return X times the factor."""
        high = df["X"].gt(1.0).map({True: "high", False: ""})
        return df[["timestamp_ns", "frame"]].assign(X=df["X"] * self.params.factor, label=high)
