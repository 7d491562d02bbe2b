"""A group of observed episodes becomes a dataset: every row, picture and statistic, read back without gapless."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.exchange.lerobot.episodes import NS, STATE, Take, picture_of, record, time_of, values_of
from tests.exchange.lerobot.reading import read

import gapless
from gapless.exchange.lerobot.export_dataset import export_lerobot
from gapless.exchange.lerobot.import_dataset import import_dataset
from gapless.exchange.lerobot.verify import verify_dataset
from gapless.store.episode_rows import FrameFlag

FRONT, WRIST = "observation.images.front", "observation.images.wrist"
LENGTHS = (40, 33, 47)


@pytest.fixture
def client(tmp_path: Path) -> Any:
    """A client of an empty store."""
    with gapless.connect(str(tmp_path / "store")) as made:
        yield made


def two_cameras(rows: int, **words: Any) -> Take:
    """Return a take with two cameras of colour."""
    return Take(rows=range(rows), cameras={"front": "mp4", "wrist": "mp4"}, **words)


def shown(client: gapless.Client, name: str, topic: str) -> Any:
    """Return the pictures that a recording gives back."""
    return np.array([pixels for _, pixels in client.sequence_handler(name).topic(topic).frames()])


def table(root: Path) -> pa.Table:
    """Return all rows of a dataset."""
    return pa.concat_tables([pq.read_table(path) for path in sorted(root.glob("data/*/*.parquet"))])


@pytest.mark.parametrize("layout", ["episodes", "compact"])
def test_each_row_has_its_values_picture_and_task(
    tmp_path: Path, client: gapless.Client, layout: str
) -> None:
    """Compared with what was recorded, by the rules of a loader, in both layouts."""
    names = [
        record(client, "pick", e, two_cameras(rows, tasks={0: f"lift {e % 2}"}))
        for e, rows in enumerate(LENGTHS)
    ]
    report = export_lerobot(client, "pick", tmp_path / "set", layout=layout)
    assert (report.episodes, report.rows, report.added) == (3, sum(LENGTHS), names)
    assert (report.backfilled_rows, report.repeated_image_rows, report.unusable_values) == (0, 0, 0)
    assert verify_dataset(tmp_path / "set", deep=True) == []
    found = read(tmp_path / "set")
    for episode, (name, rows) in enumerate(zip(names, LENGTHS, strict=True)):
        values = [values_of(episode, tick) for tick in range(rows)]
        state = np.array([[v[0], v[1], *v[2]] for v in values], np.float32)
        assert np.array_equal(found[f"state_{episode}"], state)
        assert np.array_equal(found[f"action_{episode}"], np.array([v[3:] for v in values], np.float32))
        assert found[f"task_{episode}"] == f"lift {episode % 2}"
        for topic, key in (("front", FRONT), ("wrist", WRIST)):
            pictures = found[f"pictures_{episode}_{key}"]
            assert np.array_equal(
                pictures, shown(client, name, topic)
            )  # the stored packets, not encoded again
            original = picture_of(episode, rows - 1, "mp4")
            assert np.abs(pictures[-1].astype(int) - original).mean() < 6
    files = 3 if layout == "episodes" else 1
    assert len(list((tmp_path / "set").glob("data/*/*.parquet"))) == files
    assert len(list((tmp_path / "set").glob(f"videos/{WRIST}/*/*.mp4"))) == files


def test_info_describes_what_is_there(tmp_path: Path, client: gapless.Client) -> None:
    """Features, totals and columns agree."""
    for episode in range(2):
        record(client, "pick", episode)
    export_lerobot(client, "pick", tmp_path / "set")
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["robot_type"]) == ("v3.0", 30, "arm")
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (2, 80, 1)
    assert info["splits"] == {"train": "0:2"}
    features = info["features"]
    assert features["observation.state"] == {"dtype": "float32", "shape": [4], "names": STATE}
    assert features["action"]["names"] == ["robot.action.shoulder", "robot.action.gripper"]
    assert features[FRONT]["dtype"] == "video"
    assert features[FRONT]["shape"] == [48, 64, 3]
    assert features[FRONT]["info"]["video.codec"] == "h264"
    assert features["observation.images.side.depth"]["dtype"] == "image"
    assert features["observation.images.side.depth"]["shape"] == [48, 64, 1]
    rows = table(tmp_path / "set")
    assert set(features) - {FRONT} == set(rows.column_names)
    assert rows["index"].to_pylist() == list(range(80))
    assert rows["frame_index"].to_pylist() == [*range(40), *range(40)]
    assert rows["captured_ns"].to_pylist()[:2] == [1000, NS // 30 + 1000]


def test_depth_is_exact(tmp_path: Path, client: gapless.Client) -> None:
    """Pictures of 16 bits are in the rows, without loss."""
    record(client, "pick", 3)
    export_lerobot(client, "pick", tmp_path / "set")
    cells = table(tmp_path / "set")["observation.images.side.depth"].to_pylist()
    assert len(cells) == 40
    for tick in (0, 17, 39):
        with av.open(io.BytesIO(cells[tick]["bytes"]), "r") as container:
            assert np.array_equal(next(container.decode(video=0)).to_ndarray(), picture_of(3, tick, "png"))


def test_pictures_lie_on_the_grid_exactly(tmp_path: Path, client: gapless.Client) -> None:
    """Over many short episodes nothing adds up: each begins at a whole picture."""
    for episode in range(12):
        record(client, "pick", episode, Take(rows=range(7), hz="7", cameras={"front": "mp4"}))
    export_lerobot(client, "pick", tmp_path / "set", layout="compact")
    listed = pq.read_table(tmp_path / "set/meta/episodes").to_pylist()
    assert [row[f"videos/{FRONT}/from_timestamp"] for row in listed] == [7 * e / 7 for e in range(12)]
    with av.open(str(tmp_path / f"set/videos/{FRONT}/chunk-000/file-000.mp4")) as container:
        stream = container.streams.video[0]
        packets: list[Any] = [packet for packet in container.demux(stream) if packet.size]
        assert stream.average_rate == 7
    assert [p.pts * p.time_base for p in packets] == [Fraction(k, 7) for k in range(84)]
    assert {p.duration * p.time_base for p in packets} == {Fraction(1, 7)}


def test_statistics_are_those_of_all_rows(tmp_path: Path, client: gapless.Client) -> None:
    """A large offset loses no digits, and quantiles are of the dataset, not averages of episodes'."""
    for episode in range(2):
        take = Take(rows=range(30 + episode * 20), change=lambda v: np.array([v[0] + 1e5, *v[1:]], object))
        record(client, "pick", episode, take)
    export_lerobot(client, "pick", tmp_path / "set")
    state = np.array(table(tmp_path / "set")["observation.state"].to_pylist(), np.float64)
    told = json.loads((tmp_path / "set/meta/stats.json").read_text())["observation.state"]
    np.testing.assert_allclose(told["mean"], state.mean(0), rtol=1e-12)
    np.testing.assert_allclose(told["std"], state.std(0), rtol=1e-9)
    for name, share in {"q01": 0.01, "q50": 0.5, "q99": 0.99}.items():
        np.testing.assert_allclose(told[name], np.quantile(state, share, axis=0), rtol=1e-12)
    assert (told["count"], state.std(0)[0] > 0.1) == ([80], True)


