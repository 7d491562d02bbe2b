"""From records to samples: order, types, statuses, blocks, and channels derived from others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.acquire.adapter import Binder, DeviceField
from gapless.acquire.binding import ChannelBinder, CrossDeviceDerived
from gapless.acquire.channel import ChannelSpec, read_channels
from gapless.acquire.emission import ChannelSample, SampleBlock, SourceRecord
from gapless.acquire.emission import SampleStatus as Status
from gapless.errors import DeviceFault, RigRefused

FIELDS = [
    DeviceField("pv", "float64", "degC"),
    DeviceField("sv", "float64", "degC"),
    DeviceField("code", "int64"),
    DeviceField("on", "bool"),
    DeviceField("mode", "string"),
    DeviceField("reply", "json"),
]
LINEAR = {"kind": "linear", "gain": 2.0, "offset": 1.0}


def heater(name: str, field: str, **more: Any) -> dict[str, Any]:
    """Return the table of a channel of the heater."""
    return {"name": name, "device": "heater", "field": field, "unit": "degC"} | more


def made_of(name: str, function: str, *inputs: str, unit: str = "degC", **more: Any) -> dict[str, Any]:
    """Return the table of a derived channel."""
    return {"name": name, "unit": unit, "derived": {"function": function, "inputs": inputs, **more}}


def binder(*tables: dict[str, Any], fields: Sequence[DeviceField] = FIELDS) -> ChannelBinder:
    """Return the heater's binder for the channels of a rig."""
    return ChannelBinder("heater", "watlow", fields, read_channels(tables))


def record(*values: Any, n: int = 42) -> SourceRecord:
    """Return a record of the heater."""
    return SourceRecord("watlow", "heater", n, 1_000, 2_000, values)


def only(made: Sequence[Any]) -> Any:
    """Return the one item."""
    (item,) = made
    return item


def test_each_record_gives_the_samples_of_its_channels_in_order() -> None:
    """Calibrated, in the channel's unit, pointing to the record, stamped as the record was."""
    bound = binder(
        heater("b", "sv", calibration=LINEAR, keep_raw=True),
        {"name": "other", "device": "cooler", "field": "x", "unit": "V"},
        heater("a", "pv", uncertainty={"kind": "absolute", "magnitude": 1, "coverage_factor": 2}),
        heater("k", "pv", unit="K"),
    )
    as_protocol: Binder = bound
    assert as_protocol.sample_count == 3
    assert bound.bind(record(20.0, 3.0, 1, 1, "auto", None)) == [
        ChannelSample("b", 1_000, 7.0, "degC", "watlow:heater:42", None, 0, 3.0, 2_000),
        ChannelSample("a", 1_000, 20.0, "degC", "watlow:heater:42", 0.5, 0, None, 2_000),
        ChannelSample("k", 1_000, 293.15, "K", "watlow:heater:42", None, 0, None, 2_000),
    ]


def test_a_field_can_hold_a_structure() -> None:
    """Keys, items and items of arrays; what the record lacks is a value that is missing, and says so."""
    bound = binder(
        heater("x", "reply.limits[1].high"),
        heater("y", "reply.wave[2]"),
    )
    reply = {"limits": [{}, {"high": 5}], "wave": np.array([1.0, 2.0, 3.0])}
    assert [s.value for s in bound.bind(record(0, 0, 0, 0, "", reply))] == [5.0, 3.0]
    for lacking in ({}, None, {"limits": "text"}, {"limits": [1]}, 7):
        samples = bound.bind(record(0, 0, 0, 0, "", lacking))
        assert [(s.value, s.status, s.raw, s.uncertainty) for s in samples] == [
            (None, Status.DEVICE_INVALID, None, None)
        ] * 2


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (1.5, 1.5),
        (2, 2.0),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (np.int16(-3), -3.0),
        (np.True_, 1.0),
        (Decimal("1.25"), 1.25),
        (Fraction(1, 4), 0.25),
        (None, None),
        ("1.5", None),
        (b"1", None),
        ([1.0], None),
        (10**400, None),
        (np.array([1.0, 2.0]), None),
    ],
)
def test_a_number_is_a_number_whatever_its_type(raw: Any, value: float | None) -> None:
    """Text is none, not even text that looks like one."""
    sample = only(binder(heater("x", "reply")).bind(record(0, 0, 0, 0, "", raw)))
    assert sample.value == value
    assert type(sample.value) is (type(None) if value is None else float)
    assert sample.status == (Status.DEVICE_INVALID if value is None else 0)


