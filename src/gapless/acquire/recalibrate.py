"""Recalibration: new curves over the raw values of a sealed sequence, written as a layer with its lineage.

The base never changes. Each group with a recalibrated channel gets the topic ``recalibrated/<group>`` with
the new values, statuses and uncertainties at the times and record numbers of the old ones.
"""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import Field, FiniteFloat, ValidationError

from gapless.acquire.calibration.calibration import Calibration
from gapless.acquire.calibration.config import CurveConfig, UncertaintyConfig
from gapless.acquire.calibration.resolution import calibration_entry, calibration_of, snapshot
from gapless.acquire.channel import SOURCE_NUMBER, TIME, ChannelSpec, ancestors, problems_of
from gapless.acquire.device_config import Strict
from gapless.acquire.emission import SampleStatus
from gapless.acquire.group import channel_topic, columns_of, group_schema
from gapless.errors import GaplessError, NotFound, RigRefused, SequenceOpen
from gapless.model.metadata import canonical_json
from gapless.model.names import fold

if TYPE_CHECKING:
    from gapless.client.client import Client
    from gapless.client.sequence_handler import SequenceHandler
    from gapless.client.topic_handler import TopicHandler

ARTIFACT, NEW_ARTIFACT = "calibration.json", "recalibration.json"
LAYER = "recalibrated"
_INVALID = int(SampleStatus.DEVICE_INVALID)


class NewCalibration(Strict):
    """What is new about one channel; what is left out stays as it was recorded."""

    calibration: CurveConfig | None = None
    uncertainty: tuple[UncertaintyConfig, ...] | UncertaintyConfig = ()
    valid_range: tuple[FiniteFloat, FiniteFloat] | None = None


class CalibrationFile(Strict):
    """A file of new calibrations: ``[channels.NAME]`` tables."""

    channels: dict[str, NewCalibration] = Field(min_length=1)


@dataclass(frozen=True)
class Channel:
    """One channel to recalibrate: its new form, where its raw values lie, and both digests."""

    spec: ChannelSpec
    raw_column: str
    old_digest: str
    new_digest: str


@dataclass(frozen=True)
class Topic:
    """One group to recalibrate."""

    source: str
    target: str
    rows: int
    channels: tuple[Channel, ...]


