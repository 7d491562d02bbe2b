"""What a rig may say of its channels, and how they lie on disk."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import gapless
from gapless.acquire.adapter import DeviceField
from gapless.acquire.calibration.resolution import (
    calibration_entry,
    find_field,
    resolve_channels,
    snapshot,
)
from gapless.acquire.channel import ChannelSpec, read_channels
from gapless.acquire.emission import ChannelSample, SampleBlock
from gapless.acquire.group import block_columns, columns_of, group_schema, groups_of, values_of
from gapless.errors import RigRefused
from gapless.model.metadata import canonical_json

FIELDS = {
    "heater": [
        DeviceField("pv", "float64", "degF"),
        DeviceField("code", "int64"),
        DeviceField("mode", "string"),
        DeviceField("wave", "float64", "mV", shape=(4,)),
        DeviceField("status", "json"),
        DeviceField("a.b", "float64", "V"),
    ]
}


def channel(**more: Any) -> dict[str, Any]:
    """Return the table of a channel of the heater."""
    return {"name": "pv", "device": "heater", "field": "pv", "unit": "degC"} | more


def derived(function: str = "ratio", inputs: Any = ("a", "b"), **more: Any) -> dict[str, Any]:
    """Return the table of a derived channel."""
    return {"name": "r", "unit": "1", "derived": {"function": function, "inputs": inputs, **more}}


def volts(name: str, device: str = "d") -> dict[str, Any]:
    """Return the table of a plain channel."""
    return {"name": name, "device": device, "field": "v", "unit": "V"}


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ([channel(slope=2)], "slope"),
        ([channel(unit="")], "has a unit"),
        ([channel(name="_pv")], "may not begin with '_'"),
        ([channel(name="a//b")], "may not begin or end with '/'"),
        ([channel(), channel(name="PV")], "there is another channel 'pv'"),
        ([channel(device=None, field=None)], "a device and a field, or derived, or analyzer"),
        ([channel(field=None)], "names its field"),
        ([channel(analyzer="x")], "a device and a field, or derived, or analyzer"),
        (
            [channel(dtype="int64", calibration={"kind": "linear", "gain": 2})],
            "calibration: for float64 only",
        ),
        ([channel(dtype="string", keep_raw=True)], "keep_raw: for float64 only"),
        ([channel(dtype="text")], "dtype"),
        ([channel(valid_range=[5, 1])], "valid_range rises"),
        ([channel(alarm={})], "low, high or both"),
        ([channel(alarm={"low": 5, "high": 1})], "below the high"),
        ([channel(dtype="bool", alarm={"low": 5})], "watches a number"),
        ([channel(alarm={"high": 1, "on_failure": "explode"})], "on_failure"),
        ([channel(uncertainty={"kind": "absolute", "magnitude": -1})], "greater than or equal to 0"),
        ([channel(uncertainty={"kind": "absolute", "magnitude": 1, "coverage_factor": 0})], "greater than 0"),
        ([channel(calibration={"kind": "lookup", "table": [[1, 0], [0, 0]]})], "not sorted"),
        ([volts("a"), derived()], "no channel 'b'"),
        ([volts("a"), volts("b"), derived(inputs=["a"])], "has two inputs, not 1"),
        ([volts("a"), derived("mean", ["a", "a"])], "each input once"),
        ([volts("a"), volts("b"), derived(correlation=2)], "correlate between -1 and 1"),
        ([derived("sum", ["r"])], "derived from itself"),
        ([volts("a"), volts("b"), derived() | {"keep_raw": True}], "a derived value has nothing raw"),
        ([volts("a"), volts("b") | {"dtype": "string"}, derived()], "cannot be derived from the text 'b'"),
        ([volts("a") | {"group": "g"}, volts("b", "e") | {"group": "g"}], "a group has one device"),
        ([volts("a") | {"group": "g"}, volts("b") | {"group": "G"}], "is also written 'g'"),
        ([volts("a"), volts("a_status")], "its column 'a_status' is one of channel 'a'"),
        ([volts("timestamp_ns")], "one of the group itself"),
    ],
)
def test_what_cannot_be_meant_is_refused(tables: list[dict[str, Any]], words: str) -> None:
    """When the rig is read, with a sentence that names the channel."""
    with pytest.raises(RigRefused, match=words):
        read_channels(tables)


def test_all_problems_are_told_at_once() -> None:
    """Nobody mends a rig one error at a time."""
    with pytest.raises(RigRefused) as caught:
        read_channels([channel(unit=""), channel(name="b", slope=1), volts("x"), volts("X")])
    assert [word in str(caught.value) for word in ("has a unit", "slope", "another channel 'x'")] == [
        True
    ] * 3


def test_defaults_say_what_is_meant() -> None:
    """The group is the device's name; a derived channel has none; a single uncertainty may stand alone."""
    (spec,) = read_channels([channel(uncertainty={"kind": "absolute", "magnitude": 1, "coverage_factor": 2})])
    assert spec.group_name == "heater"
    assert spec.coverage_factor == 2.0
    assert spec.column_names == ("pv", "pv_uncertainty", "pv_status")
    a, b, ratio = read_channels([volts("a"), volts("b", "e"), derived(max_age_s=1)])
    assert (a.group_name, b.group_name, ratio.group_name) == ("d", "e", "derived")
    assert read_channels([a, ratio, b]) == (a, ratio, b)


