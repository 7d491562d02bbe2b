"""A MuJoCo recording is whole: each row follows from the one before, to the bit, and a wrong bit is noticed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import gapless
from gapless.client.sequence_handler import SequenceHandler
from gapless.errors import EpisodeFailed, IntegrityError, UsageError
from gapless.observe.observer import Observer
from gapless.observe.recorder_registry import recorder_for
from gapless.observe.sources import MujocoSource
from gapless.observe.step import Phase, StepContext

mujoco = pytest.importorskip("mujoco")

from gapless.observe.recorders.mujoco_full import INPUTS, STATE  # noqa: E402 (it imports mujoco)
from gapless.observe.recorders.mujoco_replay import load_model, replay  # noqa: E402

DT_NS = 2_000_000
STEPS = 400
HZ = 50  # 10 physics steps
XML = """
<mujoco model="heap">
  <option timestep="0.002"{option}/>
  <asset><mesh name="wedge" file="wedge.obj"/></asset>
  <worldbody>
    <geom name="floor" type="plane" size="1 1 .1"/>
    <body pos="0 0 .06"><freejoint/><geom name="box" type="box" size=".05 .05 .05"/></body>
    <body pos=".02 .01 .19" euler="10 20 30"><freejoint/><geom type="box" size=".05 .04 .05"/></body>
    <body pos="-.02 0 .33"><freejoint/><geom type="mesh" mesh="wedge"/></body>
    <body name="moved" mocap="true" pos=".2 0 .05"><geom type="sphere" size=".05"/></body>
    <body pos="0 0 .6">
      <joint name="swing" axis="0 1 0" damping=".01"/>
      <geom type="capsule" fromto="0 0 0 0 0 -.45" size=".02"/>
      <body pos="0 0 -.45">
        <joint name="bend" axis="1 0 0"/>
        <geom type="capsule" fromto="0 0 0 0 .1 0" size=".02"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="swing"/><position joint="bend" kp="2" timeconst=".01"/></actuator>
