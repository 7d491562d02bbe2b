"""Exporting again: only what is new is added, nothing is lost by a kill, and edits are other datasets."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.exchange.lerobot import foreign
from tests.exchange.lerobot.episodes import ROBOT, Take, record

import gapless
from gapless.errors import ExportRefused, NameTaken, NotFound
from gapless.exchange.lerobot import export_dataset
from gapless.exchange.lerobot.export_dataset import export_lerobot, plan_export
from gapless.exchange.lerobot.export_place import ExportPlace
from gapless.exchange.lerobot.verify import verify_dataset
from gapless.store.platform import Platform

CHILD = Path(__file__).with_name("export_child.py")


@pytest.fixture
def client(tmp_path: Path) -> Any:
    """A client of an empty store."""
    with gapless.connect(str(tmp_path / "store")) as made:
        yield made


def take(rows: int = 12, **words: Any) -> Take:
    """Return a short take with one camera."""
    return Take(rows=range(rows), cameras={"front": "mp4"}, **words)


def digests(root: Path, part: str = "") -> dict[str, str]:
    """Return the digest of each file of a folder."""
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted((root / part).rglob("*"))
        if p.is_file()
    }


def sequences(root: Path) -> list[str]:
    """Return the sequences that a dataset was made of, in order."""
    return [e["sequence"] for e in json.loads((root / "meta/gapless.json").read_text())["episodes"]]


@pytest.mark.parametrize("layout", ["episodes", "compact"])
def test_only_new_episodes_are_added(tmp_path: Path, client: gapless.Client, layout: str) -> None:
    """Files of rows and videos keep their bytes, and the statistics are those of one export of all."""
    root = tmp_path / "set"
    names = [record(client, "pick", e, take(10 + e)) for e in range(2)]
    export_lerobot(client, "pick", root, layout=layout)
    before = digests(root)
    assert export_lerobot(client, "pick", root, layout=layout).added == []
    assert digests(root) == before
    names.append(record(client, "pick", 2, take(9, tasks={0: "another task"})))
    report = export_lerobot(client, "pick", root, layout=layout)
    assert (report.added, report.kept, report.rows) == (names[2:], names[:2], 30)
    assert verify_dataset(root, deep=True) == []
    for file, digest in before.items():
        if not file.startswith("meta/"):
            assert digests(root)[file] == digest, file
    assert sequences(root) == names
    assert export_lerobot(client, "pick", tmp_path / "at once", layout=layout).rows == 30
    stats = [json.loads((p / "meta/stats.json").read_text()) for p in (root, tmp_path / "at once")]
    assert stats[0] == stats[1]


def test_other_groups_are_added_to_what_is_there(tmp_path: Path, client: gapless.Client) -> None:
    """A dataset grows by any sequences, and tells where they are from."""
    record(client, "monday", 0, take())
    record(client, "tuesday", 0, take(tasks={0: "push"}))
    export_lerobot(client, "monday", tmp_path / "set")
    export_lerobot(client, "tuesday", tmp_path / "set")
    assert verify_dataset(tmp_path / "set", deep=True) == []
    assert sequences(tmp_path / "set") == ["monday/episode-000000", "tuesday/episode-000000"]
    told = json.loads((tmp_path / "set/meta/gapless.json").read_text())
    assert told["references"] == ["monday", "tuesday"]


def test_other_options_are_another_dataset(tmp_path: Path, client: gapless.Client) -> None:
    """An addition under other options is refused and changes nothing."""
    record(client, "pick", 0, take())
    export_lerobot(client, "pick", tmp_path / "set")
    before = digests(tmp_path / "set")
    for options in ({"fps": 10}, {"layout": "compact"}, {"relabel": {"lift the cube": "x"}}, {"skip": [0]}):
        with pytest.raises(ExportRefused, match=f"another option '{next(iter(options))}'"):
            export_lerobot(client, "pick", tmp_path / "set", **options)
    assert digests(tmp_path / "set") == before


def test_an_episode_that_got_a_layer_is_not_the_one_that_was_exported(
    tmp_path: Path, client: gapless.Client
) -> None:
    """It is told by the digests of its layers."""
    name = record(client, "pick", 0, take())
    export_lerobot(client, "pick", tmp_path / "set")
    with client.sequence_update(name) as layer:
        layer.topic_create("late", schema=ROBOT)
    with pytest.raises(ExportRefused, match="before a layer was added"):
        export_lerobot(client, "pick", tmp_path / "set")


def test_folders_of_others_are_left_alone(tmp_path: Path, client: gapless.Client) -> None:
    """Nothing that gapless did not export is replaced."""
    record(client, "pick", 0, take())
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    foreign.write(tmp_path / "foreign", (5,))
    for name in ("empty", "file", "foreign"):
        with pytest.raises(NameTaken):
            export_lerobot(client, "pick", tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "foreign/meta/gapless.json").exists()


def test_files_of_the_user_stay_when_episodes_are_added(
    tmp_path: Path, client: gapless.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card, notes and a git folder are carried over as they are, also by an export that goes on."""
    root = tmp_path / "set"
    record(client, "pick", 0, take())
    export_lerobot(client, "pick", root)
    (root / "README.md").write_text("a card")
    (root / "meta/notes.txt").write_text("notes")
    (root / ".git/refs/tags").mkdir(parents=True)
    (root / ".git/HEAD").write_text("ref: refs/heads/main")
    (root / ".git/hook").write_text("#!/bin/sh")
    (root / ".git/hook").chmod(0o755)
    (root / "latest").symlink_to("nowhere/yet")
    record(client, "pick", 1, take())
    with monkeypatch.context() as patch:
        patch.setattr(Platform, "exchange", _fail)
        with pytest.raises(OSError, match="no power"):
            export_lerobot(client, "pick", root)
    (root / "README.md").unlink()
    (root / "README.md").write_text("a better card")  # after it was given a second name
    (root / "meta/notes.txt").unlink()
    assert export_lerobot(client, "pick", root).episodes == 2
    assert (root / "README.md").read_text() == "a better card"
    assert not (root / "meta/notes.txt").exists()
    assert (root / ".git/HEAD").read_text() == "ref: refs/heads/main"
    assert (root / ".git/hook").stat().st_mode & 0o777 == 0o755
    assert (root / ".git/refs/tags").is_dir()
    assert str((root / "latest").readlink()) == "nowhere/yet"
    assert verify_dataset(root, deep=True) == []
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def _fail(*_: object) -> bool:
    raise OSError(errno.EIO, "no power")


