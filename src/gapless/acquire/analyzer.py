"""Analyzers: a user's functions on the run's data bus that may make derived samples and events."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gapless.acquire.emission import ChannelSample, DeviceEvent, SampleBlock
from gapless.errors import RigRefused, UsageError
from gapless.flow.policy import BackpressurePolicy

if TYPE_CHECKING:
    from gapless.acquire.channel import ChannelSpec
    from gapless.acquire.conductor import Conductor

Made = ChannelSample | SampleBlock | DeviceEvent
_QUEUE = 4096


def analyzer(
    channels: Sequence[str], *, policy: BackpressurePolicy = BackpressurePolicy.BLOCK
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a function as an analyzer of these channels.

    It is called with each ChannelSample or SampleBlock and returns None, one ChannelSample, SampleBlock or
    DeviceEvent, or several. What it raises becomes an event and ends the analyzer, not the run.
    """

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        function.channels = tuple(channels)  # type: ignore[attr-defined]  # the mark itself
        function.policy = policy  # type: ignore[attr-defined]
        return function

    return mark


class Analyzer:
    """Runs one marked function as a task of the conductor."""

    def __init__(
        self,
        name: str,
        function: Callable[[Any], Any],
        channels: Sequence[str],
        policy: BackpressurePolicy,
        foreign: frozenset[str] = frozenset(),
    ) -> None:
        self.name = name
        self._foreign = foreign  # declared channels that are made elsewhere
        self._function = function
        self._channels = frozenset(channels)
        self._policy = policy

    async def __call__(self, conductor: Conductor) -> None:
        """Feed the function until the bus closes."""
        with conductor.bus.subscribe_where(
            self._wants, name=f"analyzer-{self.name}", capacity=_QUEUE, policy=self._policy
        ) as samples:
            while burst := await samples.get_burst():
                for sample in burst:
                    for made in _several(self._function(sample)):
                        self._check(made)
                        await conductor.emit_derived(made)

    def _check(self, made: Made) -> None:
        if isinstance(made, ChannelSample | SampleBlock) and made.channel in self._foreign:
            raise UsageError(
                "an analyzer makes only channels that name it, and channels that no rig declares",
                found=made.channel,
                next_step=f'declare the channel with analyzer = "{self.name}"',
            )

    def _wants(self, item: Any) -> bool:
        return getattr(item, "channel", None) in self._channels


def analyzers_of(references: Iterable[str], channels: Iterable[ChannelSpec]) -> list[Analyzer]:
    """Return the analyzers that a rig names as ``module:function``, or raise RigRefused.

    A channel of the rig that an analyzer makes names it; one that names no analyzer of the rig is refused.
    """
    references, channels = list(references), list(channels)
    for spec in channels:
        if spec.analyzer is not None and spec.analyzer not in references:
            raise RigRefused(
                f"channel {spec.name!r} is made by an analyzer that the rig does not have",
                found=spec.analyzer,
                expected=", ".join(references) or "none is named",
            )
    return [
        _load(reference, frozenset(spec.name for spec in channels if spec.analyzer != reference))
        for reference in references
    ]


def _load(reference: str, foreign: frozenset[str]) -> Analyzer:
    module_name, _, name = reference.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RigRefused(
            "an analyzer cannot be imported", found=f"{reference}: {error}", expected="module:function"
        ) from error
    channels = getattr(function, "channels", None)
    if not callable(function) or not channels:
        raise RigRefused(
            "an analyzer is a function marked with @analyzer([...])",
            found=reference,
            expected="gapless.acquire.analyzer.analyzer",
        )
    if inspect.iscoroutinefunction(function):
        raise RigRefused("an analyzer is a plain function", found=reference)
    return Analyzer(reference, function, channels, function.policy, foreign)


def _several(made: Any) -> Iterable[Made]:
    if made is None:
        return ()
    if isinstance(made, ChannelSample | SampleBlock | DeviceEvent):
        return (made,)
    return tuple(made)
