"""Recorders against the real core: what a source says is what is stored, exactly, or a typed error that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

import gapless
from gapless.errors import GaplessError, SchemaRefused, UsageError, ValueRefused
from gapless.model.ontology.images import Image
from gapless.observe.recorder import Recorder, Source
from gapless.observe.recorder_registry import recorder_for
from gapless.observe.recorders.camera import DepthCamera
from gapless.observe.sources import CameraSource, DataSource, DroneSource, Field, RobotSource
from gapless.observe.step import Phase, StepContext

NOW = StepContext(0, Phase.ACQUIRE, 0)


@pytest.fixture
def client(tmp_path: Path) -> gapless.Client:
    """Return a client of a new store."""
    return gapless.connect(tmp_path / "store")


def arm(**other: Any) -> RobotSource:
    """Return an arm of a hinge and a gripper that slides."""
    words: dict[str, Any] = {
        "joints": ["elbow", "gripper"],
        "position": lambda: np.array([0.1, 0.02], np.float32),
        "velocity": lambda: [1, -2],
        "effort": lambda: (0.5, float("nan")),
        "action": lambda: np.array([1, 2], np.int64),
        "action_kind": "position",
        "end_effector": lambda: np.arange(7) / 8,
        "contacts": lambda: [3.5],
        "contact_names": ["tip"],
        "units": {"gripper": "m"},
    }
    return RobotSource(**{**words, **other})


def stored(client: gapless.Client, recorder: Recorder, rows: int = 1) -> gapless.Client:
    """Read and push every table of a recorder this often, as an observer does."""
    with client.sequence_create("s") as sequence:
        for table in recorder.tables:
            spec = table.spec
            writer = sequence.topic_create(spec.topic, dict(spec.metadata), schema=spec.schema)
            row = table.row
            for number in range(rows):
                table.read(NOW)
                assert table.row is row
                writer.push_row(number, *row)
    return client


def facts(client: gapless.Client, topic: str) -> dict[str, tuple[Any, str, str | None]]:
    """Return the last value, the type and the unit of each column of a topic but the time."""
    handler = client.sequence_handler("s").topic(topic)
    last = handler.to_arrow().to_pylist()[-1]
    found: dict[str, tuple[Any, str, str | None]] = {}
    for field in list(handler.schema)[1:]:
        words = field.metadata or {}
        assert words[b"description"]
        unit = words.get(b"unit")
        found[field.name] = (last[field.name], str(field.type), unit and unit.decode())
    return found


def refusal(recorder: Recorder) -> ValueRefused:
    """Return the error of a read; the row and the picture stay as they were."""
    parts: list[Any] = [*recorder.tables, *recorder.cameras]
    [part] = parts
    held = part.picture if hasattr(part, "picture") else part.row
    before = np.array(held, copy=True) if hasattr(part, "picture") else list(held)
    with pytest.raises(ValueRefused) as caught:
        part.read(NOW)
    assert np.array_equal(before, held)
    assert caught.value.topic == recorder.name
    return caught.value


# -- robot -------------------------------------------------------------------------------------


def test_a_robot_is_columns_with_units(client: gapless.Client) -> None:
    """Each joint and quantity is a column; float32 and whole numbers are kept exactly, and so is NaN."""
    found = facts(stored(client, recorder_for("robot", arm()), 3), "robot")
    nan = found.pop("effort.gripper")
    assert (str(nan[0]), *nan[1:]) == ("nan", "double", "N")
    assert found == {
        name: (value, "double", unit)
        for name, value, unit in [
            ("position.elbow", float(np.float32(0.1)), "rad"),
            ("position.gripper", float(np.float32(0.02)), "m"),
            ("velocity.elbow", 1.0, "rad/s"),
            ("velocity.gripper", -2.0, "m/s"),
            ("effort.elbow", 0.5, "N*m"),
            *((f"end_effector.position.{a}", i / 8, "m") for i, a in enumerate("xyz")),
            *((f"end_effector.orientation.{a}", (i + 3) / 8, "1") for i, a in enumerate("wxyz")),
            ("contact.tip", 3.5, "N"),
            ("action.elbow", 1.0, "rad"),
            ("action.gripper", 2.0, "m"),
        ]
    }


def test_the_roles_of_a_robot() -> None:
    """State: the positions; action: the commands, in the source's order."""
    [table] = recorder_for("robot", arm()).tables
    assert table.spec.every == "tick"
    assert table.spec.roles == {
        "state": ["position.elbow", "position.gripper"],
        "action": ["action.elbow", "action.gripper"],
    }


