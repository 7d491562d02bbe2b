"""Curves over HTTP: exact rows where there are few, exact extremes where there are many, never more than 64 KiB."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from tests.serve.http.frames import Decoded, api, decode, part

from gapless import connect

START_NS = 1_700_000_000_000_000_000
MS = 1_000_000
ROWS = 200_000
TIME = pa.field("timestamp_ns", pa.int64(), nullable=False)
SMALL = pa.schema(
    [
        TIME,
        pa.field("value", pa.float64(), metadata={"unit": "degC", "uncertainty": "spread"}),
        pa.field("spread", pa.float64()),
        pa.field("fixed", pa.float32(), metadata={"uncertainty": "0.5"}),
        pa.field("big", pa.int64()),
        pa.field("huge", pa.uint64()),
        pa.field("on", pa.bool_()),
        pa.field("word", pa.string()),
        pa.field("joints", pa.list_(pa.float64())),
        pa.field("blob", pa.binary()),
    ]
)
LONG = pa.schema(
    [TIME, pa.field("x", pa.int64(), metadata={"unit": "count"}), pa.field("label", pa.string())]
)

NAMES = [("t", "a:b"), ("t:a", "b"), ("t:a:b", "c"), ("50%", "x"), ("50%25", "x"), ("u", ":"), ("v:w", "x:y")]


def small_rows() -> dict[str, list[Any]]:
    """Return ten rows, 1 s apart."""
    return {
        "value": [20.1, None, math.nan, 0.1 + 0.2, -0.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        "spread": [0.1, 0.2, 0.3, None, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
        "fixed": [0.1] * 10,
        "big": [2**62 + n for n in range(10)],
        "huge": [2**63 + n for n in range(10)],
        "on": [n % 2 == 0 for n in range(10)],
        "word": ["cold", "cold", None, "hot", "ä", "cold", "hot", "hot", "hot", "hot"],
        "joints": [[n * 1.5, float(n)] if n % 4 else [n * 1.5] for n in range(10)],
        "blob": [b"\x00"] * 10,
    }


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with a sealed sequence, and one that is being recorded."""
    root = tmp_path_factory.mktemp("curves") / "store"
    with connect(root) as store:
        with store.sequence_create("s") as sequence:
            columns = {
                name: pa.array(values, SMALL.field(name).type) for name, values in small_rows().items()
            }
            times = START_NS + np.arange(10, dtype=np.int64) * 1000 * MS
            sequence.topic_create("room:a/small", schema=SMALL).push_columns(times, columns)
            count = np.arange(ROWS, dtype=np.int64)
            label = pa.array(["x" * 40 + str(n % 5000) for n in range(ROWS)])
            long = sequence.topic_create("long", schema=LONG)
            long.push_columns(
                START_NS + count * MS,
                {"x": np.where(count == 77_777, 2**60 + 1, count % 1000), "label": label},
            )
        with store.sequence_create("names") as sequence:
            for number, (name, column) in enumerate(NAMES):
                schema = pa.schema([TIME, pa.field(column, pa.int64())])
                sequence.topic_create(name, schema=schema).push_row(START_NS, number)
        with store.sequence_create("text") as sequence:
            sequence.topic_create("t", schema=pa.schema([TIME, pa.field("word", pa.string())])).push_row(
                1, "x"
            )
        with store.sequence_create("open") as unsealed:
            topic = unsealed.topic_create("t", schema=LONG)
            topic.push_columns(START_NS + count[:5000] * MS, {"x": count[:5000], "label": label[:5000]})
            unsealed.flush()
            with api(root, root.parent / "work") as made:
                yield made


def curves(client: httpx.Client, *fields: str, sequence: str = "s", **asked: int) -> Decoded:
    """Return the frame of some fields."""
    question: list[tuple[str, str | int | float | bool | None]] = [
        *(("fields", field) for field in fields),
        *asked.items(),
    ]
    answer = client.get(f"/sequences/{part(sequence)}/curves", params=question)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/vnd.gapless.frame"
    return decode(answer.content)


def test_few_rows_come_as_they_are(client: httpx.Client) -> None:
    """Values to the bit, integers beyond 2**53 whole, NaN kept, null counted, each with its uncertainty."""
    frame = curves(client, *(f"room:a/small:{name}" for name in ("value", "fixed", "big", "huge", "on")))
    kinds = [frame.field(n)["kind"] for n in range(5)]
    assert kinds == ["rows"] * 5
    value, rows = frame.columns["0.value"], small_rows()
    expected = np.array([v for v in rows["value"] if v is not None])
    assert value.tobytes() == expected.tobytes()
    assert frame.times("0.time") == [START_NS + n * 1000 * MS for n in range(10) if n != 1]
    assert np.array_equal(
        frame.columns["0.uncertainty"], [0.1, 0.3, math.nan, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], equal_nan=True
    )
    assert frame.columns["1.value"].tolist() == [float(np.float32(0.1))] * 10
    assert frame.columns["2.value"].dtype == np.int64
    assert frame.columns["2.value"].tolist() == rows["big"]
    assert frame.columns["3.value"].dtype == np.uint64
    assert frame.columns["3.value"].tolist() == rows["huge"]
    assert frame.columns["4.value"].dtype == np.uint8
    assert frame.columns["4.value"].tolist() == [1, 0] * 5


