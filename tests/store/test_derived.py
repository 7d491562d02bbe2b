"""Outputs of feature runs read as topics: every way of reading, what counts in a ledger, what is no topic."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.store.bundle_files import XS, write_bundle, xs
from tests.store.derived_run import RUN, SPEED, begin_run, line, record_entry, speeds

from gapless.errors import IntegrityError, NotFound, UsageError
from gapless.store.align import plan
from gapless.store.pyramid_read import downsample
from gapless.store.reader import BundleReader, open_bundle
from gapless.store.topic_merge import iter_rows

SPEED_TOPIC = f"features/speed__from__tracks@{RUN}"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Return the bundle of the sequence `run`, which a feature run gave three speeds."""
    path = tmp_path / "sequences" / "run"
    path.mkdir(parents=True)
    write_bundle(path, {"tracks": (XS, [xs([10, 20, 30])])}, record={"opened_ns": 1_000})
    folder = begin_run(tmp_path, "speed__from__tracks")
    record_entry(folder, "other", speeds([1], [9.0]))
    record_entry(folder, "run", speeds([10, 20, 30], [0.0, 2.5, 1.5]))
    record_entry(folder, "running", speeds([1], [9.0]))
    return path


def _folder(bundle: Path) -> Path:
    return bundle.parent.parent / "features" / "speed__from__tracks" / RUN


def _fresh(bundle: Path) -> BundleReader:
    return open_bundle(bundle)


def test_an_output_is_a_topic_with_its_units_and_its_origin(bundle: Path) -> None:
    """Schema, counts, times, ledger and metadata are those of the entry; the own topics stay as they are."""
    reader = open_bundle(bundle)
    topic = reader.topic(SPEED_TOPIC)
    assert topic.schema.equals(SPEED, check_metadata=True)
    assert (topic.rows, topic.start_ns, topic.end_ns, topic.clock) == (3, 10, 30, "derived")
    assert topic.metadata == {"feature": "speed__from__tracks", "run_id": RUN}
    assert topic.ledger == {"produced": 3, "written": 3, "dropped": 0, "gapped": 0}
    assert (list(reader.topics), reader.feature_topics) == (["tracks"], [SPEED_TOPIC])


def test_rows_windows_columns_and_filters(bundle: Path) -> None:
    """A derived topic scans like a recorded one, also with a filter on a column whose name ends in _seq."""
    topic = open_bundle(bundle).topic(SPEED_TOPIC)
    assert topic.to_arrow().to_pydict() == {
        "timestamp_ns": [10, 20, 30],
        "speed": [0.0, 2.5, 1.5],
        "moving": [False, True, True],
    }
    assert topic.to_arrow(["speed"], 20, 30).to_pydict() == {"timestamp_ns": [20], "speed": [2.5]}
    fast = list(topic.scan(["moving"], filter=pc.field("speed") > 2))
    assert [batch.to_pydict() for batch in fast] == [{"timestamp_ns": [20], "moving": [True]}]
    assert topic.floor_ns(29) == 20


def test_a_filter_never_asks_for_the_hidden_column(bundle: Path) -> None:
    """Rows of a feature have no ``_seq``: asking for it is refused, a name that ends so is read."""
    schema = pa.schema([pa.field("timestamp_ns", pa.int64(), nullable=False), pa.field("my_seq", pa.int64())])
    record_entry(begin_run(bundle.parent.parent, "count"), "run", pa.table([[1, 2], [7, 8]], schema=schema))
    topic = open_bundle(bundle).topic(f"features/count@{RUN}")
    assert [b["my_seq"].to_pylist() for b in topic.scan(filter=pc.field("my_seq") > 7)] == [[8]]
    with pytest.raises(UsageError, match="no sequence number"):
        topic.scan(with_seq=True)


def test_derived_and_recorded_topics_merge_align_and_draw(bundle: Path) -> None:
    """Rows of both come in one time order, on one time base, and as a curve without a pyramid."""
    reader = open_bundle(bundle)
    both = [reader.topic("tracks"), reader.topic(SPEED_TOPIC)]
    rows = list(iter_rows(both, {"tracks": ["x"], SPEED_TOPIC: ["speed"]}))
    assert rows[:3] == [(10, "tracks", 0.0), (10, SPEED_TOPIC, 0.0), (20, "tracks", 1.0)]
    aligned = pa.Table.from_batches(plan(both, on="tracks", columns={SPEED_TOPIC: ["speed"]}).batches())
    assert aligned[f"{SPEED_TOPIC}:speed"].to_pylist() == [0.0, 2.5, 1.5]
    curve = downsample(both[1], "speed", 2)
    assert (curve.unit, curve.maximum.tolist(), curve.rows.tolist()) == ("m/s", [2.5], [3])


def test_a_category_reads_as_its_text(bundle: Path) -> None:
    """A dictionary column is text to every reader, filters included."""
    state = pa.array(["rest", "run", "rest"]).dictionary_encode()
    table = pa.table({"timestamp_ns": pa.array([1, 2, 3]), "state": state})
    record_entry(begin_run(bundle.parent.parent, "state"), "run", table)
    topic = open_bundle(bundle).topic(f"features/state@{RUN}")
    assert topic.schema.field("state").type == pa.string()
    assert [b["state"].to_pylist() for b in topic.scan(filter=pc.field("state") == "run")] == [["run"]]


