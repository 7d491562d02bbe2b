"""What a run is made of, for a form that gives commands and for limits beside values: nothing of it changes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from gapless.acquire.kit import Device, Handler

if TYPE_CHECKING:
    from gapless.acquire.adapter import Adapter
    from gapless.acquire.channel import ChannelSpec
    from gapless.acquire.rig import Rig


def describe_run(rig: Rig, adapters: Mapping[str, Adapter]) -> dict[str, Any]:
    """Return devices with their commands, channels with unit and alarm band, and setpoints, as JSON values."""
    return {
        "devices": {name: _device(adapter) for name, adapter in adapters.items()},
        "channels": {spec.name: _channel(spec) for spec in rig.channels},
        "setpoints": {name: spec.model_dump(mode="json") for name, spec in rig.setpoints.items()},
    }


def _device(adapter: Adapter) -> dict[str, Any]:
    return {
        "family": adapter.family,
        "resource": adapter.resource_id,
        "expected_rate_hz": adapter.expected_rate_hz,
        "commands": _commands(adapter) if isinstance(adapter, Device) else {},
    }


def _commands(device: Device) -> dict[str, Any]:
    return {
        name: {
            "description": _summary(handler),
            "parameters": [parameter.to_json() for parameter in device.takes(name)],
        }
        for name, handler in device.handlers().items()
    }


def _summary(handler: Handler) -> str:
    """Return the first line of what a handler says of itself; a part of a table says nothing."""
    about = None if isinstance(handler, partial) else inspect.getdoc(handler)
    return (about or "").partition("\n")[0]


def _channel(spec: ChannelSpec) -> dict[str, Any]:
    alarm = spec.alarm
    return {
        "unit": spec.unit,
        "device": spec.device,
        "dtype": spec.dtype,
        "description": spec.description,
        "low": None if alarm is None else alarm.low,
        "high": None if alarm is None else alarm.high,
    }
