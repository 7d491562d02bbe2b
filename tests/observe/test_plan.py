"""What an observer records is checked once, before anything is asked or written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.observe.toy import SCHEMA, Eye, Toy, Wheel, World, run, started, toy

import gapless
from gapless.errors import DeterminismRefused, NameRefused, NameTaken, SchemaChanged, UsageError
from gapless.observe.observer import Observer
from gapless.observe.options import ImagePolicy, Mode
from gapless.observe.plan import Plan


@pytest.fixture
def client(tmp_path: Path) -> gapless.Client:
    """Return a client of a new store."""
    return gapless.connect(tmp_path / "store")


@pytest.mark.parametrize(
    "second",
    [
        lambda w: Toy("b", [Wheel(w, "wheel")]),
        lambda w: Toy("b", [Wheel(w, "Wheel")]),
        lambda w: Toy("b", [Wheel(w, "frames")]),
        lambda w: Toy("b", [Wheel(w, "tasks")]),
        lambda w: Toy("b", [Wheel(w, "Episode")]),
        lambda w: Toy("b", [], [Eye(w, "wheel")]),
        lambda w: Toy("b", [Wheel(w, "eye/frames")], [Eye(w, "eye")]),
    ],
    ids=["same", "case", "frames", "tasks", "episode", "camera", "frame table"],
)
def test_a_topic_has_one_owner(client: gapless.Client, second: Any) -> None:
    """Two recorders, or a recorder and the observer, never write one topic."""
    world = World()
    with pytest.raises(NameTaken, match="two recorders make one topic"):
        Observer(client, [Toy("a", [Wheel(world, "wheel")]), second(world)])
    assert client.list_sequences() == []


def test_two_recorders_never_have_one_name(client: gapless.Client) -> None:
    """Also when only the case differs."""
    world = World()
    with pytest.raises(UsageError, match="one name"):
        Observer(client, [Toy("arm", [Wheel(world, "a")]), Toy("Arm", [Wheel(world, "b")])])


def test_a_topic_is_named_like_any_other(client: gapless.Client) -> None:
    """Before anything is recorded."""
    with pytest.raises(NameRefused):
        Observer(client, [Toy("a", [Wheel(World(), "_gaps")])])


def changed(schema: pa.Schema, **change: Any) -> pa.Schema:
    """Return the schema with the first field changed."""
    field = schema.field(0)
    field = pa.field(
        change.get("name", field.name),
        change.get("type", field.type),
        change.get("nullable", field.nullable),
        field.metadata | {k.encode(): v.encode() for k, v in change.get("metadata", {}).items()},
    )
    return schema.set(0, field)


CHANGES: dict[str, dict[str, Any]] = {
    "unit": {"metadata": {"unit": "deg"}},
    "meaning": {"metadata": {"description": "of another wheel"}},
    "dtype": {"type": pa.float32()},
    "shape": {"type": pa.list_(pa.float64(), 3)},
    "nullable": {"nullable": True},
}


def record_one(client: gapless.Client, schema: pa.Schema, version: int) -> str:
    """Record an episode of nothing but its begin and end."""
    world = World()
    with started(
        client, [toy(world, cameras=False, schema=schema, version=version)], data_hz=100
    ) as observer:
        name: str = observer.begin_episode()
        observer.end_episode()
        return name


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_change_without_a_version_is_refused(client: gapless.Client, change: str) -> None:
    """dtype, shape, unit and meaning: nothing is written under the old version; another one is accepted."""
    record_one(client, SCHEMA, 1)
    other = changed(SCHEMA, **CHANGES[change])
    with pytest.raises(SchemaChanged) as refused:
        record_one(client, other, 1)
    assert (refused.value.topic, refused.value.sequence) == ("wheel", "s/episode-000000")
    assert client.list_sequences() == ["s/episode-000000"]
    assert record_one(client, other, 2) == "s/episode-000001"
    schemas = [client.sequence_handler(n).metadata["episode"]["schemas"] for n in client.list_sequences()]
    assert [s["wheel"]["version"] for s in schemas] == [1, 2]
    assert schemas[0]["frames"] == schemas[1]["frames"]


def test_a_camera_of_another_size_is_a_change(client: gapless.Client) -> None:
    """As for columns."""
    world = World()
    for size in ((32, 48), (32, 64)):
        observer = Observer(client, [Toy("toy", [], [Eye(world, size=size)])])
        if size == (32, 64):
            with pytest.raises(SchemaChanged, match="eye"):
                observer.start_session("s")
            continue
        observer.start_session("s")
        observer.tick()
        observer.begin_episode()
        observer.end_session()


def test_the_latest_episode_is_the_one_with_the_greatest_number(client: gapless.Client) -> None:
    """Sequences beside it that only look like episodes say nothing."""
    record_one(client, SCHEMA, 1)
    with client.sequence_create("s/episode-zero", {"episode": "not ours"}):
        pass
    assert record_one(client, SCHEMA, 1) == "s/episode-000001"


def test_roles_and_rates_of_a_table_are_part_of_what_it_means() -> None:
    """The same columns as another robot's action are another topic."""
    world = World()
    tick, step = Wheel(world), Wheel(world, every="step")
    fingerprints = {Plan([Toy("toy", [w])]).schemas["wheel"]["fingerprint"] for w in (tick, step)}
    assert len(fingerprints) == 2