def test_units_of_commands() -> None:
    """They follow the kind of the command, or are named for a column, or are not known."""

    def units(**words: Any) -> list[str | None]:
        [table] = recorder_for("robot", arm(**words)).tables
        fields = [field for field in table.spec.schema if field.name.startswith("action.")]
        return [(unit := (field.metadata or {}).get(b"unit")) and unit.decode() for field in fields]

    assert units(action_kind="effort") == ["N*m", "N"]
    assert units(action_kind="velocity") == ["rad/s", "m/s"]
    assert units(action_kind=None) == [None, None]
    assert units(action_kind=None, units={"action.gripper": "1"}) == [None, "1"]
    assert units(action_names=["power"], action=lambda: [1], units={"action.power": "W"}) == ["W"]


def test_an_array_of_the_simulation_may_change_after_the_read() -> None:
    """The row is a copy, and one number may stand for one joint."""
    state = np.array([1.0, 2.0])
    [table] = recorder_for("robot", RobotSource(["a", "b"], lambda: state)).tables
    table.read(NOW)
    state[:] = 0
    assert list(table.row) == [1.0, 2.0]
    [table] = recorder_for("robot", RobotSource(["a"], lambda: 3)).tables
    table.read(NOW)
    assert list(table.row) == [3.0]


@pytest.mark.parametrize(
    ("value", "field", "found"),
    [
        ([1.0], "position", "shape [1]"),
        ([1.0, 2.0, 3.0], "position", "shape [3]"),
        ([[1.0, 2.0]], "position", "shape [1, 2]"),
        (0.5, "position", "shape [1]"),
        ([1.0, [2.0]], "position", "list: "),
        ([1.0, None], "position.gripper", "None"),
        (None, "position", "shape [1]"),
        (["1", "2"], "position", "an array of <U1"),
        ([True, False], "position", "an array of bool"),
        (np.zeros(2, complex), "position", "an array of complex128"),
        ([0, 2**53 + 1], "position.gripper", str(2**53 + 1)),
        ([-(2**53) - 1, 0], "position.elbow", str(-(2**53) - 1)),
        ([0, 2**70], "position.gripper", str(2**70)),
    ],
)
def test_what_is_no_number_of_each_joint(value: Any, field: str, found: str) -> None:
    """It is refused where it is read, by the names of the recorder and the joint."""
    error = refusal(recorder_for("robot", RobotSource(["elbow", "gripper"], lambda: value)))
    assert error.field == field
    assert str(error.found).startswith(found)
    assert error.expected == "2 numbers that a float64 holds"


@pytest.mark.parametrize(
    "words",
    [
        {"joints": []},
        {"joints": ["a", "a"]},
        {"joints": "elbow"},
        {"joints": ["elbow", ""]},
        {"units": {"knee": "m"}},
        {"action_kind": "torque"},
        {"contact_names": "tip"},
        {"contact_names": []},
    ],
)
def test_robots_that_cannot_be(words: dict[str, Any]) -> None:
    """They are refused before anything is recorded."""
    if words == {"contact_names": []}:  # no force is expected, so one is refused when it is read
        with pytest.raises(ValueRefused, match="contact"):
            recorder_for("robot", arm(**words)).tables[0].read(NOW)
        return
    with pytest.raises((UsageError, SchemaRefused)):
        recorder_for("robot", arm(**words))


# -- drone -------------------------------------------------------------------------------------


