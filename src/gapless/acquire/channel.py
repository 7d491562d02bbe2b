"""Channels: named quantities of a rig, what they are made of, and in which unit and type they are kept.

A channel comes from one of three places: a field of a device's records, a function of other channels
(``derived``), or a program that reads the data bus (``analyzer``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, FiniteFloat, ValidationError, field_validator, model_validator

from gapless.acquire.calibration.config import CurveConfig, UncertaintyConfig
from gapless.acquire.calibration.uncertainty import check_correlation
from gapless.acquire.device_config import Strict
from gapless.errors import NameRefused, RigRefused
from gapless.model.names import check_topic_name, fold

DERIVED_GROUP = "derived"
TIME, SOURCE_NUMBER, SOURCE_ID = RESERVED_COLUMNS = ("timestamp_ns", "source_record", "source_record_id")
Dtype = Literal["float64", "int64", "bool", "string"]


class AlarmAction(StrEnum):
    """What an alarm does to the run."""

    WARN = "warn"  # an event
    SAFE_SHUTDOWN = "safe_shutdown"  # an event, then safe state for all devices and the end of the run


class AlarmSpec(Strict):
    """A band in the channel's unit that the value may not leave for longer than ``for_s`` seconds."""

    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    for_s: float = Field(default=0.0, ge=0, le=86_400)
    severity: Literal["info", "warning", "error"] = "warning"
    on_failure: AlarmAction = AlarmAction.WARN

    @model_validator(mode="after")
    def _has_a_band(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("an alarm needs low, high or both")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError("the low limit of an alarm lies below the high one")
        return self


class DerivedSpec(Strict):
    """A function of other channels, computed each time the first of them has a new value.

    ``function``: ratio, difference, sum, mean, a registered name or ``module:function``. ``max_age_s``: how
    old the held values of the others may be, needed when they come from another device than the first.
    ``correlation``: the coefficient between the errors of any two inputs.
    """

    function: str = Field(min_length=1)
    inputs: tuple[str, ...] = Field(min_length=1)
    max_age_s: float | None = Field(default=None, gt=0)
    correlation: FiniteFloat = 0.0

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if len(set(self.inputs)) != len(self.inputs):
            raise ValueError("a derived channel names each input once")
        if self.function in ("ratio", "difference") and len(self.inputs) != 2:
            raise ValueError(f"a {self.function} has two inputs, not {len(self.inputs)}")
        check_correlation(self.correlation, len(self.inputs))
        return self


class ChannelSpec(Strict):
    """One channel.

    ``field``: the device's field, or a path into it: ``reading.values[2]``. ``raw_unit``: of the raw
    number; left out, what the device says. ``valid_range``: raw values outside are flagged. ``keep_raw``:
    the raw number is stored beside the value. ``group``: the topic ``channels/<group>`` that holds it, the
    device's name if left out.
    """

    name: str
    device: str | None = None
    field: str | None = None
    derived: DerivedSpec | None = None
    analyzer: str | None = None
    unit: str = ""
    raw_unit: str | None = None
    dtype: Dtype = "float64"
    calibration: CurveConfig | None = None
    uncertainty: tuple[UncertaintyConfig, ...] = ()
    valid_range: tuple[FiniteFloat, FiniteFloat] | None = None
    keep_raw: bool = False
    group: str | None = None
    alarm: AlarmSpec | None = None
    description: str = ""

    @field_validator("name", "group")
    @classmethod
    def _storable(cls, name: str | None) -> str | None:
        try:
            return None if name is None else check_topic_name(name)
        except NameRefused as error:
            raise ValueError(error.message) from error

    @field_validator("uncertainty", mode="before")
    @classmethod
    def _one_or_many(cls, given: Any) -> Any:
        return (given,) if isinstance(given, Mapping | UncertaintyConfig) else () if given is None else given

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        origins = [self.device, self.derived, self.analyzer]
        if sum(origin is not None for origin in origins) != 1:
            raise ValueError("a channel has a device and a field, or derived, or analyzer")
        if (self.device is None) != (self.field is None):
            raise ValueError("a channel of a device names its field, and only such a channel does")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        raw = {
            "raw_unit": self.raw_unit,
            "calibration": self.calibration,
            "uncertainty": self.uncertainty or None,
            "valid_range": self.valid_range,
            "keep_raw": self.keep_raw or None,
        }
        given = [key for key, value in raw.items() if value is not None]
        if given and self.device is None:
            raise ValueError(f"{', '.join(given)}: for channels of a device; a derived value has nothing raw")
        if given and self.dtype != "float64":
            raise ValueError(f"{', '.join(given)}: for float64 only; a {self.dtype} is kept as it is")
        if self.dtype == "float64" and not self.unit:
            raise ValueError("a float64 channel has a unit; a pure number has the unit 1")
        if self.derived is not None and self.dtype != "float64":
            raise ValueError("a derived channel is float64")
        if self.valid_range is not None and not self.valid_range[0] < self.valid_range[1]:
            raise ValueError("valid_range rises")
        if self.alarm is not None and self.dtype not in ("float64", "int64"):
            raise ValueError("an alarm watches a number")
        return self

    @property
    def group_name(self) -> str:
        """The group that the channel is stored in."""
        return self.group or self.device or DERIVED_GROUP

    @property
    def has_uncertainty(self) -> bool:
        """Whether the channel's values may carry an uncertainty: declared, or from its inputs."""
        return bool(self.uncertainty) or (self.device is None and self.dtype == "float64")

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns that store the channel: value, uncertainty where it may have one, status, raw if kept."""
        name = self.name
        spread = (f"{name}_uncertainty",) if self.has_uncertainty else ()
        return (name, *spread, f"{name}_status", *((f"{name}_raw",) if self.keep_raw else ()))

    @property
    def coverage_factor(self) -> float | list[float] | None:
        """The coverage factor that the uncertainty was declared at; one for each source where they differ."""
        factors = [source.coverage_factor for source in self.uncertainty]
        return None if not factors else factors[0] if len(set(factors)) == 1 else factors


def read_channels(tables: Iterable[Mapping[str, Any] | ChannelSpec]) -> tuple[ChannelSpec, ...]:
    """Return the channels of a rig; raises RigRefused naming all that is wrong with them."""
    channels: list[ChannelSpec] = []
    problems: list[str] = []
    for n, table in enumerate(tables):
        try:
            channels.append(ChannelSpec.model_validate(table))
        except ValidationError as error:
            name = table.get("name", n) if isinstance(table, Mapping) else n
            problems += [f"channel {name!r}: {words}" for words in problems_of(error)]
    problems += channel_problems(channels)
    if problems:
        raise RigRefused(
            "; ".join(problems), found=f"{len(problems)} problems" if len(problems) > 1 else None
        )
    return tuple(channels)


def problems_of(error: ValidationError) -> list[str]:
    """Return what pydantic found, one line for each: ``path: what is wrong``."""
    return [
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}".removeprefix(": ").replace(
            "Value error, ", ""
        )
        for problem in error.errors(include_url=False, include_input=False)
    ]


def channel_problems(channels: Sequence[ChannelSpec]) -> list[str]:
    """Return what is wrong between channels: names, groups of several devices, inputs, circles."""
    return [
        *_name_problems(channels),
        *_group_problems(channels),
        *_column_problems(channels),
        *_input_problems(channels),
    ]


def _name_problems(channels: Sequence[ChannelSpec]) -> list[str]:
    known: dict[str, str] = {}
    problems = []
    for spec in channels:
        if fold(spec.name) in known:
            problems.append(f"channel {spec.name!r}: there is another channel {known[fold(spec.name)]!r}")
        known[fold(spec.name)] = spec.name
    return problems


def _group_problems(channels: Sequence[ChannelSpec]) -> list[str]:
    known = {spec.name: spec for spec in channels}
    owners: dict[str, str] = {}
    spelled: dict[str, str] = {}
    for spec in channels:
        spelled.setdefault(fold(spec.group_name), spec.group_name)
        if spec.device is not None:
            owners.setdefault(fold(spec.group_name), spec.device)
    return [
        f"channel {spec.name!r}: the group {spec.group_name!r} is also written {other!r}"
        for spec in channels
        if (other := spelled[fold(spec.group_name)]) != spec.group_name
    ] + [
        f"channel {spec.name!r}: the group {spec.group_name!r} is of {owner!r}, and a group has one device"
        for spec in channels
        if (owner := owners.get(fold(spec.group_name))) is not None and owner != device_of(spec, known)
    ]


def _column_problems(channels: Sequence[ChannelSpec]) -> list[str]:
    taken: dict[tuple[str, str], str] = {}
    problems = []
    for spec in channels:
        for column in spec.column_names:
            owner = taken.setdefault((spec.group_name, column), spec.name)
            if owner != spec.name or column in RESERVED_COLUMNS:
                holder = f"channel {owner!r}" if owner != spec.name else "the group itself"
                problems.append(f"channel {spec.name!r}: its column {column!r} is one of {holder}")
    return problems


def _input_problems(channels: Sequence[ChannelSpec]) -> list[str]:
    known = {spec.name: spec for spec in channels}
    problems = []
    for spec in channels:
        for name in spec.derived.inputs if spec.derived is not None else ():
            if name not in known:
                problems.append(f"channel {spec.name!r}: there is no channel {name!r} to derive it from")
            elif known[name].dtype == "string":
                problems.append(f"channel {spec.name!r}: it cannot be derived from the text {name!r}")
        if spec.name in ancestors(spec, known):
            problems.append(f"channel {spec.name!r}: it is derived from itself")
    return problems


def ancestors(spec: ChannelSpec, known: Mapping[str, ChannelSpec]) -> set[str]:
    """Return the names of all channels that a derived one is made of, through other derived ones too."""
    found: set[str] = set()
    waiting = list(spec.derived.inputs) if spec.derived is not None else []
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            inner = known[name].derived if name in known else None
            waiting += inner.inputs if inner is not None else ()
    return found


def _is_derived(spec: ChannelSpec | None) -> bool:
    return spec is not None and spec.derived is not None


def device_of(spec: ChannelSpec, known: Mapping[str, ChannelSpec]) -> str | None:
    """Return the one device whose records make the channel, None where there are several or none."""
    if spec.derived is None:
        return spec.device
    origins = [known.get(name) for name in ancestors(spec, known)]
    devices = {None if origin is None else origin.device for origin in origins if not _is_derived(origin)}
    return devices.pop() if len(devices) == 1 else None


__all__ = [
    "DERIVED_GROUP",
    "RESERVED_COLUMNS",
    "SOURCE_ID",
    "SOURCE_NUMBER",
    "TIME",
    "AlarmAction",
    "AlarmSpec",
    "ChannelSpec",
    "DerivedSpec",
    "ancestors",
    "channel_problems",
    "device_of",
    "problems_of",
    "read_channels",
]
