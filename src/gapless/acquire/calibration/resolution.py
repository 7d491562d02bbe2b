"""From what a rig file says of a channel to what is computed: units settled, curves compiled, all of it kept.

Everything that is wrong is found here, before a device is opened.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gapless.acquire.calibration.calibration import Calibration
from gapless.acquire.calibration.curve import Identity, digest_of
from gapless.acquire.calibration.derived import DERIVED, DerivedFunction, factor_of
from gapless.acquire.calibration.uncertainty import Uncertainty
from gapless.acquire.channel import ChannelSpec
from gapless.acquire.emission import ABSENT
from gapless.acquire.units import PURE_NUMBER, conversion, is_same_unit
from gapless.errors import GaplessError, MissingExtra, RigRefused

if TYPE_CHECKING:
    from gapless.acquire.adapter import DeviceField

SNAPSHOT_VERSION = 1
_PART = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_TEXT = ("string", "large_string", "binary", "large_binary")
_NUMBER = re.compile(r"(u?int\d+|float\d+|bool)")

Part = str | int


def find_field(path: str, fields: Sequence[DeviceField]) -> tuple[int, tuple[Part, ...]]:
    """Return which field a path begins with, and the keys and indices into its value.

    ``a.b[2]`` is item 2 of key ``b`` of field ``a``; a field that is itself called ``a.b`` wins. Raises
    RigRefused.
    """
    candidates = [
        n for n, f in enumerate(fields) if path == f.name or path.startswith((f"{f.name}.", f"{f.name}["))
    ]
    if not candidates:
        raise RigRefused(
            "the device has no such field", found=path, expected=f"one of {', '.join(f.name for f in fields)}"
        )
    n = max(candidates, key=lambda candidate: len(fields[candidate].name))
    rest = path[len(fields[n].name) :]
    parts = [(key, index) for key, index in _PART.findall(rest)]
    if sum(len(key) + 1 if key else len(index) + 2 for key, index in parts) != len(rest):
        raise RigRefused("this is no path into a field", found=path, expected="such as reading.values[2]")
    return n, tuple(key or int(index) for key, index in parts)


def resolve_channels(
    channels: Sequence[ChannelSpec], fields: Mapping[str, Sequence[DeviceField]]
) -> tuple[ChannelSpec, ...]:
    """Return the channels with their raw units filled in, after checking all against the devices' fields.

    ``fields``: by device what can be bound. Raises RigRefused naming every problem; MissingExtra.
    """
    resolved: list[ChannelSpec] = []
    problems: list[str] = []
    for spec in channels:
        try:
            resolved.append(_resolved(spec, fields))
        except MissingExtra:
            raise
        except GaplessError as error:
            problems.append(f"channel {spec.name!r}: {_words(error)}")
    known = {spec.name: spec for spec in resolved}
    for spec in resolved:
        try:
            _check_computable(spec, known)
        except MissingExtra:
            raise
        except GaplessError as error:
            problems.append(_words(error))
    if problems:
        raise RigRefused("; ".join(problems))
    return tuple(resolved)


def _words(error: GaplessError) -> str:
    found = "" if error.found is None else f", found {error.found}"
    return f"{error.message}{found}" + ("" if error.expected is None else f", expected {error.expected}")


def _check_computable(spec: ChannelSpec, known: Mapping[str, ChannelSpec]) -> None:
    if spec.dtype == "float64" and spec.device is not None:
        calibration_of(spec)
    if spec.derived is not None and all(name in known for name in spec.derived.inputs):
        derived_of(spec, known)


def _resolved(spec: ChannelSpec, fields: Mapping[str, Sequence[DeviceField]]) -> ChannelSpec:
    if spec.device is None or spec.field is None:
        return spec
    if spec.device not in fields:
        raise RigRefused("there is no such device", found=spec.device, expected=f"one of {', '.join(fields)}")
    n, parts = find_field(spec.field, fields[spec.device])
    field = fields[spec.device][n]
    _check_kind(spec, field, parts)
    told = field.unit if all(isinstance(part, int) for part in parts) else None
    if spec.raw_unit is None:
        return spec.model_copy(update={"raw_unit": told}) if told and spec.dtype == "float64" else spec
    if told and not is_same_unit(told, spec.raw_unit, f"channel {spec.name!r}"):
        raise RigRefused("the device says another raw unit", found=spec.raw_unit, expected=told)
    return spec


def _check_kind(spec: ChannelSpec, field: DeviceField, parts: tuple[Part, ...]) -> None:
    """Raise RigRefused where text is bound to a number, or the other way round, or an array to a scalar."""
    is_text, is_number = field.dtype in _TEXT, _NUMBER.fullmatch(field.dtype) is not None
    if parts and is_text:
        raise RigRefused(f"the field {field.name!r} is text and has no parts", found=spec.field)
    if is_number and not _is_item(parts, field.shape):
        shape = " × ".join(map(str, field.shape)) or "one"
        raise RigRefused(f"the field {field.name!r} holds {shape} {field.dtype}", found=spec.field)
    if (is_text and spec.dtype != "string") or (is_number and spec.dtype == "string"):
        raise RigRefused(
            "the field is of another kind than the channel", found=field.dtype, expected=spec.dtype
        )


def _is_item(parts: tuple[Part, ...], shape: tuple[int, ...]) -> bool:
    """Tell whether indices lead to one number of an array."""
    if len(parts) != len(shape):
        return False
    return all(isinstance(part, int) and part < size for part, size in zip(parts, shape, strict=True))


def raw_unit_of(spec: ChannelSpec) -> str:
    """Return the unit of the raw number; one that nobody named is the channel's if nothing is computed."""
    if spec.raw_unit is not None:
        return spec.raw_unit
    return spec.unit if spec.calibration is None or spec.calibration.kind == "identity" else ""


