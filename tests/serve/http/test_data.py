"""Rows over HTTP: each format holds exactly what was recorded, in bounded memory, for as long as somebody reads."""

from __future__ import annotations

import base64
import csv
import datetime as dt
import io
import json
import math
import shutil
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gapless
from gapless.exchange.csv_export import export_csv
from gapless.serve.http.data_formats import FORMATS
from gapless.serve.http.data_page import MOST_BYTES, cells, page_of
from gapless.serve.http.data_rows import Rows, Window, rows_of
from gapless.store.part_reader import Part
from gapless.store.reader import open_bundle

from .conftest import DEADLINE_S, Begin, Site
from .sample_store import BASE_NS, BIG, MIXED, ROWS, SPIKE_NS, STEP_NS

MIXED_DATA = "/sequences/walk/topics/mixed/data"
IMU_DATA = "/sequences/walk/topics/sensors%2Fimu/data"


def asked(site: Site, path: str, **params: Any) -> httpx.Response:
    """Return an answer that is a success."""
    answer = site.api(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer


def imu(root: Path) -> pa.Table:
    """Return the rows as the store reads them."""
    return open_bundle(root / "sequences" / "walk").topic("sensors/imu").to_arrow()


def test_json_holds_what_a_browser_can_hold(still: Site) -> None:
    """Whole numbers of 64 bits as texts, no NaN, long bytes only by their length."""
    page = asked(still, MIXED_DATA).json()
    names = ["timestamp_ns", *MIXED.names]
    assert [column["name"] for column in page["columns"]] == names
    assert page["columns"][1] == {"name": "speed", "type": "double", "unit": "m/s"}
    assert page["next"] is None
    assert page["rows"] == [
        [str(BASE_NS), 1.5, str(BIG), 3, True, "<b>", {"bytes": 2, "base64": "AAE="}, [1.0, 2.0]],
        [str(BASE_NS), None, None, None, None, None, {"bytes": 2_000, "base64": None}, None],
        [str(BASE_NS + 5), None, str(-BIG), -3, False, "", None, [3.0, 4.0]],
    ]


@pytest.mark.parametrize("form", ["json", *FORMATS])
def test_a_head_tells_what_would_come(still: Site, form: str) -> None:
    """The headers of the answer; of rows that are sent while they are read nobody knows the length."""
    path, params = IMU_DATA, {"format": form, "columns": "acceleration.x"}
    sent = asked(still, path, **params)
    head = still.api(path, "HEAD", params=params)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-disposition", "content-length", "x-content-type-options"):
        assert head.headers.get(name) == sent.headers.get(name), name
    assert still.api(path, "HEAD", params={**params, "columns": "nothing"}).status_code == 404


@pytest.mark.parametrize("form", ["json", *FORMATS])
def test_a_head_refuses_what_a_get_refuses(site: Site, form: str) -> None:
    """Rows that cannot be read are none; who asks is not told where on the server's disk they lie."""
    site.record("broken")
    for path in (site.root / "sequences/broken/topics/imu").rglob("*.parquet"):
        raw = bytearray(path.read_bytes())
        raw[4:60] = bytes(56)
        path.write_bytes(raw)
    params = {"format": form}
    sent = site.api("/sequences/broken/topics/imu/data", params=params)
    assert sent.status_code == 500
    assert str(site.root) not in sent.text
    assert "sequences/broken/topics/imu/" in sent.text
    assert site.api("/sequences/broken/topics/imu/data", "HEAD", params=params).status_code == 500


def test_pages_follow_one_another_also_between_rows_of_one_time(still: Site) -> None:
    """However many rows a page has."""
    whole = asked(still, MIXED_DATA).json()["rows"]
    for limit in (1, 2):
        rows: list[Any] = []
        params: dict[str, Any] = {"limit": limit}
        while True:
            page = asked(still, MIXED_DATA, **params).json()
            rows += page["rows"]
            if page["next"] is None:
                break
            params["after"] = page["next"]
        assert rows == whole


def test_many_rows_of_one_time_are_paged_too(begin: Begin, root: Path) -> None:
    """Nothing is lost or repeated where the time alone says nothing."""
    with gapless.connect(root) as client, client.sequence_create("still") as sequence:
        topic = sequence.topic_create("t", schema=pa.schema([("v", pa.int32())]))
        topic.push_columns(np.full(25, BASE_NS), {"v": np.arange(25, dtype=np.int32)})
    site = begin(root)
    found: list[int] = []
    after: dict[str, str | None] = {}
    for _ in range(4):
        page = asked(site, "/sequences/still/topics/t/data", limit=7, **after).json()
        found += [row[1] for row in page["rows"]]
        after = {"after": page["next"]}
    assert (found, after) == (list(range(25)), {"after": None})


def test_columns_and_span_are_chosen(still: Site) -> None:
    """In the order asked for, with the time first; the span does not hold its end."""
    page = asked(still, MIXED_DATA, columns="word,count").json()
    assert [column["name"] for column in page["columns"]] == ["timestamp_ns", "word", "count"]
    page = asked(still, MIXED_DATA, columns=["word", "count"]).json()
    assert [column["name"] for column in page["columns"]] == ["timestamp_ns", "word", "count"]
    span = {"start_ns": SPIKE_NS, "end_ns": SPIKE_NS + STEP_NS}
    assert asked(still, IMU_DATA, columns="acceleration.x", **span).json()["rows"] == [[str(SPIKE_NS), 42.5]]
    assert asked(still, IMU_DATA, start_ns=SPIKE_NS, end_ns=SPIKE_NS).json()["rows"] == []


def test_arrow_and_parquet_hold_the_table_with_its_units(filled: Site, root: Path) -> None:
    """Value by value, and the schema's metadata."""
    expected = open_bundle(root / "sequences" / "walk").topic("mixed").to_arrow()
    stream = asked(filled, MIXED_DATA, format="arrow")
    assert stream.headers["content-type"] == "application/vnd.apache.arrow.stream"
    file = asked(filled, MIXED_DATA, format="parquet")
    for table in (pa.ipc.open_stream(stream.content).read_all(), pq.read_table(io.BytesIO(file.content))):
        assert table.schema.field("speed").metadata[b"unit"] == b"m/s"
        assert table.schema.names == expected.schema.names
        for name in table.schema.names:
            assert [_same(v) for v in table[name].to_pylist()] == [
                _same(v) for v in expected[name].to_pylist()
            ]
    columns = asked(filled, IMU_DATA, format="parquet", columns="acceleration.x", limit=10).content
    small = pq.read_table(io.BytesIO(columns))
    assert small.equals(imu(root).select(["timestamp_ns", "acceleration.x"]).slice(0, 10))


def _same(value: Any) -> Any:
    """Return a value that equals itself."""
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def test_csv_is_what_an_export_writes(filled: Site, root: Path, tmp_path: Path) -> None:
    """Byte by byte."""
    with gapless.connect(root) as client:
        export_csv(client.sequence_handler("walk"), tmp_path / "mixed.csv", ["mixed"])
    answer = asked(filled, MIXED_DATA, format="csv")
    assert answer.content == (tmp_path / "mixed.csv").read_bytes()
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert next(csv.reader(io.StringIO(answer.text)))[1] == "speed [m/s]"


def test_a_file_is_saved_under_a_safe_name(still: Site) -> None:
    """A slash leads nowhere, whatever reads the header."""
    headers = asked(still, "/sequences/a%2Fb/topics/oven%2Fpv/data", format="csv").headers
    assert headers["content-disposition"] == (
        "attachment; filename=\"a_b_oven_pv.csv\"; filename*=UTF-8''a_b%20oven_pv.csv"
    )


def test_points_are_buckets_with_exact_extremes(filled: Site, root: Path) -> None:
    """Of each numeric column, in every format."""
    page = asked(filled, IMU_DATA, columns="acceleration.x", points=20).json()
    names = [column["name"] for column in page["columns"]]
    assert names == ["timestamp_ns", "end_ns", "field", "rows", "min", "max", "mean"]
    rows = [dict(zip(names, row, strict=True)) for row in page["rows"]]
    assert (len(rows), page["next"]) == (10, None)
    values = imu(root)["acceleration.x"].to_numpy()
    assert max(row["max"] for row in rows) == 42.5
    assert min(row["min"] for row in rows) == values.min()
    assert sum(int(row["rows"]) for row in rows) == ROWS
    assert (rows[0]["timestamp_ns"], rows[-1]["end_ns"]) == (
        str(BASE_NS),
        str(BASE_NS + (ROWS - 1) * STEP_NS),
    )
    table = pq.read_table(io.BytesIO(asked(filled, IMU_DATA, points=20, format="parquet").content))
    assert "acceleration.z" in set(table["field"].to_pylist())


def test_buckets_come_all_at_once_or_not_at_all(begin: Begin, root: Path) -> None:
    """Also where they are more than a page of rows has; too many are refused."""
    schema = pa.schema([(f"c{number:02}", pa.float64()) for number in range(30)])
    with gapless.connect(root) as client, client.sequence_create("wide") as sequence:
        topic = sequence.topic_create("t", schema=schema)
        topic.push_columns(BASE_NS + np.arange(3_000), dict.fromkeys(schema.names, np.arange(3_000.0)))
    site = begin(root)
    page = asked(site, "/sequences/wide/topics/t/data", points=6_000).json()
    assert (len(page["rows"]), page["next"]) == (90_000, None)
    answer = site.api("/sequences/wide/topics/t/data", params={"points": 7_000})
    assert (answer.status_code, answer.json()["error"]) == (400, "UsageError")


def test_buckets_of_great_whole_numbers_stay_exact(still: Site) -> None:
    """Alone they are whole; beside fractions no column could hold them, and that is said."""
    page = asked(still, MIXED_DATA, columns="count", points=2).json()
    assert page["rows"][0][4:6] == [str(-BIG), str(BIG)]
    answer = still.api(MIXED_DATA, params={"columns": "count,speed", "points": 2})
    assert (answer.status_code, answer.json()["error"]) == (400, "UsageError")
    assert "columns=" in answer.json()["next"]


@pytest.mark.parametrize(
    ("params", "code", "error"),
    [
        ({"columns": "nope"}, 404, "NotFound"),
        ({"columns": "nope", "format": "csv"}, 404, "NotFound"),
        ({"columns": "word", "points": 10}, 400, "UsageError"),
        ({"after": "tomorrow"}, 422, "QuestionRefused"),
        ({"after": f"{2**63}.1"}, 400, "UsageError"),
        ({"points": 10, "limit": 5}, 400, "UsageError"),
        ({"points": 1}, 422, "QuestionRefused"),
        ({"format": "xls"}, 422, "QuestionRefused"),
        ({"limit": 0}, 422, "QuestionRefused"),
        ({"start_ns": "1.5"}, 422, "QuestionRefused"),
        ({"start_ns": str(2**63)}, 422, "QuestionRefused"),
        ({"start_ns": 5, "end_ns": 4}, 400, "UsageError"),
        ({"colums": "word"}, 422, "QuestionRefused"),
    ],
)
def test_what_cannot_be_read_is_refused_before_the_answer_begins(
    still: Site, params: dict[str, Any], code: int, error: str
) -> None:
    """With a status of its own, also for a stream."""
    answer = still.api(MIXED_DATA, params=params)
    assert (answer.status_code, answer.json()["error"]) == (code, error)


@pytest.mark.parametrize("path", ["gaps", "events", "curves", "topics/sensors%2Fimu/frames"])
def test_no_window_ends_before_it_begins(still: Site, path: str) -> None:
    """That is a slip, not a question about nothing."""
    window = {"start_ns": str(BASE_NS), "end_ns": str(BASE_NS - 1), "fields": "sensors/imu:acceleration.x"}
    params = window if path == "curves" else {name: window[name] for name in ("start_ns", "end_ns")}
    answer = still.api(f"/sequences/walk/{path}", params=params)
    assert (answer.status_code, answer.json()["field"]) == (400, "end_ns")


def test_the_ends_of_time_can_be_asked_for(still: Site) -> None:
    """The whole of int64."""
    ends = {"start_ns": -(2**63), "end_ns": 2**63 - 1}
    assert len(asked(still, MIXED_DATA, **ends).json()["rows"]) == 3


def test_features_layers_and_reserved_topics_are_topics(still: Site) -> None:
    """Read like any other."""
    assert asked(still, "/sequences/walk/topics/late/data").json()["rows"] == [[str(BASE_NS), "9"]]
    rows = asked(still, "/sequences/walk/topics/_events/data", columns="kind").json()["rows"]
    assert ["note"] in [row[1:] for row in rows]


# -- much data ---------------------------------------------------------------------------------------

LONG_ROWS = 1_000_000


@pytest.fixture(scope="module")
def long_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with one topic of a million rows."""
    folder = tmp_path_factory.mktemp("long")
    with gapless.connect(folder) as client, client.sequence_create("long") as sequence:
        topic = sequence.topic_create("t", schema=pa.schema([("v", pa.float64()), ("n", pa.int64())]))
        for start in range(0, LONG_ROWS, 100_000):
            numbers = np.arange(start, start + 100_000)
            topic.push_columns(BASE_NS + numbers, {"v": numbers / 3, "n": numbers})
    return folder


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_rows_leave_piece_by_piece(long_store: Path, name: str) -> None:
    """What is held at one time is a small part of the whole, and the first piece comes before the last is read."""
    read = 0

    def counted() -> bool:
        nonlocal read
        read += 1
        return False

    reader = open_bundle(long_store / "sequences" / "long").topic("t")
    rows = rows_of(reader, Window(), counted)
    before = pa.total_allocated_bytes()
    sizes: list[int] = []
    held: list[int] = []
    looks_at_first = 0
    for chunk in FORMATS[name].encode(rows.schema, rows.batches):
        sizes.append(len(chunk))
        held.append(pa.total_allocated_bytes() - before)
        looks_at_first = looks_at_first or read
    assert looks_at_first < read / 4
    assert max(sizes) < sum(sizes) / 4
    assert max(held) < LONG_ROWS * 24 / 2


def test_reading_stops_when_the_client_leaves(
    begin: Begin, long_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter or a slow client cannot let the server read on for nobody."""
    read: list[int] = []
    row_group = Part._read_group

    def slow(part: Part, file: Any, group: int, columns: list[str]) -> Any:
        read.append(group)
        time.sleep(0.05)
        return row_group(part, file, group, columns)

    monkeypatch.setattr(Part, "_read_group", slow)
    site = begin(long_store)
    with httpx.stream("GET", f"{site.url}/api/v1/sequences/long/topics/t/data?format=csv") as answer:
        assert answer.status_code == 200
        next(answer.iter_bytes())
    settled = _settled(read)
    assert 0 < settled < LONG_ROWS // 65_536


def _settled(read: list[int]) -> int:
    """Return how many row groups were read when no more are."""
    end_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < end_s:
        before = len(read)
        time.sleep(0.5)
        if len(read) == before:
            return before
    raise AssertionError("the server reads on for a client that has gone")


@pytest.mark.parametrize("group", [0, 8])
def test_a_damaged_file_is_no_whole_answer(begin: Begin, long_store: Path, root: Path, group: int) -> None:
    """At its beginning it is refused; in its middle the answer breaks off, so that nobody takes it for the whole."""
    shutil.copytree(long_store, root, dirs_exist_ok=True)
    [part] = (root / "sequences" / "long" / "topics" / "t").glob("*.parquet")
    values = pq.read_metadata(part).row_group(group).column(1)
    data = bytearray(part.read_bytes())
    data[values.data_page_offset + values.total_compressed_size // 2] ^= 0xFF
    part.write_bytes(data)
    site = begin(root)
    path = f"{site.url}/api/v1/sequences/long/topics/t/data?format=csv"
    if group == 0:
        answer = httpx.get(path, timeout=DEADLINE_S)
        assert (answer.status_code, answer.json()["error"]) == (500, "IntegrityError")
        return
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(path, timeout=DEADLINE_S)


def test_values_inside_of_columns_are_columns(begin: Begin, root: Path) -> None:
    """In every format, beside whole columns, each with the unit of its column; what leads nowhere is null."""
    pose = pa.struct([("x", pa.float64()), ("n", pa.int64())])
    schema = pa.schema(
        [
            pa.field("joints", pa.list_(pa.float64()), metadata={"unit": "rad", "shape": "[2]"}),
            pa.field("pose", pose),
            pa.field("a,b", pa.list_(pa.int32(), 2)),
            pa.field("v", pa.float64(), metadata={"unit": "V"}),
        ]
    )
    with gapless.connect(root) as client, client.sequence_create("arm") as sequence:
        topic = sequence.topic_create("t", schema=schema)
        topic.push_row(BASE_NS, [0.5, 1.5], {"x": 2.5, "n": BIG}, [1, 2], 9.0)
        topic.push_row(BASE_NS + 1, [0.25], None, [3, 4], None)
    site = begin(root)
    path = "/sequences/arm/topics/t/data"
    words = {"columns": ["joints[1],v", "pose.n", "a,b[1]", "timestamp_ns", "v"]}
    names = ["timestamp_ns", "joints[1]", "v", "pose.n", "a,b[1]"]
    page = asked(site, path, **words).json()
    assert [(told["name"], told["unit"]) for told in page["columns"]] == list(
        zip(names, [None, "rad", "V", None, None], strict=True)
    )
    assert page["rows"] == [
        [str(BASE_NS), 1.5, 9.0, str(BIG), 2],
        [str(BASE_NS + 1), None, None, None, 4],
    ]
    for form in ("arrow", "parquet"):
        content = asked(site, path, format=form, **words).content
        table = (
            pa.ipc.open_stream(content).read_all() if form == "arrow" else pq.read_table(io.BytesIO(content))
        )
        assert table.schema.names == names
        assert [list(row.values()) for row in table.to_pylist()] == [
            [BASE_NS, 1.5, 9.0, BIG, 2],
            [BASE_NS + 1, None, None, None, 4],
        ]
        assert table.schema.field("joints[1]").metadata[b"unit"] == b"rad"
        assert b"shape" not in table.schema.field("joints[1]").metadata
    header, first, _ = asked(site, path, format="csv", **words).text.splitlines()
    assert header == 'timestamp_utc,joints[1] [rad],v [V],pose.n,"a,b[1] []"'  # no unit of its own
    assert first.endswith(f",1.5,9.0,{BIG},2")
    after = asked(site, path, limit=1, **words).json()["next"]
    assert asked(site, path, after=after, **words).json()["rows"] == page["rows"][1:]
    for wrong in ("pose.z", "v[0]", "a,b[2]", "joints[x]"):
        assert site.api(path, params={"columns": [wrong, "v"]}).status_code == 404, wrong


def test_all_rows_come_as_one_json_where_that_is_asked_for(still: Site) -> None:
    """The same cells as pages have, under a name like those of other formats."""
    params = {"columns": "acceleration.x,angular_velocity.x"}
    answer = asked(still, IMU_DATA, format="json-all", **params)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-disposition"].startswith('attachment; filename="walk_sensors_imu.json";')
    page = asked(still, IMU_DATA, limit=ROWS, **params)
    assert "content-disposition" not in page.headers
    assert answer.json() == page.json()
    assert len(answer.json()["rows"]) == ROWS
    assert len(asked(still, IMU_DATA, **params).json()["rows"]) == 100
    some = {"start_ns": SPIKE_NS, "limit": 150}
    assert (
        asked(still, IMU_DATA, format="json-all", **some).json()["rows"]
        == asked(still, IMU_DATA, **some).json()["rows"]
    )
    mixed, paged = (asked(still, MIXED_DATA, format=name).json() for name in ("json-all", "json"))
    long = next(n for n, column in enumerate(mixed["columns"]) if column["name"] == "blob")  # a page cuts it
    for row, cut in zip(mixed["rows"], paged["rows"], strict=True):
        assert row[:long] + row[long + 1 :] == cut[:long] + cut[long + 1 :]
    assert (mixed["columns"], mixed["next"]) == (paged["columns"], None)
    nothing = asked(still, IMU_DATA, format="json-all", start_ns=SPIKE_NS, end_ns=SPIKE_NS).json()
    assert (nothing["rows"], nothing["next"], len(nothing["columns"])) == ([], None, len(imu_names(still)))


def test_all_rows_as_json_have_every_cell_whole(root: Path, begin: Begin) -> None:
    """Also those for which a page has no room: long lists and long bytes, in structs and maps too."""
    bytes_type, numbers = pa.binary(), pa.list_(pa.float64())
    schema = pa.schema(
        [
            ("numbers", numbers),
            ("blob", bytes_type),
            ("inside", pa.struct([("blob", bytes_type)])),
            ("pairs", pa.map_(pa.string(), bytes_type)),
            ("several", pa.list_(bytes_type)),
        ]
    )
    many, blob = [n / 7 for n in range(30_000)], bytes(range(250)) * 20
    with gapless.connect(root) as client, client.sequence_create("large") as sequence:
        topic = sequence.topic_create("t", schema=schema)
        for time_ns in range(3):
            topic.push_row(time_ns, many, blob, {"blob": blob}, [("a", blob)], [blob, None])
    path = "/sequences/large/topics/t/data"
    site = begin(root)
    rows = asked(site, path, format="json-all").json()["rows"]
    whole = {"bytes": len(blob), "base64": base64.b64encode(blob).decode()}
    assert rows == [[str(n), many, whole, {"blob": whole}, [["a", whole]], [whole, None]] for n in range(3)]
    assert "too_large_bytes" in asked(site, path).text


def imu_names(site: Site) -> list[str]:
    """Return the columns of a page."""
    return [column["name"] for column in asked(site, IMU_DATA, limit=1).json()["columns"]]


FAT_ITEMS = 8_000


def test_a_page_is_no_larger_than_it_says(begin: Begin, root: Path) -> None:
    """Its rows are fewer where they are large; the pages that follow hold the rest, value by value."""
    with gapless.connect(root) as client, client.sequence_create("fat") as sequence:
        topic = sequence.topic_create("t", schema=pa.schema([("a", pa.list_(pa.float64()))]))
        for row in range(60):
            topic.push_row(BASE_NS + row, np.full(FAT_ITEMS, row + 0.1))
    site = begin(root)
    found: list[Any] = []
    after: dict[str, str] = {}
    sizes = []
    while not found or after:
        answer = asked(site, "/sequences/fat/topics/t/data", limit=60, **after)
        sizes.append(len(answer.content))
        found += answer.json()["rows"]
        after = {"after": answer.json()["next"]} if answer.json()["next"] else {}
    assert max(sizes) <= MOST_BYTES
    assert found == [[str(BASE_NS + row), [row + 0.1] * FAT_ITEMS] for row in range(60)]


def test_a_cell_that_no_page_holds_is_told_by_its_size(begin: Begin, root: Path) -> None:
    """With the rows around it; another format has it."""
    huge = np.random.default_rng(1).random(200_000)
    with gapless.connect(root) as client, client.sequence_create("fat") as sequence:
        topic = sequence.topic_create(
            "t", schema=pa.schema([("n", pa.int64()), ("a", pa.list_(pa.float64()))])
        )
        for row in range(3):
            topic.push_row(BASE_NS + row, row, huge if row == 1 else [1.0])
    site = begin(root)
    answer = asked(site, "/sequences/fat/topics/t/data")
    small, cut, last = answer.json()["rows"]
    assert (small, last) == ([str(BASE_NS), "0", [1.0]], [str(BASE_NS + 2), "2", [1.0]])
    assert cut[:2] == [str(BASE_NS + 1), "1"]
    assert cut[2]["too_large_bytes"] >= huge.nbytes
    assert len(answer.content) < 1_000
    stream = asked(site, "/sequences/fat/topics/t/data", format="arrow").content
    assert pa.ipc.open_stream(stream).read_all()["a"][1].as_py() == huge.tolist()


def test_a_row_of_many_large_cells_fits_a_page() -> None:
    """However many columns it has, and the small cells in it stay what they are."""
    texts = {f"c{place}": ["x" * 200_000] for place in range(40)}
    batch = pa.record_batch({"timestamp_ns": [BASE_NS], "n": [7], **texts})
    page = page_of(Rows(batch.schema, iter([batch])), 1, None)
    assert page.rows[0][:3] == [str(BASE_NS), "7", {"too_large_bytes": batch["c0"].nbytes}]
    assert len(page.model_dump_json()) <= MOST_BYTES


def test_cells_of_every_type_are_json() -> None:
    """Sliced, nested and missing ones, too: whole numbers of 64 bits and what JSON lacks are texts."""
    values: list[tuple[pa.DataType, list[Any], list[Any]]] = [
        (pa.uint64(), [2**64 - 1], [str(2**64 - 1)]),
        (pa.uint32(), [7], [7]),
        (pa.float16(), [np.float16(0.5)], [0.5]),
        (pa.float32(), [0.1], [0.10000000149011612]),
        (pa.decimal128(20, 2), [Decimal("-12.50")], ["-12.50"]),
        (pa.date32(), [dt.date(2024, 2, 29)], ["2024-02-29"]),
        (pa.time64("us"), [dt.time(1, 2, 3)], ["01:02:03.000000"]),
        (pa.timestamp("us"), [dt.datetime(2024, 2, 29, 1)], ["2024-02-29 01:00:00.000000"]),
        (pa.timestamp("ns", "UTC"), [0], ["1970-01-01 00:00:00.000000000Z"]),
        (pa.duration("ms"), [dt.timedelta(seconds=1)], ["1000"]),
        (pa.binary(2), [b"ab"], [{"bytes": 2, "base64": "YWI="}]),
        (pa.large_string(), ["é"], ["é"]),
        (pa.dictionary(pa.int8(), pa.string()), ["a"], ["a"]),
        (pa.list_(pa.int64()), [[1, None]], [["1", None]]),
        (pa.list_(pa.list_(pa.float64())), [[[math.inf], []]], [[[None], []]]),
        (pa.list_(pa.float32(), 2), [[1.0, 2.0]], [[1.0, 2.0]]),
        (
            pa.struct([("n", pa.int64()), ("x", pa.float64())]),
            [{"n": 1, "x": math.nan}],
            [{"n": "1", "x": None}],
        ),
        (pa.map_(pa.string(), pa.int64()), [[("k", 1)]], [[["k", "1"]]]),
        (pa.null(), [None], [None]),
    ]
    for kind, put, expected in values:
        column = pa.array([None, *put, None, *put, None], kind)
        assert cells(column) == [None, *expected, None, *expected, None], kind
        assert cells(column.slice(1, 2)) == [*expected, None], kind
        assert cells(column.slice(0, 0)) == [], kind
        json.dumps(cells(column), allow_nan=False)
