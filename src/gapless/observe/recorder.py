"""What a recorder is: tables and cameras that are read at one instant and written afterwards.

A recorder is made of a source: ``Recorder(name, source)``. Recorders are found by the entry point group
``gapless.recorders``, whose names are the values of :attr:`Source.recorder`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from gapless.observe.step import StepContext

Every = Literal["tick", "step"]


@dataclass(frozen=True)
class TableSpec:
    """A topic of rows: its Arrow schema without the time, one row for each data tick or each step.

    Each field's metadata says ``unit`` and ``description``. ``roles`` names the fields that are the robot's
    ``state`` and its ``action``, in their order. A changed schema needs another ``version``.
    """

    topic: str
    schema: pa.Schema
    version: int = 1
    every: Every = "tick"
    roles: Mapping[str, Sequence[str]] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CameraSpec:
    """A topic of pictures of one size and kind, one for each video tick.

    ``pixels``: rgb8, mono8 or mono16; ``media``: mp4 for colour, png where no bit may be lost.
    """

    topic: str
    height: int
    width: int
    pixels: Literal["rgb8", "mono8", "mono16"] = "rgb8"
    media: Literal["mp4", "png", "ffv1"] = "mp4"
    version: int = 1
    metadata: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Table(Protocol):
    """Reads one table's source. ``row`` holds the values last read, in the schema's order; it is reused."""

    @property
    def spec(self) -> TableSpec:
        """What its topic is."""
        ...

    @property
    def row(self) -> Sequence[Any]:
        """The values last read."""
        ...

    def read(self, context: StepContext) -> None:
        """Copy the source's present values into ``row``; nothing may change them afterwards."""
        ...


@runtime_checkable
class Camera(Protocol):
    """Reads one camera. ``picture`` holds the pixels last read; it is reused."""

    @property
    def spec(self) -> CameraSpec:
        """What its topic is."""
        ...

    @property
    def picture(self) -> npt.NDArray[Any]:
        """The pixels last read."""
        ...

    def read(self, context: StepContext) -> None:
        """Copy or render the present picture into ``picture``, on the caller's thread."""
        ...


@runtime_checkable
class Recorder(Protocol):
    """The tables and cameras of one source.

    Topics are named after the recorder: ``name`` or ``name/part``.
    """

    name: str

    @property
    def tables(self) -> Sequence[Table]:
        """What it reads as rows, in their order."""
        ...

    @property
    def cameras(self) -> Sequence[Camera]:
        """What it reads as pictures."""
        ...

    def begin(self) -> None:
        """Forget what belongs to the episode before; called before the first row of each episode."""
        ...

    def artifacts(self) -> Mapping[str, bytes]:
        """Return the files that are sealed with each episode: file name to content, the same each time."""
        ...


@runtime_checkable
class Source(Protocol):
    """What a simulation offers: ``recorder`` names the kind of recorder that can record it."""

    recorder: str
