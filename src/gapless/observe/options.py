"""How an observer records: its mode, its rates, what it does when an encoder is behind."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

from gapless.errors import DeterminismRefused, UsageError
from gapless.model.outcome import choice
from gapless.store.handover import OverflowPolicy

_MAX_HZ = 1_000_000_000  # times are whole nanoseconds


class Mode(StrEnum):
    """Whose time the rows have."""

    SIMULATED = "simulated"  # the simulation's, in rows and captures; the same seed gives the same bytes
    REALTIME = "realtime"  # the clock's
    MIXED = "mixed"  # the simulation's in rows, the clock's in captures


class ImagePolicy(StrEnum):
    """What happens to a picture for which the encoder has no room."""

    BLOCK = "block"  # the step waits
    REPEAT = "repeat"  # the picture before is shown again, and its row says so
    FAIL = "fail"  # the episode fails


OVERFLOW = {
    ImagePolicy.BLOCK: OverflowPolicy.BLOCK,
    ImagePolicy.REPEAT: OverflowPolicy.REPEAT,
    ImagePolicy.FAIL: OverflowPolicy.FAIL,
}


def rate_of(value: Any, name: str) -> Fraction:
    """Return a rate in Hz as an exact fraction: 30, 29.97, "30000/1001" or a Fraction."""
    try:
        rate = Fraction(str(value) if isinstance(value, float) else value)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise UsageError("a rate is a number of Hz", field=name, found=repr(value), expected="30") from error
    if not 0 < rate <= _MAX_HZ or isinstance(value, bool):
        raise UsageError(
            "a rate is above zero, and at most one per nanosecond", field=name, found=repr(value)
        )
    return rate


@dataclass(frozen=True)
class Options:
    """What holds for all episodes of an observer."""

    mode: Mode
    data_hz: Fraction
    video_hz: Fraction
    image_policy: ImagePolicy
    deterministic: bool
    total_episodes: int | None
    max_rows: int | None
    auto_advance: bool

    @classmethod
    def of(
        cls,
        mode: Mode | str,
        data_hz: Any,
        video_hz: Any,
        image_policy: ImagePolicy | str,
        *,
        deterministic: bool | None,
        total_episodes: int | None,
        max_episode_s: float | None,
        auto_advance: bool,
    ) -> Options:
        """Check what was given; raises UsageError, and DeterminismRefused where it could only be pretended."""
        mode = choice(Mode, mode, "mode")
        policy = choice(ImagePolicy, image_policy, "image_policy")
        rate = rate_of(data_hz, "data_hz")
        possible = mode is Mode.SIMULATED and policy is not ImagePolicy.REPEAT
        if deterministic and not possible:
            raise DeterminismRefused(
                "identical bytes for identical seeds need simulated time, and pictures that wait",
                found=f"mode {mode}, image_policy {policy}",
                expected="mode simulated, image_policy block or fail",
            )
        for name, limit in (("total_episodes", total_episodes), ("max_episode_s", max_episode_s)):
            if limit is not None and not 0 < limit < float("inf"):
                raise UsageError("a limit is above zero, and None is no limit", field=name, found=repr(limit))
        if total_episodes is not None and not isinstance(total_episodes, int):
            raise UsageError(
                "a number of episodes is whole", field="total_episodes", found=repr(total_episodes)
            )
        return cls(
            mode,
            rate,
            rate if video_hz is None else rate_of(video_hz, "video_hz"),
            policy,
            possible if deterministic is None else deterministic,
            total_episodes,
            None if max_episode_s is None else max(1, int(Fraction(str(max_episode_s)) * rate)),
            auto_advance,
        )


def judgement(success: Any) -> bool | None:
    """Return whether a task was done as True, False or None; UsageError for words and numbers."""
    if success is None or isinstance(success, bool):
        return success
    if type(success).__name__ in ("bool_", "bool") and getattr(success, "ndim", None) == 0:  # NumPy's
        return bool(success)
    raise UsageError("success is True, False or None", field="success", found=repr(success))


def seed_of(seed: Any) -> int | None:
    """Return a seed as a Python int, or None; UsageError for anything else."""
    if seed is None:
        return None
    try:
        if isinstance(seed, bool):
            raise TypeError("a truth is no seed")
        return operator.index(seed)
    except TypeError as error:
        raise UsageError(
            "a seed is a whole number", field="seed", found=repr(seed), expected="int"
        ) from error
