"""An episode in format 1, recorded once and kept for ever: every later release reads it and goes on with its session.

The store in ``golden-episode-1`` is never made again. It has the episode ``s/episode-000000`` of ten rows with
a camera and a depth camera.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.observe.toy import DT_NS, Eye, Toy, Wheel, World, run, started

import gapless
from gapless.errors import SchemaChanged
from gapless.observe import TableSpec

GOLDEN = Path(__file__).with_name("golden-episode-1")
EPISODE = "s/episode-000000"
DIGEST = "sha256:d87358b02e7f0db07ce9e8557d1011f119a1268898c33a2d7534f812ceb6c60e"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Give a copy of the golden store."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "store"))


def recorder(world: World, wheel: Wheel | None = None) -> Toy:
    """Return what recorded the golden episode."""
    cameras = [Eye(world), Eye(world, "depth", media="png")]
    return Toy("toy", [wheel or Wheel(world)], cameras)


def test_the_golden_episode_is_read_as_it_was_recorded(store: Path) -> None:
    """Rows, pictures, flags, tasks, success and identity; and its files are whole."""
    with gapless.connect(store) as client:
        assert client.verify(EPISODE, deep=True) == []
        episode = client.sequence_handler(EPISODE)
        assert episode.content_digest == DIGEST
        assert episode.outcome == "completed"
        told = episode.metadata["episode"]
        assert (told["format"], told["seed"], told["deterministic"]) == (1, 7, True)
        frames = episode.topic("frames").to_arrow()
        assert frames["timestamp_ns"].to_pylist() == [n * DT_NS for n in range(10)]
        assert frames["frame_flags"].to_pylist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
        assert frames["task_index"].to_pylist() == [0] * 10
        assert episode.topic("tasks").to_arrow()["task"].to_pylist() == ["turn the wheel"]
        assert episode.topic("wheel").to_arrow()["angle"].to_pylist() == [(7000 + n) / 64 for n in range(10)]
        assert episode.topic("wheel").schema.field("torque").metadata[b"unit"] == b"N*m"
        assert episode.topic("episode").to_arrow()["success"].to_pylist() == [True]
        for number, (time_ns, pixels) in enumerate(episode.topic("eye").frames()):
            assert time_ns == number * DT_NS
            assert abs(float(pixels[:, 2:20].mean()) - number) < 3
        depth = [pixels for _, pixels in episode.topic("depth").frames()]
        assert all(np.array_equal(pixels[:, :24], np.full((32, 24), n)) for n, pixels in enumerate(depth))


def test_its_session_goes_on_with_the_same_columns(store: Path) -> None:
    """The next number follows, the old files stay as they are, and the same seed has the same rows."""
    before = {path: path.read_bytes() for path in (store / "sequences").rglob("*") if path.is_file()}
    world = World(7)
    with gapless.connect(store) as client, started(client, [recorder(world)], data_hz=100) as observer:
        assert observer.begin_episode(seed=7) == "s/episode-000001"
        run(observer, world, 10)
    assert {path: path.read_bytes() for path in before} == before
    with gapless.connect(store) as client:
        old, new = (client.sequence_handler(name) for name in (EPISODE, "s/episode-000001"))
        assert old.metadata["episode"]["schemas"] == new.metadata["episode"]["schemas"]
        assert old.topic("wheel").to_arrow().equals(new.topic("wheel").to_arrow())


@pytest.mark.parametrize("change", ["column", "unit", "role"])
def test_other_columns_need_another_version(store: Path, change: str) -> None:
    """A changed column, unit or role is refused before anything is recorded, and taken as version 2."""
    world = World()
    wheel = Wheel(world)
    field = wheel.spec.schema.field(0)
    changed = {
        "column": field.with_name("angle_rad"),
        "unit": field.with_metadata({**field.metadata, b"unit": b"deg"}),
        "role": field,
    }[change]
    schema = pa.schema([changed, wheel.spec.schema.field(1)])
    roles = (
        {"state": [changed.name, "torque"]}
        if change == "role"
        else {"state": [changed.name], "action": ["torque"]}
    )
    with gapless.connect(store) as client:
        wheel.spec = TableSpec("wheel", schema, roles=roles)
        with pytest.raises(SchemaChanged, match="wheel"):
            started(client, [recorder(world, wheel)], data_hz=100)
        assert client.list_sequences() == [EPISODE]
        wheel.spec = TableSpec("wheel", schema, version=2, roles=roles)
        with started(client, [recorder(world, wheel)], data_hz=100) as observer:
            observer.begin_episode()
            run(observer, world, 3)
        assert len(client.list_sequences()) == 2