@pytest.mark.parametrize(
    ("dtype", "raw", "value"),
    [
        ("int64", 2**63 - 1, 2**63 - 1),
        ("int64", -(2**63), -(2**63)),
        ("int64", 2**63, None),
        ("int64", 7.0, 7),
        ("int64", 7.5, None),
        ("int64", math.nan, None),
        ("int64", math.inf, None),
        ("int64", 1e300, None),
        ("int64", np.uint8(200), 200),
        ("int64", np.float32(3), 3),
        ("int64", "7", None),
        ("bool", True, True),
        ("bool", 0, False),
        ("bool", np.True_, True),
        ("bool", 2, None),
        ("bool", "true", None),
        ("string", "auto", "auto"),
        ("string", "", ""),
        ("string", 5, None),
        ("string", b"auto", None),
    ],
)
def test_what_is_no_measurement_is_kept_as_it_is(dtype: str, raw: Any, value: Any) -> None:
    """Whole numbers to the last digit, flags as flags, text as text; anything else is no value."""
    sample = only(binder(heater("x", "reply", dtype=dtype, unit="")).bind(record(0, 0, 0, 0, "", raw)))
    assert sample.value == value
    assert type(sample.value) is type(value)
    assert sample.status == (Status.DEVICE_INVALID if value is None else 0)


def test_a_value_that_is_not_finite_says_so() -> None:
    """And has no uncertainty; it is kept, not replaced."""
    sure = {"kind": "absolute", "magnitude": 1}
    bound = binder(heater("x", "pv", uncertainty=sure, keep_raw=True))
    sample = only(bound.bind(record(math.inf, 0, 0, 0, "", 0)))
    assert (sample.value, sample.status, sample.uncertainty, sample.raw) == (
        math.inf, Status.NOT_FINITE, None, math.inf,
    )  # fmt: skip


def test_derived_channels_of_one_device_come_last_and_of_the_same_record() -> None:
    """In the order of the rig, but behind what they are made of; also from derived ones."""
    bound = binder(
        made_of("half_error", "ratio", "error", "two", unit="K/degC"),
        made_of("error", "difference", "sv", "pv", unit="K"),
        heater("pv", "pv", uncertainty={"kind": "absolute", "magnitude": 3}),
        heater("sv", "sv", uncertainty={"kind": "absolute", "magnitude": 4}),
        heater("two", "code", unit="degC"),
    )
    samples = bound.bind(record(10.0, 30.0, 2, 1, "", None))
    assert [s.channel for s in samples] == ["pv", "sv", "two", "error", "half_error"]
    assert bound.channel_names == tuple(s.channel for s in samples)
    error, half = samples[3:]
    assert (error.value, error.unit, error.uncertainty, error.status) == (20.0, "K", 5.0, 0)
    assert error.source_record_id == "watlow:heater:42"
    assert (half.value, half.uncertainty) == (10.0, None), "nobody said how sure the divisor is"


def test_a_derived_value_inherits_what_is_wrong_with_its_inputs() -> None:
    """A missing input makes a missing value; a flag travels on; no finite result says so."""
    bound = binder(
        heater("a", "pv", valid_range=(0, 100)),
        heater("b", "sv"),
        made_of("r", "ratio", "a", "b", unit="1"),
    )

    def ratio(a: Any, b: Any) -> tuple[Any, int]:
        sample = bound.bind(record(a, b, 0, 0, "", None))[-1]
        return sample.value, sample.status

    assert ratio(8.0, 2.0) == (4.0, 0)
    assert ratio(200.0, 2.0) == (100.0, Status.ABOVE_RANGE)
    assert ratio(None, 2.0) == (None, Status.DEVICE_INVALID)
    assert ratio(1.0, 0.0) == (math.inf, Status.NOT_FINITE)


def test_units_of_derived_channels_are_converted() -> None:
    """Millivolts over volts in per cent."""
    fields = [DeviceField("u", "float64", "mV"), DeviceField("v", "float64", "V")]
    bound = binder(
        heater("u", "u", unit="mV"), heater("v", "v", unit="V"), made_of("p", "ratio", "u", "v", unit="%"),
        fields=fields,
    )  # fmt: skip
    assert bound.bind(record(50.0, 2.0))[-1].value == pytest.approx(2.5)


def test_a_binder_refuses_what_its_device_does_not_have() -> None:
    """Also where nobody checked the rig before."""
    with pytest.raises(RigRefused, match="no such field"):
        binder(heater("x", "nothing"))


# -- blocks ----------------------------------------------------------------------------------------