def test_a_drone_is_a_body_and_an_imu(client: gapless.Client) -> None:
    """Two tables; the IMU may have a row for each step."""
    source = DroneSource(
        pose=lambda: [1, 2, 3, 1, 0, 0, 0],
        velocity=lambda: [4, 5, 6],
        rotors=2,
        rotor_speed=lambda: [700.5, 701],
        action=lambda: [0.25],
        action_names=["thrust"],
        units={"action.thrust": "N"},
        acceleration=lambda: [0, 0, 9.81],
        angular_velocity=lambda: [0.1, 0.2, 0.3],
        imu_every="step",
    )
    recorder = recorder_for("drone", source)
    body, imu = (table.spec for table in recorder.tables)
    assert (body.topic, body.every, imu.topic, imu.every) == ("drone", "tick", "drone/imu", "step")
    assert body.roles["action"] == ["action.thrust"]
    assert body.roles["state"] == [name for name in body.schema.names if name != "action.thrust"]
    assert imu.roles == {"state": imu.schema.names, "action": []}
    found = facts(stored(client, recorder), "drone")
    assert {name: (value, unit) for name, (value, _, unit) in found.items()} == {
        **{f"position.{a}": (float(i), "m") for i, a in enumerate("xyz", 1)},
        **{f"orientation.{a}": (float(a == "w"), "1") for a in "wxyz"},
        **{f"velocity.{a}": (float(i), "m/s") for i, a in enumerate("xyz", 4)},
        "rotor.0": (700.5, "rad/s"),
        "rotor.1": (701.0, "rad/s"),
        "action.thrust": (0.25, "N"),
    }
    found = facts(client, "drone/imu")
    assert found["acceleration.z"] == (9.81, "double", "m/s^2")
    assert found["angular_velocity.x"] == (0.1, "double", "rad/s")


def test_a_drone_that_says_too_little() -> None:
    """Rotors without speeds, speeds without rotors, and a pose without its turn."""
    pose = [0, 0, 0, 1, 0, 0, 0]
    words: dict[str, Any]
    for words in ({"rotors": 4}, {"rotor_speed": lambda: [1]}, {"units": {"knee": "m"}}):
        with pytest.raises(UsageError):
            recorder_for("drone", DroneSource(lambda: pose, **words))
    assert refusal(recorder_for("drone", DroneSource(lambda: pose[:3]))).field == "pose"


# -- camera ------------------------------------------------------------------------------------


def camera(value: Any, kind: Any = "rgb", size: tuple[int, int] = (2, 4), **words: Any) -> Recorder:
    """Return the recorder of a camera that shows one picture."""
    return recorder_for("eye", CameraSource(lambda: value, *size, kind, **words))


def picture(recorder: Recorder) -> npt.NDArray[Any]:
    """Return what a camera shows, in the array that it always uses."""
    [eye] = recorder.cameras
    held = eye.picture
    eye.read(NOW)
    assert eye.picture is held
    return held


def test_colour_is_copied() -> None:
    """The renderer may draw into its array again."""
    drawn = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    recorder = camera(drawn)
    held = picture(recorder)
    drawn[:] = 0
    assert held.tolist() == np.arange(24).reshape(2, 4, 3).tolist()
    spec = recorder.cameras[0].spec
    assert (spec.topic, spec.height, spec.width, spec.pixels, spec.media) == ("eye", 2, 4, "rgb8", "mp4")
    assert camera(drawn, size=(3, 4)).cameras[0].spec.media == "png"


def test_depth_is_whole_units() -> None:
    """0 only where nothing was measured; 65535 is that far or farther, and is counted."""
    metres = [[0.0014, 0.0016, 1e-9, 65.5343], [65.6, 1e300, 0.0, -1.0], [np.nan, np.inf, -np.inf, 65.535]]
    recorder = camera(np.array(metres), "depth", (3, 4))
    [eye] = recorder.cameras
    assert isinstance(eye, DepthCamera)
    expected = [[1, 2, 1, 65534], [65535, 65535, 0, 0], [0, 0, 0, 65535]]
    assert picture(recorder).tolist() == expected
    assert eye.saturated_pixels == 3
    assert picture(recorder).tolist() == expected
    assert eye.saturated_pixels == 6
    recorder.begin()
    assert eye.saturated_pixels == 0
    assert (eye.spec.pixels, eye.spec.media) == ("mono16", "png")
    assert eye.spec.metadata == {
        "kind": "depth", "depth_unit_m": 0.001, "no_measurement": 0, "saturated": 65535,
    }  # fmt: skip


def test_depth_of_other_types_and_units() -> None:
    """float32 metres in half millimetres; float16 is not scaled as such; uint16 is in units already."""
    metres = np.full((2, 4), 1.25, np.float32)
    assert picture(camera(metres, "depth", depth_unit_m=0.0005)).tolist() == [[2500] * 4] * 2
    half = np.full((2, 4), 40.03125, np.float16)
    assert picture(camera(half, "depth")).tolist() == [[40031] * 4] * 2
    units = np.arange(65528, 65536, dtype=np.uint16).reshape(2, 4)
    recorder = camera(units, "depth")
    assert picture(recorder).tolist() == units.tolist()
    assert getattr(recorder.cameras[0], "saturated_pixels", None) == 1


