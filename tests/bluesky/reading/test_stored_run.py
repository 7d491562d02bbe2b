"""A stored run is read by stream and by seq_num, whatever order its documents came in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.bluesky.recording.run_documents import (
    BEGIN_S,
    Doc,
    data_key,
    descriptor_document,
    event_document,
    new_uid,
    start_document,
    stop_document,
)

import gapless
from gapless.bluesky.lossless import decode
from gapless.bluesky.run_writer import RunWriter
from gapless.bluesky.stored_run import StoredRun
from gapless.client.client import Client
from gapless.errors import ArgumentRefused, NotFound

KEYS = {"x": data_key(units="mm"), "n": data_key("integer")}


def events_of(descriptor: Doc, numbers: list[int]) -> list[Doc]:
    """Return events of these seq_nums; x tells the place at which each came."""
    return [event_document(descriptor, n, {"x": float(at), "n": n}) for at, n in enumerate(numbers)]


def record(client: Client, numbers: list[int], **words: Any) -> tuple[StoredRun, list[Doc]]:
    """Record a run of events with these seq_nums, one by one."""
    start = start_document()
    descriptor = descriptor_document(start, KEYS, **words)
    run = RunWriter(client, start)
    run("descriptor", descriptor)
    events = events_of(descriptor, numbers)
    for event in events:
        run("event", event)
    run("stop", stop_document(start))
    return StoredRun(client, start["uid"]), events


def column(table: pa.Table, name: str) -> list[Any]:
    """Return a column as a list."""
    values: list[Any] = table.column(name).to_pylist()
    return values


def test_a_run_tells_what_it_is(client: Client) -> None:
    """A run tells what it is."""
    start = start_document(sample={"name": "Ni", "mass": float("nan")})
    descriptor = descriptor_document(start, KEYS, configuration={"det": {"data": {"gain": 2}}})
    run = RunWriter(client, start)
    run("descriptor", descriptor)
    run("event", event_document(descriptor, 1, {"x": 0.5, "n": 1}))
    stop = stop_document(start)
    run("stop", stop)
    stored = StoredRun(client.sequence_handler(start["uid"]))
    assert np.isnan(stored.start["sample"]["mass"])
    assert stored.stop == stop
    assert (stored.uid, stored.outcome, list(stored)) == (start["uid"], "completed", ["primary"])
    assert stored.report["documents"]["event"] == 1
    assert stored["primary"].descriptors == [descriptor]
    assert stored["primary"].units == {"x": "mm", "time": "s", "ts_x": "s", "ts_n": "s"}
    assert "primary" in stored
    with pytest.raises(NotFound, match="no such stream"):
        stored["baseline"]


@pytest.mark.parametrize("numbers", [[1, 2, 3, 4], [4, 3, 2, 1], [2, 1, 4, 3]])
def test_rows_are_in_order_of_seq_num(client: Client, numbers: list[int]) -> None:
    """Rows are in order of seq num."""
    run, _ = record(client, numbers)
    table = run["primary"].read()
    assert column(table, "seq_num") == [1, 2, 3, 4]
    assert column(table, "n") == [1, 2, 3, 4]
    assert table.column_names[:5] == ["timestamp_ns", "seq_num", "time", "uid", "descriptor"]


def test_the_last_row_of_a_seq_num_wins_and_all_of_them_are_there(client: Client) -> None:
    """The last row of a seq num wins and all of them are there."""
    run, events = record(client, [1, 2, 3, 2, 3, 4])
    stream = run["primary"]
    assert column(stream.read(["x"]), "x") == [0.0, 3.0, 4.0, 5.0]
    every = stream.read(all=True)
    assert column(every, "seq_num") == [1, 2, 2, 3, 3, 4]
    assert column(every, "x") == [0.0, 1.0, 3.0, 2.0, 4.0, 5.0]
    assert column(every, "superseded") == [False, True, False, True, False, False]
    assert stream.rows == len(events) == 6


def test_only_the_chosen_columns_are_given(client: Client) -> None:
    """Only the chosen columns are given."""
    run, _ = record(client, [2, 1])
    table = run["primary"].read(["n", "ts_n"])
    assert table.column_names == ["timestamp_ns", "n", "ts_n"]
    with pytest.raises(NotFound, match="no such column"):
        run["primary"].read(["y"])


def test_a_stream_is_a_table_for_every_tool(client: Client) -> None:
    """A stream is a table for every tool."""
    run, _ = record(client, [3, 1, 2])
    stream = run["primary"]
    assert stream.to_pandas(["n"])["n"].tolist() == [1, 2, 3]
    assert stream.to_numpy()["n"].tolist() == [1, 2, 3]
    assert pa.table(stream).column("n").to_pylist() == [1, 2, 3]
    end_ns = int((BEGIN_S + 2) * 1e9)
    assert column(stream.to_arrow(["n"], end_ns=end_ns), "n") == [1]
    assert "primary" in repr(stream)


def test_keys_have_their_own_names_where_a_table_allows(client: Client) -> None:
    """Keys have their own names where a table allows."""
    keys = {"_hidden": data_key(), "time": data_key(), "ts_a": data_key(), "a": data_key()}
    start = start_document()
    descriptor = descriptor_document(start, keys)
    run = RunWriter(client, start)
    run("descriptor", descriptor)
    run("event", event_document(descriptor, 1, {"_hidden": 1.0, "time": 2.0, "ts_a": 3.0, "a": 4.0}))
    run("stop", stop_document(start))
    table = StoredRun(client, start["uid"])["primary"].read()
    assert len(set(table.column_names)) == len(table.column_names)
    assert column(table, "_hidden") == [1.0]
    assert column(table, "a") == [4.0]
    assert column(table, "time") == [BEGIN_S + 1]
    assert sorted(
        value for name in table.column_names for value in column(table, name) if value in (2.0, 3.0)
    ) == [2.0, 3.0]


def test_each_event_has_the_configuration_it_was_taken_with(client: Client) -> None:
    """Each event has the configuration it was taken with."""
    start = start_document()
    words = [{"det": {"data": {"gain": gain, "mode": mode}}} for gain, mode in ((1, "a"), (2, 5))]
    first, second = (descriptor_document(start, KEYS, configuration=one) for one in words)
    run = RunWriter(client, start)
    for number, descriptor in enumerate((first, first, second, first), 1):
        run("descriptor", descriptor)
        run("event", event_document(descriptor, number, {"x": 0.0, "n": 0}))
    run("stop", stop_document(start))
    stream = StoredRun(client, start["uid"])["primary"]
    assert [stream.configuration(n)["det"]["data"]["gain"] for n in (1, 2, 3, 4)] == [1, 1, 2, 1]
    table = stream.configurations()
    assert column(table, "det:gain") == [1, 1, 2, 1]
    assert [decode(text) for text in column(table, "det:mode")] == ["a", "a", 5, "a"]
    with pytest.raises(NotFound, match="no such event"):
        stream.configuration(5)


def test_violations_keep_their_raw_values(client: Client) -> None:
    """Violations keep their raw values."""
    start = start_document()
    descriptors = [descriptor_document(start, KEYS, name=name) for name in ("primary", "other")]
    run = RunWriter(client, start)
    for descriptor in descriptors:
        run("descriptor", descriptor)
        run("event", event_document(descriptor, 1, {"x": descriptor["name"], "n": 1}))
    run("stop", stop_document(start))
    stream = StoredRun(client, start["uid"])["primary"]
    assert column(stream.read(), "x") == [None]
    (row,) = stream.violations().to_pylist()
    assert (row["key"], row["kind"], decode(row["value"])) == ("x", "type", "primary")
    assert record(client, [1])[0]["primary"].violations().num_rows == 0


def test_an_open_run_is_read_as_far_as_it_is_durable(client: Client) -> None:
    """An open run is read as far as it is durable."""
    start = start_document()
    descriptor = descriptor_document(start, KEYS)
    run = RunWriter(client, start)
    run("descriptor", descriptor)
    first, second = events_of(descriptor, [2, 1])
    run("event", first)
    run.flush()
    stored = StoredRun(client, start["uid"])
    assert (stored.state, stored.stop, stored.start) == ("open", None, start)
    assert column(stored["primary"].read(), "seq_num") == [2]
    run("event", second)
    run.flush()
    stored.reload()
    assert column(stored["primary"].read(), "seq_num") == [1, 2]
    run("stop", stop_document(start))
    stored.reload()
    assert stored.state == "sealed"
    assert column(stored["primary"].read(), "seq_num") == [1, 2]


def test_late_events_are_read_with_the_base_and_only_once(client: Client) -> None:
    """Late events are read with the base and only once."""
    start = start_document()
    descriptor = descriptor_document(start, KEYS)
    events = events_of(descriptor, [1, 2, 4, 3])
    run = RunWriter(client, start)
    run("descriptor", descriptor)
    for event in events[:2]:
        run("event", event)
    run.seal("killed")
    late = RunWriter.of_layer(client, start["uid"], [descriptor])
    for event in events[1:]:
        late("event", event)
    other = descriptor_document(start, {"y": data_key()}, name="late")
    late("descriptor", other)
    late("event", event_document(other, 1, {"y": 1.5}))
    stop = stop_document(start)
    late("stop", stop)
    stored = StoredRun(client, start["uid"])
    table = stored["primary"].read(all=True)
    assert column(table, "seq_num") == [1, 2, 3, 4]
    assert column(table, "x") == [0.0, 1.0, 3.0, 2.0]
    assert stored["primary"].rows == 4
    assert column(stored["late"].read(), "y") == [1.5]
    assert stored.stop == stop
    assert [part.name for part in stored.parts] == [start["uid"], "late"]
    base = StoredRun(client.sequence_handler(start["uid"], layers=[]))
    assert column(base["primary"].read(), "seq_num") == [1, 2]


def test_streams_whose_names_are_no_topics_are_found(client: Client) -> None:
    """Streams whose names are no topics are found."""
    start = start_document()
    run = RunWriter(client, start)
    for name in ("_private", "a//b", "bluesky/documents"):
        descriptor = descriptor_document(start, {"x": data_key()}, name=name)
        run("descriptor", descriptor)
        run("event", event_document(descriptor, 1, {"x": float(len(name))}))
    run("stop", stop_document(start))
    stored = StoredRun(client, start["uid"])
    found = {name: column(stored[name].read(), "x") for name in stored}
    assert found == {"_private": [8.0], "a//b": [4.0], "bluesky/documents": [17.0]}


def test_a_stream_without_events_is_an_empty_table(client: Client) -> None:
    """A stream without events is an empty table."""
    run, _ = record(client, [])
    assert run["primary"].read().num_rows == 0
    assert run["primary"].read(all=True).column_names[-1] == "superseded"


def test_a_run_is_opened_by_url_and_name(client: Client, tmp_path: Path) -> None:
    """A run is opened by URL and name."""
    run, _ = record(client, [1])
    assert StoredRun(str(client.path), run.name).uid == run.uid
    with pytest.raises(ArgumentRefused):
        StoredRun(client)
    with pytest.raises(NotFound):
        StoredRun(client, new_uid())


def test_another_sequence_is_no_run(client: Client) -> None:
    """Another sequence is no run."""
    with client.sequence_create("plain"):
        pass
    with pytest.raises(NotFound, match="not recorded from Bluesky documents"):
        StoredRun(client, "plain")


def test_reading_needs_no_bluesky(client: Client) -> None:
    """The public name leads here, without importing Bluesky or a file format."""
    assert gapless.bluesky.StoredRun is StoredRun
