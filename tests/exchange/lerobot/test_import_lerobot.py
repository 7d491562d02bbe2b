"""A LeRobot dataset becomes episodes whose values and pictures are those of the dataset, bit for bit."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.exchange.lerobot import foreign
from tests.exchange.lerobot.episodes import Take, record

import gapless
from gapless.cli.main import main
from gapless.client.client import Client
from gapless.errors import ImportRefused, NameTaken, UsageError
from gapless.exchange.formats import importer_for
from gapless.exchange.lerobot.export_dataset import export_lerobot
from gapless.exchange.lerobot.import_dataset import import_dataset, plan_import
from gapless.model.outcome import Outcome

FRONT = "observation.images.front"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A client of an empty store."""
    with gapless.connect(str(tmp_path / "store")) as opened:
        yield opened


def shown(made: foreign.Written, key: str, *, compact: bool) -> list[foreign.Array]:
    """Return the pictures of each episode as a player decodes the dataset's files."""
    paths = sorted((made.path / "videos" / key).rglob("*.mp4"))
    pictures: list[Any] = []
    for path in paths:
        with av.open(str(path)) as container:
            frames: Any = container.decode(video=0)
            pictures += [frame.to_ndarray(format="rgb24") for frame in frames]
    assert len(paths) == (1 if compact else len(made.lengths))
    starts = np.cumsum([0, *made.lengths])
    return [np.array(pictures[a:b]) for a, b in itertools.pairwise(starts)]