def test_the_header_describes_each_field(client: httpx.Client) -> None:
    """Unit, type, uncertainty as declared, rows and nulls."""
    frame = curves(client, "room:a/small:value", "room:a/small:fixed", "long:x", points=100)
    assert frame.field(0) == {
        "topic": "room:a/small", "field": "value", "type": "double", "unit": "degC", "uncertainty": "spread",
        "kind": "rows", "total": 9, "nulls": 1, "row_groups": 0,
    }  # fmt: skip
    assert frame.field(1)["uncertainty"] == "0.5"
    assert "1.uncertainty" not in frame.columns
    assert "uncertainty" not in frame.field(2)
    assert (frame.field(2)["unit"], frame.field(2)["kind"], frame.field(2)["total"]) == (
        "count",
        "buckets",
        ROWS,
    )
    assert (frame.header["points"], frame.header["start_ns"], frame.header["end_ns"]) == (100, None, None)
    assert frame.base_ns == START_NS


def test_many_rows_come_as_buckets_with_exact_extremes(client: httpx.Client) -> None:
    """Half as many buckets as points; the one row that differs is the maximum of its bucket."""
    frame = curves(client, "long:x", points=500)
    high = frame.columns["0.max"]
    assert len(high) <= 250
    assert high.dtype == np.int64
    spike = int(high.argmax())
    assert high[spike] == 2**60 + 1
    start, end = frame.times("0.start")[spike], frame.times("0.end")[spike]
    assert start <= START_NS + 77_777 * MS <= end
    assert frame.columns["0.rows"].sum() == ROWS
    assert frame.columns["0.rows"].dtype == np.uint32
    assert frame.columns["0.min"].min() == 0


@pytest.mark.parametrize("points", [2, 999, 2000, 10_000])
def test_no_field_takes_more_than_64_kib(client: httpx.Client, points: int) -> None:
    """Whatever is asked for, for rows as for buckets and text."""
    for field in ("long:x", "long:label", "room:a/small:value"):
        assert curves(client, field, points=points).size_bytes <= 64 << 10
        few = curves(client, field, points=points, end_ns=START_NS + 2000 * MS)
        assert few.size_bytes <= 64 << 10


def test_means_of_large_integers_lie_between_their_extremes(client: httpx.Client) -> None:
    """Beyond 2**53 a mean says how far it lies above the least value, or it would say nothing."""
    frame = curves(client, "room:a/small:big", "room:a/small:huge", "room:a/small:on", "long:x", points=4)
    for number, least in enumerate((2**62, 2**63)):
        assert frame.field(number)["least"] == str(least)
        above = [float(value - least) for value in frame.columns[f"{number}.max"].tolist()]
        assert all(
            0 <= mean <= high for mean, high in zip(frame.columns[f"{number}.mean_above"], above, strict=True)
        )
    assert "2.mean_above" not in frame.columns
    assert frame.field(3)["least"] == "0"


def test_a_window_is_half_open(client: httpx.Client) -> None:
    """The start belongs to it, the end does not."""
    frame = curves(client, "long:x", start_ns=START_NS + 10 * MS, end_ns=START_NS + 20 * MS)
    assert frame.times("0.time") == [START_NS + n * MS for n in range(10, 20)]
    assert frame.columns["0.value"].tolist() == list(range(10, 20))


def test_an_empty_window_is_an_empty_frame(client: httpx.Client) -> None:
    """No rows, no error."""
    frame = curves(client, "long:x", start_ns=0, end_ns=10)
    assert len(frame.columns["0.time"]) == 0
    assert frame.field(0)["total"] == 0


def test_text_comes_as_words_while_there_are_few(client: httpx.Client) -> None:
    """Else as how many rows have any."""
    frame = curves(client, "room:a/small:word", "long:label", points=200)
    words = [frame.field(0)["words"][n] for n in frame.columns["0.value"]]
    assert words == [word for word in small_rows()["word"] if word is not None]
    assert frame.field(0)["nulls"] == 1
    assert frame.field(1)["kind"] == "counts"
    assert frame.columns["1.rows"].sum() == ROWS
    assert "1.min" not in frame.columns


def test_an_element_of_a_list_is_a_field(client: httpx.Client) -> None:
    """Rows whose list is shorter have no value."""
    frame = curves(client, "room:a/small:joints[0]", "room:a/small:joints[1]")
    assert frame.columns["0.value"].tolist() == [n * 1.5 for n in range(10)]
    assert frame.columns["1.value"].tolist() == [float(n) for n in range(10) if n % 4]
    assert frame.field(1)["nulls"] == 3


