"""Times of a device, and the header that many messages of robots carry."""

from __future__ import annotations

from typing import Self

from gapless.model.ontology.declaration import Ontology, field
from gapless.model.ontology.leaf import Int32, UInt32, UInt64


class _Stamp(Ontology, abstract=True):
    """Seconds and nanoseconds."""

    seconds: Int32 = field(unit="s", description="whole seconds")
    nanoseconds: UInt32 = field(unit="ns", description="nanoseconds of the second, below 1e9")

    @classmethod
    def from_ns(cls, total_ns: int) -> Self:
        """Return the stamp of a number of nanoseconds; exact."""
        return cls(*divmod(total_ns, 1_000_000_000))

    def to_ns(self) -> int:
        """Return the stamp as one number of nanoseconds; exact."""
        return self.seconds * 1_000_000_000 + self.nanoseconds


class Time(_Stamp):
    """A point in time on a device's own clock."""


class Duration(_Stamp):
    """A span of time."""


class Header(Ontology):
    """When, in which frame and as which sample something was measured."""

    timestamp: Time | None = field(
        default=None, description="when the data was measured, on the device's clock"
    )
    frame_id: str | None = field(default=None, description="the coordinate frame of the data")
    sample_counter: UInt64 | None = field(default=None, description="the device's own count of samples")