# -- edits -------------------------------------------------------------------------------------------


def test_merge_split_leave_out_and_relabel(tmp_path: Path, client: gapless.Client) -> None:
    """Each edit is an export of its own, and keeps the tasks as they were recorded beside the new words."""
    a = [record(client, "a", e, take(tasks={0: "lift"})) for e in range(3)]
    b = [record(client, "b", e, take(tasks={0: "drop"}, success=e == 0)) for e in range(2)]
    merged = export_lerobot(client, ["b", "a"], tmp_path / "merged")
    assert sequences(tmp_path / "merged") == merged.added == [*b, *a]
    export_lerobot(client, ["a", "b"], tmp_path / "split", only=[0, 3, a[2]])
    assert sequences(tmp_path / "split") == [a[0], a[2], b[0]]
    left = export_lerobot(client, ["a", "b"], tmp_path / "fewer", skip=[1, b[1]])
    assert sequences(tmp_path / "fewer") == [a[0], a[2], b[0]]
    assert [entry.reason for entry in left.left_out] == ["not chosen"] * 2
    judged = export_lerobot(client, ["a", "b"], tmp_path / "failures", success=False)
    assert judged.added == [b[1]]
    export_lerobot(client, ["a", "b"], tmp_path / "renamed", relabel={"lift": "raise", "drop": "raise"})
    tasks = pq.read_table(tmp_path / "renamed/meta/tasks.parquet")
    assert tasks["__index_level_0__"].to_pylist() == ["raise"]
    told = json.loads((tmp_path / "renamed/meta/gapless.json").read_text())["episodes"]
    assert [entry["recorded_tasks"] for entry in told] == [["lift"]] * 3 + [["drop"]] * 2
    for path in ("merged", "split", "fewer", "failures", "renamed"):
        assert verify_dataset(tmp_path / path, deep=True) == []