def test_segments_are_their_numbers() -> None:
    """Of any whole type; one that 16 bits do not hold is an error, not another segment."""
    ids = np.array([[0, 1, 65535, 7]] * 2)
    assert picture(camera(ids, "segmentation")).tolist() == ids.tolist()
    assert picture(camera(ids == 1, "segmentation")).tolist() == (ids == 1).astype(int).tolist()
    for wrong in (-1, 65536):
        ids[1, 2] = wrong
        error = refusal(camera(ids, "segmentation"))
        assert (error.field, error.found) == ("segmentation", wrong)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("rgb", np.zeros((2, 4, 4), np.uint8)),
        ("rgb", np.zeros((4, 2, 3), np.uint8)),
        ("rgb", np.zeros((2, 4, 3), np.float32)),
        ("rgb", None),
        ("depth", np.zeros((2, 4, 1))),
        ("depth", np.zeros((2, 4), np.uint8)),
        ("depth", np.zeros((2, 4), np.int32)),
        ("segmentation", np.zeros((2, 4, 2), np.int32)),
        ("segmentation", np.zeros((2, 4))),
    ],
)
def test_another_picture_than_promised(kind: str, value: Any) -> None:
    """It is refused where it is read, with its type and size."""
    error = refusal(camera(value, kind))
    array = np.asarray(value)
    assert (error.field, error.found) == (kind, f"{array.dtype} {list(array.shape)}")


@pytest.mark.parametrize(
    "words",
    [
        {"height": 0, "width": 4},
        {"height": 2, "width": 4.0},
        {"height": 2, "width": 4, "kind": "thermal"},
        {"height": 2, "width": 4, "kind": "depth", "depth_unit_m": 0.0},
        {"height": 2, "width": 4, "kind": "depth", "depth_unit_m": float("nan")},
    ],
)
def test_cameras_that_cannot_be(words: dict[str, Any]) -> None:
    """They are refused before anything is recorded."""
    with pytest.raises(UsageError):
        recorder_for("eye", CameraSource(lambda: None, **words))


def test_images_are_read_back_without_loss(client: gapless.Client) -> None:
    """Depth and segments come back as they were read, from the real encoder."""
    random = np.random.default_rng(0)
    values = {
        "depth": random.uniform(0, 70, (48, 64)),
        "segmentation": random.integers(0, 65536, (48, 64)),
    }
    expected = {}
    with client.sequence_create("s") as sequence:
        for kind, value in values.items():
            [eye] = camera(value, kind, (48, 64)).cameras
            writer = sequence.topic_create(
                kind, dict(eye.spec.metadata), ontology_type=Image, media=eye.spec.media
            )
            eye.read(NOW)
            writer.push_image(0, eye.picture)
            expected[kind] = eye.picture
    for kind, pixels in expected.items():
        topic = client.sequence_handler("s").topic(kind)
        [(_, shown)] = topic.frames()
        assert shown.dtype == np.uint16
        assert np.array_equal(shown, pixels)
        assert topic.metadata["kind"] == kind
    assert np.array_equal(expected["segmentation"], values["segmentation"])


# -- data --------------------------------------------------------------------------------------

FIELDS = {
    "temperature": Field("degC", "float32", "of the motor"),
    "count": Field(None, "int16", "of turns"),
    "on": Field(dtype="bool"),
    "state": Field(dtype="string"),
    "matrix": Field("m", "float64", "of the cells", (2, 3)),
}
VALUES = {
    "temperature": 21.5,
    "count": -7,
    "on": True,
    "state": "idle",
    "matrix": np.arange(6.0).reshape(2, 3),
}