def calibration_of(spec: ChannelSpec) -> Calibration:
    """Return the compiled calibration of a float64 channel of a device; raises RigRefused, MissingExtra."""
    curve = spec.calibration.curve() if spec.calibration is not None else Identity()
    given = raw_unit_of(spec) if isinstance(curve, Identity) else curve.unit or spec.unit
    factor, offset = conversion(given, spec.unit, f"channel {spec.name!r}")
    sources = [(s.kind, s.magnitude, s.coverage_factor) for s in spec.uncertainty]
    return Calibration(
        curve.converted(factor, offset), spec.valid_range, Uncertainty.of(sources) if sources else None
    )


def derived_of(spec: ChannelSpec, known: Mapping[str, ChannelSpec]) -> DerivedFunction:
    """Return the compiled function of a derived channel; raises RigRefused, MissingExtra."""
    assert spec.derived is not None
    named = DERIVED.find(spec.derived.function)
    units = [known[name].unit or PURE_NUMBER[1] for name in spec.derived.inputs]
    factor = factor_of(spec.derived.function, units, spec.unit, f"channel {spec.name!r}")
    return DerivedFunction(named, len(units), factor)


def calibration_entry(spec: ChannelSpec) -> dict[str, Any]:
    """Return all that decides a channel's values as JSON; ``digest`` is its identity, None if it is kept as read."""
    entry: dict[str, Any] = {
        "spec": spec.model_dump(mode="json", exclude_defaults=True),
        "unit": spec.unit,
        "coverage_factor": spec.coverage_factor,
    }
    decided: dict[str, Any] | None = None
    if spec.derived is not None:
        decided = {
            "derived": spec.derived.model_dump(mode="json"),
            "source_sha256": DERIVED.find(spec.derived.function).source_sha256(),
        }
    elif spec.device is not None and spec.dtype == "float64":
        decided = {
            "curve": calibration_of(spec).curve.to_json(),
            "raw_unit": raw_unit_of(spec),
            "valid_range": spec.valid_range and list(spec.valid_range),
            "uncertainty": [source.model_dump(mode="json") for source in spec.uncertainty],
        }
    entry |= decided or {}
    entry["digest"] = None if decided is None else digest_of({"unit": spec.unit, **decided})
    return entry


def snapshot(channels: Sequence[ChannelSpec]) -> dict[str, Any]:
    """Return the calibration of all channels of a rig as one JSON document: what ``calibration.json`` holds."""
    entries = {spec.name: calibration_entry(spec) for spec in channels}
    return {"version": SNAPSHOT_VERSION, "channels": entries, "digest": digest_of(entries)}


Getter = Callable[[Sequence[Any]], Any]


def getter_of(n: int, parts: tuple[Part, ...]) -> Getter:
    """Return the function that takes a path's value out of a record's values; None where there is none.

    ABSENT where the record does not have the field.
    """
    if not parts:
        return lambda values: values[n]

    def get(values: Sequence[Any]) -> Any | None:
        found = values[n]
        for part in parts:
            try:
                found = found[part]
            except (KeyError, IndexError, TypeError):
                return ABSENT if found is ABSENT else None
        return found

    return get


__all__ = [
    "calibration_entry",
    "calibration_of",
    "derived_of",
    "find_field",
    "getter_of",
    "raw_unit_of",
    "resolve_channels",
    "snapshot",
]
