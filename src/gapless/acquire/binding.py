"""Bindings: from a device's records to the samples of its channels, and derived channels over devices.

What a channel needs is compiled once; for each record only the compiled functions run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from math import isfinite
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from gapless.acquire.calibration.calibration import Calibration
from gapless.acquire.calibration.resolution import (
    Part,
    calibration_of,
    derived_of,
    find_field,
    getter_of,
    resolve_channels,
    snapshot,
)
from gapless.acquire.channel import ChannelSpec, device_of
from gapless.acquire.derivation import Derivation, inputs_first
from gapless.acquire.emission import ABSENT, ChannelSample, SampleBlock, SampleStatus, SourceRecord
from gapless.errors import DeviceFault, RigRefused
from gapless.model.metadata import INT64_MAX, INT64_MIN

if TYPE_CHECKING:
    from gapless.acquire.adapter import DeviceField

_INVALID, _STALE = int(SampleStatus.DEVICE_INVALID), int(SampleStatus.STALE)
_NUMPY = {"float64": np.float64, "int64": np.int64, "bool": np.bool_}

# Of values, time, record id and wall clock; None where the record does not have the field.
Sampler = Callable[[Sequence[Any], int, str, int], ChannelSample | None]


def _number(raw: Any) -> float | None:
    """Return a device's value as a float, None for what is no number."""
    if not isinstance(raw, Real | Decimal | np.bool_):
        return None
    try:
        return float(raw)
    except OverflowError:  # an integer beyond all floats
        return None


def _whole(raw: Any) -> int | None:
    """Return a device's value as an int64, None for what is none."""
    if isinstance(raw, float | np.floating):
        if not raw.is_integer():
            return None
    elif not isinstance(raw, int | np.integer | np.bool_):
        return None
    whole = int(raw)
    return whole if INT64_MIN <= whole <= INT64_MAX else None


def _flag(raw: Any) -> bool | None:
    """Return a device's value as a bool, None for what is neither true nor false."""
    return bool(raw) if isinstance(raw, Real | np.bool_) and raw in (0, 1) else None


def _text(raw: Any) -> str | None:
    return str(raw) if isinstance(raw, str) else None


_KEPT: dict[str, Callable[[Any], Any]] = {"int64": _whole, "bool": _flag, "string": _text}


def _number_sampler(spec: ChannelSpec, get: Callable[[Sequence[Any]], Any]) -> Sampler:
    channel, unit, keep_raw = spec.name, spec.unit, spec.keep_raw
    apply = calibration_of(spec).compiled()

    def sample(values: Sequence[Any], timestamp_ns: int, record: str, t_utc_ns: int) -> ChannelSample | None:
        raw = get(values)
        if raw.__class__ is not float:
            if raw is ABSENT:
                return None
            raw = _number(raw)
            if raw is None:
                return ChannelSample(
                    channel, timestamp_ns, None, unit, record, None, _INVALID, None, t_utc_ns
                )
        value, status, spread = apply(raw)
        return ChannelSample(
            channel, timestamp_ns, value, unit, record, spread, status, raw if keep_raw else None, t_utc_ns
        )

    return sample


def _kept_sampler(spec: ChannelSpec, get: Callable[[Sequence[Any]], Any]) -> Sampler:
    channel, unit, kept = spec.name, spec.unit, _KEPT[spec.dtype]

    def sample(values: Sequence[Any], timestamp_ns: int, record: str, t_utc_ns: int) -> ChannelSample | None:
        raw = get(values)
        if raw is ABSENT:
            return None
        value = kept(raw)
        status = _INVALID if value is None else 0
        return ChannelSample(channel, timestamp_ns, value, unit, record, None, status, None, t_utc_ns)

    return sample