@pytest.mark.parametrize(
    ("field", "means"),
    [
        pytest.param("t:a:b", ("t", "a:b"), id="the first colon parts them"),
        pytest.param("t%3Aa:b", ("t:a", "b"), id="a colon of the topic"),
        pytest.param("t%3aa%3Ab:c", ("t:a:b", "c"), id="colons in either case"),
        pytest.param("t:a:b:c", ("t:a:b", "c"), id="colons of the topic as they are"),
        pytest.param("50%25:x", ("50%", "x"), id="a percent sign"),
        pytest.param("50%2525:x", ("50%25", "x"), id="what looks like an escape"),
        pytest.param("50%:x", ("50%", "x"), id="a percent sign as it is"),
        pytest.param("u::", ("u", ":"), id="a column that is a colon"),
        pytest.param("v:w:x:y", ("v:w", "x:y"), id="both with colons"),
    ],
)
def test_colons_in_names_lead_to_the_field_that_is_meant(
    client: httpx.Client, field: str, means: tuple[str, str]
) -> None:
    """Written with escapes a name means one field only; written as they are, the shortest topic that has the rest."""
    frame = curves(client, field, sequence="names")
    assert (frame.field(0)["topic"], frame.field(0)["field"]) == means
    assert frame.columns["0.value"].tolist() == [NAMES.index(means)]


def test_of_names_that_nothing_has_the_first_is_refused(client: httpx.Client) -> None:
    """With the columns of the topic that there is."""
    answer = client.get("/sequences/names/curves", params={"fields": "t:a:x"})
    assert (answer.status_code, answer.json()["error"]) == (404, "NotFound")
    assert "a:b" in answer.text


def test_an_open_sequence_is_drawn_as_far_as_it_is_durable(client: httpx.Client) -> None:
    """From its rows, as there is no pyramid yet."""
    frame = curves(client, "t:x", sequence="open", points=100)
    assert frame.field(0)["total"] == 5000
    assert (frame.columns["0.min"].min(), frame.columns["0.max"].max()) == (0, 4999)
    assert frame.field(0)["row_groups"] == 0


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        pytest.param({"fields": "long:y"}, 404, "no such column", id="unknown field"),
        pytest.param({"fields": "nothing:x"}, 404, "no such topic", id="unknown topic"),
        pytest.param({"fields": "long"}, 400, "TOPIC:FIELD", id="no field"),
        pytest.param({"fields": "room:a/small:blob"}, 400, "only numbers and text", id="bytes"),
        pytest.param({"fields": "room:a/small:joints"}, 400, "joints[3]", id="a list"),
        pytest.param({}, 422, "fields", id="none"),
        pytest.param({"fields": ["long:x"] * 65}, 422, "64", id="too many"),
        pytest.param({"fields": "long:x", "points": 1}, 422, "points", id="too few points"),
        pytest.param({"fields": "long:x", "points": 10_001}, 422, "points", id="too many points"),
        pytest.param({"fields": "long:x", "start_ns": "1.5"}, 422, "start_ns", id="half a nanosecond"),
        pytest.param({"fields": "long:x", "start_ns": 2**63}, 422, "start_ns", id="beyond 64 bits"),
        pytest.param({"fields": "long:x", "colour": "red"}, 422, "colour", id="a parameter that is none"),
    ],
)
def test_what_cannot_be_drawn_is_told(
    client: httpx.Client, asked: dict[str, Any], status: int, words: str
) -> None:
    """Each with what was expected instead."""
    answer = client.get("/sequences/s/curves", params=asked)
    assert answer.status_code == status, answer.text
    assert words in answer.text
    assert "Traceback" not in answer.text


def test_no_sequence_no_curve(client: httpx.Client) -> None:
    """A name that nothing has is 404."""
    assert client.get("/sequences/nothing/curves", params={"fields": "t:x"}).status_code == 404


def test_a_sparkline_is_at_most_30_buckets(client: httpx.Client) -> None:
    """Of the first number of the first topic by name, or of the field that is named."""
    frame = decode(client.get("/sequences/s/sparkline").content)
    assert (frame.field(0)["topic"], frame.field(0)["field"]) == ("long", "x")
    frame = decode(client.get("/sequences/s/sparkline", params={"topic": "long", "field": "x"}).content)
    assert len(frame.columns["0.max"]) <= 30
    assert frame.columns["0.max"].max() == 2**60 + 1


def test_a_sequence_without_a_number_has_no_sparkline(client: httpx.Client) -> None:
    """An empty answer: a table of sequences shows nothing there."""
    answer = client.get("/sequences/text/sparkline")
    assert answer.status_code == 200
    assert decode(answer.content).header["fields"] == []
    assert client.get("/sequences/s/sparkline", params={"field": "x"}).status_code == 400