@dataclass(frozen=True)
class Recalibration:
    """What a new calibration would do to a sequence. ``outdated``: derived channels that are not made again."""

    sequence: str
    content_digest: str
    topics: tuple[Topic, ...]
    outdated: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the lineage: base, topics, and for each channel where it came from and both digests."""
        return {
            "base": {"sequence": self.sequence, "content_digest": self.content_digest},
            "topics": {
                topic.target: {
                    "source_topic": topic.source,
                    "rows": topic.rows,
                    "channels": {
                        channel.spec.name: {
                            "raw_column": channel.raw_column,
                            "old_calibration_digest": channel.old_digest,
                            "new_calibration_digest": channel.new_digest,
                        }
                        for channel in topic.channels
                    },
                }
                for topic in self.topics
            },
            "outdated_derived_channels": list(self.outdated),
        }


def recalibrate(
    client: Client,
    sequence_name: str,
    calibration: str | Path | Mapping[str, Any],
    *,
    layer_name: str | None = None,
    author: str,
) -> str:
    """Write the layer that holds a sequence's channels under new curves; return the layer's name.

    ``calibration``: a TOML or JSON file, or its content. Raises NotFound, SequenceOpen, and RigRefused
    naming the channels that are unknown or kept no raw values; then nothing was written.
    """
    plan = plan_recalibration(client, sequence_name, calibration)
    return write_recalibration(client, plan, layer_name=layer_name, author=author)


def plan_recalibration(
    client: Client, sequence_name: str, calibration: str | Path | Mapping[str, Any]
) -> Recalibration:
    """Return what :func:`recalibrate` would do, and raise what it would raise."""
    new = _read(calibration)
    base = client.sequence_handler(sequence_name, layers=[])
    if base.content_digest is None:
        raise SequenceOpen("only a sealed sequence is recalibrated", sequence=sequence_name)
    old = _old_entries(base)
    channels = _changed(base, new, old)
    taken = {fold(name) for name in client.sequence_handler(sequence_name).topics}
    specs = {name: ChannelSpec.model_validate(entry["spec"]) for name, entry in old.items()}
    outdated = [name for name, spec in specs.items() if ancestors(spec, specs) & new.keys()]
    return Recalibration(
        sequence_name, base.content_digest, tuple(_topics(base, channels, taken)), tuple(outdated)
    )


def _read(calibration: str | Path | Mapping[str, Any]) -> dict[str, NewCalibration]:
    document = calibration if isinstance(calibration, Mapping) else _document(Path(calibration))
    try:
        return CalibrationFile.model_validate(document).channels
    except ValidationError as error:
        raise RigRefused("; ".join(problems_of(error))) from error


def _document(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(
            "there is no such calibration file", found=str(path), next_step="check the path"
        ) from error
    try:
        return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise RigRefused(f"{path.name}: {error}") from error


def _old_entries(base: SequenceHandler) -> dict[str, Any]:
    if ARTIFACT not in base.artifacts:
        raise NotFound(
            "the sequence was recorded without channels",
            sequence=base.name,
            expected=f"an artifact {ARTIFACT}",
            next_step="recalibrate a sequence that `gapless record RIG.toml` made",
        )
    entries: dict[str, Any] = json.loads(base.artifact_path(ARTIFACT).read_bytes())["channels"]
    return entries


def _changed(
    base: SequenceHandler, new: Mapping[str, NewCalibration], old: Mapping[str, Any]
) -> list[Channel]:
    channels: list[Channel] = []
    problems: list[str] = []
    for name, change in new.items():
        try:
            channels.append(_channel(base, name, change, old))
        except ValidationError as error:
            problems += [f"channel {name!r}: {words}" for words in problems_of(error)]
        except GaplessError as error:
            problems.append(error.message)
    if problems:
        raise RigRefused(
            "; ".join(problems), sequence=base.name, next_step="take these channels out of the file"
        )
    return channels


def _channel(base: SequenceHandler, name: str, change: NewCalibration, old: Mapping[str, Any]) -> Channel:
    if name not in old:
        raise RigRefused(f"channel {name!r}: the sequence has no such channel")
    entry = old[name]
    if "curve" not in entry:
        raise RigRefused(f"channel {name!r}: it has no curve, it is derived or kept as read")
    recorded = ChannelSpec.model_validate(entry["spec"])
    raw_column = f"{name}_raw" if recorded.keep_raw else name
    if not recorded.keep_raw and entry["curve"] != {"kind": "identity"}:
        raise RigRefused(f"channel {name!r}: its raw values were not kept")
    topic = channel_topic(recorded.group_name)
    if topic not in base or raw_column not in base.topic(topic).schema.names:
        raise RigRefused(f"channel {name!r}: it was not recorded")
    changed = entry["spec"] | change.model_dump(mode="json", exclude_unset=True) | {"keep_raw": False}
    spec = ChannelSpec.model_validate(changed)
    return Channel(spec, raw_column, entry["digest"], calibration_entry(spec)["digest"])


def _topics(base: SequenceHandler, channels: Sequence[Channel], taken: set[str]) -> Iterator[Topic]:
    groups: dict[str, list[Channel]] = {}
    for channel in channels:
        groups.setdefault(channel.spec.group_name, []).append(channel)
    for group, members in groups.items():
        source = channel_topic(group)
        target, number = f"{LAYER}/{group}", 1
        while fold(target) in taken:  # an earlier recalibration: one topic must not hold two of them
            number += 1
            target = f"{LAYER}-{number}/{group}"
        yield Topic(source, target, base.topic(source).rows, tuple(members))


def write_recalibration(
    client: Client, plan: Recalibration, *, layer_name: str | None = None, author: str
) -> str:
    """Write the layer of a plan in bounded memory; return its name."""
    name = layer_name or LAYER
    base = client.sequence_handler(plan.sequence, layers=[])
    lineage = {"recalibration": {**plan.to_json(), "author": author}}
    with client.sequence_update(plan.sequence, name, metadata=lineage) as layer:
        for topic in plan.topics:
            specs = [channel.spec for channel in topic.channels]
            source = base.topic(topic.source)
            metadata = {**source.metadata, "source_topic": topic.source}
            writer = layer.topic_create(topic.target, metadata, schema=group_schema(specs))
            for batch in _batches(source, topic.channels):
                writer.push_batch(batch)
        with tempfile.TemporaryDirectory(prefix="gapless-") as folder:
            path = Path(folder) / NEW_ARTIFACT
            path.write_bytes(canonical_json(snapshot([c.spec for t in plan.topics for c in t.channels])))
            layer.add_artifact(path, NEW_ARTIFACT, "application/json")
    return name


def _batches(source: TopicHandler, channels: Sequence[Channel]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a group under the new curves."""
    schema = group_schema([channel.spec for channel in channels])
    calibrations = [calibration_of(channel.spec) for channel in channels]
    raw = [column for c in channels for column in (c.raw_column, f"{c.spec.name}_status")]
    for batch in source.scan([TIME, SOURCE_NUMBER, *raw]):
        columns = [batch.column(TIME), batch.column(SOURCE_NUMBER)]
        for channel, calibration in zip(channels, calibrations, strict=True):
            columns += _columns(batch, channel, calibration)
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _columns(batch: pa.RecordBatch, channel: Channel, calibration: Calibration) -> list[pa.Array]:
    """Return a channel's new columns; a row without a raw value, or without a sample, stays so."""
    raw, status = batch.column(channel.raw_column), batch.column(f"{channel.spec.name}_status")
    missing = raw.is_null().to_numpy(zero_copy_only=False)
    values, found, spread = calibration.apply_all(raw.fill_null(np.nan).to_numpy(zero_copy_only=False))
    found = np.where(missing, 0, found) | (status.fill_null(0).to_numpy(zero_copy_only=False) & _INVALID)
    unsampled = status.is_null().to_numpy(zero_copy_only=False)
    by_name = {
        channel.spec.name: pa.array(values, mask=missing),
        f"{channel.spec.name}_status": pa.array(found.astype(np.int8), mask=unsampled),
    }
    if spread is not None:
        by_name[f"{channel.spec.name}_uncertainty"] = pa.array(spread, mask=missing | np.isnan(spread))
    return [by_name[column.name] for column in columns_of(channel.spec)]


__all__ = ["Recalibration", "plan_recalibration", "recalibrate", "write_recalibration"]
