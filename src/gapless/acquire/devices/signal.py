"""Signals of simulated devices: pure functions of time, or of another field and the time step."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from gapless.acquire.device_config import Strict

#: Takes the seconds since the start, those since the last call, and the other fields' values.
Generator = Callable[[float, float, Mapping[str, float]], float]


class Constant(Strict):
    """Always ``value``, until the command ``set`` gives another."""

    kind: Literal["constant"] = "constant"
    value: FiniteFloat = 0.0

    def generator(self, _seed: str) -> Generator:
        """Return the signal."""
        value = self.value
        return lambda _t_s, _dt_s, _others: value


class Sine(Strict):
    """``offset + amplitude * sin(2 pi t / period_s + phase)``."""

    kind: Literal["sine"]
    amplitude: FiniteFloat = 1.0
    period_s: float = Field(default=1.0, gt=0)
    offset: FiniteFloat = 0.0
    phase: FiniteFloat = 0.0

    def generator(self, _seed: str) -> Generator:
        """Return the signal."""
        turn = 2 * math.pi / self.period_s
        return lambda t_s, _dt_s, _others: self.offset + self.amplitude * math.sin(turn * t_s + self.phase)


class Ramp(Strict):
    """From ``start`` by ``slope`` a second; with ``period_s`` it begins anew after each period."""

    kind: Literal["ramp"]
    start: FiniteFloat = 0.0
    slope: FiniteFloat = 1.0
    period_s: float | None = Field(default=None, gt=0)

    def generator(self, _seed: str) -> Generator:
        """Return the signal."""
        period_s = self.period_s or math.inf
        return lambda t_s, _dt_s, _others: self.start + self.slope * math.fmod(t_s, period_s)


class Square(Strict):
    """``high`` in the first half of each period, ``low`` in the second."""

    kind: Literal["square"]
    low: FiniteFloat = 0.0
    high: FiniteFloat = 1.0
    period_s: float = Field(default=1.0, gt=0)

    def generator(self, _seed: str) -> Generator:
        """Return the signal."""
        half_s = self.period_s / 2
        return lambda t_s, _dt_s, _others: self.high if math.fmod(t_s, self.period_s) < half_s else self.low


class Step(Strict):
    """``before`` until ``at_s``, then ``after``."""

    kind: Literal["step"]
    at_s: float = Field(default=1.0, ge=0)
    before: FiniteFloat = 0.0
    after: FiniteFloat = 1.0

    def generator(self, _seed: str) -> Generator:
        """Return the signal."""
        return lambda t_s, _dt_s, _others: self.before if t_s < self.at_s else self.after


class Noise(Strict):
    """Normal noise of a seeded generator: the same run gives the same values."""

    kind: Literal["noise"]
    mean: FiniteFloat = 0.0
    deviation: float = Field(default=1.0, ge=0)

    def generator(self, seed: str) -> Generator:
        """Return the signal."""
        dice = random.Random(seed)
        return lambda _t_s, _dt_s, _others: dice.gauss(self.mean, self.deviation)


class Follow(Strict):
    """Follows another field as a first-order system does: a heater its setpoint."""

    kind: Literal["follow"]
    field: str
    time_constant_s: float = Field(default=1.0, gt=0)
    start: FiniteFloat = 0.0

    def generator(self, _seed: str) -> Generator:
        """Return the signal."""
        value = self.start

        def follow(_t_s: float, dt_s: float, others: Mapping[str, float]) -> float:
            nonlocal value
            value += (others[self.field] - value) * (1.0 - math.exp(-dt_s / self.time_constant_s))
            return value

        return follow


Signal = Annotated[Constant | Sine | Ramp | Square | Step | Noise | Follow, Field(discriminator="kind")]