@pytest.mark.parametrize(
    ("mode", "policy"),
    [
        (Mode.REALTIME, ImagePolicy.BLOCK),
        (Mode.MIXED, ImagePolicy.BLOCK),
        (Mode.SIMULATED, ImagePolicy.REPEAT),
    ],
)
def test_determinism_is_refused_where_it_could_only_be_pretended(
    client: gapless.Client, mode: Mode, policy: ImagePolicy
) -> None:
    """Asked for, it is an error; not asked for, the metadata says false."""
    recorder = toy(World(), cameras=False)
    with pytest.raises(DeterminismRefused):
        Observer(client, [recorder], mode=mode, image_policy=policy, deterministic=True)
    with started(client, [recorder], mode=mode, image_policy=policy) as observer:
        name = observer.begin_episode()
        observer.end_episode()
    assert client.sequence_handler(name).metadata["episode"]["deterministic"] is False


def test_a_mode_that_gives_it_says_so(client: gapless.Client) -> None:
    """And a user may say that it does not matter."""
    for asked, told in ((None, True), (True, True), (False, False)):
        with started(client, [toy(World())], deterministic=asked) as observer:
            name = observer.begin_episode()
            observer.end_episode()
        assert client.sequence_handler(name).metadata["episode"]["deterministic"] is told


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "fast"},
        {"image_policy": "drop"},
        {"data_hz": 0},
        {"video_hz": "often"},
        {"total_episodes": 0},
        {"max_episode_s": -1.0},
        {"max_episode_s": float("nan")},
    ],
)
def test_options_that_mean_nothing_are_refused(client: gapless.Client, options: dict[str, Any]) -> None:
    """At once."""
    with pytest.raises(UsageError):
        Observer(client, [toy(World())], **options)


def test_the_metadata_of_an_episode_is_complete(client: gapless.Client) -> None:
    """Everything but times, hosts and paths; the user's words beside it, never instead of it."""
    world = World()
    observer = Observer(
        client,
        [toy(world)],
        data_hz="30000/1001",
        video_hz=15,
        robot_type="wheel",
        metadata={"lab": "north", "who": "a"},
    )
    with pytest.raises(UsageError, match="observer's own"):
        observer.start_session("s", metadata={"episode": {}})
    observer.start_session("s", metadata={"who": "b"})
    observer.tick()
    with pytest.raises(UsageError, match="observer's own"):
        observer.begin_episode(metadata={"episode": {}})
    name = observer.begin_episode(seed=7, metadata={"try": 1})
    run(observer, world, 2)
    observer.end_session()
    handler = client.sequence_handler(name)
    episode = dict(handler.metadata["episode"])
    schemas = episode.pop("schemas")
    assert episode == {
        "format": 1,
        "session": "s",
        "index": 0,
        "seed": 7,
        "mode": "simulated",
        "deterministic": True,
        "data_hz": "30000/1001",
        "video_hz": "15",
        "robot_type": "wheel",
    }
    assert list(schemas) == ["episode", "eye", "frames", "tasks", "wheel"]
    assert {k: v for k, v in handler.metadata.items() if k != "episode"} == {
        "lab": "north", "who": "b", "try": 1,
    }  # fmt: skip
    assert handler.group == "s"
    assert handler.topic("wheel").metadata == {
        "recorder": "toy",
        "version": 1,
        "every": "tick",
        "roles": {"state": ["angle"], "action": ["torque"]},
    }
