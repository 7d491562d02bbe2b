"""Which adapters there are: those of the package, and those of others by the entry point ``gapless.devices``."""

from __future__ import annotations

import importlib
import importlib.util
from importlib import metadata
from typing import Any, NamedTuple

from gapless.acquire.device_config import DeviceConfig
from gapless.errors import GaplessError, MissingExtra, NotFound, RigRefused

GROUP = "gapless.devices"
_HERE = "gapless.acquire.devices"
#: The module that each extra is for.
_MODULES = {
    "modbus": "pymodbus", "mqtt": "aiomqtt", "epics": "caproto", "opcua": "asyncua",
    "video": "av",
}  # fmt: skip


class BuiltIn(NamedTuple):
    """An adapter of the package: where it is, the extra that it needs, and what it is for."""

    place: str
    extra: str | None
    about: str


BUILT_IN = {
    "host": BuiltIn(f"{_HERE}.host:HostDevice", None, "this machine: processor, memory, disk, network"),
    "modbus": BuiltIn(f"{_HERE}.modbus:ModbusDevice", "modbus", "Modbus TCP and RTU"),
    "serial_line": BuiltIn(
        f"{_HERE}.serial_line:LineDevice", None, "ASCII and SCPI over TCP, and serial with gapless[serial]"
    ),
    "mqtt": BuiltIn(f"{_HERE}.mqtt:MqttDevice", "mqtt", "topics of an MQTT broker"),
    "epics": BuiltIn(f"{_HERE}.epics:EpicsDevice", "epics", "EPICS Channel Access"),
    "opcua": BuiltIn(f"{_HERE}.opcua:OpcUaDevice", "opcua", "nodes of an OPC UA server"),
    "camera": BuiltIn(
        f"{_HERE}.camera:CameraDevice", "video", "cameras, files and streams that FFmpeg opens"
    ),
    "own_container_camera": BuiltIn(
        f"{_HERE}.own_camera:OwnCameraDevice", None, "a camera program that writes its own file"
    ),
    "radiometric_camera": BuiltIn(
        f"{_HERE}.radiometric:RadiometricDevice", "video", "16-bit frames, kept without loss"
    ),
    "simulated": BuiltIn(f"{_HERE}.simulated:SimulatedDevice", None, "signals with faults on request"),
    "simulated_blocks": BuiltIn(
        f"{_HERE}.simulated_blocks:SimulatedBlockDevice", None, "fast sampled blocks"
    ),
}


class Offer(NamedTuple):
    """One adapter as a rig's author sees it; ``problem`` is empty where it can be used."""

    name: str
    problem: str
    about: str


def offers() -> list[Offer]:
    """Return every adapter and what keeps it from being used; adapters of others are imported."""
    mine = [Offer(name, _missing(built_in), built_in.about) for name, built_in in BUILT_IN.items()]
    return [*mine, *(_offer(point) for _, point in sorted(_entry_points().items()))]


def adapter_names() -> list[str]:
    """Return every adapter that a rig may name; nothing is imported."""
    return sorted({*BUILT_IN, *_entry_points()})


def adapter_class(name: str) -> type[Any]:
    """Return an adapter's class.

    Raises NotFound for an unknown name, MissingExtra where its library is not installed, RigRefused for
    an adapter of another package that breaks when it is imported, or is none.
    """
    built_in = BUILT_IN.get(name)
    if built_in is not None:
        return _import(name, built_in)
    point = _entry_points().get(name)
    if point is None:
        raise NotFound(
            "there is no adapter of that name",
            found=name,
            expected=", ".join(adapter_names()),
            next_step="`gapless devices discover` lists the adapters",
        )
    return _load(point)


def _entry_points() -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=GROUP)}


def _load(point: metadata.EntryPoint) -> type[Any]:
    """Return the class that another package offers: importing it may do anything."""
    try:
        found: Any = point.load()
    except BaseException as error:
        if not isinstance(error, Exception):
            raise
        raise RigRefused(
            f"the adapter {point.name!r} of {point.value} breaks when it is imported",
            found=f"{type(error).__name__}: {error}",
            next_step="mend or remove the package that brings it",
        ) from error
    config = getattr(found, "Config", None)
    if not isinstance(found, type) or not isinstance(config, type) or not issubclass(config, DeviceConfig):
        raise RigRefused(
            f"the adapter {point.name!r} of {point.value} is none",
            found=repr(found),
            expected="a class whose Config is a subclass of gapless.acquire.device_config.DeviceConfig",
        )
    return found


def _offer(point: metadata.EntryPoint) -> Offer:
    about = f"from {point.value}"
    if point.name in BUILT_IN:
        return Offer(point.name, "hidden by the adapter of gapless", about)
    try:
        _load(point)
    except GaplessError as error:
        return Offer(point.name, f"{error.message}: {error.found}", about)
    return Offer(point.name, "", about)


def _missing(built_in: BuiltIn) -> str:
    if built_in.extra is None or importlib.util.find_spec(_MODULES[built_in.extra]) is not None:
        return ""
    return f"pip install 'gapless[{built_in.extra}]'"


def _import(name: str, built_in: BuiltIn) -> type[Any]:
    """Return the class; its library is looked for even where the class would import it later."""
    missing = _missing(built_in)
    if missing:
        raise MissingExtra(f"the adapter {name!r} needs a library that is not installed", next_step=missing)
    module, _, attribute = built_in.place.partition(":")
    found: type[Any] = getattr(importlib.import_module(module), attribute)
    return found