def test_data_is_what_its_fields_say(client: gapless.Client) -> None:
    """Types, units and shapes; values by name or in order, and those that are copied before they change."""
    matrix = np.arange(6.0).reshape(2, 3)
    roles = {"state": ["temperature"], "action": ["count"]}
    source = DataSource(FIELDS, lambda: {**VALUES, "matrix": matrix}, version=4, roles=roles)
    recorder = recorder_for("data", source)
    [table] = recorder.tables
    assert (table.spec.version, table.spec.roles) == (4, roles)
    with client.sequence_create("s") as sequence:
        writer = sequence.topic_create("data", schema=table.spec.schema)
        table.read(NOW)
        matrix[:] = 0
        writer.push_row(0, *table.row)
    handler = client.sequence_handler("s").topic("data")
    [row] = handler.to_arrow().to_pylist()
    assert row == {"timestamp_ns": 0, **VALUES, "matrix": [0, 1, 2, 3, 4, 5]}
    schema = handler.schema
    assert [str(field.type) for field in schema][1:] == [
        "float", "int16", "bool", "string", "fixed_size_list<item: double>[6]",
    ]  # fmt: skip
    assert schema.field("temperature").metadata == {b"unit": b"degC", b"description": b"of the motor"}
    assert schema.field("matrix").metadata[b"shape"] == b"[2,3]"


def test_data_of_an_arrow_schema(client: gapless.Client) -> None:
    """In its order, from a sequence or an array; a nullable column may be left out of a mapping."""
    schema = pa.schema([("a", pa.float64()), ("b", pa.list_(pa.int32()))])
    values: list[Any] = [[1.5, [1, 2]], {"a": 2.5}, (3.5, None)]
    recorder = recorder_for("data", DataSource(schema, lambda: values.pop(0), every="step"))
    assert recorder.tables[0].spec.every == "step"
    stored(client, recorder, 3)
    rows = client.sequence_handler("s").topic("data").to_arrow(["a", "b"]).to_pylist()
    assert [(row["a"], row["b"]) for row in rows] == [(1.5, [1, 2]), (2.5, None), (3.5, None)]
    plain = DataSource({"x": Field(), "y": Field()}, lambda: np.array([1.0, 2.0]))
    [table] = recorder_for("plain", plain).tables
    table.read(NOW)
    assert list(table.row) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": None}, "temperature"),
        ({"count": 1.5}, "count"),
        ({"count": float("nan")}, "count"),
        ({"count": 40_000}, "count"),
        ({"on": 1}, "on"),
        ({"state": b"idle"}, "state"),
        ({"matrix": np.zeros((3, 2))}, "matrix"),
        ({"matrix": np.zeros(6)}, "matrix"),
        ({"matrix": [["a"] * 3] * 2}, "matrix"),
        ({"other": 1}, "other"),
    ],
)
def test_data_that_is_not_what_its_fields_say(change: dict[str, Any], field: str) -> None:
    """It is refused where it is read, by the name of the column."""
    error = refusal(recorder_for("data", DataSource(FIELDS, lambda: {**VALUES, **change})))
    assert error.field == field


@pytest.mark.parametrize("values", [None, 3, "four", [1, 2, 3], {}])
def test_what_is_no_row(values: Any) -> None:
    """It is refused, with the columns that there are."""
    assert refusal(recorder_for("data", DataSource(FIELDS, lambda: values))).topic == "data"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, {}),
        ({"timestamp_ns": Field()}, {}),
        ({"a": Field(dtype="floaty")}, {}),
        ({"a": Field(dtype=None)}, {}),
        ({"a": Field(shape=(-1,))}, {}),
        (pa.schema([("a", pa.int8()), ("a", pa.int8())]), {}),
        ({"a": Field()}, {"roles": {"state": ["b"]}}),
    ],
)
def test_columns_that_cannot_be(fields: Any, words: dict[str, Any]) -> None:
    """They are refused before anything is recorded."""
    with pytest.raises(GaplessError) as caught:
        recorder_for("data", DataSource(fields, lambda: None, **words))
    assert isinstance(caught.value, UsageError)
    assert caught.value.topic == "data"


def test_a_source_that_raises_is_not_hidden() -> None:
    """Its own error goes through every recorder."""

    def broken() -> Any:
        raise RuntimeError("the sensor is gone")

    sources: list[Source] = [
        RobotSource(["a"], broken),
        DroneSource(broken),
        DataSource({"a": Field()}, broken),
        CameraSource(broken, 2, 2),
    ]
    for source in sources:
        recorder = recorder_for("x", source)
        parts: list[Any] = [*recorder.tables, *recorder.cameras]
        for part in parts:
            with pytest.raises(RuntimeError, match="the sensor is gone"):
                part.read(NOW)
