"""A camera whose own program writes its file: the file grows in the bundle, the receipts come to the run."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path, PurePath
from typing import Any, ClassVar

from gapless.acquire.adapter import DeviceField, RunFiles
from gapless.acquire.devices.camera_program import CameraProgram, PictureLine
from gapless.acquire.devices.frame_losses import FrameLosses
from gapless.acquire.devices.own_camera_config import FIELDS, PLACE, OwnCameraConfig
from gapless.acquire.emission import Emission, FrameReceipt, GapReport
from gapless.acquire.kit import Device
from gapless.errors import DeviceFault, DeviceUnreachable

_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_NS = 10**9


class OwnCameraDevice(Device):
    """One camera program, started for each run; record n and receipt n are about the run's n-th picture.

    A program that dies gives one event and one gap, and is started again with a new file. One that ends by
    itself without an error ends the stream.
    """

    family = "own_camera"
    Config: ClassVar[type[OwnCameraConfig]] = OwnCameraConfig

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self._program: CameraProgram | None = None
        self._told: list[Emission] = []
        self._last_ns = 0

    @property
    def resource_id(self) -> str:
        """The camera; what it sits on, its program knows."""
        return f"camera:{self.name}"

    @property
    def expected_rate_hz(self) -> float:
        """Pictures a second."""
        return float(self.config.rate_hz)

    def fields(self) -> Sequence[DeviceField]:
        """Return where each picture is and when the camera says that it was taken."""
        return FIELDS

    # -- the connection ------------------------------------------------------------------------

    async def connect(self) -> None:
        """Look whether there is such a program."""
        if shutil.which(self.config.command[0]) is None:
            raise DeviceUnreachable(
                f"there is no program for the camera {self.name!r}",
                found=self.config.command[0],
                expected="the path of a program, or a name on PATH",
            )

    async def disconnect(self) -> None:
        """End the program if a run left it behind."""
        await self._end_program()

    async def facts(self) -> dict[str, Any]:
        """Return which program it is."""
        return {"program": shutil.which(self.config.command[0]), "file_name": self.config.file_name}

    async def _end_program(self) -> None:
        if self._program is not None:
            await self._program.end(self.config.stop_timeout_s)

    # -- one run -------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Let the program close its file, and see to it that it ends; what it still says is streamed."""
        await super().stop()
        await self._end_program()

    async def stream(self) -> AsyncIterator[Emission]:
        """Yield a record and a receipt for each picture that the program says is in its file."""
        files = self.context.files
        if files is None:
            words = f"{self.name} has no place for its file: its program is not started"
            yield self.event("info", "not_recording", words)
            await self._stopping.wait()
            return
        self._told, self._last_ns = [], self.context.clock.now_ns()
        async with aclosing(self._starts(files)) as steps:
            async for _ in steps:
                told, self._told[:] = self._told[:], []
                for emission in told:
                    yield emission

    async def _starts(self, files: RunFiles) -> AsyncGenerator[None, None]:
        """Start the program until it ends without an error; yields whenever there may be something to tell."""
        losses = FrameLosses(self, self._told.extend)
        start = failures = 0
        while not self.stopping:
            start, taken = start + 1, losses.taken
            try:
                async with aclosing(self._one_file(files, self._file_name(start), losses)) as lines:
                    async for _ in lines:
                        yield
                break
            except DeviceFault as error:
                losses.source_gone(error)
                failures = 0 if losses.taken > taken else failures + 1
            yield
            await self.pause(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
        losses.run_ends()
        yield

    def _file_name(self, start: int) -> str:
        name = PurePath(self.config.file_name)
        return str(name) if start == 1 else f"{name.stem}-{start}{name.suffix}"

    async def _one_file(
        self, files: RunFiles, file_name: str, losses: FrameLosses
    ) -> AsyncGenerator[None, None]:
        """Run the program once and tell what it says; DeviceFault when it dies or nobody can end it."""
        path, words = await asyncio.to_thread(self._announce, files, file_name)
        command = [argument.replace(PLACE, str(path)) for argument in self.config.command]
        program = self._program = await CameraProgram.start(command, words)
        try:
            if self.stopping:  # it came while the program was being started
                await self._end_program()
            expected, is_garbled = 0, False
            async for line in program.lines():
                if isinstance(line, DeviceFault):
                    if not is_garbled:
                        self._told.append(self.event("warning", "bad_receipt", str(line)))
                    is_garbled = True
                else:
                    self._tell(line, f"{self.name}/{file_name}", expected, losses)
                    expected, is_garbled = line.frame + 1, False
                yield
        finally:
            self._program = None
            code = await program.end(self.config.stop_timeout_s)
        if code is None:
            raise DeviceFault("the program does not end")
        if code and not self.stopping:
            raise DeviceFault(f"the program ended with {code}", found=program.last_words() or None)

    def _announce(self, files: RunFiles, file_name: str) -> tuple[Path, Path]:
        """Name the program's file and that of its complaints to the sequence; waits for the disk."""
        path = files.own_file(self.name, file_name, self.config.media_type)
        return path, files.own_file(self.name, f"{file_name}.txt", "text/plain")

    def _tell(self, line: PictureLine, file: str, expected: int, losses: FrameLosses) -> None:
        """Tell of one picture, and before it of those that the camera or the program left out."""
        clock = self.context.clock
        latency_s = max(0.0, line.latency_s)
        timestamp_ns = max(self._last_ns, clock.now_ns() - int(latency_s * _NS))
        missing = (("the camera lost pictures", line.lost), ("receipts are missing", line.frame - expected))
        for cause, count in missing:
            if count > 0:
                gap = GapReport(self.name, f"device: {cause}", self._last_ns, timestamp_ns, count)
                self._told.append(gap)
        self._last_ns = timestamp_ns
        losses.picture_came(timestamp_ns, None)
        number = self._n
        self._told += self.record((file, line.frame, line.time_ns), timestamp_ns)
        self._told.append(FrameReceipt(self.name, number, timestamp_ns, clock.utc_ns(), latency_s))


__all__ = ["FIELDS", "OwnCameraConfig", "OwnCameraDevice"]
