"""Merging sorted streams and topics: the order of one stable sort, columnar and as tuples."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store.bundle_files import TIME, XS, table, write_bundle, xs

from gapless.errors import UsageError
from gapless.store.merge import SortedStream, merge_sorted
from gapless.store.reader import open_bundle
from gapless.store.topic_merge import iter_rows, merge_order, merge_topics

RISING = st.lists(st.integers(-20, 20), max_size=30).map(sorted)


def _stream(number: int, times: list[int], size: int, opened: list[int]) -> SortedStream:
    def batches() -> Iterator[pa.RecordBatch]:
        opened.append(number)
        for start in range(0, len(times), size):
            part = times[start : start + size]
            yield pa.record_batch({"timestamp_ns": pa.array(part, pa.int64()), "from": [number] * len(part)})

    return SortedStream(times[0] if times else 0, batches)


@given(st.lists(RISING, max_size=5), st.integers(1, 7))
@settings(max_examples=150, deadline=None)
def test_streams_merge_like_one_stable_sort(streams: list[list[int]], size: int) -> None:
    """Rows come by time, and at equal times by the order of the streams, whatever the batch size."""
    merged = list(merge_sorted([_stream(n, times, size, []) for n, times in enumerate(streams)]))
    found = [
        (t, n)
        for batch in merged
        for t, n in zip(batch["timestamp_ns"].to_pylist(), batch["from"].to_pylist(), strict=True)
    ]
    assert found == sorted((t, n) for n, times in enumerate(streams) for t in times)


def test_a_stream_is_opened_only_when_its_time_comes() -> None:
    """Parts that follow each other are never open together."""
    opened: list[int] = []
    merged = merge_sorted([_stream(1, [10, 11], 9, opened), _stream(0, [1, 2], 9, opened)])
    assert next(merged)["timestamp_ns"].to_pylist() == [1, 2]
    assert opened == [0]
    assert next(merged)["timestamp_ns"].to_pylist() == [10, 11]


def test_a_lone_stream_passes_without_a_copy() -> None:
    """Batches of a stretch that one stream covers keep their buffers."""
    batch = pa.record_batch({"timestamp_ns": pa.array([1, 2, 3])})
    (merged,) = merge_sorted([SortedStream(1, lambda: iter([batch]))])
    assert merged.column(0).buffers()[1].address == batch.column(0).buffers()[1].address


@given(st.lists(RISING, min_size=1, max_size=4), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_topics_merge_by_time_then_topic(times: list[list[int]], batch_rows: int) -> None:
    """Columns and tuples both give each row of each topic once, by time, topic order, ``_seq``."""
    with tempfile.TemporaryDirectory() as folder:
        topics = {f"t{n}": (XS, [xs(part)] if part else []) for n, part in enumerate(times)}
        write_bundle(Path(folder), topics)
        bundle = open_bundle(Path(folder))
        readers = [bundle.topic(name) for name in topics]
        merged = list(merge_topics(readers, batch_rows=batch_rows))
        rows = list(iter_rows(readers))
    expected = sorted((t, f"t{n}", k * 1.0) for n, part in enumerate(times) for k, t in enumerate(part))
    assert [row[:3] for row in rows] == expected
    columnar = [
        (int(t), batch.topics[c], batch.batches[c]["x"][int(r)].as_py())
        for batch in merged
        for t, c, r in zip(batch.timestamp_ns, batch.topic_code, batch.row, strict=True)
    ]
    assert columnar == expected


def test_a_merged_batch_is_also_an_arrow_batch(tmp_path: Path) -> None:
    """The order can be handed to any Arrow tool: time, topic as a dictionary, row in the topic's batch."""
    write_bundle(tmp_path, {"a": (XS, [xs([1, 3])]), "b": (XS, [xs([2])])})
    bundle = open_bundle(tmp_path)
    merged = pa.Table.from_batches(m.to_arrow() for m in merge_topics([bundle.topic("a"), bundle.topic("b")]))
    assert merged["timestamp_ns"].to_pylist() == [1, 2, 3]
    assert merged["topic"].to_pylist() == ["a", "b", "a"]
    assert merged["row"].to_pylist() == [0, 0, 0]  # in the batch of each span of time


def test_rows_hold_python_values_and_none_for_null(tmp_path: Path) -> None:
    """Numbers, booleans, text, lists and null become plain Python values in the merged tuples."""
    schema = pa.schema(
        [TIME, pa.field("i", pa.int64()), pa.field("b", pa.bool_()), pa.field("l", pa.list_(pa.int8()))]
    )
    part = table(schema, [1, 2], [[2**62 + 1, None], [None, True], [[1], None]], [0, 1])
    write_bundle(tmp_path, {"a": (schema, [part])})
    rows = list(iter_rows([open_bundle(tmp_path).topic("a")]))
    assert rows == [(1, "a", 2**62 + 1, None, [1]), (2, "a", None, True, None)]
    assert type(rows[0][2]) is int


def test_columns_and_window_of_a_merge(tmp_path: Path) -> None:
    """Columns are chosen per topic and the window is half open."""
    write_bundle(tmp_path, {"a": (XS, [xs(range(10))]), "b": (XS, [xs(range(10))])})
    bundle = open_bundle(tmp_path)
    readers = [bundle.topic("a"), bundle.topic("b")]
    rows = list(iter_rows(readers, {"a": ["x"], "b": []}, 4, 6))
    assert rows == [(4, "a", 4.0), (4, "b"), (5, "a", 5.0), (5, "b")]
    with pytest.raises(UsageError, match="not merged"):
        merge_topics(readers, {"c": ["x"]})


def test_the_order_of_arrays_decides_between_equal_times() -> None:
    """merge_order is stable over its arrays."""
    times, codes = merge_order([np.array([1, 1, 2]), np.array([1, 2])])
    assert times.tolist() == [1, 1, 1, 2, 2]
    assert codes.tolist() == [0, 0, 1, 0, 1]
