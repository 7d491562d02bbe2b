"""Verification finds each of the planted damages of a dataset, by code, and nothing in clean ones."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.exchange.lerobot import episodes, foreign
from tests.exchange.lerobot.reading import read

import gapless
from gapless.cli.main import main
from gapless.errors import ImportRefused, NotFound
from gapless.exchange.lerobot.export_dataset import export_lerobot
from gapless.exchange.lerobot.findings import FINDINGS
from gapless.exchange.lerobot.import_dataset import import_dataset
from gapless.exchange.lerobot.verify import verify_dataset

FRONT = "observation.images.front"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
LENGTHS = (12, 9, 12)  # the first and the last are of one length: nothing but pixels tells their videos apart


def rows(number: int) -> str:
    """Return the path of a file of rows."""
    return f"data/chunk-000/file-{number:03d}.parquet"


def video(number: int) -> str:
    """Return the path of a video of the front camera."""
    return f"videos/{FRONT}/chunk-000/file-{number:03d}.mp4"


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def flip_in_values(path: Path) -> None:
    """Change one bit of a number of a file of rows, where no structure is."""
    column = pq.read_metadata(path).row_group(0).column(0)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 3] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    """Leave two thirds of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def swap(one: Path, other: Path) -> None:
    """Give two files each other's names."""
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite a JSON file."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def edit_column(path: Path, name: str, change: Callable[[list[Any]], object]) -> None:
    """Rewrite one column of a Parquet file; its type stays."""
    table = pq.read_table(path)
    values = table[name].to_pylist()
    change(values)
    place = table.column_names.index(name)
    column = pa.array(values, table.schema.field(name).type)
    pq.write_table(table.set_column(place, table.schema.field(name), column), path)


def set_values(name: str, where: dict[int, Any]) -> Callable[[Path], None]:
    """Return a damage of rows of episode 1."""
    return lambda root: edit_column(
        root / rows(1), name, lambda values: [values.__setitem__(k, v) for k, v in where.items()]
    )


def set_entry(name: str, episode: int, value: Any) -> Callable[[Path], None]:
    """Return a damage of the episode list."""
    return lambda root: edit_column(root / EPISODES, name, lambda values: values.__setitem__(episode, value))


def set_info(**words: Any) -> Callable[[Path], None]:
    """Return a damage of info.json."""
    return lambda root: edit_json(root / INFO, lambda info: info.update(words))


def set_figure(name: str, value: Any) -> Callable[[Path], None]:
    """Return a damage of the statistics of the action."""
    return lambda root: edit_json(root / STATS, lambda stats: stats["action"].update({name: value}))


def drop_picture(root: Path) -> None:
    """Take one picture out of a video and close the hole in time, as an encoder does that drops one."""
    with av.open(str(root / video(0))) as source:
        frames = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    del frames[5]
    (root / video(0)).unlink()
    foreign.encode(root / video(0), np.array(frames), 30, "libx264", {"g": "2", "crf": "18"})


def slow_video(root: Path) -> None:
    """Give the pictures of a video other times: the file says 25 in a second."""
    with av.open(str(root / video(0))) as source:
        frames = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    (root / video(0)).unlink()
    foreign.encode(root / video(0), np.array(frames), 25, "libx264", {"g": "2", "crf": "18"})


def wrong_shape(root: Path) -> None:
    """Tell of an action of another width."""
    edit_json(root / INFO, lambda info: info["features"]["action"].update(shape=[7], names=None))


def wrong_size(root: Path) -> None:
    """Tell of pictures of another size."""
    edit_json(root / INFO, lambda info: info["features"][FRONT].update(shape=[96, 64, 3]))


def swap_tasks(root: Path) -> None:
    """Put the second task first."""
    path = root / TASKS
    table = pq.read_table(path)
    pq.write_table(table.take(pa.array([1, 0])), path)


def lose_index(root: Path) -> None:
    """Write the tasks as a program does that knows nothing of pandas."""
    table = pq.read_table(root / TASKS)
    pq.write_table(table.replace_schema_metadata(None), root / TASKS)


def half_index(root: Path) -> None:
    """Tell pandas of an index and nothing more: it fails on that."""
    table = pq.read_table(root / TASKS)
    pandas = json.dumps({"index_columns": ["__index_level_0__"]})
    pq.write_table(table.replace_schema_metadata({"pandas": pandas}), root / TASKS)


def leave_rest(root: Path) -> None:
    """Leave pictures of a take that was recorded again."""
    rest = root / "images" / FRONT / "episode-000001"
    rest.mkdir(parents=True)
    (rest / "frame-000000.png").write_bytes(foreign.png(foreign.draw(0, 0, 1)[0]))


