"""A toy simulation for tests: a wheel that turns, a camera that shows its number, all from integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

import gapless
import gapless.errors
from gapless.observe import CameraSpec, Observer, StepContext, TableSpec
from gapless.observe.approval import Decision, EpisodeReports, SessionRequest

DT_NS = 10_000_000
SCHEMA = pa.schema(
    [
        pa.field(
            "angle", pa.float64(), nullable=False, metadata={"unit": "rad", "description": "of the wheel"}
        ),
        pa.field(
            "torque", pa.float64(), nullable=False, metadata={"unit": "N*m", "description": "commanded"}
        ),
    ]
)


class Wheel:
    """A table of one row for each tick; ``fail_at`` makes the read of that row raise."""

    def __init__(
        self,
        world: World,
        topic: str = "wheel",
        *,
        every: Any = "tick",
        fail_at: int = -1,
        schema: pa.Schema = SCHEMA,
        version: int = 1,
    ) -> None:
        roles = {"state": ["angle"], "action": ["torque"]}
        self.spec = TableSpec(topic, schema, version, every=every, roles=roles)
        self.row: list[Any] = [0.0, 0.0]
        self.reads = 0
        self._world = world
        self._fail_at = fail_at

    def read(self, context: StepContext) -> None:
        """Copy the angle."""
        if self.reads == self._fail_at:
            raise RuntimeError("the encoder of the wheel is gone")
        self.reads += 1
        self.row[0] = self._world.angle
        self.row[1] = self._world.angle / 2


class Eye:
    """A camera whose picture holds the step's number in every pixel of its left half."""

    def __init__(
        self, world: World, topic: str = "eye", *, size: tuple[int, int] = (32, 48), media: Any = "mp4"
    ) -> None:
        height, width = size
        pixels: Any = "mono16" if media == "png" else "rgb8"
        self.spec = CameraSpec(topic, height, width, pixels, media)
        self.picture: Any = np.zeros(
            size if media == "png" else (*size, 3), np.uint16 if media == "png" else np.uint8
        )
        self._world = world

    def read(self, context: StepContext) -> None:
        """Show the number."""
        self.picture[:, : self.picture.shape[1] // 2] = self._world.step % 256
        self.picture[:, self.picture.shape[1] // 2 :] = 128


class Toy:
    """A recorder of tables and cameras."""

    def __init__(self, name: str, tables: Sequence[Any] = (), cameras: Sequence[Any] = ()) -> None:
        self.name = name
        self.tables: Sequence[Any] = list(tables)
        self.cameras: Sequence[Any] = list(cameras)
        self.begun = 0

    def begin(self) -> None:
        """Count."""
        self.begun += 1

    def artifacts(self) -> Mapping[str, bytes]:
        """Return a file."""
        return {f"{self.name}.txt": b"a toy\n"}


class World:
    """What turns."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.step = 0

    @property
    def angle(self) -> float:
        """The wheel's angle, rad."""
        return (self.seed * 1000 + self.step) / 64

    @property
    def time_ns(self) -> int:
        """Simulation time."""
        return self.step * DT_NS

    def reset(self) -> None:
        """Begin again."""
        self.step = 0


def toy(world: World, *, cameras: bool = True, **wheel: Any) -> Toy:
    """Return a recorder of a wheel and, perhaps, a camera."""
    return Toy("toy", [Wheel(world, **wheel)], [Eye(world)] if cameras else [])


def run(observer: Observer, world: World, steps: int) -> None:
    """Observe the present state, then step and observe until so many instants were seen."""
    for number in range(steps):
        if number:
            world.step += 1
        observer.observe(world.step, world.time_ns)


def started(client: gapless.Client, recorders: Sequence[Any], **options: Any) -> Observer:
    """Return an observer whose session ``s`` is approved."""
    observer = Observer(client, recorders, **options)
    observer.start_session("s", ["turn the wheel"])
    observer.tick()
    return observer


class Reports:
    """Keeps what an approved session reports, in order."""

    def __init__(self) -> None:
        self.submitted: list[dict[str, Any]] = []
        self.stopped: list[dict[str, Any]] = []

    def submit(self, execution_metadata: Mapping[str, Any]) -> None:
        """Keep an episode's report; none may come after the stop."""
        assert not self.stopped
        self.submitted.append(dict(execution_metadata))

    def stop(self, summary: Mapping[str, Any]) -> None:
        """Keep the stop."""
        self.stopped.append(dict(summary))


class Desk:
    """An approver whose decision the test makes: set ``decision``."""

    def __init__(self, decision: Decision = Decision.PENDING) -> None:
        self.decision = decision
        self.error: gapless.errors.GaplessError | None = None
        self.reports: EpisodeReports | None = Reports()
        self.asked: list[SessionRequest] = []
        self.cancelled = 0

    def request(self, session: SessionRequest) -> Desk:
        """Keep the request."""
        self.asked.append(session)
        return self

    def poll(self) -> Decision:
        """Return what the test decided."""
        return self.decision

    def cancel(self) -> None:
        """Count."""
        self.cancelled += 1


def rows_of(client: gapless.Client, name: str, topic: str) -> list[dict[str, Any]]:
    """Return all rows of a topic."""
    rows: list[dict[str, Any]] = client.sequence_handler(name).topic(topic).to_arrow().to_pylist()
    return rows


def flush(observer: Observer) -> None:
    """Return when all of the open episode so far is durable."""
    assert observer.sequence is not None
    observer.sequence.flush()


def column(client: gapless.Client, name: str, topic: str, field: str) -> list[Any]:
    """Return a column of a topic."""
    return [row[field] for row in rows_of(client, name, topic)]


def gaps_of(client: gapless.Client, name: str, topic: str) -> list[tuple[str, int | None, int, int]]:
    """Return cause, count, begin and end of a topic's gaps."""
    gaps = [row for row in rows_of(client, name, "_gaps") if row["topic"] == topic]
    return [(g["cause"], g["count"], g["timestamp_ns"], g["end_ns"]) for g in gaps]


def outcomes(client: gapless.Client) -> dict[str, str | None]:
    """Return the outcome, or else the state, of each sequence by its name."""
    handlers = map(client.sequence_handler, sorted(client.list_sequences()))
    return {handler.name: handler.outcome or handler.state for handler in handlers}
