"""Derived channels: a function of other channels' samples, and the order to compute them in."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np

from gapless.acquire.calibration.derived import DerivedFunction
from gapless.acquire.calibration.uncertainty import combined, combined_all
from gapless.acquire.channel import ChannelSpec
from gapless.acquire.emission import ChannelSample, SampleBlock, SampleStatus
from gapless.errors import RigRefused

_NOT_FINITE = int(SampleStatus.NOT_FINITE)


class Derivation:
    """One derived channel: its function over samples, or over blocks of one length."""

    def __init__(self, spec: ChannelSpec, function: DerivedFunction) -> None:
        assert spec.derived is not None
        self.spec, self.function = spec, function
        self.inputs = spec.derived.inputs
        self.correlation = spec.derived.correlation
        self.max_age_ns = None if spec.derived.max_age_s is None else round(spec.derived.max_age_s * 1e9)

    def sample(self, inputs: Sequence[ChannelSample], status: int = 0) -> ChannelSample:
        """Return the sample that the inputs give, at the time of the first and pointing to its record."""
        first = inputs[0]
        value, spread = None, None
        for held in inputs:
            status |= held.status
        if all(held.value is not None for held in inputs):
            value = self.function.value(*(float(held.value) for held in inputs))  # type: ignore[arg-type]
            if isfinite(value):
                spread = self._spread(inputs)
            else:
                status |= _NOT_FINITE
        return ChannelSample(
            self.spec.name,
            first.timestamp_ns,
            value,
            self.spec.unit,
            first.source_record_id,
            spread,
            status,
            None,
            first.t_utc_ns,
        )

    def _spread(self, inputs: Sequence[ChannelSample]) -> float | None:
        """Return the standard uncertainty, None if that of any input is unknown."""
        spreads = [held.uncertainty for held in inputs]
        if any(spread is None for spread in spreads):
            return None
        partials = self.function.partials(*(float(held.value) for held in inputs))  # type: ignore[arg-type]
        parts = [part * spread for part, spread in zip(partials, spreads, strict=True) if spread is not None]
        found = combined(parts, self.correlation)
        return found if isfinite(found) else None

    def block(self, inputs: Sequence[SampleBlock], status: np.ndarray | int = 0) -> SampleBlock:
        """Return the block that the inputs' blocks give; uncertainty NaN where it is unknown."""
        first = inputs[0]
        columns = [np.asarray(held.values, np.float64) for held in inputs]
        values = self.function.values(*columns)
        flags = np.zeros(len(values), np.int8) | np.asarray(status, np.int8)
        for held in inputs:
            flags = flags if held.status is None else flags | held.status
        flags = flags | np.where(np.isfinite(values), 0, _NOT_FINITE).astype(np.int8)
        return SampleBlock(
            self.spec.name,
            first.timestamps_ns,
            values,
            self.spec.unit,
            first.source_record_id,
            self._spreads(inputs, columns, values),
            flags,
            None,
            first.t_utc_ns,
        )

    def _spreads(
        self, inputs: Sequence[SampleBlock], columns: Sequence[np.ndarray], values: np.ndarray
    ) -> np.ndarray | None:
        spreads = [held.uncertainty for held in inputs if held.uncertainty is not None]
        if len(spreads) < len(inputs):
            return None
        partials = self.function.partials_all(*columns)
        parts = [part * spread for part, spread in zip(partials, spreads, strict=True)]
        with np.errstate(invalid="ignore"):
            return np.where(np.isfinite(values), combined_all(parts, self.correlation), np.nan)


def inputs_first(derived: Sequence[ChannelSpec]) -> list[ChannelSpec]:
    """Return derived channels such that each stands behind those it is made of, else in their order."""
    waiting = {spec.name: spec for spec in derived}
    ordered: list[ChannelSpec] = []
    while waiting:
        ready = [
            s
            for s in waiting.values()
            if s.derived is not None and not waiting.keys() & set(s.derived.inputs)
        ]
        if not ready:
            raise RigRefused("channels are derived from each other", found=", ".join(waiting))
        ordered.append(ready[0])
        del waiting[ready[0].name]
    return ordered
