"""Channels derived from several devices, or from analyzers: computed on the bus as their inputs arrive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gapless.acquire.binding import CrossDeviceDerived
from gapless.acquire.emission import ChannelSample, SampleBlock
from gapless.flow.policy import BackpressurePolicy

if TYPE_CHECKING:
    from gapless.acquire.channel import ChannelSpec
    from gapless.acquire.conductor import Conductor

_QUEUE = 4096


class DerivedTask:
    """Feeds the derived channels from the bus and emits what they make, as a task of the conductor."""

    name = "derived"

    def __init__(self, derived: CrossDeviceDerived) -> None:
        self._derived = derived
        made = {spec.name for spec in derived.channels}
        inputs = {name for spec in derived.channels if spec.derived for name in spec.derived.inputs}
        self._wanted = inputs - made  # what is made of derived ones is made at once, not over the bus

    async def __call__(self, conductor: Conductor) -> None:
        """Run until the bus closes."""
        with conductor.bus.subscribe_where(
            self._wants, name=self.name, capacity=_QUEUE, policy=BackpressurePolicy.BLOCK
        ) as samples:
            while burst := await samples.get_burst():
                for item in burst:
                    made: Sequence[ChannelSample | SampleBlock] = (
                        self._derived.feed(item)
                        if type(item) is ChannelSample
                        else self._derived.feed_block(item)
                    )
                    for derived in made:
                        await conductor.emit_derived(derived)

    def _wants(self, item: Any) -> bool:
        return getattr(item, "channel", None) in self._wanted


def cross_device_tasks(channels: Sequence[ChannelSpec]) -> list[DerivedTask]:
    """Return the task that computes the derived channels no single device can; none where there are none."""
    derived = CrossDeviceDerived(channels)
    return [DerivedTask(derived)] if derived.channels else []