def test_many_row_groups_stream_in_order(bundle: Path) -> None:
    """An output of several row groups is read group by group, and a window skips those outside it."""
    times = list(range(150_000))
    record_entry(begin_run(bundle.parent.parent, "long"), "run", speeds(times, [0.5] * len(times)))
    topic = open_bundle(bundle).topic(f"features/long@{RUN}")
    batches = list(topic.scan(["speed"]))
    assert [batch.num_rows for batch in batches] == [65_536, 65_536, 18_928]
    assert [t for batch in batches for t in batch["timestamp_ns"].to_pylist()] == times
    assert [b.num_rows for b in topic.scan(["speed"], 149_000)] == [1_000]


def test_the_last_whole_line_of_a_sequence_counts(bundle: Path) -> None:
    """A torn line and one with a wrong checksum are passed over; a later whole line replaces what was there."""
    folder = _folder(bundle)
    good = record_entry(folder, "run", speeds([10, 20], [1.0, 2.0]))
    whole = line({**good, "n_rows": 99})
    with (folder / "entries.jsonl").open("ab") as ledger:
        ledger.write(whole.replace(b'"n_rows":99', b'"n_rows":98') + whole[: len(whole) // 2])
    assert _fresh(bundle).topic(SPEED_TOPIC).to_arrow()["speed"].to_pylist() == [1.0, 2.0]


def test_an_entry_of_another_sequence_of_that_name_is_not_read(bundle: Path) -> None:
    """What was computed before the recording began, or for another group, belongs to another sequence."""
    folder = _folder(bundle)
    (folder / "entries.jsonl").unlink()
    record_entry(folder, "run", speeds([10], [1.0]), recorded_ns=999)
    record_entry(folder, "run", speeds([10], [1.0]), group="elsewhere")
    assert _fresh(bundle).feature_topics == []
    with pytest.raises(NotFound, match="no output for this sequence"):
        _fresh(bundle).topic(SPEED_TOPIC)


def test_names_that_need_encoding(tmp_path: Path) -> None:
    """Sequence and feature names with any characters find their files."""
    path = tmp_path / "sequences" / "d%C3%A9j%C3%A0%20vu%2F1"
    path.mkdir(parents=True)
    write_bundle(path, {}, name="déjà vu/1")
    record_entry(begin_run(tmp_path, "a__from__x+y"), "déjà vu/1", speeds([1], [2.0]))
    reader = open_bundle(path)
    assert reader.feature_topics == [f"features/a__from__x+y@{RUN}"]
    assert reader.topic(reader.feature_topics[0]).rows == 1


def test_what_is_no_topic_says_how_to_go_on(bundle: Path) -> None:
    """A table without time, an entry that failed, a run without one, half a name: NotFound, each its own."""
    root = bundle.parent.parent
    record_entry(begin_run(root, "mean"), "run", pa.table({"mean": [1.5]}))
    record_entry(begin_run(root, "bad"), "run", None, status="failed", error_message="no tail")
    record_entry(begin_run(root, "none"), "run", None)
    reader = open_bundle(bundle)
    assert reader.feature_topics == [SPEED_TOPIC]
    with pytest.raises(NotFound, match="without time") as table:
        reader.topic(f"features/mean@{RUN}")
    assert f"features/mean/{RUN}/run.parquet" in str(table.value)
    with pytest.raises(NotFound, match="is failed") as failed:
        reader.topic(f"features/bad@{RUN}")
    assert "no tail" in str(failed.value)
    with pytest.raises(NotFound, match="is empty"):
        reader.topic(f"features/none@{RUN}")
    with pytest.raises(NotFound, match="names no output") as half:
        reader.topic("features/speed__from__tracks")
    assert f"one of {SPEED_TOPIC}" in str(half.value)
    with pytest.raises(NotFound, match="no output for this sequence"):
        reader.topic("features/..@..")


def test_damage_names_the_file(bundle: Path) -> None:
    """One flipped byte in the rows, a file cut short and a file that is gone: IntegrityError, never other rows."""
    file = _folder(bundle) / "run.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:20] + bytes([whole[20] ^ 1]) + whole[21:])
    with pytest.raises(IntegrityError, match=r"run\.parquet"):
        _fresh(bundle).topic(SPEED_TOPIC).to_arrow()
    file.write_bytes(whole[:-1])
    with pytest.raises(IntegrityError, match="wrong size"):
        _fresh(bundle).topic(SPEED_TOPIC)
    file.unlink()
    with pytest.raises(IntegrityError, match=r"run\.parquet"):
        _fresh(bundle).topic(SPEED_TOPIC)


def test_a_reload_sees_what_a_run_wrote_since(bundle: Path) -> None:
    """Until it is told to look again a reader stays with the entry it found."""
    reader = open_bundle(bundle)
    assert reader.topic(SPEED_TOPIC).rows == 3
    record_entry(_folder(bundle), "run", speeds([10], [1.0]))
    reader.reload()
    assert reader.topic(SPEED_TOPIC).rows == 1


def test_an_own_topic_of_such_a_name_is_itself(tmp_path: Path) -> None:
    """A recorded topic called features/… is read as what was recorded."""
    path = tmp_path / "sequences" / "run"
    path.mkdir(parents=True)
    write_bundle(path, {SPEED_TOPIC: (XS, [xs([5])])})
    record_entry(begin_run(tmp_path, "speed__from__tracks"), "run", speeds([10, 20], [1.0, 2.0]))
    assert open_bundle(path).topic(SPEED_TOPIC).schema.names == ["timestamp_ns", "x", "label"]
