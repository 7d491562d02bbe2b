"""A camera: what FFmpeg opens, decoded, stamped, and encoded anew into the run's own container.

Pictures go from the camera's thread straight into the container; what crosses to the run is a record and a
receipt for each. A picture is stamped when it leaves the library, before it is converted or waits for room.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

import numpy.typing as npt

from gapless.acquire.adapter import DeviceField, FrameSink, RunFiles
from gapless.acquire.devices.camera_config import FRAME_FIELDS, CameraConfig
from gapless.acquire.devices.capture import Capture
from gapless.acquire.devices.frame_losses import FrameLosses
from gapless.acquire.devices.video_source import SourcePicture, VideoSource, opened, pixels_of
from gapless.acquire.emission import Emission, FrameReceipt
from gapless.acquire.kit import Device
from gapless.errors import DeviceFault, UsageError, ValueRefused

_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_LEAVE_S = 2.0
_NS = 10**9


class CameraDevice(Device):
    """One source of pictures, opened anew for each run; record n is about picture n of the container.

    A live source that breaks or ends gives one event, one gap and one event of its return. A file is read
    to its end.
    """

    family = "camera"
    Config: ClassVar[type[CameraConfig]] = CameraConfig

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self._facts: dict[str, Any] = {}
        self._capture: Capture[list[Emission]] | None = None

    @property
    def resource_id(self) -> str:
        """The source: ``camera:/dev/video0``, ``http://…``, ``lavfi:…``."""
        config = self.config
        return str(config.url) if "://" in config.url else f"{config.scheme}:{config.url}"

    @property
    def shares_resource(self) -> bool:
        """Whether the source can be opened more than once: any but a camera of this machine."""
        return bool(self.config.scheme != "camera")

    @property
    def expected_rate_hz(self) -> float:
        """Pictures a second."""
        return float(self.config.rate_hz)

    def fields(self) -> Sequence[DeviceField]:
        """Return what the source says of each picture."""
        return FRAME_FIELDS

    # -- the connection ------------------------------------------------------------------------

    async def connect(self) -> None:
        """Look whether the source answers and what it is; each run opens it for itself."""
        if self._capture is not None and not self._capture.join(0):
            raise DeviceFault(f"the last capture of {self.name!r} has not let go of its source")
        look = Capture[dict[str, Any]](f"{self.name}-look", self._look)
        async with aclosing(look.stream()) as found:
            async for facts in found:
                self._facts = facts

    def _look(self, capture: Capture[dict[str, Any]]) -> None:
        with opened(self.config) as source:
            capture.give(source.facts())

    async def disconnect(self) -> None:
        """End what is left of a capture; one that its source holds ends when that lets go."""
        if self._capture is not None:
            self._capture.stop()
            await asyncio.to_thread(self._capture.join, _LEAVE_S)

    async def facts(self) -> dict[str, Any]:
        """Return what the source said when it was opened."""
        return self._facts

    # -- one run -------------------------------------------------------------------------------

    async def stop(self) -> None:
        """End the capture; pictures that the container has taken are still told."""
        await super().stop()
        if self._capture is not None:
            self._capture.stop()

    async def stream(self) -> AsyncIterator[Emission]:
        """Yield a record and a receipt for each picture, until stopped or at the source's end."""
        if self.stopping:
            return
        self._capture = Capture(self.name, self._work)
        async with aclosing(self._capture.stream()) as given:
            async for emissions in given:
                for emission in emissions:
                    yield emission

    # -- on the camera's thread ----------------------------------------------------------------

    def _work(self, capture: Capture[list[Emission]]) -> None:
        files = self.context.files
        sink = None if files is None else self.open_sink(files)
        losses = FrameLosses(self, capture.give, fixed_rate=self.config.fixed_rate)
        attempts = 0
        while not capture.stopping:
            taken = losses.taken
            try:
                with opened(self.config) as source:
                    self._take_all(source, sink, losses, capture)
                if capture.stopping or not self.config.is_live:
                    break
                raise DeviceFault("the source came to its end")
            except DeviceFault as error:
                losses.source_gone(error)
                attempts = 0 if losses.taken > taken else attempts + 1
                capture.pause(_BACKOFF_S[min(attempts, len(_BACKOFF_S) - 1)])
        losses.run_ends()

    def _take_all(
        self,
        source: VideoSource,
        sink: FrameSink | None,
        losses: FrameLosses,
        capture: Capture[list[Emission]],
    ) -> None:
        """Take pictures until the source ends, breaks, or the capture is stopped."""
        clock = self.context.clock
        losses.source_opened()
        first_pts_ns, began_ns = None, clock.now_ns()
        for picture in source.pictures():
            if isinstance(picture, DeviceFault):
                losses.picture_lost(picture)
                continue
            if self.config.paced and picture.pts_ns is not None:
                if first_pts_ns is None:
                    first_pts_ns, began_ns = picture.pts_ns, clock.now_ns()
                due_ns = began_ns + picture.pts_ns - first_pts_ns
                capture.pause((due_ns - clock.now_ns()) / _NS)
            if capture.stopping:
                return
            self._take(picture, clock.now_ns(), sink, losses)

    def _take(
        self, picture: SourcePicture, timestamp_ns: int, sink: FrameSink | None, losses: FrameLosses
    ) -> None:
        """Give one picture to the container and tell of it."""
        clock = self.context.clock
        try:
            pixels = self.pixels(picture.frame)
            if sink is not None:
                sink.push(timestamp_ns, pixels)
        except (ValueRefused, DeviceFault) as error:
            if not losses.taken:  # the first one: none will ever fit
                raise UsageError(error.message, found=error.found, expected=error.expected) from error
            losses.picture_lost(error)
            return
        latency_s = (clock.now_ns() - timestamp_ns) / _NS
        losses.picture_came(timestamp_ns, picture.pts_ns)
        number = self._n
        emissions = self.record(self.values(picture, pixels), timestamp_ns)
        losses.give([*emissions, FrameReceipt(self.name, number, timestamp_ns, clock.utc_ns(), latency_s)])

    # -- what another kind of camera does otherwise --------------------------------------------

    def open_sink(self, files: RunFiles) -> FrameSink:
        """Return the container of a run."""
        return files.frames(self.name, self.config.media)

    def pixels(self, frame: Any) -> npt.NDArray[Any]:
        """Return the pixels that the container keeps; raise DeviceFault for a frame that it cannot."""
        return pixels_of(frame)

    def values(self, picture: SourcePicture, pixels: npt.NDArray[Any]) -> tuple[Any, ...]:
        """Return a record's values in the order of the fields."""
        del pixels
        return picture.pts_ns, int(picture.corrupt)


__all__ = ["FRAME_FIELDS", "CameraConfig", "CameraDevice"]