BLOCK = (
    heater("lin", "pv", calibration=LINEAR, valid_range=(-10, 10), keep_raw=True,
           uncertainty=[{"kind": "relative", "magnitude": 0.01}, {"kind": "input_noise", "magnitude": 0.5}]),
    heater("tab", "sv", calibration={"kind": "lookup", "table": [[-5, 0], [5, 100]]},
           uncertainty={"kind": "absolute", "magnitude": 1}),
    made_of("diff", "difference", "lin", "tab", correlation=0.5),
    made_of("rate", "ratio", "lin", "tab", unit="1"),
)  # fmt: skip


@given(
    st.lists(
        st.tuples(*[st.floats(-20, 20) | st.sampled_from([math.nan, math.inf, 0.0])] * 2),
        min_size=1,
        max_size=30,
    )
)
def test_a_block_gives_what_its_rows_would_give_one_by_one(rows: list[tuple[float, float]]) -> None:
    """The same values, statuses, raw numbers and uncertainties, derived channels included."""
    bound = binder(*BLOCK)
    stamps = np.arange(len(rows)) + 5
    columns = {"pv": np.array([r[0] for r in rows]), "sv": np.array([r[1] for r in rows])}
    blocks = bound.bind_block(record(0, len(rows), 0), stamps, columns)
    assert [b.channel for b in blocks] == list(bound.channel_names)
    for n, row in enumerate(rows):
        for sample, block in zip(bound.bind(record(*row, 0, 0, "", None)), blocks, strict=True):
            assert (block.unit, block.source_record_id) == (sample.unit, sample.source_record_id)
            assert block.timestamps_ns is stamps
            assert _same(block.values[n], sample.value)
            assert block.status is not None
            assert block.status[n] == sample.status
            assert _same(None if block.uncertainty is None else block.uncertainty[n], sample.uncertainty)
            assert _same(None if block.raw is None else block.raw[n], sample.raw)


def _same(found: Any, expected: Any) -> bool:
    """Compare with NaN for None; derived uncertainties are summed in another order."""
    first, second = (math.nan if value is None else float(value) for value in (found, expected))
    return bool(np.isclose(first, second, rtol=1e-14, atol=0, equal_nan=True))


def test_a_block_keeps_whole_numbers_flags_and_columns_of_arrays() -> None:
    """``wave[1]`` is the second column; whole numbers never pass through a float."""
    fields = [
        DeviceField("wave", "int32", "V", shape=(2,)), DeviceField("count", "uint64"), DeviceField("on", "bool"),
    ]  # fmt: skip
    bound = binder(
        heater("w", "wave[1]", unit="V"),
        heater("n", "count", dtype="int64", unit=""),
        heater("on", "on", dtype="bool", unit=""),
        fields=fields,
    )
    columns = {
        "wave": np.array([[1, 2], [3, 4]], np.int32),
        "count": np.array([2**53 + 1, 7], np.int64),
        "on": np.array([True, False]),
    }
    wave, count, on = bound.bind_block(record(0, 2, 0), np.array([1, 2]), columns)
    assert (wave.values.tolist(), str(wave.values.dtype)) == ([2.0, 4.0], "float64")
    assert (count.values.tolist(), str(count.values.dtype)) == ([2**53 + 1, 7], "int64")
    assert (on.values.tolist(), str(on.values.dtype)) == ([True, False], "bool")


def test_a_column_that_a_block_lacks_is_no_value() -> None:
    """Of a measurement it is NaN with its flag; of a count there is no such number, so the device failed."""
    stamps = np.array([1, 2])
    found = only(binder(heater("x", "pv")).bind_block(record(0, 2, 0), stamps, {}))
    assert np.isnan(found.values).all()
    assert found.status.tolist() == [Status.DEVICE_INVALID | Status.NOT_FINITE] * 2
    counting = binder(heater("n", "code", dtype="int64", unit=""))
    with pytest.raises(DeviceFault, match="no int64 for channel 'n'"):
        counting.bind_block(record(0, 2, 0), stamps, {})
    with pytest.raises(DeviceFault, match="float64"):
        counting.bind_block(record(0, 2, 0), stamps, {"code": np.array([1.5, 2.0])})


# -- over several devices --------------------------------------------------------------------------


def _rig(**more: Any) -> tuple[ChannelSpec, ...]:
    return read_channels(
        [
            {"name": "a", "device": "d1", "field": "x", "unit": "V"},
            {"name": "b", "device": "d2", "field": "x", "unit": "V"},
            {"name": "c", "device": "d2", "field": "y", "unit": "V"},
            made_of("a_b", "ratio", "a", "b", unit="1", **({"max_age_s": 1.0} | more)),
            made_of("b_c", "sum", "b", "c", unit="V"),
            made_of("top", "mean", "a_b", unit="1", max_age_s=5),
        ]
    )


