"""Partitions of tables: bounded, complete, each row once, in order, whatever order the rows came in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.bluesky.tiled.sample import DATA_KEYS, QUIET, RunSample

from gapless.bluesky.tiled import topic_rows
from gapless.bluesky.tiled.array_sources import ColumnSource
from gapless.bluesky.tiled.event_rows import EventRows
from gapless.bluesky.tiled.topic_rows import TopicRows, served_names, windows
from gapless.client.client import Client

pytestmark = pytest.mark.filterwarnings(QUIET)


def record(store: Client, name: str, times: Sequence[int], *, open_tail: Sequence[int] = ()) -> Any:
    """Record a topic ``t`` of times and row numbers; with a tail, return the writer still open."""
    sequence = store.sequence_create(name)
    sequence.__enter__()
    topic = sequence.topic_create("t", schema=pa.schema([("v", pa.int64())]))
    for number, time_ns in enumerate([*times, *open_tail]):
        topic.push_row(int(time_ns), number)
    sequence.flush()
    if not open_tail:
        sequence.__exit__(None, None, None)
    return sequence


@given(
    times=st.lists(st.integers(0, 40), max_size=60),
    late=st.lists(st.integers(0, 40), max_size=20),
    size=st.integers(1, 30),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_windows_hold_every_row_once(store: Client, times: list[int], late: list[int], size: int) -> None:
    """Whatever the times, late layers included: no row twice, none missing, none cut apart."""
    name = f"s{len(store.list_sequences())}"
    record(store, name, times)
    if late:
        with store.sequence_update(name, "later") as layer:
            topic = layer.topic_create("t", schema=pa.schema([("v", pa.int64())]))
            for number, time_ns in enumerate(late):
                topic.push_row(time_ns, 1000 + number)
    reader = store.sequence_handler(name).topic("t").reader
    found = windows(reader, size)
    tables = [reader.to_arrow(None, window.start_ns, window.end_ns) for window in found]
    assert [table.num_rows for table in tables] == [window.rows for window in found]
    assert pa.concat_tables(tables).equals(reader.to_arrow())
    if len(set(times + late)) == len(times + late):
        assert all(window.rows <= 2 * size for window in found)


def test_an_open_topic_is_covered_too(store: Client) -> None:
    """Rows of the journal count, also those among sealed ones."""
    writer = record(store, "open", range(100), open_tail=[50, 200, 201])
    reader = store.sequence_handler("open").topic("t").reader
    found = windows(reader, 10)
    assert sum(window.rows for window in found) == 103
    assert max(window.rows for window in found) <= 20
    writer.__exit__(None, None, None)
    assert sum(w.rows for w in windows(store.sequence_handler("open").topic("t").reader, 10)) == 103


def test_a_slice_of_a_column_reads_only_its_partitions(
    store: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slice reads the partitions that hold it and no other."""
    record(store, "many", range(1000))
    monkeypatch.setattr(topic_rows, "windows", lambda reader: windows(reader, 100))
    rows = TopicRows(store.sequence_handler("many").topic("t").reader, "1")
    asked: list[int] = []
    plain = TopicRows.read

    def counted(self: TopicRows, partition: int, columns: Sequence[str]) -> pa.Table:
        asked.append(partition)
        return plain(self, partition, columns)

    monkeypatch.setattr(TopicRows, "read", counted)
    source = ColumnSource(rows, "v")
    assert source.rows(250, 420).tolist() == list(range(250, 420))
    assert len(asked) < len(rows.lengths)
    assert asked == sorted(set(asked))


@given(seq_nums=st.lists(st.integers(1, 30), min_size=1, max_size=60))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_events_come_by_number_and_the_last_one_counts(store: Client, seq_nums: list[int]) -> None:
    """Any order of arrival with any repetition gives each number once, its last event."""
    run = RunSample(store, data_keys={"n": DATA_KEYS["n"]})
    run.describe()
    for place, seq_num in enumerate(seq_nums):
        run.event(seq_num, {"n": place})
    run.stop()
    reader = store.sequence_handler(run.uid).topic("primary").reader
    rows = EventRows([reader], "1")
    found = pa.concat_tables([rows.read(p, ["seq_num", "n"]) for p in range(len(rows.lengths))])
    expected = dict(zip(seq_nums, range(len(seq_nums)), strict=True))
    assert dict(zip(found["seq_num"].to_pylist(), found["n"].to_pylist(), strict=True)) == expected
    assert found["seq_num"].to_pylist() == sorted(expected)
    assert sum(rows.lengths) == len(expected)


def test_events_of_a_long_run_are_divided(store: Client, serve: Callable[[], Any]) -> None:
    """A run of more rows than a partition holds comes in several."""
    count = topic_rows.PARTITION_ROWS + 10
    run = RunSample(store, data_keys={"n": DATA_KEYS["n"]})
    descriptor = run.describe()
    page = {
        "descriptor": descriptor["uid"],
        "uid": [f"e{i}" for i in range(count)],
        "seq_num": list(range(1, count + 1)),
        "time": np.linspace(1.0, 2.0, count).tolist(),
        "data": {"n": list(range(count))},
        "timestamps": {"n": [1.0] * count},
        "filled": {},
    }
    run.emit("event_page", page)
    run.stop()
    table = serve()[run.uid]["primary"].base["internal"]
    assert table.structure().npartitions == 2
    assert len(table.read_partition(1)) == 10
    assert table.read(["n"])["n"].tolist() == list(range(count))


def test_names_that_tiled_keeps_for_itself_are_served_under_others() -> None:
    """A column that begins with an underscore gets a free name."""
    assert served_names(["a", "_a", "__a", "_"]) == {"a": "a", "a_": "_a", "a__": "__a", "column": "_"}