def test_statistics_of_pictures_are_of_all_episodes(tmp_path: Path, client: gapless.Client) -> None:
    """Quantiles come from joined histograms."""
    for episode, rows in enumerate((20, 30)):
        record(client, "pick", episode, two_cameras(rows))
    export_lerobot(client, "pick", tmp_path / "set")
    found = read(tmp_path / "set")
    pictures = np.concatenate([found[f"pictures_{e}_{FRONT}"] for e in range(2)]).reshape(-1, 3) / 255
    told = json.loads((tmp_path / "set/meta/stats.json").read_text())[FRONT]
    assert np.shape(told["mean"]) == (3, 1, 1)
    np.testing.assert_allclose(np.ravel(told["mean"]), pictures.mean(0), rtol=1e-9)
    np.testing.assert_allclose(np.ravel(told["q90"]), np.quantile(pictures, 0.9, axis=0), rtol=1e-9)


def test_values_that_are_no_numbers_are_counted(tmp_path: Path, client: gapless.Client) -> None:
    """NaN stays in the rows, is told, and spoils no figure."""

    def broken(values: Any) -> Any:
        return np.array([np.nan if values[4] else values[0], *values[1:]], object)

    record(client, "pick", 0, Take(change=broken))
    report = export_lerobot(client, "pick", tmp_path / "set")
    assert report.unusable_values == 20
    told = json.loads((tmp_path / "set/meta/stats.json").read_text())["observation.state"]
    assert np.isfinite(told["mean"]).all()
    assert {f.code for f in verify_dataset(tmp_path / "set", deep=True)} == {"L023"}


def test_late_ticks_become_rows_that_say_so(tmp_path: Path, client: gapless.Client) -> None:
    """The row and the picture before are repeated, so that each picture stays with its row."""
    there = [tick for tick in range(30) if tick not in (9, 10, 20)]
    take = two_cameras(0)
    take.rows, take.missed, take.flags = there, (9, 10, 20), {11: int(FrameFlag.AFTER_GAP)}
    record(client, "pick", 0, take)
    report = export_lerobot(client, "pick", tmp_path / "set")
    assert (report.rows, report.backfilled_rows, report.repeated_image_rows) == (30, 3, 3)
    assert verify_dataset(tmp_path / "set", deep=True) == []
    rows = table(tmp_path / "set")
    filled = int(FrameFlag.BACKFILLED | FrameFlag.REPEATED_IMAGE)
    flags = rows["frame_flags"].to_pylist()
    assert [k for k, flag in enumerate(flags) if flag == filled] == [9, 10, 20]
    assert flags[11] == FrameFlag.AFTER_GAP
    assert not any(flags[:9] + flags[12:20])
    source = [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, *range(11, 20), 19, *range(21, 30)]
    assert rows["observation.state"].to_pylist() == [
        [np.float32(v) for v in (r[0], r[1], *r[2])] for r in (values_of(0, tick) for tick in source)
    ]
    pictures = read(tmp_path / "set")[f"pictures_0_{FRONT}"]
    for row, tick in enumerate(source):
        errors = [np.abs(pictures[row].astype(int) - picture_of(0, t, "mp4")).mean() for t in range(30)]
        assert int(np.argmin(errors)) == tick, row


def test_a_pause_has_no_rows(tmp_path: Path, client: gapless.Client) -> None:
    """Time without ticks is not filled; the row after it says that time is missing."""
    take = two_cameras(0)
    take.rows, take.flags = [*range(10), *range(500, 510)], {500: int(FrameFlag.AFTER_GAP)}
    record(client, "pick", 0, take)
    report = export_lerobot(client, "pick", tmp_path / "set")
    assert (report.rows, report.backfilled_rows) == (20, 0)
    assert table(tmp_path / "set")["frame_flags"].to_pylist()[9:12] == [0, FrameFlag.AFTER_GAP, 0]


def test_flags_of_cameras_join_those_of_rows(tmp_path: Path, client: gapless.Client) -> None:
    """A row has the bits of its pictures too."""
    take = two_cameras(6, flags={0: 2, 3: 1}, picture_flags={3: 16})
    record(client, "pick", 0, take)
    export_lerobot(client, "pick", tmp_path / "set")
    assert table(tmp_path / "set")["frame_flags"].to_pylist() == [2, 0, 0, 17, 0, 0]


def test_a_slower_camera_repeats_its_pictures(tmp_path: Path, client: gapless.Client) -> None:
    """Each row shows the last picture, and says when it was shown before."""
    record(client, "pick", 0, two_cameras(30, video_every=3))
    report = export_lerobot(client, "pick", tmp_path / "set")
    assert (report.rows, report.backfilled_rows, report.repeated_image_rows) == (30, 0, 20)
    assert verify_dataset(tmp_path / "set", deep=True) == []
    pictures = read(tmp_path / "set")[f"pictures_0_{FRONT}"]
    for row in range(30):
        errors = [np.abs(pictures[row].astype(int) - picture_of(0, t, "mp4")).mean() for t in range(30)]
        assert int(np.argmin(errors)) == row - row % 3