# -- against the devices ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("pv", (0, ())),
        ("wave[2]", (3, (2,))),
        ("status.limits[1].high", (4, ("limits", 1, "high"))),
        ("a.b", (5, ())),
    ],
)
def test_a_path_leads_to_a_field_and_into_it(path: str, found: object) -> None:
    """Keys by dot, items by number; a field whose own name has a dot wins."""
    assert find_field(path, FIELDS["heater"]) == found


@pytest.mark.parametrize("path", ["sv", "pvx", "status..x", "status[x]", "status[-1]", "status.a b]"])
def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    """The message lists the fields."""
    with pytest.raises(RigRefused, match=r"no such field|no path"):
        find_field(path, FIELDS["heater"])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"device": "cooler"}, "no such device"),
        ({"field": "sv"}, "no such field"),
        ({"raw_unit": "degC"}, "the device says another raw unit"),
        ({"unit": "V"}, "measure different things"),
        ({"unit": "V", "raw_unit": "°F"}, "measure different things"),
        ({"calibration": {"kind": "linear", "gain": 2, "unit": "V"}}, "measure different things"),
        ({"field": "wave"}, "holds 4 float64"),
        ({"field": "wave[4]"}, "holds 4 float64"),
        ({"field": "pv[0]"}, "holds one float64"),
        ({"field": "mode"}, "another kind"),
        ({"field": "mode.x"}, "is text"),
        ({"field": "code", "dtype": "string"}, "another kind"),
    ],
)
def test_a_channel_that_its_device_cannot_feed_is_refused(more: dict[str, Any], words: str) -> None:
    """Before the device is opened."""
    with pytest.raises(RigRefused, match=words):
        resolve_channels(read_channels([channel(**more)]), FIELDS)


def test_the_device_says_the_raw_unit() -> None:
    """And the same unit in another spelling is no contradiction."""
    said, spelled, nested = resolve_channels(
        read_channels(
            [
                channel(),
                channel(name="b", raw_unit="°F"),
                channel(name="c", field="status.x", calibration={"kind": "linear", "gain": 1}),
            ]
        ),
        FIELDS,
    )
    assert (said.raw_unit, spelled.raw_unit, nested.raw_unit) == ("degF", "°F", None)


@pytest.mark.parametrize(
    ("function", "units", "unit", "words"),
    [
        ("sum", ("V", "mV"), "V", "takes inputs of one unit"),
        ("mean", ("degC", "degC"), "K", "keeps the unit"),
        ("difference", ("V", "V"), "A", "measure different things"),
        ("ratio", ("V", "A"), "V", "measure different things"),
        ("no_such_function", ("V", "V"), "V", "no derived function of that name"),
    ],
)
def test_a_derived_channel_of_the_wrong_unit_is_refused(
    function: str, units: tuple[str, str], unit: str, words: str
) -> None:
    """The functions that gapless brings know what comes out of them."""
    fields = {
        "d": [DeviceField("v", "float64", u) for u in units[:1]] + [DeviceField("w", "float64", units[1])]
    }
    a = volts("a") | {"unit": units[0]}
    b = volts("b") | {"unit": units[1], "field": "w"}
    with pytest.raises(RigRefused, match=words):
        resolve_channels(read_channels([a, b, derived(function) | {"unit": unit}]), fields)


# -- kept with the data ----------------------------------------------------------------------------


def _rig(gain: float = 2.0) -> tuple[ChannelSpec, ...]:
    return read_channels(
        [
            channel(
                raw_unit="mA",
                calibration={"kind": "linear", "gain": gain, "certificate": "PTB 4711"},
                uncertainty=[
                    {"kind": "absolute", "magnitude": 1, "coverage_factor": 2},
                    {"kind": "relative", "magnitude": 0.01},
                ],
                keep_raw=True,
                description="of the upper plate",
            ),
            channel(name="code", field="code", dtype="int64", unit=""),
            {"name": "twice", "unit": "degC", "derived": {"function": "mean", "inputs": ["pv"]}},
            {"name": "peak", "unit": "degC", "analyzer": "peaks"},
        ]
    )