def test_edits_of_what_is_not_there_are_refused(tmp_path: Path, client: gapless.Client) -> None:
    """A number, name or task that no episode has is an error, and leaves nothing behind."""
    record(client, "a", 0, take())
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"only": [1]}, ExportRefused, "no episode of that number"),
        ({"skip": ["a/episode-000009"]}, NotFound, "not among those"),
        ({"skip": [0]}, ExportRefused, "no episode to export"),
        ({"relabel": {"drop": "x"}}, ExportRefused, "lift the cube"),
    ]
    for options, kind, words in wrong:
        with pytest.raises(kind, match=words):
            export_lerobot(client, "a", tmp_path / "set", **options)
    assert {p.name for p in tmp_path.iterdir()} == {"store"}


# -- episodes that are not alike -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Take(cameras={"front": "mp4"}, size=(64, 96)), "cameras differ"),
        (Take(cameras={"front": "mp4", "rear": "mp4"}), "cameras differ"),
        (Take(cameras={"front": "png"}), "cameras differ"),
        (Take(cameras={"front": "mp4"}, hz="20"), "fps differ"),
        (
            Take(
                cameras={"front": "mp4"},
                schema=ROBOT.set(2, ROBOT.field(2).with_type(pa.float64())),
                change=lambda v: [v[0], v[1], 0.5, v[3], v[4]],  # type: ignore[arg-type, return-value]
            ),
            "state differ",
        ),
    ],
)
def test_episodes_that_are_not_alike_are_refused(
    tmp_path: Path, client: gapless.Client, other: Take, words: str
) -> None:
    """The episode and the difference are named before anything is written."""
    record(client, "pick", 0, take())
    record(client, "pick", 1, other)
    with pytest.raises(ExportRefused, match=words) as refused:
        export_lerobot(client, "pick", tmp_path / "set")
    assert refused.value.sequence == "pick/episode-000001"
    assert {p.name for p in tmp_path.iterdir()} == {"store"}
    export_lerobot(client, "pick", tmp_path / "set", skip=[1])
    assert verify_dataset(tmp_path / "set") == []


def test_odd_sizes_are_refused_for_video(tmp_path: Path, client: gapless.Client) -> None:
    """H.264 has no pictures of odd size."""
    with client.sequence_create("odd") as sequence:
        camera = sequence.topic_create("eye", ontology_type=gapless.Image)
        camera.push_row(0, bytes(3 * 5 * 7), "raw", 7, 5, 21, "rgb8", None)
    with pytest.raises(ExportRefused, match="odd width"):
        export_lerobot(client, "odd", tmp_path / "set", fps=10, cameras=["eye"])


# -- kills ---------------------------------------------------------------------------------------------


