"""A camera whose own program writes its file: the file grows in the bundle, the program tells of each picture.

The program is started for each run with the path of its file. It writes one line of JSON on its output for
each picture that is in the file, and ends when its input ends: it has closed its file then. A recorder that is
killed ends it the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from pathlib import Path, PurePath
from typing import Any, ClassVar

import msgspec
from pydantic import Field, field_validator

from gapless.acquire.adapter import DeviceField, RunFiles
from gapless.acquire.device_config import DeviceConfig
from gapless.acquire.devices.frame_losses import FrameLosses
from gapless.acquire.emission import DeviceEvent, Emission, FrameReceipt, GapReport
from gapless.acquire.kit import Device
from gapless.errors import DeviceFault, DeviceUnreachable

_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_KILL_S = 1.0  # what is left after SIGTERM, and after SIGKILL
_TAIL_BYTES = 300  # of what the program said before it died
_NS = 10**9
_PLACE = "{file}"


class OwnCameraConfig(DeviceConfig):
    """A camera program.

    ``command``: the program and its arguments, in which ``{file}`` stands for the path that it writes.
    ``file_name``: how the file is called in the bundle, behind the camera's name; a program that is started
    again within a run gets ``-2``, ``-3``… before the ending. ``stop_timeout_s``: how long the program may
    take to close its file after its input has ended, before it is terminated.
    """

    command: tuple[str, ...] = Field(min_length=1)
    file_name: str = Field(default="video.mkv", min_length=1, max_length=100)
    media_type: str = "video/x-matroska"
    rate_hz: float = Field(default=30.0, gt=0, le=10_000)
    stop_timeout_s: float = Field(default=2.0, gt=0, le=3)
    fixed_rate: ClassVar[bool] = False  # what is missing shows in the program's own numbers

    @field_validator("command")
    @classmethod
    def _names_the_file(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        if not any(_PLACE in argument for argument in command):
            raise ValueError(f"no argument of the command has {_PLACE}, the path that the program writes")
        return command


class Line(msgspec.Struct, frozen=True):
    """What the program says of one picture.

    ``frame``: its number in the file, from 0. ``time_ns``: its time by the camera's clock. ``latency_s``: how
    long before this line it was taken. ``lost``: pictures that the camera lost since the one before.
    """

    frame: int
    time_ns: int | None = None
    latency_s: float = 0.0
    lost: int = 0


FIELDS = (
    DeviceField("file", "string", None, "the artifact that holds the picture"),
    DeviceField("frame", "int64", None, "the picture's number in that file, from 0"),
    DeviceField("device_time_ns", "int64", "ns", "the picture's time by the camera's own clock"),
)
_LINES: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


class OwnCameraDevice(Device):
    """One camera program; record n and receipt n are about the n-th picture of the run.

    A program that dies gives one event and one gap, and is started again with a new file. One that ends by
    itself without an error ends the stream.
    """

    family = "own_camera"
    Config: ClassVar[type[OwnCameraConfig]] = OwnCameraConfig

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self._process: Process | None = None
        self._told: list[Emission] = []

    @property
    def resource_id(self) -> str:
        """The camera; what it sits on, the program knows."""
        return f"camera:{self.name}"

    @property
    def expected_rate_hz(self) -> float:
        """Pictures a second."""
        return float(self.config.rate_hz)

    def fields(self) -> Sequence[DeviceField]:
        """Return what the program says of each picture."""
        return FIELDS

    # -- the connection ------------------------------------------------------------------------

    async def connect(self) -> None:
        """Look whether there is such a program; each run starts it."""
        if shutil.which(self.config.command[0]) is None:
            raise DeviceUnreachable(
                f"there is no program for camera {self.name!r}",
                found=self.config.command[0],
                expected="the path of a program, or a name on PATH",
            )

    async def disconnect(self) -> None:
        """End the program if a run left it behind."""
        if self._process is not None:
            await _end(self._process, self.config.stop_timeout_s)

    async def facts(self) -> dict[str, Any]:
        """Return which program it is."""
        return {"program": shutil.which(self.config.command[0]), "file_name": self.config.file_name}

    # -- one run -------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Let the program close its file, and make sure that it ends."""
        await super().stop()
        if self._process is not None:
            await _end(self._process, self.config.stop_timeout_s)

    async def stream(self) -> AsyncIterator[Emission]:
        """Yield a record and a receipt for each picture that the program says is in its file."""
        files = self.context.files
        if files is None:
            yield self.event("info", "not_recording", f"{self.name} has no place for its file: it is not started")
            await self._stopping.wait()
            return
        losses = FrameLosses(self, self._told.extend)
        starts = failures = 0
        while not self.stopping:
            starts += 1
            taken = losses.taken
            try:
                async for _ in self._one_file(files, starts, losses):
                    for emission in self._take_told():
                        yield emission
                break
            except DeviceFault as error:
                losses.source_gone(error)
                failures = 0 if losses.taken > taken else failures + 1
            for emission in self._take_told():
                yield emission
            await self.pause(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
        losses.run_ends()
        for emission in self._take_told():
            yield emission

    def _take_told(self) -> list[Emission]:
        told, self._told[:] = list(self._told), []
        return told

    async def _one_file(self, files: RunFiles, start: int, losses: FrameLosses) -> AsyncIterator[None]:
        """Run the program once, telling of its pictures; DeviceFault when it dies."""
        config = self.config
        name = PurePath(config.file_name)
        file_name = config.file_name if start == 1 else f"{name.stem}-{start}{name.suffix}"
        path = await asyncio.to_thread(files.own_file, self.name, file_name, config.media_type)
        words = await asyncio.to_thread(files.own_file, self.name, f"{file_name}.txt", "text/plain")
        process = self._process = await self._start(path, words)
        try:
            async for line in _lines(process):
                self._tell(line, f"{self.name}/{file_name}", losses)
                yield
            code = await asyncio.wait_for(process.wait(), config.stop_timeout_s)
        except TimeoutError:
            code = None
        finally:
            self._process = None
            await _end(process, _KILL_S)
        if code and not self.stopping:
            raise DeviceFault(f"the program ended with {code}", found=_tail(words))
        if code is None and not self.stopping:
            raise DeviceFault("the program closed its output and did not end")
