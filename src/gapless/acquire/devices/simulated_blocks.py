"""A sampling card that is not there: blocks of samples at a fixed rate, and what a real card does wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from gapless.acquire.adapter import DeviceField, StartContext
from gapless.acquire.device_config import DeviceConfig
from gapless.acquire.pushed import Block, BlockDevice


class SimulatedBlocksConfig(DeviceConfig):
    """``channels`` sines of ``frequency_hz``, sampled at ``sample_rate_hz`` and given in blocks of ``block``.

    ``blocks``: how many until the stream ends. ``overrun_every``: so often a block is lost in the card, and
    the next one's index shows the hole. ``overrun_limit``: how many blocks the card holds for a reader that
    is late; without it, all.
    """

    sample_rate_hz: int = Field(default=100_000, gt=0, le=10_000_000)
    block: int = Field(default=1000, gt=0, le=1_000_000)
    channels: int = Field(default=1, gt=0, le=64)
    frequency_hz: float = Field(default=50.0, gt=0)
    unit: str = "V"
    blocks: int | None = Field(default=None, gt=0)
    overrun_every: int | None = Field(default=None, ge=2)
    overrun_limit: int | None = Field(default=None, ge=1)


class SimulatedBlockDevice(BlockDevice):
    """Gives its blocks in real time; a card whose reader is late catches up and loses nothing unless told to."""

    family = "simulated_blocks"
    Config: ClassVar[type[DeviceConfig]] = SimulatedBlocksConfig

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self._given = 0
        self._began_s = 0.0

    @property
    def resource_id(self) -> str:
        """Nothing that anybody else could hold."""
        return f"sim:{self.name}"

    @property
    def expected_rate_hz(self) -> float:
        """Blocks a second."""
        return float(self.config.sample_rate_hz) / int(self.config.block)

    @property
    def sample_rate(self) -> Fraction:
        """The configured rate."""
        return Fraction(self.config.sample_rate_hz)

    def block_fields(self) -> Sequence[DeviceField]:
        """Return one field for each channel: ``c0``, ``c1``, …"""
        return [DeviceField(f"c{n}", "float64", self.config.unit) for n in range(self.config.channels)]

    async def connect(self) -> None:
        """Nothing is opened."""

    async def disconnect(self) -> None:
        """Nothing is closed."""

    async def start(self, context: StartContext) -> None:
        """Begin at sample 0."""
        await super().start(context)
        self._given = 0
        self._began_s = asyncio.get_running_loop().time()

    async def read_block(self) -> Block | None:
        """Return the next block when its last sample has been taken."""
        config = self.config
        if config.overrun_limit is not None:
            passed = int((asyncio.get_running_loop().time() - self._began_s) * self.expected_rate_hz)
            self._given = max(self._given, passed - config.overrun_limit)
        if config.blocks is not None and self._given >= config.blocks:
            return None
        first = self._given * config.block
        ready_s = self._began_s + (first + config.block) / config.sample_rate_hz
        if await self.pause(ready_s - asyncio.get_running_loop().time()):
            return None
        self._given += 1
        if config.overrun_every is not None and self._given % config.overrun_every == 0:
            return await self.read_block()
        turn = 2 * np.pi * config.frequency_hz / config.sample_rate_hz
        phase = turn * np.arange(first, first + config.block)
        return Block(first, {f"c{n}": np.sin(phase + n) for n in range(config.channels)})
