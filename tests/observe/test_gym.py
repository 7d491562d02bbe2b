"""Environments recorded as episodes: every row is what the user of the environment saw and did."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pyarrow as pa
import pytest
from gymnasium import spaces
from tests.observe.environments import Everything, FallingBox

import gapless
from gapless.errors import ApprovalRefused, SchemaRefused, UsageError, ValueRefused
from gapless.observe import LocalPolicy
from gapless.observe.gym_env import RecordEpisodes


@pytest.fixture
def client(tmp_path: Path) -> gapless.Client:
    """Return a client of a new store."""
    return gapless.connect(str(tmp_path / "store"))


def rows_of(client: gapless.Client, name: str, topic: str) -> list[dict[str, Any]]:
    """Return all rows of a topic."""
    return [row for batch in client.sequence_handler(name).topic(topic).scan() for row in batch.to_pylist()]


def play(env: RecordEpisodes, *, seed: int, steps: int = 500) -> list[dict[str, Any]]:
    """Play an episode with actions by chance; return what was seen and done in each step."""
    observation, _ = env.reset(seed=seed)
    env.action_space.seed(seed)
    seen = []
    for _ in range(steps):
        action = env.action_space.sample()
        before = np.array(observation, np.float64)
        observation, reward, terminated, truncated, _ = env.step(action)
        seen.append(
            {f"observation.{n}": value for n, value in enumerate(before.tolist())}
            | {"reward": float(reward), "terminated": terminated, "truncated": truncated}
            | action_columns(action)
        )
        if terminated or truncated:
            break
    return seen


def action_columns(action: Any) -> dict[str, Any]:
    """Name the numbers of an action that is a number or a vector."""
    if np.ndim(action) == 0:
        return {"action": int(action)}
    return {f"action.{n}": float(value) for n, value in enumerate(action)}


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_two_lines_record_what_was_played(client: gapless.Client, name: str) -> None:
    """Observation, action and what came of it in one row; time from the environment; the end as it was."""
    env = RecordEpisodes(gymnasium.make(name, max_episode_steps=60), client)
    seen = play(env, seed=3)
    last = env.unwrapped.state  # type: ignore[attr-defined]
    env.close()
    sequence = client.sequence_handler(f"{name}/episode-000000")
    rows = rows_of(client, sequence.name, "environment")
    period_ns = {"CartPole-v1": 20_000_000, "Pendulum-v1": 50_000_000}[name]
    assert [row.pop("timestamp_ns") for row in rows] == [n * period_ns for n in range(len(seen))]
    assert rows == seen
    assert [row["frame_index"] for row in rows_of(client, sequence.name, "frames")] == list(range(len(seen)))
    assert sequence.outcome == "completed"
    assert sequence.metadata["episode"]["seed"] == 3
    assert sequence.metadata["episode"]["deterministic"] is True
    assert sequence.metadata["environment"] == {"id": name, "dt_s": str(Fraction(period_ns, 10**9))}
    [final] = rows_of(client, sequence.name, "final_observation")
    assert final["timestamp_ns"] == len(seen) * period_ns
    if name == "CartPole-v1":
        assert [final[f"observation.{n}"] for n in range(4)] == np.asarray(last, np.float32).tolist()
    [ended] = rows_of(client, sequence.name, "episode")
    assert ended["reason"] == ("terminated" if seen[-1]["terminated"] else "truncated")
    assert ended["success"] is None
    assert ended["frames"] == len(seen)


def digests(store: Path, make: Any, seeds: list[int]) -> list[str | None]:
    """Record an episode for each seed and return what identifies them."""
    client = gapless.connect(str(store))
    names: list[str] = []
    with RecordEpisodes(make(), client, "s", tasks=["play"]) as env:
        for seed in seeds:
            play(env, seed=seed, steps=25)
            env.reset()
            assert env.last_episode is not None
            names.append(env.last_episode)
    return [client.sequence_handler(name).content_digest for name in names]


@pytest.mark.parametrize(
    "make", [lambda: gymnasium.make("Pendulum-v1"), FallingBox], ids=["pendulum", "mujoco"]
)
def test_the_same_seed_gives_the_same_digest(tmp_path: Path, make: Any) -> None:
    """In another store and process state; another seed gives another digest."""
    first = digests(tmp_path / "one", make, [1, 2])
    assert first == digests(tmp_path / "two", make, [1, 2])
    assert digests(tmp_path / "three", make, [4, 2])[0] not in first


def test_success_is_what_the_environment_says_last(client: gapless.Client) -> None:
    """Beside the outcome; a reset in the middle ends the episode as truncated."""
    env = RecordEpisodes(FallingBox(), client, "box")
    play(env, seed=1, steps=4)
    env.reset()
    env.reset()  # an episode without a step is none
    env.close()
    [name] = client.list_sequences()
    [ended] = rows_of(client, name, "episode")
    assert (ended["success"], ended["reason"], ended["frames"]) == (True, "truncated", 4)


def test_every_space_has_columns(client: gapless.Client) -> None:
    """Leaves are named by their path, pictures become a camera, and buffers may be used again."""
    env = RecordEpisodes(Everything(render_mode="rgb_array"), client, "all", render=True, media="png")
    env.reset(seed=1)
    for n in range(5):
        env.step((np.array([n % 3, n % 4]), np.array([n / 8], np.float32)))
    env.close()
    [name] = client.list_sequences()
    sequence = client.sequence_handler(name)
    rows = rows_of(client, name, "environment")
    assert rows[3] == {
        "timestamp_ns": 300_000_000,
        **{
            f"observation.arm.joints.{k}": v
            for k, v in {"0.0": 3.0, "0.1": 1.0, "1.0": 2.0, "1.1": 3.0}.items()
        },
        "observation.pair.0": 1,
        **{f"observation.pair.1.{k}": v for k, v in enumerate([1, 0, 1])},
        "observation.ram": [3] * 600,
        "observation.speed": 1.0,
        "action.0.0": 0,
        "action.0.1": 3,
        "action.1.0": 0.375,
        "reward": 1.0,
        "terminated": False,
        "truncated": False,
    }
    assert [row["terminated"] for row in rows] == [False] * 4 + [True]
    eye = [int(picture.max()) for _, picture in sequence.topic("environment/eye").frames()]
    assert eye == [0, 10, 20, 30, 40]
    rendered = [int(picture.min()) for _, picture in sequence.topic("environment/render").frames()]
    assert rendered == [0, 1, 2, 3, 4]
    [final] = rows_of(client, name, "final_observation")
    assert final["observation.speed"] == 5 / 3
    assert final["observation.eye"] == bytes([50]) * (4 * 6 * 3)
    topic = sequence.topic("environment")
    assert topic.metadata["roles"]["action"] == ["action.0.0", "action.0.1", "action.1.0"]
    assert topic.schema.field("observation.ram").metadata[b"shape"] == b"[600]"
    statistics = json.loads(sequence.artifact_path("statistics.json").read_bytes())
    assert statistics["topics"]["environment"]["columns"]["reward"]["max"] == 1.25
    assert statistics["cameras"]["environment/eye"]["pictures"] == 1


def test_pictures_become_video_where_their_size_allows(client: gapless.Client) -> None:
    """mp4 by itself, png for odd sizes."""

    class Odd(Everything):
        size = (5, 7)

    for session, kind in (("even", Everything), ("odd", Odd)):
        with RecordEpisodes(kind(), client, session) as env:
            env.reset()
            env.step((np.array([0, 0]), np.array([0.0], np.float32)))
    frames = {
        name: len(list(client.sequence_handler(name).topic("environment/eye").frames()))
        for name in client.list_sequences()
    }
    assert frames == {"even/episode-000000": 1, "odd/episode-000000": 1}
    media = {p.suffix for p in client.sequence_handler("odd/episode-000000").path.rglob("media/**/*.*")}
    assert ".mp4" not in media


def test_an_environment_that_raises_fails_its_episode(client: gapless.Client) -> None:
    """What was recorded is kept and does not count as complete; the next reset begins the next episode."""
    world = Everything()
    action = (np.array([0, 0]), np.array([0.0], np.float32))
    world.fail_at = 3
    with RecordEpisodes(world, client, "s") as env:
        env.reset()
        env.step(action)
        env.step(action)
        with pytest.raises(RuntimeError, match="the arm fell off"):
            env.step(action)
        with pytest.raises(UsageError, match="reset"):
            env.step(action)
        world.fail_at = -1
        env.reset()
        env.step(action)
    outcomes = {name: client.sequence_handler(name).outcome for name in client.list_sequences()}
    assert outcomes == {"s/episode-000000": "failed", "s/episode-000001": "completed"}
    assert len(rows_of(client, "s/episode-000000", "environment")) == 2


def test_an_exception_around_it_fails_the_open_episode(client: gapless.Client) -> None:
    """As a context manager it knows that the program failed."""

    def program() -> None:
        with RecordEpisodes(FallingBox(), client, "s") as env:
            play(env, seed=1, steps=2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        program()
    assert client.sequence_handler("s/episode-000000").outcome == "failed"


def test_an_action_that_is_not_of_its_space_is_refused_before_the_step(client: gapless.Client) -> None:
    """Neither the environment nor the recording has moved."""
    world = Everything()
    with RecordEpisodes(world, client, "s") as env:
        env.reset()
        for bad in ((np.array([0, 0, 0]), np.array([0.0])), (np.array([0.5, 0]), np.array([0.0])), 7):
            with pytest.raises(ValueRefused, match=r"action\.0"):
                env.step(bad)
        assert world.steps == 0
    assert client.list_sequences() == []


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(5),
        spaces.Dict({"a": spaces.Sequence(spaces.Discrete(2))}),
        spaces.Tuple([spaces.Graph(spaces.Box(0, 1, (1,)), None)]),
        spaces.Box(0, 2**63, (2,), np.uint64),
    ],
    ids=["text", "sequence", "graph", "uint64"],
)
def test_a_space_without_columns_is_named(client: gapless.Client, space: Any) -> None:
    """Before anything is recorded, with the path and the space."""
    env = FallingBox()
    env.observation_space = space
    inner = next(iter(space.values())) if isinstance(space, spaces.Dict) else space
    with pytest.raises(SchemaRefused) as refused:
        RecordEpisodes(env, client)
    assert type(inner[0] if isinstance(inner, spaces.Tuple) else inner).__name__ in str(refused.value)
    assert "observation" in str(refused.value)


def test_what_cannot_be_recorded_is_refused_at_once(client: gapless.Client) -> None:
    """No step time, a bad one, no pictures to render, a vector of environments."""
    env = Everything()
    env.metadata = {}
    with pytest.raises(UsageError, match="how long a step is"):
        RecordEpisodes(env, client)
    for dt in (0, -1.0, "soon", float("nan"), float("inf")):
        with pytest.raises(UsageError, match="number of seconds"):
            RecordEpisodes(env, client, dt=dt)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="rgb_array"):
        RecordEpisodes(env, client, dt=0.1, render=True)
    vector = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
    with pytest.raises(UsageError, match="single environment"):
        RecordEpisodes(vector, client)  # type: ignore[arg-type]
    vector.close()


def test_a_step_time_may_be_a_fraction(client: gapless.Client) -> None:
    """Rows lie on the exact grid, rounded down to nanoseconds, and none is missing."""
    with RecordEpisodes(FallingBox(), client, "s", dt=1001 / 30000) as env:
        play(env, seed=1, steps=100)
    rows = rows_of(client, "s/episode-000000", "environment")
    assert [row["timestamp_ns"] for row in rows] == [n * 1001 * 10**9 // 30000 for n in range(100)]
    assert client.sequence_handler("s/episode-000000").metadata["episode"]["data_hz"] == "30000/1001"
    assert client.sequence_handler("s/episode-000000").ledger["gapped"] == 0


def test_after_the_last_episode_it_only_passes_on(client: gapless.Client) -> None:
    """``total_episodes`` is a limit of the recording, not of the environment."""
    with RecordEpisodes(FallingBox(), client, "s", total_episodes=2) as env:
        for seed in range(4):
            assert len(play(env, seed=seed, steps=3)) == 3
    assert sorted(client.list_sequences()) == ["s/episode-000000", "s/episode-000001"]


def test_without_approval_nothing_is_recorded(client: gapless.Client) -> None:
    """The first step says why, and the environment has not moved."""
    world = Everything()
    env = RecordEpisodes(world, client, "s", approver=LocalPolicy(lambda request: "not today"))
    env.reset()
    with pytest.raises(ApprovalRefused, match="not today"):
        env.step(world.action_space.sample())
    assert world.steps == 0
    env.close()
    assert client.list_sequences() == []


def test_a_value_that_is_not_in_its_space_fails_the_episode(client: gapless.Client) -> None:
    """An observation of another shape is never recorded as something else."""

    class Shrinking(FallingBox):
        def step(self, action: Any) -> Any:
            observation, *rest = super().step(action)
            return (observation[:5], *rest)

    with RecordEpisodes(Shrinking(), client, "s") as env:
        env.reset()
        with pytest.raises(ValueRefused, match=r"shape \[5\]"):
            env.step(np.zeros(3, np.float32))
    assert client.sequence_handler("s/episode-000000").outcome == "failed"
    assert pa.types.is_float64(
        client.sequence_handler("s/episode-000000").topic("environment").schema.field("reward").type
    )
