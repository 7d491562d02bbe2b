"""Handlers: what a sequence and its topics tell, and every form their rows can take."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.store.bundle_files import TIME, XS, table, write_bundle, xs

import gapless
from gapless import IMU, Message, OnErrorPolicy, Vector3d
from gapless.catalog.annotations import append_annotation
from gapless.client.notification import Notification
from gapless.client.sequence_handler import SequenceHandler
from gapless.errors import MissingExtra, NotFound
from gapless.model.ontology.registry import OntologyRegistry
from gapless.store.reserved import EVENTS

MIXED = pa.schema(
    [
        TIME,
        pa.field("v", pa.float64(), metadata={"unit": "V"}),
        pa.field("n", pa.int64()),
        pa.field("b", pa.bool_()),
        pa.field("s", pa.string()),
        pa.field("f", pa.list_(pa.float32(), 2), nullable=False),
    ]
)
BIG = 2**62 + 1  # not a float64


def _handler(path: Path) -> SequenceHandler:
    return SequenceHandler(path, OntologyRegistry())


def _mixed(path: Path) -> gapless.TopicHandler:
    columns = [[1.5, None, float("nan")], [BIG, None, 3], [True, None, False], ["<b>", None, "z"]]
    part = table(MIXED, [1, 2, 3], [*columns, [[1, 2], [3, 4], [5, 6]]], [0, 1, 2])
    write_bundle(path, {"t": (MIXED, [part])})
    return _handler(path).topic("t")


def test_a_sequence_handler_tells_what_the_sequence_is(tmp_path: Path) -> None:
    """State, outcome, group, metadata, topics, ledger, times and identity."""
    manifest = write_bundle(tmp_path, {"a": (XS, [xs([5, 9])]), "b": (XS, [])}, metadata={"k": {"x": 1}})
    handler = _handler(tmp_path)
    assert (handler.name, handler.state, handler.outcome, handler.group) == (
        "run",
        "sealed",
        "completed",
        "field",
    )
    assert (handler.metadata, handler.topics, "a" in handler) == ({"k": {"x": 1}}, ["a", "b"], True)
    assert (handler.start_ns, handler.end_ns, handler.duration_ns) == (5, 9, 4)
    assert handler.ledger == {"produced": 2, "written": 2, "dropped": 0, "gapped": 0}
    assert handler.content_digest == manifest["content_digest"]
    assert [topic.name for topic in handler] == ["a", "b"]


def test_a_topic_handler_tells_what_the_topic_is(tmp_path: Path) -> None:
    """Schema, units, metadata, counts and times of one topic; an unknown topic is NotFound."""
    write_bundle(tmp_path, {"a": (XS, [xs([5, 9])])})
    topic = _handler(tmp_path).topic("a")
    assert (topic.name, topic.sequence_name, topic.rows, topic.start_ns, topic.end_ns) == (
        "a",
        "run",
        2,
        5,
        9,
    )
    assert (topic.units, topic.metadata, topic.ontology_tag) == ({"x": "V"}, {"sensor": "a"}, None)
    assert topic.schema.names == ["timestamp_ns", "x", "label"]
    with pytest.raises(NotFound):
        _handler(tmp_path).topic("nope")


def test_pandas_keeps_units_and_every_integer(tmp_path: Path) -> None:
    """Units stand in attrs; an integer beside a null is not rounded through a float."""
    frame = _mixed(tmp_path).to_pandas()
    assert frame.attrs["units"] == {"v": "V"}
    assert list(frame.columns) == MIXED.names
    assert frame["n"].tolist() == [BIG, pd.NA, 3]
    assert frame["b"].tolist() == [True, pd.NA, False]
    assert frame["timestamp_ns"].dtype == np.int64


def test_polars_and_any_arrow_tool_read_a_topic(tmp_path: Path) -> None:
    """to_polars and the Arrow C stream give the rows of the topic."""
    topic = _mixed(tmp_path)
    assert topic.to_polars(["n"])["n"].to_list() == [BIG, None, 3]
    assert pa.table(topic).num_rows == 3
    assert pl.DataFrame(topic)["s"].to_list() == ["<b>", None, "z"]


def test_numpy_arrays_are_exact(tmp_path: Path) -> None:
    """Nulls are NaN in floats and masked elsewhere; fixed-size lists have a second dimension."""
    arrays = _mixed(tmp_path).to_numpy()
    assert np.isnan(arrays["v"]).tolist() == [False, True, True]
    assert isinstance(arrays["n"], np.ma.MaskedArray)
    assert (arrays["n"].tolist(), arrays["b"].tolist()) == ([BIG, None, 3], [True, None, False])
    assert (arrays["f"].shape, arrays["f"].dtype) == ((3, 2), np.float32)
    assert _mixed(tmp_path / "again").to_numpy(["f"], 2, 3)["f"].tolist() == [[3.0, 4.0]]


def test_a_missing_library_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pandas the error says what to install."""
    topic = _mixed(tmp_path)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"pip install 'gapless\[pandas\]'"):
        topic.to_pandas()