@pytest.mark.crash
@pytest.mark.timeout(300)
@pytest.mark.parametrize("adding", [False, True], ids=["first", "added"])
def test_a_killed_export_goes_on(tmp_path: Path, client: gapless.Client, *, adding: bool) -> None:
    """Killed before each of its steps in turn: the place holds the old or the new dataset, then the new one."""
    for episode in range(2):
        record(client, "pick", episode, take())
    if adding:
        export_lerobot(client, "pick", tmp_path / "old")
        record(client, "pick", 2, take())
    clean = tmp_path / "clean"
    if adding:
        shutil.copytree(tmp_path / "old", clean)
    export_lerobot(client, "pick", clean)
    wanted = digests(clean)
    steps = 0
    while True:
        root = tmp_path / f"killed-{steps}"
        if adding:
            shutil.copytree(tmp_path / "old", root)
        words = [sys.executable, str(CHILD), str(tmp_path / "store"), "pick", str(root), str(steps)]
        done = subprocess.run(words, env=dict(os.environ), capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
        if root.exists():
            assert verify_dataset(root, deep=True) == []
            assert digests(root) in ([digests(tmp_path / "old"), wanted] if adding else [wanted])
        export_lerobot(client, "pick", root)
        assert digests(root) == wanted, steps
        steps += 1
    assert steps >= 6
    assert digests(tmp_path / f"killed-{steps}") == wanted
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_what_was_finished_before_a_kill_is_not_written_again(tmp_path: Path, client: gapless.Client) -> None:
    """The files of finished episodes are used as they are."""
    for episode in range(3):
        record(client, "pick", episode, take())
    root = tmp_path / "set"
    words = [sys.executable, str(CHILD), str(tmp_path / "store"), "pick", str(root), "3"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    finished = sorted((tmp_path / ".set.partial").glob("dataset/data/*/*.parquet"))
    numbers = [path.stat().st_ino for path in finished]
    assert len(list((tmp_path / ".set.partial/records").glob("*.json"))) == 2
    export_lerobot(client, "pick", root)
    after = [path.stat().st_ino for path in sorted(root.glob("data/*/*.parquet"))]
    assert after[:2] == numbers[:2]
    assert len(after) == 3


def killed_export(tmp_path: Path) -> tuple[Path, list[int]]:
    """Export a group and be killed when two pieces were recorded; return the place and the files' inodes."""
    root = tmp_path / "set"
    words = [sys.executable, str(CHILD), str(tmp_path / "store"), "pick", str(root), "3"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    numbers = [p.stat().st_ino for p in sorted((tmp_path / ".set.partial").glob("dataset/data/*/*.parquet"))]
    assert len(list((tmp_path / ".set.partial/records").glob("*.json"))) == 2
    return root, numbers[:2]


def test_a_group_that_grew_is_no_reason_to_begin_again(tmp_path: Path, client: gapless.Client) -> None:
    """Nor is another choice of episodes, as long as it begins with the finished ones."""
    for episode in range(3):
        record(client, "pick", episode, take())
    root, numbers = killed_export(tmp_path)
    record(client, "pick", 3, take())
    assert export_lerobot(client, "pick", root, skip=[2]).episodes == 3
    after = [path.stat().st_ino for path in sorted(root.glob("data/*/*.parquet"))]
    assert after[:2] == numbers
    assert sequences(root) == [f"pick/episode-{k:06d}" for k in (0, 1, 3)]
    assert verify_dataset(root, deep=True) == []


@pytest.mark.parametrize(
    "options", [{"skip": [0]}, {"relabel": {"lift the cube": "x"}}, {"fps": 10}], ids=str
)
def test_pieces_of_another_export_are_not_used(
    tmp_path: Path, client: gapless.Client, options: dict[str, Any]
) -> None:
    """Finished ones that do not come first, or were written under other options, are written again."""
    for episode in range(3):
        record(client, "pick", episode, take())
    root, _ = killed_export(tmp_path)
    export_lerobot(client, "pick", root, **options)
    export_lerobot(client, "pick", tmp_path / "clean", **options)
    assert digests(root) == digests(tmp_path / "clean")


def test_a_refusal_keeps_what_was_finished(tmp_path: Path, client: gapless.Client) -> None:
    """A typo costs nothing, and an episode that cannot be exported costs only itself."""
    for episode in range(3):
        record(client, "pick", episode, take())
    record(client, "pick", 3, take(change=lambda v: np.array([float("nan"), *v[1:]], object)))
    root = tmp_path / "set"
    with pytest.raises(ExportRefused, match="no finite value"):
        export_lerobot(client, "pick", root)
    numbers = [p.stat().st_ino for p in sorted((tmp_path / ".set.partial").glob("dataset/data/*/*.parquet"))]
    with pytest.raises(ExportRefused, match="other words"):
        export_lerobot(client, "pick", root, skip=[3], relabel={"lift the cub": "x"})
    with pytest.raises(ExportRefused, match="other words"):
        plan_export(client, "pick", skip=[3], relabel={"lift the cub": "x"})
    assert export_lerobot(client, "pick", root, skip=[3]).episodes == 3
    assert [p.stat().st_ino for p in sorted(root.glob("data/*/*.parquet"))] == numbers[:3]
    assert verify_dataset(root, deep=True) == []


def test_a_finished_piece_whose_file_is_gone_is_written_again(tmp_path: Path, client: gapless.Client) -> None:
    """A power cut may take the names of files away, of which the record is kept; or half of a file."""
    for episode in range(3):
        record(client, "pick", episode, take())
    root, _ = killed_export(tmp_path)
    videos = sorted((tmp_path / ".set.partial").glob("dataset/videos/*/*/*.mp4"))
    videos[1].unlink()
    export_lerobot(client, "pick", root)
    export_lerobot(client, "pick", tmp_path / "clean")
    assert digests(root) == digests(tmp_path / "clean")


def test_a_record_comes_after_the_names_of_its_files(tmp_path: Path) -> None:
    """Every folder that leads to them is synced before."""
    done: list[str] = []

    class Listing(Platform):
        def sync_directory(self, path: Path) -> None:
            done.append(path.name)

        def replace(self, source: Path, target: Path) -> None:
            done.append(f"> {target.name}")
            super().replace(source, target)

    with ExportPlace(tmp_path / "set", Listing()) as place:
        place.begin({"fresh": []})
        (place.dataset / "data/chunk-000").mkdir(parents=True)
        (place.dataset / "data/chunk-000/file-000.parquet").write_bytes(b"")
        done.clear()
        place.record(0, {"episodes": [{"files": {"data/chunk-000/file-000.parquet": "0"}}]})
        place.clear()
    before = done[: done.index("> 00000000.json")]
    assert {"chunk-000", "data", "dataset", ".set.partial"} <= set(before)


def test_a_video_file_ends_before_float32_seconds_are_too_coarse(
    tmp_path: Path, client: gapless.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaders compare seconds in a file as float32; only an episode that begins at 0 may be longer."""
    for episode, rows in enumerate((12, 12, 12, 40, 5)):
        record(client, "pick", episode, take(rows))
    monkeypatch.setattr(export_dataset, "VIDEO_FILE_S", 1)  # 30 rows
    export_lerobot(client, "pick", tmp_path / "set", layout="compact")
    told = json.loads((tmp_path / "set/meta/gapless.json").read_text())["episodes"]
    assert [entry["file"][1] for entry in told] == [0, 0, 1, 2, 3]
    assert verify_dataset(tmp_path / "set", deep=True) == []


class WithoutExchange(Platform):
    """A system that cannot swap two names in one step."""

    def exchange(self, one: Path, other: Path) -> bool:
        """Say so."""
        return False


def test_where_names_cannot_be_swapped_the_next_export_repairs(tmp_path: Path) -> None:
    """A kill between two renames is put right by whoever comes next."""
    place = tmp_path / "set"
    place.mkdir()
    (place / "which").write_text("old")
    with ExportPlace(place, WithoutExchange()) as export:
        export.begin({"a": 1})
        (export.dataset / "which").write_text("new")
        export.publish()
    assert (place / "which").read_text() == "new"
    (tmp_path / ".set.partial").mkdir()
    place.rename(tmp_path / ".set.partial/replaced")  # killed between its two renames
    with ExportPlace(place, WithoutExchange()):
        assert (place / "which").read_text() == "new"
    assert {p.name for p in tmp_path.iterdir()} == {"set", ".set.partial"}


def test_where_files_cannot_have_two_names_they_are_copied(
    tmp_path: Path, client: gapless.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dataset that was there keeps its own files, and is never written to."""

    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no hard links here", str(source), None, str(target))

    record(client, "pick", 0, take())
    export_lerobot(client, "pick", tmp_path / "set")
    before = digests(tmp_path / "set", "data")
    record(client, "pick", 1, take())
    monkeypatch.setattr(os, "link", refuse)
    export_lerobot(client, "pick", tmp_path / "set")
    assert before.items() < digests(tmp_path / "set", "data").items()
    assert verify_dataset(tmp_path / "set", deep=True) == []


def test_two_exports_to_one_place_do_not_mix(tmp_path: Path, client: gapless.Client) -> None:
    """The second one is refused while the first one runs."""
    record(client, "pick", 0, take())
    with ExportPlace(tmp_path / "set"), pytest.raises(ExportRefused, match="another export"):
        export_lerobot(client, "pick", tmp_path / "set")
    export_lerobot(client, "pick", tmp_path / "set")
