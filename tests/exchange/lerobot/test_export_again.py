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

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.exchange.lerobot import foreign
from tests.exchange.lerobot.episodes import ROBOT, Take, record

import gapless
from gapless.errors import ExportRefused, NameTaken, NotFound
from gapless.exchange.lerobot.export_dataset import export_lerobot
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