def test_an_answer_without_pandas_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a query found says the same; as an Arrow table it needs nothing."""
    with gapless.connect(tmp_path / "store") as client:
        with client.sequence_create("walk") as sequence:
            sequence.log("x", 1.0, timestamp_ns=0)
        answer = client.query("x:value > 0")
        monkeypatch.setitem(sys.modules, "pandas", None)
        with pytest.raises(MissingExtra, match=r"pip install 'gapless\[pandas\]'"):
            answer.to_pandas()
        assert answer.to_arrow().num_rows == 1


def test_a_notebook_shows_escaped_rows_without_scripts(tmp_path: Path) -> None:
    """The page has the unit in the head and no markup from the data."""
    page = _mixed(tmp_path)._repr_html_()
    assert "v [V]" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "<script" not in page


def test_a_sketch_is_svg_and_can_be_saved(tmp_path: Path) -> None:
    """sketch() draws the first number, with its unit; an empty topic draws too."""
    write_bundle(tmp_path / "s", {"a": (XS, [xs(range(100))]), "e": (XS, [])})
    handler = _handler(tmp_path / "s")
    sketch = handler.topic("a").sketch()
    assert "x [V]" in sketch.svg()
    assert "polyline" in sketch._repr_html_()
    assert sketch.save(tmp_path / "a.svg").read_text(encoding="utf-8") == sketch.svg()
    assert "no rows" in handler.topic("e").sketch("x").svg()


def test_messages_come_back_as_the_objects_that_were_pushed(tmp_path: Path) -> None:
    """Iterating a topic yields Message objects of the ontology type, in time order."""
    pushed = [IMU(acceleration=Vector3d(n, 0.0, 9.81)) for n in range(5)]
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            imu = seq.topic_create("imu", ontology_type=IMU)
            for n, data in enumerate(pushed):
                imu.push(Message(timestamp_ns=10 - n, data=data))
        topic = client.sequence_handler("s").topic("imu")
        assert list(topic) == [Message(10 - n, pushed[n]) for n in reversed(range(5))]
        assert [m.timestamp_ns for m in topic.messages(7, 9)] == [7, 8]
        assert topic.ontology_tag == "IMU"


def test_rows_of_an_unknown_type_read_without_its_class(tmp_path: Path) -> None:
    """A tag that nobody here declares gives rows with attributes by column name."""
    unknown = {"tag": "Nowhere", "version": 1, "fingerprint": "0" * 16}
    write_bundle(tmp_path, {"a": (XS, [xs([5])])}, ontologies={"a": unknown})
    (message,) = _handler(tmp_path).topic("a")
    assert (message.timestamp_ns, message.data.x, message.data.label) == (5, 0.0, "row 0")


def test_topics_join_in_time(tmp_path: Path) -> None:
    """merge, rows, messages and align go over topics by name; all of them when none is named."""
    write_bundle(tmp_path, {"a": (XS, [xs([1, 3])]), "b": (XS, [xs([2])])})
    handler = _handler(tmp_path)
    assert [row[:3] for row in handler.rows()] == [(1, "a", 0.0), (2, "b", 0.0), (3, "a", 1.0)]
    assert sum(merged.num_rows for merged in handler.merge(["a"])) == 2
    assert [(name, m.timestamp_ns, m.data.x) for name, m in handler.messages()] == [
        ("a", 1, 0.0), ("b", 2, 0.0), ("a", 3, 1.0),
    ]  # fmt: skip
    aligned = handler.align(on="b", columns={"a": ["x"], "b": []})
    assert aligned.to_pydict() == {"timestamp_ns": [2], "a:x": [0.0]}
    assert sum(batch.num_rows for batch in handler.alignment(rate_hz="1/1").batches()) == 1


def test_notifications_come_from_manifest_and_events(tmp_path: Path) -> None:
    """What the record lists and what _events holds as kind notification, in order of time."""
    data = json.dumps({"row": 1})
    event = [["warning"] * 2, ["notification", "other"], ["a", ""], ["refused", "x"], [data, None]]
    write_bundle(
        tmp_path,
        {"a": (XS, [xs([1])]), "_events": (EVENTS, [table(EVENTS, [7, 8], event, [0, 1])])},
        record={"notifications": [{"timestamp_ns": 9, "severity": "error", "message": "boom"}]},
    )
    assert _handler(tmp_path).notifications() == [
        Notification("refused", 7, "warning", "a", {"row": 1}),
        Notification("boom", 9, "error"),
    ]


def test_a_pending_sequence_notifies_of_its_error(tmp_path: Path) -> None:
    """The error that ended a recording under the policy Report can be read before it is sealed."""

    def fail(client: gapless.Client) -> None:
        with client.sequence_create("s", on_error=OnErrorPolicy.Report) as seq:
            seq.log("oven/pv", 21.3, unit="degC")
            raise RuntimeError("the oven is on fire")

    with gapless.connect(tmp_path) as client:
        with pytest.raises(RuntimeError):
            fail(client)
        handler = client.sequence_handler("s")
        assert (handler.state, handler.outcome, handler.topics) == ("pending", None, ["oven/pv"])
        assert "on fire" in handler.notifications()[0].message
        assert handler.topic("oven/pv").rows == 1


def test_annotations_and_artifacts_are_found_beside_the_rows(tmp_path: Path) -> None:
    """Labels are read from the bundle; artifacts by name, with NotFound for others and for remote ones."""
    listed = {"log": {"media_type": "text/plain", "path": "artifacts/log"}, "far": {"uri": "s3://b/x"}}
    write_bundle(tmp_path, {"a": (XS, [xs([1])])}, artifacts=listed)
    append_annotation(tmp_path, 1, 2, "bump")
    handler = _handler(tmp_path)
    assert [note.name for note in handler.annotations()] == ["bump"]
    assert sorted(handler.artifacts) == ["far", "log"]
    assert handler.artifact_path("log") == tmp_path / "artifacts" / "log"
    with pytest.raises(NotFound, match="outside the store"):
        handler.artifact_path("far")
    with pytest.raises(NotFound, match="no artifact"):
        handler.artifact_path("nope")


def test_a_handler_of_an_open_sequence_follows_it(tmp_path: Path) -> None:
    """While it is recorded: state open, durable rows, tail; after the seal, without a new handler, sealed."""
    with gapless.connect(tmp_path) as client, client.sequence_create("s") as seq:
        seq.log("t", 1.0)
        seq.flush()
        handler = client.sequence_handler("s")
        topic = handler.topic("t")
        tail = topic.tail(poll_s=0.001)
        assert (handler.state, handler.owner_alive, topic.rows) == ("open", True, 1)
        seq.log("t", 2.0)
        seq.flush()
        assert next(tail).num_rows == 1
        assert topic.rows == 2
    handler.reload()
    assert (handler.state, handler.outcome) == ("sealed", "completed")
    assert list(tail) == []


def test_layers_are_read_with_their_base(tmp_path: Path) -> None:
    """A layer written through the client appears in its sequence unless it is left out."""
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            seq.log("t", 1.0)
        with client.sequence_update("s", "late") as seq:
            seq.log("u", 2.0)
        assert client.sequence_handler("s").topics == ["t", "u"]
        assert client.sequence_handler("s").layers == ["late"]
        assert client.sequence_handler("s", layers=[]).topics == ["t"]