def leave_rows(root: Path) -> None:
    """Leave a file of rows that no episode has, which loaders join to the others."""
    shutil.copy(root / rows(2), root / rows(3))


def poison(root: Path) -> None:
    """Make one number of a vector NaN."""
    table = pq.read_table(root / rows(1))
    column = table["action"].combine_chunks()
    values = column.flatten().to_numpy().copy()
    values[4] = np.nan
    changed = pa.FixedSizeListArray.from_arrays(pa.array(values), 3)
    pq.write_table(table.set_column(table.column_names.index("action"), "action", changed), root / rows(1))


def shift_values(root: Path) -> None:
    """Add something to every action of an episode: only statistics and digests tell."""
    table = pq.read_table(root / rows(1))
    moved = pc.add(table["action"].combine_chunks().flatten(), pa.scalar(0.5, pa.float32()))
    changed = pa.FixedSizeListArray.from_arrays(moved, 3)
    pq.write_table(table.set_column(table.column_names.index("action"), "action", changed), root / rows(1))


@dataclass(frozen=True)
class Damage:
    """What is done to a dataset, and the code that must be among what is found.

    ``deep``: needs the values or pixels. ``needs_digests``: nothing in the format itself contradicts it.
    """

    do: Callable[[Path], object]
    code: str
    deep: bool = False
    needs_digests: bool = False


DAMAGES = {
    "bit flip in rows": Damage(lambda r: flip_in_values(r / rows(0)), "L004", needs_digests=True),
    "bit flip in a video": Damage(lambda r: flip(r / video(0)), "L004", needs_digests=True),
    "cut rows": Damage(lambda r: cut(r / rows(1)), "L003"),
    "cut video": Damage(lambda r: cut(r / video(1)), "L003"),
    "one picture missing in a video": Damage(drop_picture, "L016"),
    "videos of two episodes swapped": Damage(lambda r: swap(r / video(0), r / video(2)), "L021", deep=True),
    "videos of different lengths swapped": Damage(lambda r: swap(r / video(0), r / video(1)), "L016"),
    "files of rows swapped": Damage(lambda r: swap(r / rows(0), r / rows(2)), "L010"),
    "wrong episode length": Damage(set_entry("length", 1, 8), "L010"),
    "wrong from_timestamp": Damage(set_entry(f"videos/{FRONT}/from_timestamp", 1, 1 / 30), "L018"),
    "index twice": Damage(set_values("index", {4: 15}), "L011"),
    "hole in index": Damage(set_values("index", {8: 99}), "L011"),
    "frame_index does not restart": Damage(set_values("frame_index", {k: 12 + k for k in range(9)}), "L012"),
    "wrong timestamp": Damage(set_values("timestamp", {3: 0.11}), "L013"),
    "task_index out of range": Damage(set_values("task_index", {2: 7}), "L014"),
    "another task in the rows": Damage(set_values("task_index", {2: 0}), "L014"),
    "order of tasks": Damage(swap_tasks, "L008"),
    "tasks without pandas' index": Damage(lose_index, "L008"),
    "tasks with half of pandas' metadata": Damage(half_index, "L008"),
    "stale total_frames": Damage(set_info(total_frames=32), "L007"),
    "stale total_episodes": Damage(set_info(total_episodes=4), "L007"),
    "stale total_tasks": Damage(set_info(total_tasks=1), "L007"),
    "minimum above maximum": Damage(set_figure("min", [9.0, -9.0, -9.0]), "L020"),
    "mean outside": Damage(set_figure("mean", [50.0, 0.0, 0.0]), "L020"),
    "statistics with NaN": Damage(set_figure("std", [float("nan"), 1.0, 1.0]), "L020"),
    "wrong count": Damage(set_figure("count", [32]), "L020"),
    "statistics of other values": Damage(set_figure("std", [3.0, 1.0, 1.0]), "L021", deep=True),
    "other values": Damage(shift_values, "L021", deep=True),
    "NaN in values": Damage(poison, "L023", deep=True),
    "missing video": Damage(lambda r: (r / video(2)).unlink(), "L002"),
    "missing rows": Damage(lambda r: (r / rows(2)).unlink(), "L002"),
    "wrong fps": Damage(set_info(fps=25), "L013"),
    "wrong rate of a video": Damage(slow_video, "L017"),
    "wrong shape of a vector": Damage(wrong_shape, "L015"),
    "wrong size of pictures": Damage(wrong_size, "L019"),
    "pictures of a discarded take": Damage(leave_rest, "L005"),
    "rows of a discarded take": Damage(leave_rows, "L005"),
    "mode 0600": Damage(lambda r: (r / video(0)).chmod(0o600), "L006"),
    "episodes out of order": Damage(set_entry("episode_index", 1, 2), "L009"),
    "info.json is cut": Damage(lambda r: cut(r / INFO), "L001"),
    "info.json without fps": Damage(lambda r: edit_json(r / INFO, lambda i: i.pop("fps")), "L001"),
}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean dataset with the digests of an export."""
    root = tmp_path_factory.mktemp("clean") / "set"
    foreign.write(root, LENGTHS, manifest=True)
    return root


@pytest.fixture
def damaged(clean: Path, tmp_path: Path) -> Path:
    """A copy of the clean dataset to be damaged."""
    return Path(shutil.copytree(clean, tmp_path / "set"))


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_is_found_beside_the_digests_of_an_export(damaged: Path, name: str) -> None:
    """With an export's digests, every damage has its code."""
    damage = DAMAGES[name]
    damage.do(damaged)
    found = verify_dataset(damaged, deep=damage.deep)
    assert damage.code in {finding.code for finding in found}, found


@pytest.mark.parametrize("name", [name for name, damage in DAMAGES.items() if not damage.needs_digests])
def test_a_damage_is_found_in_a_dataset_of_another_program(damaged: Path, name: str) -> None:
    """Without digests too, but for bits that nothing in the format speaks of."""
    (damaged / "meta/gapless.json").unlink()
    damage = DAMAGES[name]
    damage.do(damaged)
    found = verify_dataset(damaged, deep=damage.deep)
    assert damage.code in {finding.code for finding in found}, found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compact": True},
        {"manifest": True},
        {"manifest": True, "compact": True},
        {"cameras": ("front",), "images": ("still",)},
        {"options": {"g": "12", "bf": "2", "crf": "30"}},
        {"cameras": (), "fps": 7, "lengths": (40, 1, 2)},
        {"fps": 50, "lengths": (1,), "compact": True},
    ],
    ids=str,
)
def test_nothing_is_found_in_a_clean_dataset(tmp_path: Path, options: dict[str, Any]) -> None:
    """Clean datasets of any layout have no finding, decoded and computed again."""
    foreign.write(tmp_path / "set", **options)
    assert verify_dataset(tmp_path / "set", deep=True) == []


def test_a_dataset_without_statistics_is_whole(damaged: Path) -> None:
    """Loaders do without statistics."""
    (damaged / "meta/gapless.json").unlink()
    (damaged / STATS).unlink()
    assert verify_dataset(damaged, deep=True) == []


def test_a_picture_that_cannot_be_decoded_is_found(tmp_path: Path) -> None:
    """Pictures in the rows are decoded when asked for, and the row is named."""
    foreign.write(tmp_path / "set", cameras=(), images=("still",))
    key, path = "observation.images.still", tmp_path / "set" / rows(1)
    edit_column(path, key, lambda cells: cells[3].update(bytes=cells[3]["bytes"][:60]))
    assert [f.code for f in verify_dataset(tmp_path / "set")] == []
    found = verify_dataset(tmp_path / "set", deep=True)
    assert [(f.code, f.rows) for f in found] == [("L022", (3, 3))]


def test_a_manifest_of_other_episodes_is_found(damaged: Path) -> None:
    """What the export told of must be what is there."""
    edit_json(damaged / "meta/gapless.json", lambda told: told["episodes"].pop())
    assert [f.code for f in verify_dataset(damaged)] == ["L024"]


def test_a_cut_manifest_is_found(damaged: Path) -> None:
    """A manifest that cannot be read is a finding, not an error."""
    cut(damaged / "meta/gapless.json")
    assert [f.code for f in verify_dataset(damaged)] == ["L024"]


def test_each_code_is_planted_and_documented(tmp_path: Path) -> None:
    """There is no code without a damage that has it, and none without a meaning."""
    assert {damage.code for damage in DAMAGES.values()} | {"L022", "L024"} == set(FINDINGS)
    assert all(meaning.endswith(".") for meaning in FINDINGS.values())


def test_no_dataset_and_another_version_are_refused(tmp_path: Path, damaged: Path) -> None:
    """Other folders and versions are errors that say what to do."""
    with pytest.raises(NotFound):
        verify_dataset(tmp_path)
    set_info(codebase_version="v2.1")(damaged)
    with pytest.raises(ImportRefused, match="convert_dataset_v21_to_v30"):
        verify_dataset(damaged)
    set_info(codebase_version="v4.0")(damaged)
    assert [finding.code for finding in verify_dataset(damaged)] == ["L001"]


