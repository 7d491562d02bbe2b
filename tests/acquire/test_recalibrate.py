"""New curves over kept raw values: a layer with lineage, the base untouched, nothing guessed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import gapless
from gapless.acquire.adapter import DeviceField
from gapless.acquire.binding import ChannelBinder
from gapless.acquire.calibration.resolution import calibration_entry, resolve_channels, snapshot
from gapless.acquire.channel import ChannelSpec, read_channels
from gapless.acquire.emission import SampleStatus as Status
from gapless.acquire.emission import SourceRecord
from gapless.acquire.group import groups_of
from gapless.acquire.recalibrate import plan_recalibration, recalibrate
from gapless.cli.recalibrate import configure, run
from gapless.errors import NotFound, RigRefused, SequenceOpen
from gapless.model.metadata import canonical_json

FIELDS = [DeviceField("i", "float64", "mA"), DeviceField("t", "float64", "degC"), DeviceField("n", "int64")]
OLD = {"kind": "linear", "gain": 10.0, "offset": -40.0}
NEW = {"kind": "linear", "points": [[4.0, 1.0], [20.0, 161.0]]}
SURE = {"kind": "input_noise", "magnitude": 0.02, "coverage_factor": 2}


def rig() -> tuple[ChannelSpec, ...]:
    """Return the channels of a rig with one device."""

    def bound(name: str, field: str, unit: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "device": "d", "field": field, "unit": unit, **more}

    return resolve_channels(
        read_channels(
            [
                bound("p", "i", "kPa", calibration=OLD, keep_raw=True, valid_range=(4.0, 20.0)),
                bound("q", "i", "kPa", calibration=OLD),
                bound("t", "t", "degC"),
                bound("n", "n", "", dtype="int64"),
                {"name": "p_t", "unit": "kPa/degC", "derived": {"function": "ratio", "inputs": ["p", "t"]}},
            ]
        ),
        {"d": FIELDS},
    )


VALUES = [(3.0, 20.0, 1), (4.0, 21.0, 2), (None, 22.0, 3), (12.0, None, 4), (20.0, 24.0, None)]


def write(client: gapless.Client, name: str = "run", rows: int = len(VALUES)) -> None:
    """Record a sequence as a run does, through the binder and the groups."""
    channels = rig()
    binder = ChannelBinder("d", "sim", FIELDS, channels)
    with client.sequence_create(name) as sequence:
        path = client.path / "calibration.json"
        path.write_bytes(canonical_json(snapshot(channels)))
        sequence.add_artifact(path, "calibration.json", "application/json")
        groups = list(groups_of(channels).values())
        topics = [sequence.topic_create(g.topic, g.metadata("sim"), schema=g.schema()) for g in groups]
        for n in range(rows):
            record = SourceRecord("sim", "d", n, 1_000 + n, 0, VALUES[n % len(VALUES)])
            by_name = {sample.channel: sample for sample in binder.bind(record)}
            for group, topic in zip(groups, topics, strict=True):
                topic.push_row(1_000 + n, group.source(record.source_record_id), *group.row(by_name))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[gapless.Client]:
    """A store with one recorded sequence ``run``."""
    with gapless.connect(tmp_path / "store") as connected:
        write(connected)
        yield connected


def table(client: gapless.Client, topic: str, name: str = "run") -> pa.Table:
    """Return a topic, layers included."""
    handler = client.sequence_handler(name).topic(topic)
    return pa.Table.from_batches(handler.scan(), schema=handler.schema)


def test_the_layer_holds_the_raw_values_under_the_new_curve(client: gapless.Client) -> None:
    """Values, uncertainty, flags; what had no value has none, and every row keeps its time and record."""
    assert recalibrate(
        client, "run", {"channels": {"p": {"calibration": NEW, "uncertainty": SURE}}}, author="ada"
    )
    made = table(client, "recalibrated/d")
    assert made.column_names == ["timestamp_ns", "source_record", "p", "p_uncertainty", "p_status"]
    assert made.column("p").to_pylist() == pytest.approx([-9.0, 1.0, None, 81.0, 161.0])
    assert made.column("p_status").to_pylist() == [Status.BELOW_RANGE, 0, Status.DEVICE_INVALID, 0, 0]
    assert made.column("p_uncertainty").to_pylist() == pytest.approx([0.1, 0.1, None, 0.1, 0.1])
    assert made.column("timestamp_ns").to_pylist() == [1_000, 1_001, 1_002, 1_003, 1_004]
    assert made.column("source_record").to_pylist() == [0, 1, 2, 3, 4]
    assert made.schema.field("p").metadata[b"unit"] == b"kPa"
    assert client.verify("run", deep=True) == []


def test_what_is_recalibrated_is_what_the_new_curve_would_have_recorded(client: gapless.Client) -> None:
    """Bit for bit, against a binder that had the new curve from the start."""
    change = {"calibration": NEW, "uncertainty": SURE, "valid_range": [5.0, 19.0]}
    recalibrate(client, "run", {"channels": {"p": change}}, author="ada")
    (spec,) = (spec for spec in rig() if spec.name == "p")
    other = ChannelSpec.model_validate(spec.model_dump() | change)
    binder = ChannelBinder("d", "sim", FIELDS, [other])
    samples = [binder.bind(SourceRecord("sim", "d", n, 0, 0, values))[0] for n, values in enumerate(VALUES)]
    made = table(client, "recalibrated/d")
    assert made.column("p").to_pylist() == [s.value for s in samples]
    assert made.column("p_status").to_pylist() == [s.status for s in samples]
    assert made.column("p_uncertainty").to_pylist() == [s.uncertainty for s in samples]


def test_the_layer_says_where_it_comes_from(client: gapless.Client) -> None:
    """Base digest, both calibration digests, source topic, author, what it did not make again."""
    base = client.sequence_handler("run").content_digest
    old = {spec.name: calibration_entry(spec)["digest"] for spec in rig()}
    name = recalibrate(
        client, "run", {"channels": {"p": {"calibration": NEW}}}, layer_name="PTB", author="ada"
    )
    assert name == "PTB"
    (layer,) = (client.path / "sequences" / "run" / "layers").iterdir()
    lineage = json.loads((layer / "manifest.json").read_bytes())["content"]["metadata"]["recalibration"]
    assert lineage["base"] == {"sequence": "run", "content_digest": base}
    assert lineage["author"] == "ada"
    assert lineage["outdated_derived_channels"] == ["p_t"]
    topic = lineage["topics"]["recalibrated/d"]
    assert (topic["source_topic"], topic["rows"]) == ("channels/d", 5)
    found = topic["channels"]["p"]
    assert found["raw_column"] == "p_raw"
    assert found["old_calibration_digest"] == old["p"] != found["new_calibration_digest"]
    kept = json.loads(client.sequence_handler("run").artifact_path("recalibration.json").read_bytes())
    assert kept["channels"]["p"]["digest"] == found["new_calibration_digest"]
    field = client.sequence_handler("run").topic("recalibrated/d").schema.field("p")
    assert field.metadata[b"calibration_digest"].decode() == found["new_calibration_digest"]


def test_the_base_is_untouched(client: gapless.Client) -> None:
    """Its digest, its rows, its curves."""
    before = client.sequence_handler("run", layers=[])
    digest, rows = before.content_digest, table(client, "channels/d")
    recalibrate(client, "run", {"channels": {"p": {"calibration": NEW}}}, author="ada")
    assert client.sequence_handler("run", layers=[]).content_digest == digest
    assert table(client, "channels/d").equals(rows)
    curves = json.loads(client.sequence_handler("run").artifact_path("calibration.json").read_bytes())
    assert curves == json.loads(canonical_json(snapshot(rig())))


def test_a_channel_without_a_curve_is_its_own_raw_value(client: gapless.Client) -> None:
    """An identity keeps nothing beside the value because the value is it."""
    new = {"kind": "polynomial", "coefficients": [0.5, 1.0]}
    recalibrate(client, "run", {"channels": {"t": {"calibration": new}}}, author="ada")
    assert table(client, "recalibrated/d").column("t").to_pylist() == [20.5, 21.5, 22.5, None, 24.5]


def test_each_recalibration_has_topics_of_its_own(client: gapless.Client) -> None:
    """Two of them in one topic would be read as one, twice as long."""
    for _ in range(3):
        recalibrate(client, "run", {"channels": {"p": {"calibration": NEW}}}, author="ada")
    handler = client.sequence_handler("run")
    made = [topic for topic in handler.topics if topic.startswith("recalibrated")]
    assert made == ["recalibrated/d", "recalibrated-2/d", "recalibrated-3/d"]
    assert [handler.topic(topic).rows for topic in made] == [5, 5, 5]
    assert handler.layers == ["recalibrated"] * 3


def test_what_is_left_out_stays_as_it_was(client: gapless.Client) -> None:
    """A new uncertainty alone keeps the curve and the believed range."""
    recalibrate(client, "run", {"channels": {"p": {"uncertainty": SURE}}}, author="ada")
    made = table(client, "recalibrated/d")
    assert made.column("p").to_pylist() == table(client, "channels/d").column("p").to_pylist()
    assert made.column("p_status").to_pylist()[0] == Status.BELOW_RANGE
    assert made.column("p_uncertainty").to_pylist()[0] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"channels": {"q": {"calibration": NEW}}}, "'q': its raw values were not kept"),
        ({"channels": {"n": {"calibration": NEW}}}, "'n': it has no curve"),
        ({"channels": {"p_t": {"calibration": NEW}}}, "'p_t': it has no curve"),
        ({"channels": {"z": {"calibration": NEW}}}, "'z': the sequence has no such channel"),
        ({"channels": {}}, "at least 1"),
        ({"channels": {"p": {"slope": 2}}}, "slope"),
        (
            {"channels": {"p": {"calibration": {"kind": "linear", "gain": 1, "unit": "V"}}}},
            "measure different",
        ),
        ({"channels": {"q": {"calibration": NEW}, "z": {}}}, "'q'.*'z'"),
        ({}, "channels"),
    ],
)
def test_what_cannot_be_recalibrated_is_refused_by_name(
    client: gapless.Client, document: dict[str, Any], words: str
) -> None:
    """And nothing is written."""
    with pytest.raises(RigRefused, match=words):
        recalibrate(client, "run", document, author="ada")
    assert client.sequence_handler("run").layers == []


def test_only_sealed_runs_with_channels_are_recalibrated(client: gapless.Client) -> None:
    """A missing one, one without curves, one that is still being recorded."""
    document = {"channels": {"p": {"calibration": NEW}}}
    with pytest.raises(NotFound):
        recalibrate(client, "nothing", document, author="ada")
    with client.sequence_create("plain") as sequence:
        sequence.log("x", 1.0)
        with pytest.raises(SequenceOpen):
            recalibrate(client, "plain", document, author="ada")
    with pytest.raises(NotFound, match="without channels"):
        recalibrate(client, "plain", document, author="ada")


def test_files_are_toml_or_json(client: gapless.Client, tmp_path: Path) -> None:
    """A file that is neither, or is not there, says so."""
    toml, js, bad = tmp_path / "new.toml", tmp_path / "new.json", tmp_path / "bad.toml"
    toml.write_text("[channels.p]\ncalibration = {kind = 'linear', gain = 1}\n", encoding="utf-8")
    js.write_text(json.dumps({"channels": {"p": {"calibration": NEW}}}), encoding="utf-8")
    bad.write_text("[channels.p\n", encoding="utf-8")
    digests = {
        plan_recalibration(client, "run", path).topics[0].channels[0].new_digest for path in (toml, js)
    }
    assert len(digests) == 2
    with pytest.raises(RigRefused, match=r"bad\.toml"):
        plan_recalibration(client, "run", bad)
    with pytest.raises(NotFound, match="no such calibration file"):
        plan_recalibration(client, "run", tmp_path / "none.toml")


def test_a_long_sequence_passes_in_batches(client: gapless.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than one batch holds; none is lost, none held longer than its batch."""
    from gapless.acquire import recalibrate as module

    sizes: list[int] = []
    columns = module._columns

    def counted(batch: pa.RecordBatch, *more: Any) -> list[pa.Array]:
        sizes.append(batch.num_rows)
        return columns(batch, *more)

    monkeypatch.setattr(module, "_columns", counted)
    write(client, "long", rows=70_000)
    recalibrate(client, "long", {"channels": {"p": {"calibration": NEW}}}, author="ada")
    assert sum(sizes) == 70_000
    assert len(sizes) > 1
    made = table(client, "recalibrated/d", "long").column("p").to_numpy()
    assert np.array_equal(made, np.tile([-9.0, 1.0, np.nan, 81.0, 161.0], 14_000), equal_nan=True)


def _run(client: gapless.Client, *arguments: str) -> int:
    import argparse

    parser = argparse.ArgumentParser()
    configure(parser)
    return run(parser.parse_args([*arguments, "--store", str(client.path)]))


def test_the_verb_writes_the_layer(
    client: gapless.Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--dry-run tells and writes nothing; then it writes and names the layer and what is outdated."""
    new = tmp_path / "new.toml"
    new.write_text("[channels.p]\ncalibration = {kind = 'linear', gain = 1}\n", encoding="utf-8")
    assert _run(client, "run", str(new), "--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["dry_run"], told["layer"], list(told["topics"])) == (True, None, ["recalibrated/d"])
    assert client.sequence_handler("run").layers == []
    assert _run(client, "@last", str(new), "--name", "PTB", "--author", "ada") == 0
    printed = capsys.readouterr()
    assert "run: recalibrated p: 5 rows of channels/d to recalibrated/d" in printed.out
    assert "run: wrote layer PTB" in printed.out
    assert "p_t" in printed.err
    assert client.sequence_handler("run").layers == ["PTB"]
