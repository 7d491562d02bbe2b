"""Observed episodes written by hand: the topics that an observer makes, with any damage that a test needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import gapless
from gapless import Image
from gapless.model.outcome import Outcome
from gapless.store.episode_rows import ENDED, FRAMES, TASKS
from gapless.store.media.frame_table import FRAME_TABLE, frame_table_of

HEIGHT, WIDTH = 48, 64
NS = 1_000_000_000
Array = npt.NDArray[Any]
ROBOT = pa.schema(
    [
        pa.field("position.shoulder", pa.float64(), nullable=False, metadata={"unit": "rad"}),
        pa.field("position.elbow", pa.float64(), nullable=False, metadata={"unit": "rad"}),
        pa.field("load", pa.list_(pa.float32(), 2), nullable=False, metadata={"unit": "N"}),
        pa.field("action.shoulder", pa.float64(), nullable=False, metadata={"unit": "rad"}),
        pa.field("action.gripper", pa.float64(), nullable=False, metadata={"unit": "1"}),
    ]
)
ROLES = {
    "state": ["position.shoulder", "position.elbow", "load"],
    "action": ["action.shoulder", "action.gripper"],
}
STATE = [f"robot.{name}" for name in ("position.shoulder", "position.elbow", "load.0", "load.1")]


@dataclass
class Take:
    """How to record one episode. ``rows``: which ticks have a row; ``pictures``: which ticks have a picture.

    ``missed`` are told to the ledger as late; all times are ticks of ``hz`` from ``origin_ns``. ``tasks``: first
    tick to text. ``flags`` and ``picture_flags``: tick to the bits of its row, of its pictures.
    """

    rows: Sequence[int] = tuple(range(40))
    pictures: Sequence[int] | None = None
    missed: Sequence[int] = ()
    hz: str = "30"
    video_every: int = 1
    cameras: Mapping[str, str] = field(default_factory=lambda: {"front": "mp4", "side/depth": "png"})
    size: tuple[int, int] = (HEIGHT, WIDTH)
    tasks: Mapping[int, str] = field(default_factory=lambda: {0: "lift the cube"})
    flags: Mapping[int, int] = field(default_factory=dict)
    picture_flags: Mapping[int, int] = field(default_factory=dict)
    success: bool | None = True
    outcome: Outcome = Outcome.COMPLETED
    origin_ns: int = 0
    schema: pa.Schema = ROBOT
    change: Callable[[Array], Array] = lambda values: values


def time_of(take: Take, tick: int) -> int:
    """Return the nominal time of a tick."""
    numerator, _, denominator = take.hz.partition("/")
    return take.origin_ns + tick * NS * int(denominator or 1) // int(numerator)


def values_of(index: int, tick: int) -> list[Any]:
    """Return the row of ``robot``: no two rows of any two episodes are alike."""
    angle = index + tick / 64
    return [angle, -angle / 3, [angle * 2, tick], angle + 0.1, tick % 2]


def picture_of(index: int, tick: int, kind: str, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Array:
    """Return a picture: a bar that moves over a ground in the episode's colour; ``png`` is depth of 16 bits."""
    height, width = size
    if kind == "png":
        depth: Array = np.full(size, 1000 * index + tick, np.uint16)
        depth[0, 0] = 65535
        return depth
    made = np.empty((height, width, 3), np.uint8)
    made[:] = (40 + 70 * (index % 3), 60, 200 - 60 * (index % 3))
    made[:, (4 * tick) % (width - 8) : (4 * tick) % (width - 8) + 8] = 255
    made[: 4 + tick % (height - 4), :8] = 0
    return made


def record(client: gapless.Client, session: str, index: int, take: Take | None = None) -> str:
    """Record an episode and return its name."""
    take = take or Take()
    name = f"{session}/episode-{index:06d}"
    numerator, _, denominator = take.hz.partition("/")
    video = f"{numerator}/{int(denominator or 1) * take.video_every}" if take.video_every > 1 else take.hz
    told = {
        "format": 1, "session": session, "index": index, "seed": None, "mode": "simulated",
        "deterministic": True, "data_hz": take.hz, "video_hz": video, "robot_type": "arm", "schemas": {},
    }  # fmt: skip
    sequence = client.sequence_create(name, {"episode": told}, group=session)
    with sequence:
        _record_rows(sequence, take, index)
        for topic, media in take.cameras.items():
            _record_pictures(sequence, take, index, topic, media)
        if take.outcome is Outcome.COMPLETED:
            last = time_of(take, take.rows[-1]) if take.rows else take.origin_ns
            ended = sequence.topic_create("episode", schema=ENDED)
            ended.push_row(last, take.success, len(take.rows), "ended")
        sequence.flush()
        sequence.end(take.outcome)
    return name


def _record_rows(sequence: Any, take: Take, index: int) -> None:
    frames = sequence.topic_create("frames", schema=FRAMES)
    tasks = sequence.topic_create("tasks", schema=TASKS)
    words = {"recorder": "robot", "version": 1, "every": "tick", "roles": ROLES}
    robot = sequence.topic_create("robot", words, schema=take.schema)
    for number, (tick, text) in enumerate(take.tasks.items()):
        tasks.push_row(time_of(take, tick), number, text)
    starts = sorted(take.tasks)
    for number, tick in enumerate(take.rows):
        time_ns = time_of(take, tick)
        task = sum(start <= tick for start in starts) - 1
        robot.push_row(time_ns, *take.change(np.array(values_of(index, tick), object)))
        frames.push_row(time_ns, number, time_ns + 1000, take.flags.get(tick, 0), task)
    for tick in take.missed:
        frames.gap(1, "late", start_ns=time_of(take, tick), end_ns=time_of(take, tick))
        robot.gap(1, "late", start_ns=time_of(take, tick), end_ns=time_of(take, tick))


def _record_pictures(sequence: Any, take: Take, index: int, topic: str, media: str) -> None:
    height, width = take.size
    pixels = "mono16" if media == "png" else "rgb8"
    words = {"recorder": "camera", "version": 1, "height": height, "width": width, "pixels": pixels}
    camera = sequence.topic_create(topic, words, ontology_type=Image, media=media)
    table = sequence.topic_create(frame_table_of(topic), {"camera": topic}, schema=FRAME_TABLE)
    ticks = take.rows if take.pictures is None else take.pictures
    for number, tick in enumerate(tick for tick in ticks if tick % take.video_every == 0):
        time_ns = time_of(take, tick)
        camera.push_image(time_ns, picture_of(index, tick, media, take.size))
        table.push_row(time_ns, number, time_ns + 1000, take.picture_flags.get(tick, 0))