class _Binding:
    """One channel of a device: where its raw value lies and what becomes of it."""

    def __init__(self, spec: ChannelSpec, fields: Sequence[DeviceField]) -> None:
        assert spec.field is not None
        self.spec = spec
        n, self.parts = find_field(spec.field, fields)
        self.column = fields[n].name
        get = getter_of(n, self.parts)
        if spec.dtype == "float64":
            self.sample = _number_sampler(spec, get)
            self.calibration: Calibration | None = calibration_of(spec)
        else:
            self.sample = _kept_sampler(spec, get)
            self.calibration = None

    def block(
        self, record: SourceRecord, source_id: str, timestamps_ns: np.ndarray, columns: Mapping[str, Any]
    ) -> SampleBlock:
        """Return the channel's block of one record."""
        raw = _column(columns.get(self.column), self.parts)
        spec = self.spec
        if self.calibration is None:
            values, status, spread = self._kept(raw), np.zeros(len(timestamps_ns), np.int8), None
            kept = None
        else:
            raw = np.full(len(timestamps_ns), np.nan) if raw is None else np.asarray(raw, np.float64)
            values, status, spread = self.calibration.apply_all(raw)
            kept = raw if spec.keep_raw else None
            if self.column not in columns:
                status = status | np.int8(_INVALID)
        return SampleBlock(
            spec.name, timestamps_ns, values, spec.unit, source_id, spread, status, kept, record.t_utc_ns
        )

    def _kept(self, raw: np.ndarray | None) -> np.ndarray:
        kind = _NUMPY.get(self.spec.dtype, np.object_)
        if raw is None or not np.can_cast(raw.dtype, kind, "same_kind"):
            raise DeviceFault(
                f"a block has no {self.spec.dtype} for channel {self.spec.name!r}",
                field=self.column,
                found=None if raw is None else str(raw.dtype),
            )
        return raw.astype(kind)


def _column(array: Any, parts: Sequence[Part]) -> np.ndarray | None:
    """Return one column of a block's array: ``wave[2]`` of (n, channels) is its column 2."""
    if array is None:
        return None
    column: np.ndarray = np.asarray(array)
    for part in parts:
        column = column[:, int(part)]
    return column


class ChannelBinder:
    """Makes the samples of one device's channels; see :class:`gapless.acquire.adapter.Binder`.

    ``channels``: those of the whole rig. Taken are the channels of the device, in their order, then the
    derived ones that are made of them alone. ``fields``: what the device offers, as ``fields()`` or, for
    a device of blocks, ``block_fields()`` says. Raises RigRefused for channels that cannot be computed.
    """

    def __init__(
        self, device: str, family: str, fields: Sequence[DeviceField], channels: Sequence[ChannelSpec]
    ) -> None:
        self.device, self.family = device, family
        known = {spec.name: spec for spec in channels}
        own = [spec for spec in channels if device_of(spec, known) == device]
        self.channels = resolve_channels(own, {device: fields})
        self._bindings = [_Binding(spec, fields) for spec in self.channels if spec.derived is None]
        self._samplers = [binding.sample for binding in self._bindings]
        resolved = {spec.name: spec for spec in self.channels}
        self._derivations = [
            Derivation(spec, derived_of(spec, resolved))
            for spec in inputs_first([spec for spec in self.channels if spec.derived is not None])
        ]
        names = [binding.spec.name for binding in self._bindings] + [d.spec.name for d in self._derivations]
        self.channel_names = tuple(names)
        self._inputs = [[names.index(name) for name in d.inputs] for d in self._derivations]
        self._prefix = f"{family}:{device}:"

    @property
    def sample_count(self) -> int:
        """How many samples a record gives that has all fields."""
        return len(self.channel_names)

    def bind(self, record: SourceRecord) -> list[ChannelSample]:
        """Return the samples of one record; a value that is None or no number is None, DEVICE_INVALID.

        Channels of an ABSENT field, and those derived from them, get no sample.
        """
        values, timestamp_ns, t_utc_ns = record.values, record.timestamp_ns, record.t_utc_ns
        source_id = f"{self._prefix}{record.n}"
        samples = [sample(values, timestamp_ns, source_id, t_utc_ns) for sample in self._samplers]
        for derivation, inputs in zip(self._derivations, self._inputs, strict=True):
            held = [found for n in inputs if (found := samples[n]) is not None]
            samples.append(derivation.sample(held) if len(held) == len(inputs) else None)
        return [sample for sample in samples if sample is not None]

    def bind_block(
        self, record: SourceRecord, timestamps_ns: np.ndarray, columns: Mapping[str, Any]
    ) -> list[SampleBlock]:
        """Return the blocks of one record; a column that is missing is NaN, DEVICE_INVALID.

        Raises DeviceFault where a channel that is no float64 finds no column of its kind.
        """
        source_id = f"{self._prefix}{record.n}"
        blocks = [binding.block(record, source_id, timestamps_ns, columns) for binding in self._bindings]
        for derivation, inputs in zip(self._derivations, self._inputs, strict=True):
            blocks.append(derivation.block([blocks[n] for n in inputs]))
        return blocks