def sample(channel: str, t_s: float, value: Any, **more: Any) -> ChannelSample:
    """Return a sample as it comes over the bus."""
    return ChannelSample(channel, int(t_s * 1e9), value, "V", f"f:d:{int(t_s)}", **more)


def _told(made: list[ChannelSample]) -> list[tuple[str, Any, int]]:
    return [(s.channel, s.value, s.status) for s in made]


def test_a_value_over_devices_is_made_when_its_first_input_comes() -> None:
    """With the last value of the other, which is stale after max_age_s; what is made of it follows at once."""
    derived = CrossDeviceDerived(_rig())
    assert [spec.name for spec in derived.channels] == ["a_b", "top"], "b_c belongs to one device"
    waiting = Status.STALE
    assert _told(derived.feed(sample("a", 1, 6.0))) == [("a_b", None, waiting), ("top", None, waiting)]
    assert derived.feed(sample("b", 2, 3.0)) == []
    assert derived.feed(sample("c", 2, 3.0)) == []
    made = derived.feed(sample("a", 3, 6.0))
    assert _told(made) == [("a_b", 2.0, 0), ("top", 2.0, 0)]
    assert [(s.timestamp_ns, s.source_record_id, s.unit) for s in made] == [(3_000_000_000, "f:d:3", "1")] * 2
    assert _told(derived.feed(sample("a", 3.1, 6.0)))[0] == ("a_b", 2.0, Status.STALE)
    assert _told(derived.feed(sample("a", 2.5, 9.0)))[0] == ("a_b", 3.0, 0), "by time, not by arrival"


def test_a_block_over_devices_is_judged_row_by_row() -> None:
    """Each row has its own age; the held value of a block is its last."""
    derived = CrossDeviceDerived(_rig())
    held = SampleBlock("b", np.array([0, 10**9]), np.array([1.0, 2.0]), "V", "f:d2:0", np.array([0.1, 0.2]))
    assert derived.feed_block(held) == []
    stamps = np.array([15 * 10**8, 2 * 10**9, 25 * 10**8])
    block = SampleBlock("a", stamps, np.array([2.0, 4.0, 6.0]), "V", "f:d1:7", np.zeros(3))
    made, top = derived.feed_block(block)
    assert (made.channel, made.source_record_id, made.values.tolist()) == ("a_b", "f:d1:7", [1.0, 2.0, 3.0])
    assert made.timestamps_ns is stamps
    assert made.status is not None
    assert made.status.tolist() == [0, 0, Status.STALE]
    assert made.uncertainty is not None
    assert made.uncertainty.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert (top.channel, top.values.tolist()) == ("top", [1.0, 2.0, 3.0])


def test_samples_and_blocks_of_two_devices_make_the_same_values() -> None:
    """A device that samples one by one and one that sends blocks."""
    by_sample, by_block = CrossDeviceDerived(_rig()), CrossDeviceDerived(_rig())
    for derived in (by_sample, by_block):
        derived.feed(sample("b", 0.9, 4.0, uncertainty=0.5, status=int(Status.ABOVE_RANGE)))
    times = [1.0, 1.5, 1.9, 2.4]
    single = [by_sample.feed(sample("a", t, t, uncertainty=0.1))[0] for t in times]
    stamps = np.array([int(t * 1e9) for t in times])
    block = by_block.feed_block(SampleBlock("a", stamps, np.array(times), "V", "f:d:1", np.full(4, 0.1)))[0]
    assert block.values.tolist() == [s.value for s in single]
    assert block.status is not None
    assert block.status.tolist() == [s.status for s in single]
    assert block.uncertainty is not None
    assert block.uncertainty.tolist() == pytest.approx([s.uncertainty for s in single])


def test_how_old_an_input_may_be_has_to_be_said() -> None:
    """Holding a value for ever would make an old number look new."""
    with pytest.raises(RigRefused, match="how old"):
        CrossDeviceDerived(_rig(max_age_s=None))


def test_an_analyzers_channel_can_be_an_input() -> None:
    """What a program on the bus emits belongs to no device, so the derived channel lives on the bus too."""
    rig = read_channels(
        [
            {"name": "a", "device": "d1", "field": "x", "unit": "V"},
            {"name": "peak", "unit": "V", "analyzer": "peaks"},
            made_of("low", "difference", "peak", "a", unit="V", max_age_s=1),
        ]
    )
    bound = ChannelBinder("d1", "sim", [DeviceField("x", "float64", "V")], rig)
    assert bound.channel_names == ("a",)
    derived = CrossDeviceDerived(rig)
    derived.feed(sample("a", 1, 2.0))
    assert _told(derived.feed(sample("peak", 1, 5.0))) == [("low", 3.0, 0)]
