"""Sequences that nobody recorded as episodes, and episodes that broke off or have another rate, on one grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.exchange.lerobot.episodes import NS, Take, picture_of, record, values_of
from tests.exchange.lerobot.reading import read

import gapless
from gapless import Image
from gapless.errors import ExportRefused, NotFound, UsageError
from gapless.exchange.lerobot.export_dataset import export_lerobot
from gapless.exchange.lerobot.verify import verify_dataset
from gapless.model.outcome import Outcome
from gapless.store.episode_rows import FrameFlag

FRONT = "observation.images.camera.front"
ARM = pa.schema(
    [
        pa.field("joint.a", pa.float64()),
        pa.field("joint.b", pa.int32()),
        pa.field("command", pa.float32()),
        pa.field("name", pa.string()),
    ]
)
CHOICE: dict[str, Any] = {"fps": 20, "state": ["arm.joint"], "action": ["arm.command"]}
REPEATED = int(FrameFlag.REPEATED_IMAGE)
BACKFILLED = int(FrameFlag.BACKFILLED)


@pytest.fixture
def client(tmp_path: Path) -> Any:
    """A client of an empty store."""
    with gapless.connect(str(tmp_path / "store")) as made:
        yield made


def drive(
    client: gapless.Client,
    name: str = "drive",
    *,
    hole: range = range(0),
    first_picture: int = 3,
    media: str | None = "mp4",
    pixels: str = "rgb8",
) -> None:
    """Record an arm at 100 Hz for 2 s, and a camera at 10 Hz that begins later and ends before."""
    created: Any = client.sequence_create(name, {"task": "drive"}, group="drives")
    with created as sequence:
        arm = sequence.topic_create("arm", schema=ARM)
        for k in range(200):
            if k not in hole:
                arm.push_row(5 * NS + k * 10_000_000, k / 7, k, -k, "a")
        camera = sequence.topic_create("camera/front", ontology_type=Image, media=media)
        for k in range(first_picture, 18):
            picture = picture_of(0, k, "mp4")
            time_ns = 5 * NS + k * 100_000_000
            if media is not None:
                camera.push_image(time_ns, picture)
            else:
                data = picture if pixels == "rgb8" else picture[:, :, ::-1]
                camera.push_row(time_ns, data.tobytes(), "raw", 64, 48, 192, pixels, None)


def table(root: Path) -> pa.Table:
    """Return all rows of a dataset."""
    return pa.concat_tables([pq.read_table(path) for path in sorted(root.glob("data/*/*.parquet"))])


def ticks_shown(root: Path, key: str, count: int, episode: int = 0) -> list[int]:
    """Return for each row the number of the picture that it shows."""
    originals = [picture_of(episode, tick, "mp4").astype(int) for tick in range(count)]
    pictures = read(root)[f"pictures_0_{key}"]
    return [int(np.argmin([np.abs(o - p).mean() for o in originals])) for p in pictures]


def test_topics_of_different_rates_are_aligned(tmp_path: Path, client: gapless.Client) -> None:
    """From the first picture to the last one, each row with what was last known at its time."""
    drive(client)
    report = export_lerobot(client, "drives", tmp_path / "set", cameras=["camera/front"], **CHOICE)
    assert verify_dataset(tmp_path / "set", deep=True) == []
    rows = table(tmp_path / "set")
    samples = range(30, 171, 5)  # of the arm: 20 rows per second of 100 samples, 0.3 s to 1.7 s
    assert report.rows == len(samples) == rows.num_rows
    assert rows["observation.state"].to_pylist() == [[np.float32(k / 7), float(k)] for k in samples]
    assert rows["action"].to_pylist() == [float(-k) for k in samples]  # a vector of one is a number
    assert rows["captured_ns"].to_pylist() == [5 * NS + k // 10 * 100_000_000 for k in samples]
    assert ticks_shown(tmp_path / "set", FRONT, 18) == [k // 10 for k in samples]
    assert rows["frame_flags"].to_pylist() == [0 if k % 10 == 0 else REPEATED for k in samples]
    assert set(pq.read_table(tmp_path / "set/meta/tasks.parquet")["__index_level_0__"].to_pylist()) == {
        "drive"
    }


def test_a_source_that_was_silent_is_said_to_be_repeated(tmp_path: Path, client: gapless.Client) -> None:
    """Rows that repeat the last sample before a hole are marked, from the first one on."""
    drive(client, hole=range(51, 100))
    export_lerobot(client, "drives", tmp_path / "set", **CHOICE)
    rows = table(tmp_path / "set")
    silent = [k for k, flags in enumerate(rows["frame_flags"].to_pylist()) if flags == BACKFILLED]
    assert silent == list(range(11, 20))  # the sample at 0.5 s is row 10
    assert {v[1] for v in rows["observation.state"].to_pylist()[10:20]} == {50.0}


@pytest.mark.parametrize("told", [True, False], ids=["recorded gap", "hole"])
def test_one_lost_sample_is_one_row_that_says_so(
    tmp_path: Path, client: gapless.Client, *, told: bool
) -> None:
    """The row that repeats the sample before is marked, whether or not the source told of the loss."""
    with client.sequence_create("drive", group="drives") as sequence:
        topic = sequence.topic_create("imu", schema=pa.schema([pa.field("x", pa.float64())]))
        for k in range(60):
            if k % 5 != 3:
                topic.push_row(k * NS // 30, float(k))
            elif told:
                topic.gap(1, "lost", start_ns=k * NS // 30, end_ns=k * NS // 30)
    report = export_lerobot(client, "drives", tmp_path / "set", fps=30, state=["imu.x"])
    marked = [k for k, flags in enumerate(table(tmp_path / "set")["frame_flags"].to_pylist()) if flags]
    assert marked == list(range(3, 59, 5))
    assert report.backfilled_rows == len(marked)


def test_a_gap_of_a_slow_topic_marks_the_rows_behind_it(tmp_path: Path, client: gapless.Client) -> None:
    """Rows that repeat a sample because the topic is slower than they are have no flag; those across a gap do."""
    with client.sequence_create("drive", group="drives") as sequence:
        topic = sequence.topic_create("imu", schema=pa.schema([pa.field("x", pa.float64())]))
        for k in range(20):
            if k == 6:
                topic.gap(1, "lost", start_ns=k * NS // 10, end_ns=k * NS // 10)
            else:
                topic.push_row(k * NS // 10, float(k))
    export_lerobot(client, "drives", tmp_path / "set", fps=20, state=["imu.x"])
    marked = [k for k, flags in enumerate(table(tmp_path / "set")["frame_flags"].to_pylist()) if flags]
    assert marked == [12, 13]


def test_jitter_is_no_gap(tmp_path: Path, client: gapless.Client) -> None:
    """Rows repeat a sample where the next one is a little late, and nothing is missing."""
    with client.sequence_create("drive", group="drives") as sequence:
        topic = sequence.topic_create("imu", schema=pa.schema([pa.field("x", pa.float64())]))
        for k in range(60):
            topic.push_row(k * NS // 30 + (0, 2_000_000, -1_000_000)[k % 3], float(k))
    export_lerobot(client, "drives", tmp_path / "set", fps=30, state=["imu.x"])
    values = table(tmp_path / "set")["observation.state"].to_pylist()
    assert len(set(values)) < len(values)
    assert set(table(tmp_path / "set")["frame_flags"].to_pylist()) == {0}


def test_a_lost_picture_is_a_row_that_says_so(tmp_path: Path, client: gapless.Client) -> None:
    """A gap of a camera counts as one of a table does."""
    with client.sequence_create("drive", group="drives") as sequence:
        camera = sequence.topic_create("front", ontology_type=Image, media="mp4")
        for k in range(12):
            if k == 5:
                camera.gap(1, "lost", start_ns=k * NS // 10, end_ns=k * NS // 10)
            else:
                camera.push_image(k * NS // 10, picture_of(0, k, "mp4"))
    export_lerobot(client, "drives", tmp_path / "set", fps=10, cameras=["front"])
    flags = table(tmp_path / "set")["frame_flags"].to_pylist()
    assert flags == [BACKFILLED | REPEATED if k == 5 else 0 for k in range(12)]


@pytest.mark.parametrize("pixels", ["rgb8", "bgr8"])
def test_raw_pictures_are_encoded(tmp_path: Path, client: gapless.Client, pixels: str) -> None:
    """Whatever the order of their colours."""
    drive(client, media=None, pixels=pixels)
    export_lerobot(client, "drive", tmp_path / "set", cameras=["camera/front"], fps=10)
    assert verify_dataset(tmp_path / "set", deep=True) == []
    pictures = read(tmp_path / "set")[f"pictures_0_{FRONT}"]
    assert len(pictures) == 15
    for row, picture in enumerate(pictures):
        assert np.abs(picture.astype(int) - picture_of(0, row + 3, "mp4")).mean() < 6


def test_an_episode_is_brought_to_another_rate(tmp_path: Path, client: gapless.Client) -> None:
    """Flags of rows that are passed over are not lost."""
    take = Take(rows=range(41), hz="20", cameras={"front": "mp4"}, flags={0: 2, 13: 1})
    record(client, "pick", 0, take)
    report = export_lerobot(client, "pick", tmp_path / "set", fps=10)
    assert verify_dataset(tmp_path / "set", deep=True) == []
    rows = table(tmp_path / "set")
    assert report.rows == 21
    assert [v[1] for v in rows["observation.state"].to_pylist()] == [
        np.float32(values_of(0, tick)[1]) for tick in range(0, 41, 2)
    ]
    assert rows["frame_flags"].to_pylist() == [2, *[0] * 6, 1, *[0] * 13]
    assert ticks_shown(tmp_path / "set", "observation.images.front", 41) == list(range(0, 41, 2))


def test_a_fractional_rate_becomes_a_whole_one(tmp_path: Path, client: gapless.Client) -> None:
    """LeRobot has whole rates only: one is to be named."""
    record(client, "pick", 0, Take(hz="30000/1001", cameras={"front": "mp4"}))
    with pytest.raises(ExportRefused, match=r"whole number.*30000/1001.*--fps") as refused:
        export_lerobot(client, "pick", tmp_path / "set")
    assert refused.value.code == "E118"
    export_lerobot(client, "pick", tmp_path / "set", fps=30)
    assert verify_dataset(tmp_path / "set", deep=True) == []
    with pytest.raises(ExportRefused, match="whole number"):
        export_lerobot(client, "pick", tmp_path / "other", fps="29.97")


@pytest.mark.parametrize(("rows", "pictures", "left"), [(30, 26, 26), (24, 30, 24), (30, 0, 0)])
def test_an_interrupted_episode_has_the_rows_that_are_whole(
    tmp_path: Path, client: gapless.Client, rows: int, pictures: int, left: int
) -> None:
    """It is left out unless it is asked for, and then ends where rows or pictures end."""
    record(client, "pick", 0, Take(rows=range(20), cameras={"front": "mp4"}))
    take = Take(
        rows=range(rows), pictures=range(pictures), cameras={"front": "mp4"}, outcome=Outcome.INTERRUPTED
    )
    name = record(client, "pick", 1, take)
    report = export_lerobot(client, "pick", tmp_path / "whole")
    assert (report.episodes, report.left_out) == (1, [(name, "interrupted")])
    if not pictures:
        with pytest.raises(ExportRefused, match="no pictures"):
            export_lerobot(client, "pick", tmp_path / "all", include_interrupted=True)
        return
    report = export_lerobot(client, "pick", tmp_path / "all", include_interrupted=True)
    assert (report.rows, report.backfilled_rows, report.repeated_image_rows) == (20 + left, 0, 0)
    assert verify_dataset(tmp_path / "all", deep=True) == []


def test_topics_without_common_time_are_left_out(tmp_path: Path, client: gapless.Client) -> None:
    """A sequence that has no row is named in the report."""
    drive(client, "one")
    with client.sequence_create("two", group="drives") as sequence:
        arm = sequence.topic_create("arm", schema=ARM)
        arm.push_row(0, 0.0, 0, 0, "a")
        sequence.topic_create("other", schema=pa.schema([pa.field("x", pa.float64())])).push_row(9, 0.0)
    with client.sequence_create("three", group="drives") as sequence:
        sequence.topic_create("arm", schema=ARM)
    report = export_lerobot(client, "drives", tmp_path / "set", **CHOICE)
    assert [entry.sequence for entry in report.left_out] == ["three"]
    assert report.added == ["one", "two"]
    with pytest.raises(ExportRefused, match="no episode to export"):
        export_lerobot(client, "three", tmp_path / "other", **CHOICE)
    assert not (tmp_path / "other").exists()


def test_what_is_not_there_is_named(tmp_path: Path, client: gapless.Client) -> None:
    """Every wrong choice is a typed error that says what there is; nothing is written."""
    drive(client)
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"state": ["arm.wrist"]}, NotFound, "joint.a"),
        ({"state": ["leg.a"]}, NotFound, "TOPIC.FIELD"),
        ({"state": ["arm.name"]}, ExportRefused, "only numbers"),
        ({"cameras": ["arm"]}, UsageError, "no pictures"),
        ({}, ExportRefused, "nothing is chosen"),
        ({"state": ["arm"], "fps": None}, ExportRefused, "no rate of its own"),
        ({"state": ["arm"], "layout": "heap"}, UsageError, "episodes or compact"),
        ({"state": ["arm"], "outcomes": ["perfect"]}, UsageError, "completed"),
    ]
    for options, kind, words in wrong:
        with pytest.raises(kind, match=words):
            export_lerobot(client, "drives", tmp_path / "set", **({"fps": 10} | options))
    with pytest.raises(NotFound):
        export_lerobot(client, "walks", tmp_path / "set")
    assert {p.name for p in tmp_path.iterdir()} == {"store"}
