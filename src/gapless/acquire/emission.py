"""What a device emits on its worker's thread: records, samples, blocks, frame receipts, events, gaps.

A device's ``stream()`` yields a :class:`SourceRecord` and then, in order, the ``sample_count`` samples
made from it. The worker joins these to one :class:`Reading`, which crosses the threads as a whole: a
record is never on disk without its samples, nor the other way round.

Three stamps: ``timestamp_ns`` is taken where the device was read and never overwritten; ``t_utc_ns`` is the
wall clock for people, never joined on; ``t_bridge_put_ns`` is the monotonic time at which the reading was
put on the worker's bridge, for latency figures only.
"""

from __future__ import annotations

from enum import Enum, IntFlag
from typing import Any, Final

import msgspec
import numpy as np


class Absent(Enum):
    """The kind of :data:`ABSENT`, which is its only member."""

    ABSENT = "absent"


#: Stands for a field that one record does not have: its column is null and its channels get no sample, so
#: that their last values stand. A field that the record has, but without a value, is None: it gives samples
#: without value, DEVICE_INVALID.
ABSENT: Final = Absent.ABSENT


class SampleStatus(IntFlag):
    """What is wrong with a value; 0 is a good one. Stored as int8 in ``<channel>_status``."""

    OK = 0
    BELOW_RANGE = 1  # the raw value lies below what the curve or the declared range covers
    ABOVE_RANGE = 2
    CLAMPED = 4  # the curve's end value stands in for one outside it
    DEVICE_INVALID = 8  # the device itself calls the value bad
    NOT_FINITE = 16  # NaN or infinite after calibration
    STALE = 32  # a derived value used an input older than its limit


class SourceRecord(msgspec.Struct, frozen=True, gc=False):
    """One native record of a device: ``values`` in the order of the device's ``fields()``."""

    family: str
    device: str
    n: int
    timestamp_ns: int
    t_utc_ns: int
    values: tuple[Any, ...]
    sample_count: int = 0

    @property
    def source_record_id(self) -> str:
        """The name that every sample of the record points back to: ``family:device:n``."""
        return f"{self.family}:{self.device}:{self.n}"


class ChannelSample(msgspec.Struct, frozen=True, gc=False):
    """One calibrated value of one channel.

    ``uncertainty`` is the standard uncertainty in ``unit`` (coverage factor 1), None when unmeasured;
    ``status`` a :class:`SampleStatus`; ``raw`` the value before calibration where the channel keeps it.
    """

    channel: str
    timestamp_ns: int
    value: float | int | bool | str | None
    unit: str
    source_record_id: str
    uncertainty: float | None = None
    status: int = 0
    raw: float | None = None
    t_utc_ns: int = 0


class SampleBlock(msgspec.Struct, frozen=True):
    """Many values of one channel from one record: arrays of one length, ``timestamps_ns`` int64."""

    channel: str
    timestamps_ns: np.ndarray
    values: np.ndarray
    unit: str
    source_record_id: str
    uncertainty: np.ndarray | None = None
    status: np.ndarray | None = None
    raw: np.ndarray | None = None
    t_utc_ns: int = 0


class FrameReceipt(msgspec.Struct, frozen=True, gc=False):
    """One frame that a camera's container took. The pixels are in the container, never in here."""

    camera: str
    frame_idx: int
    timestamp_ns: int
    t_utc_ns: int
    capture_latency_s: float


class DeviceEvent(msgspec.Struct, frozen=True):
    """A rare fact that a device reports; becomes a row of ``_events``."""

    device: str
    timestamp_ns: int
    severity: str  # debug, info, warning, error
    kind: str
    message: str
    data: dict[str, Any] | None = None


class GapReport(msgspec.Struct, frozen=True):
    """Records that a device lost: becomes gap rows of its topics.

    ``records`` is how many (None: unknowable); ``rows`` how many rows each channel group lost, where a
    record is a block of many rows.
    """

    device: str
    cause: str
    start_ns: int
    end_ns: int
    records: int | None = None
    rows: int | None = None


class Reading(msgspec.Struct):
    """A record and all samples made from it, as they cross the threads together."""

    record: SourceRecord
    samples: list[ChannelSample] | list[SampleBlock]
    t_bridge_put_ns: int = 0


Emission = SourceRecord | ChannelSample | SampleBlock | FrameReceipt | DeviceEvent | GapReport
Crossing = Reading | FrameReceipt | DeviceEvent | GapReport
