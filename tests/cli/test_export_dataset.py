"""`gapless export --to lerobot` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.exchange.lerobot.episodes import Take, record

import gapless
from gapless.model.outcome import Outcome

from .conftest import Cli


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with a session of three episodes, the last of them interrupted."""
    with gapless.connect(str(tmp_path / "store")) as client:
        for episode in range(3):
            outcome = Outcome.INTERRUPTED if episode == 2 else Outcome.COMPLETED
            take = Take(rows=range(8), cameras={"front": "mp4"}, success=episode == 0, outcome=outcome)
            record(client, "pick", episode, take)
    return str(tmp_path / "store")


def manifest(root: Path) -> dict[str, list[dict[str, object]]]:
    """Return what the export told."""
    told: dict[str, list[dict[str, object]]] = json.loads((root / "meta/gapless.json").read_text())
    return told


def test_a_group_is_exported_and_added_to(cli: Cli, store: str, tmp_path: Path) -> None:
    """What is left out is named; the second time there is nothing to add."""
    done = cli("export", "pick", "set", "--to", "lerobot", "--store", store)
    assert done.returncode == 0, done.stderr
    assert "left out: pick/episode-000002 (interrupted)" in done.stdout
    assert "2 episodes, 16 rows; 2 added, 0 were there" in done.stdout
    again = cli("export", "pick", "set", "--format", "lerobot", "--store", store, "--json")
    told = json.loads(again.stdout)
    assert (told["episodes"], told["added"], len(told["kept"])) == (2, [], 2)
    assert told["left_out"] == [{"sequence": "pick/episode-000002", "reason": "interrupted"}]
    assert cli("verify", "set", "--deep").returncode == 0


def test_options_reach_the_dataset(cli: Cli, store: str, tmp_path: Path) -> None:
    """Rate, choice of fields and episodes, other words for a task."""
    words = ["--fps", "15", "--state", "robot.position", "--action", "robot.action.gripper"]
    words += ["--only", "1-2", "--relabel", "lift the cube=raise it", "--include-interrupted"]
    done = cli("export", "pick", "set", "--to", "lerobot", *words, "--layout", "compact", "--store", store)
    assert done.returncode == 0, done.stderr
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert info["fps"] == 15
    assert info["features"]["observation.state"]["names"] == [
        "robot.position.shoulder",
        "robot.position.elbow",
    ]
    assert info["features"]["action"]["shape"] == [1]
    told = manifest(tmp_path / "set")["episodes"]
    assert [entry["sequence"] for entry in told] == ["pick/episode-000001", "pick/episode-000002"]
    assert told[0]["tasks"] == ["raise it"]


def test_a_dry_run_writes_nothing(cli: Cli, store: str, tmp_path: Path) -> None:
    """It lists what would be exported, and refuses what the export would refuse."""
    done = cli("export", "pick", "set", "--to", "lerobot", "--success", "no", "--dry-run", "--store", store)
    assert done.returncode == 0, done.stderr
    assert "would write 1 episodes to set: pick/episode-000001" in done.stdout
    assert "would leave out pick/episode-000000 (success)" in done.stdout
    refused = cli("export", "pick", "set", "--to", "lerobot", "--fps", "29.97", "--dry-run", "--store", store)
    assert (refused.returncode, "E118" in refused.stderr) == (2, True)
    assert {path.name for path in tmp_path.iterdir()} == {"store"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--to", "lerobot", "--topic", "robot"], "--topic is not for the format lerobot"),
        (["--to", "csv", "--fps", "10"], "--fps is not for the format csv"),
        (["--to", "csv", "--with", "place"], "--with is not for the format csv"),
        (["--to", "lerobot", "--relabel", "lift"], "--relabel takes OLD=NEW"),
        (["--to", "lerobots"], "there is no such format"),
    ],
)
def test_options_of_other_formats_are_refused(cli: Cli, store: str, words: list[str], told: str) -> None:
    """Never ignored."""
    done = cli("export", "pick", "set", *words, "--store", store)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr
