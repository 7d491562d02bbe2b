"""What a plot gets, against the rows themselves: disordered, doubled, in layers, at the ends of time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.serve.http.frames import Decoded, decode

from gapless import connect
from gapless.client.sequence_writer import SequenceWriter
from gapless.serve.http.curves import framed
from gapless.serve.http.drawn_field import draw, find

SCHEMA = pa.schema(
    [
        ("timestamp_ns", pa.int64()),
        ("f", pa.float32()),
        ("n", pa.int64()),
        ("u", pa.uint64()),
        ("b", pa.bool_()),
        ("w", pa.string()),
    ]
)
SPAN_NS = 10**9
BASES = {
    "negative": -5_000_000,
    "first": -(2**63) + 2,
    "last": 2**63 - 2 - SPAN_NS,
    "now": 1_700_000_000_000_000_000,
}


def rows(rng: np.random.Generator, base_ns: int, count: int, rounded: int) -> pa.Table:
    """Return rows in no order of time, many at one time; some values NaN, infinite or null."""
    since = rng.integers(0, SPAN_NS, count) // rounded * rounded
    f = rng.normal(size=count).astype(np.float32)
    f[rng.random(count) < 0.01] = np.nan
    f[rng.random(count) < 0.001] = np.inf
    return pa.table(
        {
            "timestamp_ns": since + np.int64(base_ns),
            "f": pa.array(f, mask=rng.random(count) < 0.02, from_pandas=False),
            "n": pa.array(rng.integers(-(2**62), 2**62, count), mask=rng.random(count) < 0.02),
            "u": rng.integers(0, 2**63, count).astype(np.uint64) * np.uint64(2) + np.uint64(1),
            "b": pa.array(rng.random(count) < 0.5, mask=rng.random(count) < 0.02),
            "w": [f"word {k % 7}" for k in range(count)],
        },
        schema=SCHEMA,
    )


def push(sequence: SequenceWriter, table: pa.Table) -> None:
    """Record rows in blocks of many sizes."""
    topic = sequence.topic_create("t", schema=SCHEMA)
    for batch in table.to_batches(max_chunksize=7_777):
        topic.push_batch(batch)


@pytest.mark.parametrize("base_ns", BASES.values(), ids=BASES)
def test_every_window_is_drawn_as_its_rows_are(tmp_path: Path, base_ns: int) -> None:
    """Few rows are all there, to the bit; buckets have the extremes of all rows in the window, none counted twice."""
    rng = np.random.default_rng(base_ns % 1000)
    tables = [rows(rng, base_ns, 90_000, 1), rows(rng, base_ns, 3_000, 1000)]
    with connect(tmp_path) as client:
        with client.sequence_create("s") as sequence:
            push(sequence, tables[0])
        with client.sequence_update("s", "later") as sequence:
            push(sequence, tables[1])
        bundle = client.sequence_handler("s").reader
    whole = pa.concat_tables(tables)
    times = whole["timestamp_ns"].to_numpy()
    for number in range(60):
        field, points = SCHEMA.names[1 + number % 5], int(rng.choice([2, 100, 2000]))
        first = base_ns + int(rng.integers(0, SPAN_NS))
        last = min(first + int(rng.choice([10**5, 10**7, SPAN_NS])), 2**63 - 1)
        drawn = draw(*find(bundle, f"t:{field}", lambda: False), points, first, last)
        frame = decode(framed([drawn], first, last, points).to_bytes())
        here = whole.filter(pa.array((times >= first) & (times < last)))
        check(frame, here.sort_by("timestamp_ns"), field)


def check(frame: Decoded, here: pa.Table, field: str) -> None:
    """Compare a frame with the rows of its window, in order of time."""
    about, valid = frame.field(0), here[field].is_valid()
    kept = here.filter(valid)
    values = kept[field].to_pylist()
    if about["kind"] == "rows":
        assert about["nulls"] == here.num_rows - kept.num_rows
        assert frame.times("0.time") == kept["timestamp_ns"].to_pylist()
        got = frame.columns["0.value"].tolist()
        found = [about["words"][n] for n in got] if field == "w" else got
        # Rows of one time may come in another order here: they arrived one after the other.
        assert sorted(map(repr, zip(frame.times("0.time"), same(found), strict=True))) == sorted(
            map(repr, zip(kept["timestamp_ns"].to_pylist(), same(values), strict=True))
        )
    elif about["kind"] == "counts":
        assert about["total"] == len(values)
    else:
        numbers = [value for value in values if value == value]
        assert frame.columns["0.min"].min() == min(numbers)
        assert frame.columns["0.max"].max() == max(numbers)
        assert frame.columns["0.rows"].sum() == about["total"] == len(numbers)


def same(values: list[Any]) -> list[Any]:
    """Return bools as the numbers that a frame has for them."""
    return [int(value) if isinstance(value, bool) else value for value in values]


YEAR_NS = 365 * 86_400 * 10**9
MANY_ROWS = 2_000


@pytest.mark.parametrize("field", ["v", "word"])
def test_times_of_rows_are_exact_however_far_apart(tmp_path: Path, field: str) -> None:
    """Where float64 rounds an offset the time itself is there, within the bound of a field; else it is not sent."""
    schema = pa.schema(
        [
            pa.field("v", pa.float64(), metadata={"uncertainty": "spread"}),
            ("spread", pa.float64()),
            ("word", pa.string()),
        ]
    )
    times = BASES["now"] + np.arange(MANY_ROWS, dtype=np.int64) * (YEAR_NS // MANY_ROWS + 1)
    words = [f"{row % 1_600:012}" for row in range(MANY_ROWS)]
    with connect(tmp_path) as client, client.sequence_create("s") as sequence:
        topic = sequence.topic_create("t", schema=schema)
        topic.push_columns(
            times, {"v": np.arange(float(MANY_ROWS)), "spread": np.ones(MANY_ROWS), "word": words}
        )
    with connect(tmp_path) as client:
        bundle = client.sequence_handler("s").reader
    for rows in (MANY_ROWS, 100):
        end_ns = int(times[rows - 1]) + 1
        drawn = draw(*find(bundle, f"t:{field}", lambda: False), MANY_ROWS, None, end_ns)
        frame = decode(framed([drawn], None, end_ns, MANY_ROWS).to_bytes())
        assert (frame.field(0)["kind"], frame.size_bytes <= 64 << 10) == ("rows", True)
        is_far = rows == MANY_ROWS
        assert ("0.time_ns" in frame.columns) is is_far
        if is_far:
            assert frame.times("0.time") != times.tolist()
        told = frame.columns["0.time_ns"].tolist() if is_far else frame.times("0.time")
        assert told == times[:rows].tolist()


@pytest.mark.parametrize("word", ["{:012}", "{:05}\x01\x02"])
def test_many_words_stay_within_the_bound_of_a_field(tmp_path: Path, word: str) -> None:
    """Short ones, too, and those that JSON writes longer than they are: beyond it only their number is told."""
    words = [word.format(row) for row in range(MANY_ROWS)]
    with connect(tmp_path) as client, client.sequence_create("s") as sequence:
        topic = sequence.topic_create("t", schema=pa.schema([("w", pa.string())]))
        topic.push_columns(BASES["now"] + np.arange(MANY_ROWS) * 2**45, {"w": words})
    with connect(tmp_path) as client:
        bundle = client.sequence_handler("s").reader
    kinds = []
    for rows in range(100, MANY_ROWS + 1, 100):
        drawn = draw(
            *find(bundle, "t:w", lambda: False), MANY_ROWS, None, BASES["now"] + (rows - 1) * 2**45 + 1
        )
        frame = decode(framed([drawn], None, None, MANY_ROWS).to_bytes())
        assert frame.size_bytes <= 64 << 10
        kinds.append(frame.field(0)["kind"])
    assert (kinds[0], kinds[-1], kinds) == ("rows", "counts", sorted(kinds, reverse=True))
