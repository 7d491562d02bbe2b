"""What the runtime asks of a device: open once, start and stop per run, stream, obey commands.

``open``/``close`` make and end the connection and are idempotent. ``start``/``stop`` bound one run. All of
them, ``stream`` and ``command`` run on the event loop of the one thread that owns the device's resource.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from gapless.acquire.clock import RunClock
    from gapless.acquire.command import Command, CommandResult
    from gapless.acquire.emission import ChannelSample, Emission, SampleBlock, SourceRecord


@dataclass(frozen=True, slots=True)
class DeviceField:
    """One column of a device's native records.

    ``dtype`` is an Arrow type by name (float64, int64, bool, string, binary, uint16, …); ``shape`` () for
    a scalar, (n,) for a list of n. A field that a record lacks is null.
    """

    name: str
    dtype: str = "float64"
    unit: str | None = None
    description: str = ""
    shape: tuple[int, ...] = ()


class Binder(Protocol):
    """Makes calibrated samples of native records; compiled from the channels bound to one device."""

    @property
    def sample_count(self) -> int:
        """How many samples each record gives."""

    def bind(self, record: SourceRecord) -> list[ChannelSample]:
        """Return the samples of one record, in the order of the channels."""

    def bind_block(self, record: SourceRecord, timestamps_ns: Any, columns: Any) -> list[SampleBlock]:
        """Return the blocks of one record whose fields are arrays as long as ``timestamps_ns``."""


class FrameSink(Protocol):
    """Takes pictures of one camera into the run's container, from the camera's own thread."""

    def push(self, timestamp_ns: int, picture: Any) -> None:
        """Take one picture: uint8 array (height, width[, 3]) or uint16 (height, width); copied."""


class RunFiles(Protocol):
    """Where a device may put bytes that never cross the bridge."""

    def frames(self, camera: str, media: str) -> FrameSink:
        """Return the sink of a camera's pictures; call it on the thread that pushes."""

    def own_file(self, device: str, file_name: str, media_type: str) -> Path:
        """Return a path inside the bundle for a file that the device writes itself.

        Whatever is in the file at the end of the run, or after a kill, is sealed as an artifact.
        """


@dataclass(frozen=True)
class StartContext:
    """What a device is given at the start of a run. ``binder`` and ``files`` are None while none records."""

    clock: RunClock
    run_id: str
    recording_enabled: bool
    binder: Binder | None = None
    files: RunFiles | None = None
    bundle_path: Path | None = None


@dataclass(frozen=True)
class DeviceSnapshot:
    """What a device says of itself: identity, firmware, settings; JSON values."""

    device: str
    family: str
    facts: dict[str, Any] = field(default_factory=dict)


class Bus:
    """What devices on one resource share: the lock that keeps transactions whole, and the open connection.

    Belongs to the loop of the resource's worker. ``users`` counts who has the connection open. While it is
    barred, and for what waited when it was, only safe-state programs command the devices on it.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.connection: Any = None
        self.users = 0
        self.is_barred = False
        self.epoch = 0

    def is_shut(self, epoch: int) -> bool:
        """Whether a command that came in that epoch may no longer go out."""
        return self.is_barred or epoch != self.epoch


@runtime_checkable
class Adapter(Protocol):
    """One device. ``resource_id`` (``scheme:body``) is known before anything is opened."""

    @property
    def name(self) -> str:
        """The device's name in the rig."""

    @property
    def family(self) -> str:
        """What kind of device it is: the first part of every ``source_record_id``."""

    @property
    def resource_id(self) -> str:
        """What the device sits on: ``serial:/dev/ttyUSB0``, ``tcp:host:502``, ``camera:…``, ``sim:name``."""

    @property
    def shares_resource(self) -> bool:
        """Whether other devices may use the same resource (a bus), from the same thread."""

    @property
    def expected_rate_hz(self) -> float:
        """How many readings a second to expect; sizes the bridge."""

    def share(self, bus: Bus) -> None:
        """Use this bus, before ``open``; every device of one resource gets the same."""

    def fields(self) -> Sequence[DeviceField]:
        """Return the columns of the native records; fixed from construction on."""

    def channel_fields(self) -> Sequence[DeviceField]:
        """Return the fields that channels bind to: those of the records, or what is sampled in blocks."""

    async def open(self) -> None:
        """Connect, or raise DeviceUnreachable. Opening an open device changes nothing."""

    async def close(self) -> None:
        """Disconnect. Closing a closed device changes nothing."""

    async def start(self, context: StartContext) -> None:
        """Begin sampling for one run.

        A device whose stream broke is stopped, closed, opened and started again with the same context: the
        run goes on, and its records are numbered on.
        """

    async def stop(self) -> None:
        """End sampling: ``stream`` yields what is left and returns."""

    def stream(self) -> AsyncIterator[Emission]:
        """Yield records, each followed by its samples, and events, gaps and receipts, until stopped."""

    async def command(self, command: Command) -> CommandResult:
        """Obey one command; refuse, never raise, what is not authorised or not known."""

    async def snapshot(self) -> DeviceSnapshot:
        """Return what answered."""
