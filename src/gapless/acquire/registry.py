"""Which adapters there are: those of the package, and those of others by the entry point ``gapless.devices``."""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import Any, NamedTuple

from gapless.errors import MissingExtra, NotFound, RigRefused

GROUP = "gapless.devices"


class BuiltIn(NamedTuple):
    """An adapter of the package: where it is, and the extra that it needs."""

    place: str
    extra: str | None
    about: str


_HERE = "gapless.acquire.devices"
BUILT_IN = {
    "host": BuiltIn(f"{_HERE}.host:HostDevice", None, "this machine: processor, memory, disk, network"),
    "modbus": BuiltIn(f"{_HERE}.modbus:ModbusDevice", "modbus", "Modbus TCP and RTU"),
    "serial_line": BuiltIn(f"{_HERE}.serial_line:LineDevice", "serial", "ASCII and SCPI over serial or TCP"),
    "mqtt": BuiltIn(f"{_HERE}.mqtt:MqttDevice", "mqtt", "topics of an MQTT broker"),
    "epics": BuiltIn(f"{_HERE}.epics:EpicsDevice", "epics", "EPICS Channel Access"),
    "opcua": BuiltIn(f"{_HERE}.opcua:OpcUaDevice", "opcua", "nodes of an OPC UA server"),
    "camera": BuiltIn(
        f"{_HERE}.camera:CameraDevice", "video", "cameras, files and streams that FFmpeg opens"
    ),
    "own_container_camera": BuiltIn(
        f"{_HERE}.own_camera:OwnCameraDevice", "video", "a camera program that writes its own file"
    ),
    "radiometric_camera": BuiltIn(
        f"{_HERE}.radiometric:RadiometricDevice", "video", "16-bit frames, kept without loss"
    ),
    "simulated": BuiltIn(f"{_HERE}.simulated:SimulatedDevice", None, "signals with faults on request"),
    "simulated_blocks": BuiltIn(
        f"{_HERE}.simulated_blocks:SimulatedBlockDevice", None, "fast sampled blocks"
    ),
}


def entry_points() -> dict[str, metadata.EntryPoint]:
    """Return the adapters of other packages by name; nothing is imported."""
    return {point.name: point for point in metadata.entry_points(group=GROUP)}


def adapter_names() -> list[str]:
    """Return every adapter that a rig may name."""
    return sorted({*BUILT_IN, *entry_points()})


def adapter_class(name: str) -> type[Any]:
    """Return an adapter's class.

    Raises NotFound for an unknown name, MissingExtra where its library is not installed, RigRefused for
    an adapter of another package that breaks when it is imported.
    """
    built_in = BUILT_IN.get(name)
    if built_in is not None:
        return _import(name, built_in)
    point = entry_points().get(name)
    if point is None:
        raise NotFound(
            "there is no adapter of that name",
            found=name,
            expected=", ".join(adapter_names()),
            next_step="`gapless devices discover` lists the adapters",
        )
    try:
        found: type[Any] = point.load()
    except BaseException as error:
        if not isinstance(error, Exception):
            raise
        raise RigRefused(
            f"the adapter {name!r} of {point.value} breaks when it is imported",
            found=f"{type(error).__name__}: {error}",
            next_step="mend or remove the package that brings it",
        ) from error
    return found


def _import(name: str, built_in: BuiltIn) -> type[Any]:
    module, _, attribute = built_in.place.partition(":")
    try:
        found: type[Any] = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("gapless"):
            raise
        raise MissingExtra(
            f"the adapter {name!r} needs {error.name}",
            next_step=f"pip install 'gapless[{built_in.extra}]'",
        ) from error
    return found
