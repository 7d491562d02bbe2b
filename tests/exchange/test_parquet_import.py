"""What an import of Parquet finds, keeps exactly and refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gapless.errors import ImportRefused, NotFound
from gapless.exchange.parquet_import import import_parquet, plan_parquet, read_batches
from gapless.exchange.report import BadRow


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write columns as a Parquet file and return its path."""

    def write_file(columns: dict[str, Any], name: str = "data.parquet") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), path)
        return path

    return write_file


Write = Callable[..., Path]


def times_of(path: Path, **options: Any) -> list[int]:
    """Return the nanoseconds of an import in which no row is bad."""
    batches = read_batches(plan_parquet(path, **options), lambda row: pytest.fail(str(row)))
    return [t for b in batches for t in b.column("timestamp_ns").to_pylist()]


@pytest.mark.parametrize(
    ("name", "column", "options", "expected"),
    [
        ("when", pa.array([1], pa.timestamp("s", "UTC")), {}, 10**9),
        ("when", pa.array([1], pa.timestamp("ms", "Europe/Berlin")), {}, 10**6),
        ("when", pa.array([9007199254740993], pa.timestamp("ns", "UTC")), {}, 9007199254740993),
        ("when", pa.array([0], pa.timestamp("us")), {"tz": "+01:00"}, -3600 * 10**9),
        ("when", pa.array([1717243200], pa.timestamp("s")), {"tz": "Europe/Berlin"}, 1717236000 * 10**9),
        ("date", pa.array([date(1970, 1, 2)]), {"tz": "UTC"}, 86_400 * 10**9),
        ("t", pa.array([5], pa.duration("us")), {}, 5000),
        ("t", pa.array([5], pa.duration("us")), {"start": 7}, 5007),
        ("timestamp_ns", pa.array([9007199254740993]), {}, 9007199254740993),
        ("timestamp", pa.array([1700000000123]), {}, 1700000000123 * 10**6),
        ("time", pa.array([0.1]), {}, 100_000_000),
        ("time", pa.array([1700000000.5]), {}, 1700000000_500000000),
        ("x", pa.array([3], pa.int16()), {"time": "x", "units": {"x": "ms"}}, 3_000_000),
    ],
)
def test_times_are_exact(
    write: Write, name: str, column: pa.Array, options: dict[str, Any], expected: int
) -> None:
    """Each type of time gives the exact nanosecond."""
    assert times_of(write({name: column, "v": [1]}), **options) == [expected]


@pytest.mark.parametrize(
    ("columns", "options", "advice"),
    [
        ({"time": pa.array([0], pa.timestamp("us")), "v": [1]}, {}, "--tz UTC"),
        ({"a": pa.array([0], pa.timestamp("us")), "b": pa.array([0], pa.timestamp("us"))}, {}, "--time 'a'"),
        ({"a": [1], "b": [2]}, {}, "--time NAME"),
        ({"time": [100_000]}, {}, "--units 'time=s'"),
        ({"time": ["now"]}, {"time": "time"}, "--time"),
        ({"time": [1]}, {"time": "x"}, "--time"),
        ({"time": [1]}, {"units": {"x": "s"}}, "names of the file"),
    ],
)
def test_ambiguity_is_refused(
    write: Write, columns: dict[str, Any], options: dict[str, Any], advice: str
) -> None:
    """A file that can be read in two ways is refused, and the message names the choice to make."""
    with pytest.raises(ImportRefused) as caught:
        plan_parquet(write(columns), **options)
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2**62], pa.timestamp("ms", "UTC")),
        pa.array([-(2**63)], pa.timestamp("ns", "UTC")),
        pa.array([date(9999, 1, 1)]),
    ],
)
def test_overflow_is_refused(write: Write, client: Any, column: pa.Array) -> None:
    """A time that int64 nanoseconds cannot hold refuses the import and leaves nothing."""
    with pytest.raises(ImportRefused):
        import_parquet(client, write({"time": column, "v": [1]}), time="time", tz="UTC")
    assert client.sequences == {}


def test_rows_without_a_time(write: Write, client: Any) -> None:
    """A row whose time is null or NaN is a bad row with its number, and the others are kept."""
    report = import_parquet(client, write({"time": [0.5, None, float("nan"), 1.5], "v": [1, 2, 3, 4]}))
    assert [(b.line, b.reason) for b in report.bad] == [(2, "time: no time"), (3, "time: no time")]
    assert (report.rows, report.exit_code) == ({"data": 2}, 1)
    assert client.sequences["data"].topic("data").table().column("v").to_pylist() == [1, 4]


def test_nested_and_dictionary_columns(write: Write) -> None:
    """Structs become dotted columns, dictionaries their values, a foreign _seq keeps its values as seq."""
    path = write(
        {
            "timestamp_ns": [1, 2],
            "pose": [{"p": {"x": 1.0}, "n": 1}, {"p": {"x": 2.0}, "n": 2}],
            "kind": pa.array(["a", "b"]).dictionary_encode(),
            "_seq": [5, 6],
        }
    )
    plan = plan_parquet(path)
    bad: list[BadRow] = []
    rows = [row for batch in read_batches(plan, bad.append) for row in batch.to_pylist()]
    assert rows[1] == {"timestamp_ns": 2, "pose.p.x": 2.0, "pose.n": 2, "kind": "b", "seq": 6}
    assert plan.schema().field("kind").type == pa.string()
    assert bad == []


def test_folder_of_parts(write: Write, client: Any, tmp_path: Path) -> None:
    """A folder holds a topic per file and a topic per folder of parts, as the topics of a bundle do."""
    write({"timestamp_ns": [1], "v": [1]}, "in/a.parquet")
    (tmp_path / "in" / "x%2Fy").mkdir()
    write({"timestamp_ns": [1, 2], "v": [1, 2]}, "in/x%2Fy/part-00000.parquet")
    write({"timestamp_ns": [3], "v": [3]}, "in/x%2Fy/part-00001.parquet")
    assert import_parquet(client, tmp_path / "in").rows == {"a": 1, "x/y": 3}


def test_parts_of_two_schemas(write: Write, tmp_path: Path) -> None:
    """Parts of one topic with different schemas are refused."""
    write({"timestamp_ns": [1], "v": [1]}, "in/a.parquet")
    write({"timestamp_ns": [1], "v": ["x"]}, "in/b.parquet")
    with pytest.raises(ImportRefused, match="another schema"):
        plan_parquet(tmp_path / "in")


def test_not_parquet(tmp_path: Path) -> None:
    """What is not Parquet is refused, and what is not there is NotFound."""
    (tmp_path / "a.parquet").write_bytes(b"time,v\n0,1\n")
    with pytest.raises(ImportRefused):
        plan_parquet(tmp_path / "a.parquet")
    with pytest.raises(NotFound):
        plan_parquet(tmp_path / "b.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound):
        plan_parquet(tmp_path / "empty")


def test_units_are_kept_and_described(write: Write) -> None:
    """Units of the file stay, given ones come first, and the description shows them."""
    path = write({"t": [0.5], "v": [1], "w": [2]})
    schema = pa.schema(
        [("t", pa.float64()), pa.field("v", pa.int64(), metadata={"unit": "mV"}), ("w", pa.int64())]
    )
    pq.write_table(pa.table({"t": [0.5], "v": [1], "w": [2]}, schema=schema), path)
    plan = plan_parquet(path, units={"w": "A"})
    assert plan.describe()[2:] == ["column v [mV]: int64", "column w [A]: int64"]