def test_the_command_names_the_findings(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The verb takes the folder and ends with 4 for errors, as for sequences."""
    assert main(["verify", str(damaged), "--deep"]) == 0
    assert "ok" in capsys.readouterr().out
    set_values("index", {4: 15})(damaged)
    assert main(["verify", str(damaged)]) == 4
    out = capsys.readouterr().out
    assert "L011" in out
    assert "L004" in out
    assert rows(1) in out
    assert main(["verify", str(damaged), "--json"]) == 4
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert {f["code"] for f in told["datasets"][0]["findings"]} >= {"L004", "L011"}


def test_a_warning_alone_is_another_exit_code(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings alone end with 1."""
    (damaged / video(0)).chmod(0o600)
    assert main(["verify", str(damaged)]) == 1
    assert "L006" in capsys.readouterr().out


@pytest.mark.parametrize("compact", [False, True], ids=["a file each", "one file"])
def test_the_rows_and_pictures_are_those_that_were_written(tmp_path: Path, *, compact: bool) -> None:
    """By the loader's rules, without the loader: each row has its own state, task and picture."""
    made = foreign.write(tmp_path / "set", compact=compact)
    found = read(made.path)
    for episode in range(3):
        assert np.array_equal(found[f"state_{episode}"], made.states[episode])
        assert np.array_equal(found[f"action_{episode}"], made.actions[episode])
        assert found[f"task_{episode}"] == foreign.TASKS[episode % 2]
        for key, pictures in made.pictures.items():
            shown = found[f"pictures_{episode}_{key}"].astype(int)
            for k, picture in enumerate(shown):
                errors = np.abs(pictures[episode].astype(int) - picture).mean((1, 2, 3))
                assert errors[k] < 6
                assert int(errors.argmin()) == k


def test_png_bytes_are_files() -> None:
    """The PNG files of the dataset made by hand are exact."""
    picture = foreign.draw(1, 0, 1)[0]
    with av.open(io.BytesIO(foreign.png(picture)), "r") as container:
        assert np.array_equal(next(container.decode(video=0)).to_ndarray(format="rgb24"), picture)


# -- datasets of an export ---------------------------------------------------------------------------


@pytest.fixture
def client(tmp_path: Path) -> Iterator[gapless.Client]:
    """A client of an empty store."""
    with gapless.connect(str(tmp_path / "store")) as made:
        yield made


def test_other_names_of_an_export_are_found(tmp_path: Path, client: gapless.Client) -> None:
    """Two joints that were swapped in info.json contradict nothing but its digest; nothing is imported."""
    episodes.record(client, "pick", 0, episodes.Take(rows=range(9), cameras={}))
    export_lerobot(client, "pick", tmp_path / "set")
    assert verify_dataset(tmp_path / "set", deep=True) == []

    def swap_names(info: dict[str, Any]) -> None:
        names = info["features"]["observation.state"]["names"]
        names[0], names[1] = names[1], names[0]

    edit_json(tmp_path / "set" / INFO, swap_names)
    assert [(f.code, f.file) for f in verify_dataset(tmp_path / "set")] == [("L004", INFO)]
    with pytest.raises(ImportRefused, match="L004"):
        import_dataset(client, tmp_path / "set", "back")


def test_a_light_that_alternates_is_no_damage(
    tmp_path: Path, client: gapless.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statistics of every other picture are compared with every other picture; of others it is a hint."""

    def blink(_index: int, tick: int, _kind: str, size: tuple[int, int]) -> Any:
        return np.full((*size, 3), 200 if tick % 2 else 20, np.uint8)

    monkeypatch.setattr(episodes, "picture_of", blink)
    episodes.record(client, "pick", 0, episodes.Take(rows=range(200), cameras={"front": "mp4"}))
    export_lerobot(client, "pick", tmp_path / "set")
    assert verify_dataset(tmp_path / "set", deep=True) == []
    (tmp_path / "set/meta/gapless.json").unlink()
    found = [f for f in verify_dataset(tmp_path / "set", deep=True) if f.code == "L021"]
    assert [f.severity for f in found] == ["warning"]


def test_a_name_may_look_like_a_protocol(
    tmp_path: Path, client: gapless.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path with a colon, such as a time of day, is a path like any other."""
    monkeypatch.chdir(tmp_path)
    episodes.record(client, "pick", 0, episodes.Take(rows=range(9), cameras={"front": "mp4"}))
    export_lerobot(client, "pick", "10:30")
    assert verify_dataset(Path("10:30"), deep=True) == []
    front = client.sequence_handler("pick/episode-000000").topic("front")
    assert front.write_video("10:30.mp4").frames == 9
    assert Path("10:30.mp4").is_file()
