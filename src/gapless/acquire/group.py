"""How channels lie on disk: one topic for each group, a few narrow columns for each channel.

Channel ``c`` has the columns ``c``, ``c_uncertainty`` where it may carry one, ``c_status`` always and
``c_raw`` where raw numbers are kept. A group of one device points to its records by their number
(``source_record``, the prefix stands in the topic's metadata); a group of no device by the whole id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gapless.acquire.calibration.resolution import calibration_entry, raw_unit_of
from gapless.acquire.channel import SOURCE_ID, SOURCE_NUMBER, TIME, ChannelSpec

if TYPE_CHECKING:
    import pyarrow as pa

    from gapless.acquire.emission import ChannelSample, SampleBlock


def channel_topic(group: str) -> str:
    """Return the topic of a group of channels."""
    return f"channels/{group}"


def columns_of(spec: ChannelSpec) -> list[pa.Field]:
    """Return the columns of a channel; all nullable, with unit, description and calibration as metadata."""
    import pyarrow as pa

    types = {"float64": pa.float64(), "int64": pa.int64(), "bool": pa.bool_(), "string": pa.string()}
    name, unit = spec.name, {"unit": spec.unit} if spec.unit else {}
    metadata = {
        name: _value_metadata(spec),
        f"{name}_uncertainty": {**unit, "description": f"standard uncertainty of {name}, coverage factor 1"},
        f"{name}_status": {"description": f"what is wrong with {name}: bits of SampleStatus, 0 is good"},
        f"{name}_raw": {"unit": raw_unit_of(spec), "description": f"{name} before calibration"},
    }
    kinds = {name: types[spec.dtype], f"{name}_status": pa.int8()}
    return [
        pa.field(column, kinds.get(column, pa.float64()), metadata=metadata[column])
        for column in spec.column_names
    ]


def _value_metadata(spec: ChannelSpec) -> dict[str, str]:
    entry = calibration_entry(spec)
    known = {
        "unit": spec.unit,
        "description": spec.description,
        "uncertainty": f"{spec.name}_uncertainty" if spec.has_uncertainty else "",
        "coverage_factor": "" if spec.coverage_factor is None else json.dumps(spec.coverage_factor),
        "calibration_digest": entry["digest"] or "",
        "raw_unit": entry.get("raw_unit", ""),
    }
    return {key: value for key, value in known.items() if value}


def values_of(spec: ChannelSpec, sample: ChannelSample) -> list[Any]:
    """Return a sample's values in the order of the channel's columns."""
    values: list[Any] = [sample.value]
    if spec.has_uncertainty:
        values.append(sample.uncertainty)
    values.append(sample.status)
    if spec.keep_raw:
        values.append(sample.raw)
    return values


def block_columns(spec: ChannelSpec, block: SampleBlock) -> dict[str, Any]:
    """Return a block's arrays by column name; null is written where an uncertainty is NaN."""
    import pyarrow as pa

    count = len(block.values)
    columns: dict[str, Any] = {spec.name: block.values}
    if spec.has_uncertainty:
        spread = np.full(count, np.nan) if block.uncertainty is None else block.uncertainty
        columns[f"{spec.name}_uncertainty"] = pa.array(spread, mask=np.isnan(spread))
    columns[f"{spec.name}_status"] = np.zeros(count, np.int8) if block.status is None else block.status
    if spec.keep_raw:
        columns[f"{spec.name}_raw"] = np.full(count, np.nan) if block.raw is None else block.raw
    return columns


def group_schema(specs: Sequence[ChannelSpec]) -> pa.Schema:
    """Return the schema of a group's topic: time, source record, then the channels' columns in order."""
    import pyarrow as pa

    source = (
        pa.field(SOURCE_NUMBER, pa.int64(), metadata={"description": "number of the native record"})
        if any(spec.device is not None for spec in specs)
        else pa.field(SOURCE_ID, pa.string(), metadata={"description": "id of the native record"})
    )
    time = pa.field(TIME, pa.int64(), nullable=False)
    return pa.schema([time, source, *(column for spec in specs for column in columns_of(spec))])


@dataclass(frozen=True)
class ChannelGroup:
    """The channels of one topic. ``device`` is None where they are derived from several or by an analyzer."""

    name: str
    device: str | None
    channels: tuple[ChannelSpec, ...]

    @property
    def topic(self) -> str:
        """The topic's name."""
        return channel_topic(self.name)

    def schema(self) -> pa.Schema:
        """Return the topic's schema."""
        return group_schema(self.channels)

    def metadata(self, family: str | None) -> dict[str, Any]:
        """Return the topic's metadata; ``family`` is that of the device."""
        known: dict[str, Any] = {"group": self.name}
        if self.device is not None:
            known |= {"device": self.device, "source_record_prefix": f"{family}:{self.device}:"}
        return known

    def source(self, source_record_id: str) -> int | str:
        """Return what the topic's source column holds for a record."""
        return source_record_id if self.device is None else int(source_record_id.rpartition(":")[2])

    def row(self, samples: Mapping[str, ChannelSample]) -> list[Any]:
        """Return the values after time and source of one row, null for channels without a sample."""
        values: list[Any] = []
        for spec in self.channels:
            sample = samples.get(spec.name)
            values += [None] * len(spec.column_names) if sample is None else values_of(spec, sample)
        return values


def groups_of(channels: Sequence[ChannelSpec]) -> dict[str, ChannelGroup]:
    """Return the groups by name in the order of the rig."""
    members: dict[str, list[ChannelSpec]] = {}
    for spec in channels:
        members.setdefault(spec.group_name, []).append(spec)
    return {
        name: ChannelGroup(name, next((s.device for s in specs if s.device is not None), None), tuple(specs))
        for name, specs in members.items()
    }