def test_tasks_change_within_an_episode(tmp_path: Path, client: gapless.Client) -> None:
    """Tasks are numbered in the order in which rows have them."""
    record(client, "pick", 0, Take(tasks={0: "reach", 15: "grasp"}))
    record(client, "pick", 1, Take(tasks={0: "grasp"}))
    export_lerobot(client, "pick", tmp_path / "set")
    assert verify_dataset(tmp_path / "set", deep=True) == []
    rows = table(tmp_path / "set")
    assert rows["task_index"].to_pylist() == [0] * 15 + [1] * 65
    listed = pq.read_table(tmp_path / "set/meta/episodes")
    assert listed["tasks"].to_pylist() == [["reach", "grasp"], ["grasp"]]


def test_the_manifest_tells_the_origin_and_every_digest(tmp_path: Path, client: gapless.Client) -> None:
    """Each file is in it but itself."""
    name = record(client, "pick", 0, two_cameras(20, success=False))
    export_lerobot(client, "pick", tmp_path / "set")
    told = json.loads((tmp_path / "set/meta/gapless.json").read_text())
    entry = told["episodes"][0]
    assert entry["sequence"] == name
    assert entry["content_digest"] == client.sequence_handler(name).content_digest
    assert (entry["outcome"], entry["success"], entry["rows"]) == ("completed", False, 20)
    known = told["files"] | entry["files"]
    there = {p.relative_to(tmp_path / "set").as_posix() for p in (tmp_path / "set").rglob("*") if p.is_file()}
    assert there - known.keys() == {"meta/gapless.json"}
    for file, digest in known.items():
        assert hashlib.sha256((tmp_path / "set" / file).read_bytes()).hexdigest() == digest


def test_the_same_recordings_give_the_same_bytes(tmp_path: Path, client: gapless.Client) -> None:
    """In any folder, whatever the references."""
    for episode in range(2):
        record(client, "pick", episode, two_cameras(20, tasks={0: "b", 5: "a"}))
    one, other = tmp_path / "one", tmp_path / "other"
    export_lerobot(client, "pick", one)
    export_lerobot(client, ["pick/episode-000000", "pick/episode-000001"], other)
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(other) for p in other.rglob("*") if p.is_file())
    differing = [f.name for f in files if (one / f).read_bytes() != (other / f).read_bytes()]
    assert differing == ["gapless.json"]  # which tells how the episodes were named


def test_others_may_read_the_files(tmp_path: Path, client: gapless.Client) -> None:
    """The umask decides, and nothing else is left beside the dataset."""
    record(client, "pick", 0)
    before = os.umask(0o022)
    try:
        export_lerobot(client, "pick", tmp_path / "set")
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "set").rglob("*") if p.is_file()}
    assert modes == {0o644}
    assert {p.name for p in tmp_path.iterdir()} == {"store", "set"}


def test_what_is_imported_again_is_what_was_recorded(tmp_path: Path, client: gapless.Client) -> None:
    """Export, import and export give equal rows and pictures."""
    take = two_cameras(20)
    record(client, "pick", 0, take)
    export_lerobot(client, "pick", tmp_path / "set", layout="compact")
    import_dataset(client, tmp_path / "set", "again")
    export_lerobot(client, "again", tmp_path / "set_again", layout="compact")
    assert (
        table(tmp_path / "set")
        .drop(["captured_ns"])
        .equals(table(tmp_path / "set_again").drop(["captured_ns"]))
    )
    one, other = read(tmp_path / "set"), read(tmp_path / "set_again")
    assert np.array_equal(one[f"pictures_0_{FRONT}"], other[f"pictures_0_{FRONT}"])
    assert time_of(take, 3) == 100_000_000