def stored(client: Client, episode: int, topic: str) -> foreign.Array:
    """Return the pictures that an imported episode has, after its times were compared with the grid."""
    frames = list(client.sequence_handler(f"pick/episode-{episode:06d}").topic(topic).frames())
    assert [time for time, _ in frames] == [k * 1_000_000_000 // 30 for k in range(len(frames))]
    return np.array([pixels for _, pixels in frames])


def column(client: Client, episode: int, topic: str, name: str) -> foreign.Array:
    """Return one column of an imported episode."""
    rows = client.sequence_handler(f"pick/episode-{episode:06d}").topic(topic).to_arrow([name])
    values: foreign.Array = rows[name].to_numpy()
    return values


@pytest.mark.parametrize("compact", [False, True], ids=["a file each", "one file"])
@pytest.mark.parametrize(
    ("options", "encoding", "codec"),
    [
        (None, "h264", "libx264"),
        ({"g": "2", "crf": "30"}, "png", "libx264"),  # says that pictures may be reordered, as LeRobot's own
        ({"g": "12", "bf": "3", "crf": "30"}, "png", "libx264"),
        ({"g": "2", "qscale": "3"}, "png", "mpeg4"),
    ],
    ids=["h264", "h264 with delay", "h264 with B-frames", "mpeg4"],
)
def test_values_and_pictures_are_those_of_the_dataset(
    client: Client,
    tmp_path: Path,
    options: dict[str, str] | None,
    encoding: str,
    codec: str,
    *,
    compact: bool,
) -> None:
    """States keep their bits, pictures are those that a player shows, from either layout."""
    made = foreign.write(tmp_path / "set", compact=compact, codec=codec, options=options)
    report = import_dataset(client, made.path, "pick")
    assert report.sequences == [f"pick/episode-{k:06d}" for k in range(3)]
    assert report.rows["frames"] == sum(made.lengths)
    assert any(line.startswith("front: ") for line in report.assumed)
    pictures = {key: shown(made, key, compact=compact) for key in made.pictures}
    for episode in range(3):
        for place, name in enumerate(foreign.STATE):
            state = column(client, episode, "robot", f"state.{name}")
            assert state.tobytes() == made.states[episode][:, place].tobytes()
            action = column(client, episode, "robot", f"action.{name}")
            assert action.tobytes() == made.actions[episode][:, place].tobytes()
        for key, expected in pictures.items():
            topic = key.removeprefix("observation.images.")
            assert np.array_equal(stored(client, episode, topic), expected[episode])
            assert set(column(client, episode, topic, "encoding").tolist()) == {encoding}


def test_the_packets_are_the_bytes_of_the_file(client: Client, tmp_path: Path) -> None:
    """Nothing is encoded again: the stored stream decodes alone and begins with a keyframe."""
    made = foreign.write(tmp_path / "set", compact=True)
    import_dataset(client, made.path, "pick")
    topic = client.sequence_handler("pick/episode-000001").topic("front")
    rows = topic.to_arrow(["data", "keyframe", "packet"]).sort_by("packet")
    assert rows["packet"].to_pylist() == list(range(9))
    assert rows["keyframe"].to_pylist()[0]
    video = next((made.path / "videos" / FRONT).rglob("*.mp4")).read_bytes()
    for unit in rows["data"].to_pylist():
        picture = unit.split(b"\x00\x00\x00\x01")[-1].split(b"\x00\x00\x01")[-1]  # the slice comes last
        assert picture in video
    written = topic.write_video(tmp_path / "episode.mp4")
    assert (written.frames, written.moved) == (9, 0)


def test_pictures_are_encoded_again_only_when_asked(client: Client, tmp_path: Path) -> None:
    """With pictures="mp4" a video of another codec becomes H.264."""
    made = foreign.write(tmp_path / "set", codec="mpeg4", options={"g": "2"})
    report = import_dataset(client, made.path, "pick", pictures="mp4")
    assert (
        "front: decoded and encoded again as H.264, because mpeg4 is not stored packet by packet"
        in report.assumed
    )
    assert set(column(client, 0, "front", "encoding").tolist()) == {"h264"}
    error = stored(client, 2, "front").astype(int) - made.pictures[FRONT][2].astype(int)
    assert np.abs(error).mean() < 8


def test_image_features_keep_their_files(client: Client, tmp_path: Path) -> None:
    """PNG bytes in the rows are stored as they are."""
    made = foreign.write(tmp_path / "set", cameras=(), images=("still",))
    import_dataset(client, made.path, "pick")
    pictures = made.pictures["observation.images.still"]
    for episode in range(3):
        assert np.array_equal(stored(client, episode, "still"), pictures[episode])
        files = column(client, episode, "still", "data").tolist()
        assert files == [foreign.png(picture) for picture in pictures[episode]]


def test_an_episode_has_the_topics_of_an_observed_one(client: Client, tmp_path: Path) -> None:
    """Frames, tasks, frame tables and the end are where an observer writes them."""
    made = foreign.write(tmp_path / "set", manifest=True)
    import_dataset(client, made.path, "pick", metadata={"who": "me"})
    episode = client.sequence_handler("pick/episode-000001")
    assert sorted(episode.topics) == sorted(
        ["frames", "tasks", "episode", "shoulder", "elbow", "gripper", "robot", "front", "front/frames",
         "wrist", "wrist/frames"]
    )  # fmt: skip
    assert episode.group == "pick"
    assert episode.metadata["who"] == "me"
    told = episode.metadata["episode"]
    assert (told["session"], told["index"], told["data_hz"], told["robot_type"]) == ("pick", 1, "30", "arm")
    origin = episode.metadata["import"]
    assert (origin["format"], origin["episode"], origin["sequence"]) == ("lerobot", 1, "s/episode-000001")
    assert "data/chunk-000/file-001.parquet" in [file["file"] for file in origin["files"]]
    frames = episode.topic("frames").to_arrow().to_pydict()
    assert frames["frame_index"] == list(range(9))
    assert frames["task_index"] == [1] * 9
    assert frames["captured_ns"] == frames["timestamp_ns"]
    assert episode.topic("tasks").to_arrow().to_pylist() == [
        {"timestamp_ns": 0, "task_index": 1, "task": foreign.TASKS[1]}
    ]
    ended = episode.topic("episode").to_arrow().to_pylist()[0]
    assert (ended["success"], ended["frames"], ended["reason"]) == (None, 9, "imported")
    assert episode.topic("shoulder").metadata["roles"] == {"state": ["pos"]}
    assert episode.topic("robot").metadata["roles"]["action"] == [f"action.{n}" for n in foreign.STATE]


def test_flags_and_times_of_capture_come_back(client: Client, tmp_path: Path) -> None:
    """The two columns that an export adds go to the frames and to the cameras' tables."""
    made = foreign.write(tmp_path / "set", cameras=("front",))
    info = json.loads((made.path / "meta/info.json").read_text())
    for key in ("frame_flags", "captured_ns"):
        info["features"][key] = {"dtype": "int64", "shape": [1], "names": None}
    (made.path / "meta/info.json").write_text(json.dumps(info))
    (made.path / "meta/stats.json").unlink()
    flags = [3, 0, 16, 4, 8, 20, 0, 0, 0]
    for number, length in enumerate(made.lengths):
        path = made.path / f"data/chunk-000/file-{number:03d}.parquet"
        table = pq.read_table(path)
        table = table.append_column("frame_flags", pa.array((flags * 2)[:length]))
        table = table.append_column("captured_ns", pa.array([7 + 1000 * k for k in range(length)]))
        pq.write_table(table, path)
    import_dataset(client, made.path, "pick")
    assert column(client, 1, "frames", "captured_ns").tolist() == [7 + 1000 * k for k in range(9)]
    rows = column(client, 1, "frames", "frame_flags")
    camera = column(client, 1, "front/frames", "frame_flags")
    assert (rows | camera).tolist() == flags
    assert camera.tolist() == [2, 0, 16, 4, 0, 20, 0, 0, 0]


def test_other_features_become_topics_without_a_role(client: Client, tmp_path: Path) -> None:
    """Rewards, ends and matrices are kept, each in a topic of its own."""
    made = foreign.write(tmp_path / "set", cameras=())
    info = json.loads((made.path / "meta/info.json").read_text())
    info["features"] |= {
        "next.reward": {"dtype": "float64", "shape": [1], "names": None},
        "next.done": {"dtype": "bool", "shape": [1], "names": None},
        "grid": {"dtype": "float32", "shape": [2, 3], "names": None},
        "wish": {"dtype": "string", "shape": [1], "names": None},
    }
    (made.path / "meta/info.json").write_text(json.dumps(info))
    (made.path / "meta/stats.json").unlink()
    for number, length in enumerate(made.lengths):
        path = made.path / f"data/chunk-000/file-{number:03d}.parquet"
        table = pq.read_table(path)
        matrix = pa.list_(pa.list_(pa.float32()))
        for name, values in {
            "next.reward": pa.array(np.linspace(0, 1, length)),
            "next.done": pa.array([k == length - 1 for k in range(length)]),
            "grid": pa.array([[[k, 1, 2], [3, 4, 5]] for k in range(length)], matrix),
            "wish": pa.array([f"wish {k}" for k in range(length)]),
        }.items():
            table = table.append_column(name, values)
        pq.write_table(table, path)
    report = import_dataset(client, made.path, "pick")
    assert "topic next.reward has no role: it is neither state nor action" in report.assumed
    assert column(client, 1, "next.reward", "value").tolist() == np.linspace(0, 1, 9).tolist()
    assert column(client, 1, "next.done", "value").tolist() == [False] * 8 + [True]
    assert column(client, 1, "wish", "value").tolist()[3] == "wish 3"
    assert [list(row) for row in column(client, 1, "grid", "value")][8] == [8, 1, 2, 3, 4, 5]


def test_a_repeated_import_keeps_what_is_there(client: Client, tmp_path: Path) -> None:
    """An import that broke off is repeated; other data under the name is refused."""
    made = foreign.write(tmp_path / "set", cameras=())
    assert len(import_dataset(client, made.path, "pick").sequences) == 3
    again = import_dataset(client, made.path, "pick")
    assert (again.sequences, len(again.kept), again.rows) == ([], 3, {})
    other = foreign.write(tmp_path / "other" / "set", (5, 5), cameras=())
    with pytest.raises(NameTaken, match="pick/episode-000000"):
        import_dataset(client, other.path, "pick")


@pytest.mark.parametrize("sign", ["", "journal", "journal/open.json", "manifest.json"])
def test_an_import_that_was_killed_is_finished_by_the_next(tmp_path: Path, sign: str) -> None:
    """Whenever the kill comes: afterwards each episode is there once and whole."""
    made = foreign.write(tmp_path / "set", (40,) * 6, cameras=("front",))
    store = tmp_path / "store"
    program = (
        "import sys, gapless\n"
        "from gapless.exchange.lerobot.import_dataset import import_dataset\n"
        "with gapless.connect(sys.argv[1]) as client: import_dataset(client, sys.argv[2], 'pick')\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(store), str(made.path)])
    third = store / "sequences" / "pick%2Fepisode-000002"
    while child.poll() is None and not (third / sign).exists():
        time.sleep(0.001)
    child.kill()
    child.wait()
    with gapless.connect(str(store)) as client:
        report = import_dataset(client, made.path, "pick")
        assert len(report.kept) >= 2
        assert sorted(report.kept + report.sequences) == [f"pick/episode-{k:06d}" for k in range(6)]
        for episode in range(6):
            handler = client.sequence_handler(f"pick/episode-{episode:06d}")
            assert (handler.state, handler.outcome) == ("sealed", "completed")
            assert len(stored(client, episode, "front")) == handler.topic("frames").rows == 40
            assert client.verify(handler.name, deep=True) == []


def test_a_dataset_with_findings_is_refused_whole(client: Client, tmp_path: Path) -> None:
    """What verification finds is named, and nothing is stored."""
    made = foreign.write(tmp_path / "set")
    next((made.path / "videos" / FRONT).rglob("file-001.mp4")).unlink()
    with pytest.raises(ImportRefused, match="L002"):
        import_dataset(client, made.path, "pick")
    assert not list(client.list_sequences())


def test_warnings_do_not_keep_a_dataset_out(client: Client, tmp_path: Path) -> None:
    """LeRobot itself writes videos of mode 0600."""
    made = foreign.write(tmp_path / "set", cameras=("front",))
    next((made.path / "videos" / FRONT).rglob("file-001.mp4")).chmod(0o600)
    assert len(import_dataset(client, made.path, "pick").sequences) == 3


def test_another_version_names_the_converter(client: Client, tmp_path: Path) -> None:
    """Version 2.1 is refused with the command that converts it."""
    made = foreign.write(tmp_path / "set", cameras=())
    info = json.loads((made.path / "meta/info.json").read_text()) | {"codebase_version": "v2.1"}
    (made.path / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(ImportRefused, match="convert_dataset_v21_to_v30"):
        import_dataset(client, made.path)


def test_options_that_episodes_do_not_have_are_refused(client: Client, tmp_path: Path) -> None:
    """Topic and group follow from the dataset and its name."""
    made = foreign.write(tmp_path / "set", cameras=())
    for words in ({"topic": "x"}, {"group": "x"}, {"pictures": "gif"}):
        with pytest.raises(UsageError):
            import_dataset(client, made.path, "pick", **words)  # type: ignore[arg-type] # meant


def test_the_plan_stores_nothing(tmp_path: Path) -> None:
    """A plan names the topics and what is assumed."""
    made = foreign.write(tmp_path / "set")
    plan = plan_import(made.path)
    assert [topic.topic for topic in plan] == ["frames", "robot", "front", "wrist"]
    assert "front: H.264 packets as they are" in plan[0].assumed
    assert plan[1].schema.names == [f"{r}.{n}" for r in ("state", "action") for n in foreign.STATE]


def test_a_folder_with_info_is_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command recognises the folder, imports it under the folder's name, and refuses options of tables."""
    made = foreign.write(tmp_path / "grasp")
    assert importer_for(made.path).format == "lerobot"
    store = ["--store", str(tmp_path / "store")]
    assert main(["import", str(made.path), "--dry-run", *store]) == 0
    assert "as topic robot" in capsys.readouterr().out
    assert main(["import", str(made.path), "--json", *store]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sequences"] == [f"grasp/episode-{k:06d}" for k in range(3)]
    assert main(["import", str(made.path), *store]) == 0
    assert "0 episodes imported, 3 were there" in capsys.readouterr().out
    assert main(["import", str(made.path), "--time", "x", *store]) == 2
    assert main(["import", str(made.path), "--delimiter", ";", *store]) == 2
    assert "is not for LeRobot datasets" in capsys.readouterr().err
    (tmp_path / "a.csv").write_text("t,x\n0,1\n")
    assert main(["import", str(tmp_path / "a.csv"), "--pictures", "mp4", *store]) == 2


def test_a_recording_that_broke_off_stays_one(client: Client, tmp_path: Path) -> None:
    """Its outcome comes back with it, is kept when the import is repeated, and is no complete episode."""
    interrupted = Take(rows=range(9), cameras={}, outcome=Outcome.INTERRUPTED)
    record(client, "take", 0, Take(rows=range(9), cameras={}))
    record(client, "take", 1, interrupted)
    export_lerobot(client, "take", tmp_path / "set", include_interrupted=True)
    first = import_dataset(client, tmp_path / "set", "pick")
    found = [client.sequence_handler(name) for name in first.sequences]
    assert [sequence.outcome for sequence in found] == ["completed", "interrupted"]
    assert [sequence.metadata["import"].get("outcome") for sequence in found] == [None, "interrupted"]
    assert import_dataset(client, tmp_path / "set", "pick").kept == first.sequences
    report = export_lerobot(client, "pick", tmp_path / "again")
    assert (report.added, [entry.reason for entry in report.left_out]) == (
        first.sequences[:1], ["interrupted"],
    )  # fmt: skip


def test_an_outcome_that_nobody_knows_is_refused(client: Client, tmp_path: Path) -> None:
    """Nothing is stored that would have to be called something else."""
    record(client, "take", 0, Take(rows=range(9), cameras={}))
    export_lerobot(client, "take", tmp_path / "set")
    path = tmp_path / "set/meta/gapless.json"
    path.write_text(path.read_text().replace('"completed"', '"enlightened"'))
    with pytest.raises(ImportRefused, match="enlightened"):
        import_dataset(client, tmp_path / "set", "pick")
    assert client.list_sequences() == ["take/episode-000000"]


@pytest.mark.parametrize(
    "values", [[256, 257, 258], [-1, 0, 1], [0.5, 1.0, 1.5]], ids=["large", "negative", "fractions"]
)
def test_other_flags_of_that_name_become_a_topic(client: Client, tmp_path: Path, values: list[Any]) -> None:
    """What does not fit into our bits is kept as it is, beside frames without flags."""
    made = foreign.write(tmp_path / "set", cameras=())
    kind = "int64" if isinstance(values[0], int) else "float64"
    info = json.loads((made.path / "meta/info.json").read_text())
    info["features"]["frame_flags"] = {"dtype": kind, "shape": [1], "names": None}
    (made.path / "meta/info.json").write_text(json.dumps(info))
    (made.path / "meta/stats.json").unlink()
    for number, length in enumerate(made.lengths):
        path = made.path / f"data/chunk-000/file-{number:03d}.parquet"
        table = pq.read_table(path)
        pq.write_table(table.append_column("frame_flags", pa.array((values * length)[:length])), path)
    import_dataset(client, made.path, "pick")
    assert column(client, 1, "frame_flags", "value").tolist() == (values * 9)[:9]
    assert set(column(client, 1, "frames", "frame_flags").tolist()) == {0}