class CrossDeviceDerived:
    """Derived channels whose inputs come from several devices, or from analyzers.

    Feed it every sample. When the first input of a channel arrives the channel has a new value, made with
    the last values of the others; one that is older than ``max_age_s``, or has not come yet, makes it STALE.
    """

    def __init__(self, channels: Sequence[ChannelSpec]) -> None:
        known = {spec.name: spec for spec in channels}
        own = [s for s in channels if s.derived is not None and device_of(s, known) is None]
        ageless = [s.name for s in own if s.derived is not None and s.derived.max_age_s is None]
        if ageless:
            raise RigRefused(
                "derived channels over several devices say how old an input may be",
                found=", ".join(ageless),
                next_step="give derived a max_age_s",
            )
        self.channels = tuple(inputs_first(own))
        self._held: dict[str, ChannelSample] = {}
        self._wanted = {name for s in own if s.derived is not None for name in s.derived.inputs}
        self._triggered: dict[str, list[Derivation]] = {}
        for spec in self.channels:
            derivation = Derivation(spec, derived_of(spec, known))
            self._triggered.setdefault(derivation.inputs[0], []).append(derivation)

    def feed(self, sample: ChannelSample) -> list[ChannelSample]:
        """Take a sample; return the samples it makes, those made of them included."""
        if sample.channel not in self._wanted:
            return []
        self._held[sample.channel] = sample
        made: list[ChannelSample] = []
        for derivation in self._triggered.get(sample.channel, ()):
            inputs = [sample, *(self._last(name, sample) for name in derivation.inputs[1:])]
            stale = any(self._is_stale(held, sample.timestamp_ns, derivation) for held in inputs[1:])
            derived = derivation.sample(inputs, _STALE if stale else 0)
            made += [derived, *self.feed(derived)]
        return made

    def feed_block(self, block: SampleBlock) -> list[SampleBlock]:
        """Take a block; return the blocks it makes, each row with the others' last values."""
        count = len(block.values)
        if block.channel not in self._wanted or not count:
            return []
        made: list[SampleBlock] = []
        for derivation in self._triggered.get(block.channel, ()):
            held = [self._last(name, _row(block, 0)) for name in derivation.inputs[1:]]
            stale = np.zeros(count, np.bool_)
            for sample in held:
                age_ns = block.timestamps_ns - sample.timestamp_ns
                stale |= bool(sample.status & _STALE) | (age_ns > (derivation.max_age_ns or 0))
            inputs = [block, *(_repeated(sample, block) for sample in held)]
            derived = derivation.block(inputs, np.where(stale, _STALE, 0).astype(np.int8))
            made += [derived, *self.feed_block(derived)]
        self._held[block.channel] = _row(block, count - 1)
        return made

    def _last(self, name: str, first: ChannelSample) -> ChannelSample:
        """Return the last sample of an input; before there is one, a stale one without value."""
        held = self._held.get(name)
        return held or ChannelSample(
            name, first.timestamp_ns, None, "", first.source_record_id, status=_STALE
        )

    @staticmethod
    def _is_stale(held: ChannelSample, now_ns: int, derivation: Derivation) -> bool:
        return now_ns - held.timestamp_ns > (derivation.max_age_ns or 0)


def _row(block: SampleBlock, n: int) -> ChannelSample:
    spread = None if block.uncertainty is None else float(block.uncertainty[n])
    return ChannelSample(
        block.channel,
        int(block.timestamps_ns[n]),
        float(block.values[n]),
        block.unit,
        block.source_record_id,
        None if spread is None or not isfinite(spread) else spread,
        0 if block.status is None else int(block.status[n]),
        None,
        block.t_utc_ns,
    )


def _repeated(sample: ChannelSample, block: SampleBlock) -> SampleBlock:
    """Return a held sample as a block as long as another."""
    count = len(block.values)
    value = float("nan") if sample.value is None else float(sample.value)
    spread = None if sample.uncertainty is None else np.full(count, sample.uncertainty)
    status = np.full(count, sample.status, np.int8)
    return SampleBlock(
        sample.channel, block.timestamps_ns, np.full(count, value), sample.unit, "", spread, status
    )


__all__ = ["ChannelBinder", "CrossDeviceDerived", "snapshot"]