</mujoco>
"""
WEDGE = b"v 0 0 0\nv .1 0 0\nv 0 .1 0\nv 0 0 .1\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 1 4 3\n"
ASSETS = {"wedge.obj": WEDGE}


class Heap:
    """Boxes that fall on each other and are pushed: by motors, by a hand, and by forces from outside."""

    def __init__(self, option: str = "") -> None:
        self.xml = XML.format(option=option)
        self.model = mujoco.MjModel.from_xml_string(self.xml, ASSETS)
        self.data = mujoco.MjData(self.model)
        self.steps = 0
        mujoco.mj_forward(self.model, self.data)

    def source(self, **words: Any) -> MujocoSource:
        """Return all of it."""
        return MujocoSource(self.model, self.data, **{"xml": self.xml, "assets": ASSETS, **words})

    def decide(self, number: int) -> None:
        """Set every input anew, as a policy does before it steps."""
        self.data.ctrl[:] = 3 * math.sin(number / 7), math.cos(number / 5)
        self.data.mocap_pos[0, 0] = 0.2 - 0.1 * math.sin(number / 30)
        self.data.xfrc_applied[1, 0] = math.sin(number / 11) / 10

    def step(self, held_steps: int = 1) -> None:
        """Step once; the inputs change every so many steps."""
        if self.steps % held_steps == 0:
            self.decide(self.steps)
        mujoco.mj_step(self.model, self.data)
        self.steps += 1


def record(
    folder: Path, heap: Heap, advance: Callable[[], None], hz: int = 500, steps: int = STEPS, **words: Any
) -> SequenceHandler:
    """Record an episode of the state at the begin and after each step."""
    client = gapless.connect(folder)
    with Observer(client, [recorder_for("sim", heap.source(**words))], data_hz=hz) as observer:
        observer.start_session("s")
        observer.tick()
        name = observer.begin_episode(seed=0)
        observer.observe(0, 0)
        for step in range(1, steps + 1):
            advance()
            observer.observe(step, step * DT_NS)
        observer.end_episode()
    return client.sequence_handler(name)


def model_of(episode: SequenceHandler) -> Any:
    """Return the model that is sealed with an episode."""
    return load_model(episode.artifact_path("sim/model.mjb").read_bytes())


def with_values(table: pa.Table, column: str, values: np.ndarray[Any, Any]) -> pa.Table:
    """Return rows with other numbers in a column of lists."""
    place = table.schema.get_field_index(column)
    kind = table.schema.field(column).type
    return table.set_column(
        place, table.schema.field(column), pa.FixedSizeListArray.from_arrays(values.ravel(), type=kind)
    )


def values_of(table: pa.Table, column: str) -> Any:
    """Return a copy of a column of lists as an array [rows, size]."""
    return np.array(table[column].combine_chunks().flatten()).reshape(len(table), -1)


# -- the proof ---------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["", ' integrator="implicitfast" cone="elliptic"', ' integrator="RK4"'])
def test_each_row_follows_from_the_one_before(tmp_path: Path, option: str) -> None:
    """Between all rows of an episode full of contacts, from what is on disk alone; max delta is 0."""
    heap = Heap(option)
    episode = record(tmp_path, heap, heap.step)
    topic = episode.topic("sim")
    done = replay(model_of(episode), topic.scan())
    assert (done.intervals, done.steps, done.resets) == (STEPS, STEPS, 0)
    assert (done.max_delta, done.wrong, done.first_wrong) == (0.0, 0, None)
    counts = topic.to_arrow(["contact.count"])["contact.count"].to_pylist()
    assert sum(count >= 4 for count in counts) > STEPS / 2


def test_ticks_with_held_inputs(tmp_path: Path) -> None:
    """Ten steps between two rows are computed again under the inputs of the second."""
    heap = Heap()
    episode = record(tmp_path, heap, lambda: heap.step(10), HZ, every="tick")
    topic = episode.topic("sim")
    assert topic.metadata["inputs"] == "held since the row before"
    done = replay(model_of(episode), topic.to_arrow())
    assert (done.max_delta, done.wrong) == (0.0, 0)
    assert (done.intervals, done.steps) == (STEPS // 10, STEPS)


def test_inputs_that_were_not_held_are_noticed(tmp_path: Path) -> None:
    """A program that says that it holds and does not is found out."""
    heap = Heap()
    episode = record(tmp_path, heap, heap.step, HZ, every="tick")
    done = replay(model_of(episode), episode.topic("sim").scan())
    assert done.wrong == done.intervals == STEPS // 10
    assert done.max_delta > 0
    assert done.first_wrong == 1


def test_inputs_set_before_the_row_was_read_are_noticed(tmp_path: Path) -> None:
    """A row must hold the inputs of the step before it, not those of the step after."""
    heap = Heap()

    def advance() -> None:
        mujoco.mj_step(heap.model, heap.data)
        heap.steps += 1
        heap.decide(heap.steps)

    episode = record(tmp_path, heap, advance, steps=50)
    assert replay(model_of(episode), episode.topic("sim").scan()).wrong == 50


def test_every_flipped_bit_of_a_control_is_noticed(tmp_path: Path) -> None:
    """In any row but the first, any bit: also the last of the fraction, and the sign of a zero."""
    heap = Heap()
    rows = record(tmp_path, heap, heap.step, steps=40).topic("sim").to_arrow()
    assert replay(heap.model, rows).wrong == 0
    random = np.random.default_rng(0)
    places = [(1, 0, 63), (2, 1, 0), (40, 0, 0), (40, 1, 51)]
    places += [tuple(map(int, random.integers((1, 0, 0), (41, 2, 64)))) for _ in range(30)]  # type: ignore[misc] # three
    assert values_of(rows, "ctrl")[1, 0] == 0.0
    for row, actuator, bit in places:
        ctrl = values_of(rows, "ctrl")
        ctrl.view(np.uint64)[row, actuator] ^= np.uint64(1) << np.uint64(bit)
        done = replay(heap.model, with_values(rows, "ctrl", ctrl))
        assert (done.wrong, done.first_wrong) == (1, row), (row, actuator, bit)
        assert done.max_delta > 0 or bit == 63


def test_every_flipped_bit_of_a_state_is_noticed(tmp_path: Path) -> None:
    """Of any number that physics computes, the warm start included; an input may have no effect."""
    heap = Heap()
    rows = record(tmp_path, heap, heap.step, steps=12).topic("sim").to_arrow()
    size, inputs = mujoco.mj_stateSize(heap.model, STATE), np.zeros(mujoco.mj_stateSize(heap.model, INPUTS))
    mujoco.mj_setState(heap.model, heap.data, np.arange(float(size)), STATE)
    mujoco.mj_getState(heap.model, heap.data, inputs, INPUTS)
    computed = sorted(set(range(1, size)) - set(inputs.astype(int).tolist()))  # 0 is the time
    assert len(computed) == heap.model.nq + heap.model.nv + heap.model.na + heap.model.nv
    for number in computed:
        state = values_of(rows, "state")
        state.view(np.uint64)[6, number] ^= np.uint64(1)
        assert replay(heap.model, with_values(rows, "state", state)).first_wrong == 6, number
    state[6, 1] = np.nan
    assert replay(heap.model, with_values(rows, "state", state)).max_delta == math.inf


def test_time_that_does_not_go_on_is_counted(tmp_path: Path) -> None:
    """After a reset of the scene there is nothing to compute for one row."""
    heap = Heap()
    first = record(tmp_path / "a", heap, heap.step, steps=5).topic("sim").to_arrow()
    done = replay(heap.model, pa.concat_tables([first, first]))
    assert (done.wrong, done.intervals, done.resets) == (0, 10, 1)
    state = values_of(first, "state")
    state[3, 0] = np.nan
    with pytest.raises(IntegrityError, match="no number"):
        replay(heap.model, with_values(first, "state", state))


def test_a_pause_is_no_wrong_row(tmp_path: Path) -> None:
    """What happened in it nobody recorded; the rows before and after it are proven."""
    heap = Heap()
    client = gapless.connect(tmp_path)
    with Observer(client, [recorder_for("sim", heap.source())], data_hz=500) as observer:
        observer.start_session("s")
        observer.tick()
        name = observer.begin_episode()
        for step in range(30):
            if step == 10:
                observer.pause("the cell was opened")
            if step == 20:
                observer.resume()
            observer.observe(step, step * DT_NS)
            heap.step()
        observer.end_episode()
    rows = client.sequence_handler(name).topic("sim").to_arrow()
    assert len(rows) == 20
    done = replay(heap.model, rows, most_steps=1)
    assert (done.wrong, done.intervals, done.pauses) == (0, 18, 1)
    assert replay(heap.model, rows).first_wrong == 10


def test_rows_of_another_model(tmp_path: Path) -> None:
    """They are refused, not computed."""
    heap = Heap()
    rows = record(tmp_path, heap, heap.step, steps=2).topic("sim").to_arrow()
    other = mujoco.MjModel.from_xml_string("<mujoco/>")
    for model, table in ((other, rows), (heap.model, rows.drop(["ctrl"]))):
        with pytest.raises(UsageError, match="another model"):
            replay(model, table)


# -- what is recorded --------------------------------------------------------------------------


def read(heap: Heap, **words: Any) -> dict[str, Any]:
    """Return one row of a heap by its columns."""
    [table] = recorder_for("sim", heap.source(**words)).tables
    table.read(StepContext(0, Phase.ACQUIRE, 0))
    return {name: np.array(value) for name, value in zip(table.spec.schema.names, table.row, strict=True)}


def test_contacts_are_those_of_the_solver() -> None:
    """Each with its geoms, place and force; free places are empty, also those that were full before."""
    heap = Heap()
    for _ in range(200):
        heap.step()
    [table] = recorder_for("sim", heap.source(contact_cap=32)).tables
    context = StepContext(0, Phase.ACQUIRE, 0)
    table.read(context)
    row = dict(zip(table.spec.schema.names, table.row, strict=True))
    count = heap.data.ncon
    assert (row["contact.count"], row["contact.overflow"]) == (count, False)
    assert 4 <= count < 32
    assert row["contact.geom1"][:count].tolist() == heap.data.contact.geom1.tolist()
    assert row["contact.frame"][:count].tolist() == heap.data.contact.frame.tolist()
    assert (row["contact.dist"][:count] < 0.001).all()
    weight_n = 9.81 * heap.model.body_mass[1:4].sum()
    floor = heap.model.geom("floor").id
    on_floor = row["contact.geom1"] == floor
    assert 0 < row["contact.force"][on_floor, 0].sum() < 20 * weight_n
    mujoco.mj_resetData(heap.model, heap.data)
    table.read(context)
    row = dict(zip(table.spec.schema.names, table.row, strict=True))
    assert row["contact.count"] == 0
    assert set(row["contact.geom2"].tolist()) == {-1}
    assert not any(row[f"contact.{name}"].any() for name in ("dist", "pos", "frame", "force", "torque"))


def test_more_contacts_than_places_are_told() -> None:
    """The count is the true one, the flag is set, and the first ones are kept."""
    heap = Heap()
    for _ in range(200):
        heap.step()
    row = read(heap, contact_cap=3)
    assert row["contact.count"] == heap.data.ncon > 3
    assert row["contact.overflow"]
    assert row["contact.geom2"].tolist() == heap.data.contact.geom2[:3].tolist()
    assert row["contact.pos"].tolist() == heap.data.contact.pos[:3].tolist()


def test_model_and_release_are_kept(tmp_path: Path) -> None:
    """The compiled model byte for byte, what it was made from, and with what it was stepped."""
    heap = Heap()
    episode = record(tmp_path, heap, heap.step, steps=3)
    assert episode.artifact_path("sim/model.xml").read_bytes() == heap.xml.encode()
    assert episode.artifact_path("sim/assets/wedge.obj").read_bytes() == WEDGE
    kept = recorder_for("sim", MujocoSource(model_of(episode), mujoco.MjData(model_of(episode)))).artifacts()
    assert kept == {"sim/model.mjb": episode.artifact_path("sim/model.mjb").read_bytes()}
    words = episode.topic("sim").metadata
    assert (words["mujoco"], words["integrator"], words["timestep_s"], words["every"]) == (
        mujoco.__version__, "mjINT_EULER", 0.002, "step",
    )  # fmt: skip
    schema = episode.topic("sim").schema
    assert schema.field("contact.torque").metadata[b"unit"] == b"N*m"
    assert schema.field("contact.frame").metadata[b"shape"] == b"[64,3,3]"


def test_a_model_that_was_changed_is_kept_as_it_is() -> None:
    """Of each episode its own: masses may be drawn anew at a reset."""
    heap = Heap()
    recorder = recorder_for("sim", heap.source())
    before = recorder.artifacts()["sim/model.mjb"]
    heap.model.body_mass[1] *= 2
    after = recorder.artifacts()["sim/model.mjb"]
    assert before != after
    assert load_model(after).body_mass[1] == 2 * load_model(before).body_mass[1]


def test_the_same_steps_are_the_same_bytes(tmp_path: Path) -> None:
    """Also from another object of the model, in another store."""
    digests = set()
    for name in ("a", "b"):
        heap = Heap()
        digests.add(record(tmp_path / name, heap, heap.step, steps=60).content_digest)
    assert len(digests) == 1


def test_a_model_without_controls(tmp_path: Path) -> None:
    """It has no such column and is computed again like any other."""
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><body><freejoint/><geom size=".1"/></body></worldbody></mujoco>'
    )
    heap = Heap()
    heap.model, heap.data = model, mujoco.MjData(model)
    episode = record(tmp_path, heap, lambda: mujoco.mj_step(model, heap.data), steps=20)
    assert "ctrl" not in episode.topic("sim").schema.names
    assert replay(model, episode.topic("sim").scan()).wrong == 0


# -- refusals ----------------------------------------------------------------------------------


def test_a_physics_step_without_a_row_fails_the_episode(tmp_path: Path) -> None:
    """Unless there was a pause, or inputs are declared as held."""
    heap = Heap()

    def advance() -> None:
        heap.step()
        heap.step()

    with pytest.raises(EpisodeFailed, match="2 physics steps between two rows"):
        record(tmp_path / "a", heap, advance, steps=5)
    [table] = recorder_for("sim", heap.source()).tables
    for step in (0, 1, 5, 6):
        table.read(StepContext(step, Phase.ACQUIRE, 0))
        for _ in range(1 if step != 1 else 4):
            heap.step()


def test_sources_that_cannot_be_recorded() -> None:
    """They are refused before anything is recorded."""
    heap = Heap()
    refused: list[tuple[MujocoSource, str]] = [
        (MujocoSource(heap.data, heap.model), "MjModel"),
        (heap.source(contact_cap=0), "contact_cap"),
        (heap.source(every="row"), "every"),
    ]
    if hasattr(mujoco.mjtEnableBit, "mjENBL_SLEEP"):
        sleepy = Heap()
        sleepy.model.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP
        refused.append((sleepy.source(), "asleep"))
    for source, word in refused:
        with pytest.raises(UsageError, match=word):
            recorder_for("sim", source)
