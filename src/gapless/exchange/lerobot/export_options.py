"""What an export to LeRobot is asked for, checked once; two exports into one dataset must ask for the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Literal

from gapless.errors import ExportRefused, UsageError
from gapless.model.outcome import Outcome
from gapless.store.align import Rate, as_rate

Layout = Literal["episodes", "compact"]
LAYOUTS = ("episodes", "compact")
_CHOOSING = ("outcomes", "success", "only", "skip")


@dataclass(frozen=True)
class ExportOptions:
    """The options of :func:`~gapless.exchange.lerobot.export_dataset.export_lerobot`.

    ``fps`` None: the rate of the recording. ``only`` and ``skip``: numbers in the order of export, or names.
    """

    fps: int | None = None
    state: tuple[str, ...] = ()
    action: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    layout: Layout = "episodes"
    outcomes: tuple[str, ...] = ("completed",)
    success: bool | None = None
    only: tuple[int | str, ...] | None = None
    skip: tuple[int | str, ...] = ()
    relabel: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        *,
        fps: Rate | None = None,
        layout: str = "episodes",
        outcomes: Iterable[str] = ("completed",),
        include_interrupted: bool = False,
        success: bool | None = None,
        only: Iterable[int | str] | None = None,
        skip: Iterable[int | str] | None = None,
        relabel: Mapping[str, str] | None = None,
        **topics: Iterable[str],
    ) -> ExportOptions:
        """Return the checked options; ``topics``: state, action and cameras.

        Raises UsageError, and ExportRefused for a rate that LeRobot cannot have.
        """
        if layout not in LAYOUTS:
            raise UsageError("there is no such layout", found=layout, expected=" or ".join(LAYOUTS))
        wanted = dict.fromkeys([*outcomes, *(["interrupted"] if include_interrupted else [])])
        unknown = next((outcome for outcome in wanted if outcome not in tuple(Outcome)), None)
        if unknown is not None:
            raise UsageError("there is no such outcome", found=unknown, expected=", ".join(Outcome))
        return cls(
            fps=None if fps is None else whole_fps(as_rate(fps)),
            layout="compact" if layout == "compact" else "episodes",
            outcomes=tuple(wanted),
            success=success,
            only=None if only is None else tuple(only),
            skip=tuple(skip or ()),
            relabel=dict(sorted((relabel or {}).items())),
            **{name: tuple(texts) for name, texts in topics.items()},
        )

    def row_words(self) -> dict[str, Any]:
        """Return as JSON values the options that say what is in an episode's files, not which episodes there are."""
        return {name: value for name, value in self.words().items() if name not in _CHOOSING}

    def words(self) -> dict[str, Any]:
        """Return the options as JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }


def whole_fps(rate: Fraction, sequence: str | None = None) -> int:
    """Return a rate as whole rows per second, or raise ExportRefused."""
    if rate.denominator != 1:
        raise ExportRefused(
            "a LeRobot dataset has a whole number of rows per second",
            sequence=sequence,
            found=str(rate),
            next_step=f"bring the rows to another rate: fps={max(1, round(rate))} (--fps)",
        )
    return rate.numerator