def test_the_snapshot_holds_all_that_decides_the_values() -> None:
    """It is JSON with a digest for each channel; a channel kept as read has none."""
    document = snapshot(_rig())
    assert json.loads(canonical_json(document)) == document
    entries = document["channels"]
    assert entries["pv"]["curve"] == {"kind": "linear", "gain": 2.0, "offset": 0.0, "unit": None}
    assert entries["pv"]["raw_unit"] == "mA"
    assert entries["pv"]["coverage_factor"] == [2.0, 1.0]
    assert entries["pv"]["spec"]["calibration"]["certificate"] == "PTB 4711"
    assert [entry["digest"] is None for entry in entries.values()] == [False, True, False, True]
    assert tuple(ChannelSpec.model_validate(entry["spec"]) for entry in entries.values()) == _rig()


def test_the_digest_of_a_channel_follows_its_values_only() -> None:
    """Another gain is another calibration; another description or alarm is not."""
    (spec,) = _rig()[:1]
    digest = calibration_entry(spec)["digest"]
    assert calibration_entry(_rig(2.1)[0])["digest"] != digest
    assert calibration_entry(spec.model_copy(update={"description": "lower"}))["digest"] == digest
    assert calibration_entry(spec.model_copy(update={"valid_range": (0.0, 1.0)}))["digest"] != digest
    assert calibration_entry(spec.model_copy(update={"uncertainty": ()}))["digest"] != digest
    assert snapshot(_rig())["digest"] != snapshot(_rig(2.1))["digest"]


def test_columns_carry_their_meaning() -> None:
    """Unit, description, which column holds the uncertainty, the factor it was declared at, the curve."""
    spec = _rig()[0]
    value, spread, status, raw = columns_of(spec)
    assert [(f.name, str(f.type), f.nullable) for f in (value, spread, status, raw)] == [
        ("pv", "double", True),
        ("pv_uncertainty", "double", True),
        ("pv_status", "int8", True),
        ("pv_raw", "double", True),
    ]
    assert value.metadata == {
        b"unit": b"degC",
        b"description": b"of the upper plate",
        b"uncertainty": b"pv_uncertainty",
        b"coverage_factor": b"[2.0, 1.0]",
        b"calibration_digest": calibration_entry(spec)["digest"].encode(),
        b"raw_unit": b"mA",
    }
    assert spread.metadata[b"unit"] == b"degC"
    assert raw.metadata[b"unit"] == b"mA"


def test_groups_are_narrow_typed_topics() -> None:
    """A group of a device numbers its records; one of no device names them whole."""
    groups = groups_of(_rig())
    assert [(g.name, g.topic, g.device) for g in groups.values()] == [
        ("heater", "channels/heater", "heater"),
        ("derived", "channels/derived", None),
    ]
    heater, made = groups["heater"], groups["derived"]
    assert heater.schema().names == [
        "timestamp_ns", "source_record", "pv", "pv_uncertainty", "pv_status", "pv_raw", "code", "code_status",
    ]  # fmt: skip
    assert str(heater.schema().field("code").type) == "int64"
    assert heater.metadata("watlow")["source_record_prefix"] == "watlow:heater:"
    assert heater.source("watlow:heater:42") == 42
    assert made.schema().names[:2] == ["timestamp_ns", "source_record_id"]
    assert made.source("watlow:heater:42") == "watlow:heater:42"
    assert made.schema().names[2:] == [
        "twice", "twice_uncertainty", "twice_status", "peak", "peak_uncertainty", "peak_status",
    ]  # fmt: skip


def test_samples_and_blocks_fit_their_columns(tmp_path: Any) -> None:
    """What the functions give is what the store takes, in order, nulls where there is nothing."""
    spec = _rig()[0]
    sample = ChannelSample("pv", 5, 20.0, "degC", "f:heater:1", 0.5, 1, 10.0)
    assert values_of(spec, sample) == [20.0, 0.5, 1, 10.0]
    heater = groups_of(_rig())["heater"]
    assert heater.row({"pv": sample}) == [20.0, 0.5, 1, 10.0, None, None]
    block = SampleBlock(
        "pv",
        np.array([6, 7]),
        np.array([21.0, 22.0]),
        "degC",
        "f:heater:2",
        np.array([np.nan, 0.5]),
        np.array([4, 0], np.int8),
        np.array([10.5, 11.0]),
    )
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("s") as sequence:
            topic = sequence.topic_create(
                heater.topic, heater.metadata("f"), schema=group_schema(heater.channels)
            )
            topic.push_row(5, 1, *heater.row({"pv": sample}))
            topic.push_columns(block.timestamps_ns, {"source_record": [2, 2], **block_columns(spec, block)})
        table = pa.Table.from_batches(client.sequence_handler("s").topic(heater.topic).scan())
    assert table.column("pv").to_pylist() == [20.0, 21.0, 22.0]
    assert table.column("pv_uncertainty").to_pylist() == [0.5, None, 0.5]
    assert table.column("pv_status").to_pylist() == [1, 4, 0]
    assert table.column("pv_raw").to_pylist() == [10.0, 10.5, 11.0]
    assert table.column("code").null_count == 3
    assert table.schema.field("pv").metadata[b"unit"] == b"degC"
