"""Rig files: what they become, and that everything wrong with one is said at once, on its line."""

from __future__ import annotations

import copy
import json
import pickle
import random
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gapless.acquire.problem import FINDINGS, ConfigProblem, RigProblems
from gapless.acquire.rig import Rig, load_rig
from gapless.acquire.settings import RunSettings

ROOT = Path(__file__).resolve().parents[2]

#: A rig without any problem; the tests below put one into it.
GOOD = """\
name = "bench"
group = "lab"

[metadata]
operator = "ann"

[run]
length_s = 5

[devices.oven]
adapter = "simulated"
rate_hz = 20
fields = [
    { name = "pv", unit = "K", signal = { kind = "sine", amplitude = 5 } },
    { name = "sp", unit = "K" },
]
safe_state = { program = [{ command = "set", arguments = { field = "sp", value = 0 } }] }

[devices.room]
adapter = "simulated"
fields = [{ name = "t", unit = "K" }]

[[channels]]
name = "oven_pv"
device = "oven"
field = "pv"
unit = "K"
calibration = { kind = "linear", gain = 1.01 }

[[channels]]
name = "room_t"
device = "room"
field = "t"
unit = "K"

[[channels]]
name = "excess"
derived = { function = "difference", inputs = ["oven_pv", "room_t"], max_age_s = 5 }
unit = "K"

[setpoints.oven]
device = "oven"
command = "set"
arguments = { field = "sp" }
unit = "K"
low = 0
high = 600
"""


def problems_in(
    folder: Path, text: str, environ: Mapping[str, str] | None = None
) -> list[tuple[str, int | None, str]]:
    """Return code, line and path of all that is wrong with a file."""
    path = folder / "rig.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RigProblems) as caught:
        load_rig(path, environ=environ or {})
    assert all(problem.file == str(path) for problem in caught.value.problems)
    return [(p.code, p.line, ".".join(map(str, p.path))) for p in caught.value.problems]


def line_with(text: str, words: str) -> int:
    """Return the line of a text that holds the words; ``[[x]] 2``: that of the second table of that name."""
    header = re.fullmatch(r"(\[\[.*\]\]) (\d)", words)
    found = [n for n, line in enumerate(text.split("\n"), 1) if (header[1] if header else words) in line]
    return found[int(header[2]) - 1 if header else 0]


def read(tmp_path: Path, text: str, **environ: str) -> Rig:
    """Return the rig of a file with this text."""
    path = tmp_path / "rig.toml"
    path.write_text(text, encoding="utf-8")
    return load_rig(path, environ=environ)


# -- what a file becomes -----------------------------------------------------------------------


def test_a_file_becomes_a_rig(tmp_path: Path) -> None:
    """Names, settings, devices with their classes, channels in their order, setpoints with limits."""
    rig = read(tmp_path, GOOD)
    assert (rig.name, rig.group, rig.metadata) == ("bench", "lab", {"operator": "ann"})
    assert rig.run == RunSettings(length_s=5.0)
    assert {name: entry.config.adapter for name, entry in rig.devices.items()} == {
        "oven": "simulated",
        "room": "simulated",
    }
    assert [spec.name for spec in rig.channels] == ["oven_pv", "room_t", "excess"]
    assert rig.channels[0].raw_unit == "K"  # what the device says of its field
    assert (rig.setpoints["oven"].low, rig.setpoints["oven"].high) == (0.0, 600.0)
    assert rig.warnings == ()
    assert rig.path == tmp_path / "rig.toml"


def test_a_rig_of_a_few_lines() -> None:
    """From Python, with every default; making adapters opens nothing and makes new ones each time."""
    rig = Rig.of({"devices": {"host": {"adapter": "host"}}})
    assert (rig.name, rig.channels, rig.group) == ("rig", (), None)
    first, second = rig.make_adapters(), rig.make_adapters()
    assert list(first) == ["host"]
    assert first["host"] is not second["host"]
    assert not first["host"].is_open


def test_the_stem_of_the_file_is_the_default_name(tmp_path: Path) -> None:
    """A rig without a name is called like its file."""
    assert read(tmp_path, GOOD.removeprefix('name = "bench"\n')).name == "rig"


def test_channels_as_an_array_or_by_name() -> None:
    """``[channels.NAME]`` and ``[[channels]]`` say the same."""
    device = {"a": {"adapter": "simulated", "fields": [{"name": "x", "unit": "V"}]}}
    table = {"device": "a", "field": "x", "unit": "V"}
    by_name = Rig.of({"devices": device, "channels": {"u": table}})
    in_a_row = Rig.of({"devices": device, "channels": [{"name": "u", **table}]})
    assert by_name.channels == in_a_row.channels


def test_the_example_of_this_machine_is_right() -> None:
    """The rig that works anywhere has no problem and no warning."""
    rig = load_rig(ROOT / "examples" / "rigs" / "host.toml")
    assert rig.warnings == ()
    assert {"cpu", "memory_used", "load"} <= {spec.name for spec in rig.channels}


def test_the_snapshot_is_a_rig_again(tmp_path: Path) -> None:
    """What is sealed with a run is JSON, and reads back as the rig that ran."""
    rig = read(tmp_path, GOOD)
    text = json.dumps(rig.snapshot(), allow_nan=False)
    assert Rig.of(json.loads(text)).snapshot() == rig.snapshot()


def test_a_recording_plan_takes_patterns() -> None:
    """include and exclude are globs over names; what is excluded stays excluded."""
    device = {"a": {"adapter": "simulated", "fields": [{"name": "x", "unit": "V"}]}}
    table = {"device": "a", "field": "x", "unit": "V"}
    plan = {"include": ["t_*", "u"], "exclude": ["*_raw"]}
    channels = dict.fromkeys(("t_1", "t_raw", "u", "v"), table)
    rig = Rig.of({"devices": device, "channels": channels, "recording": plan})
    assert [name for name in channels if rig.recording.keeps(name)] == ["t_1", "u"]


# -- the environment ---------------------------------------------------------------------------


def test_variables_are_filled_in_everywhere(tmp_path: Path) -> None:
    """In text, in numbers, in lists, several in one value, with defaults; a value is never filled twice."""
    text = GOOD.replace('operator = "ann"', 'who = "${A} and ${B:-nobody}"\nnone = ["${C:-}", "$A ${"]')
    text = text.replace("rate_hz = 20", 'rate_hz = "${RATE:-30}"').replace(
        "length_s = 5", 'length_s = "${L}"'
    )
    rig = read(tmp_path, text, A="${B}", L="2.5")
    assert rig.metadata == {"who": "${B} and nobody", "none": ["", "$A ${"]}
    assert rig.devices["oven"].config.model_dump()["rate_hz"] == 30.0
    assert rig.run.length_s == 2.5


def test_an_unset_variable_is_one_problem(tmp_path: Path) -> None:
    """Nothing else is said of a value that could not be filled in."""
    text = GOOD.replace("rate_hz = 20", 'rate_hz = "${RATE}"')
    assert problems_in(tmp_path, text) == [("R007", line_with(text, "RATE"), "devices.oven.rate_hz")]


def test_the_environment_is_the_process_s_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rig.of and load_rig look where a shell would."""
    monkeypatch.setenv("GAPLESS_TEST_RATE", "7")
    rig = Rig.of({"devices": {"h": {"adapter": "host", "rate_hz": "${GAPLESS_TEST_RATE}"}}})
    assert rig.devices["h"].config.model_dump()["rate_hz"] == 7.0


# -- one thing wrong at a time -----------------------------------------------------------------

HOST = '[devices.{}]\nadapter = "host"\n[devices.room]'
#: What is replaced in the good rig, by what; the code that is expected, and words of the line it points to.
DEFECTS = [
    pytest.param("[devices.room]", "[devices.room", "R001", "[devices.room", id="not-toml"),
    pytest.param('group = "lab"', 'gruop = "lab"', "R002", "gruop", id="unknown-key"),
    pytest.param('group = "lab"', "group = 3", "R002", "group = 3", id="group-no-text"),
    pytest.param('group = "lab"', "length_s = 3", "R002", "length_s = 3", id="key-of-run"),
    pytest.param('operator = "ann"', "when = 2026-01-01", "R002", "when", id="date"),
    pytest.param("length_s = 5", "length_s = nan", "R002", "length_s", id="nan"),
    pytest.param("length_s = 5", "length_s = 18446744073709551616", "R002", "length_s", id="more-than-64-bits"),
    pytest.param("length_s = 5", "length_s = 0", "R002", "length_s", id="out-of-range"),
    pytest.param("length_s = 5", 'clok = "host"', "R002", "clok", id="unknown-key-of-run"),
    pytest.param("[run]\n", "[run]\nguard = 'perhaps'\n", "R002", "guard", id="no-boolean"),
    pytest.param("rate_hz = 20", "rate_hz = -1", "R002", "rate_hz", id="rate"),
    pytest.param("rate_hz = 20", "rate = 20", "R002", "rate = 20", id="unknown-key-of-device"),
    pytest.param("amplitude", "amplitud", "R002", "amplitud", id="unknown-key-inside"),
    pytest.param('{ name = "sp", unit', "{ unit", "R002", '{ unit = "K" }', id="missing-key-inside"),
    pytest.param("gain = 1.01", "gian = 1.01", "R002", "gian", id="unknown-key-of-curve"),
    pytest.param('function = "difference"', 'function = "ratio3"', "R005", "[[channels]] 3", id="function"),
    pytest.param('name = "bench"', 'name = "@x"', "R005", "@x", id="name"),
    pytest.param('name = "bench"', "name = 3", "R005", "name = 3", id="name-no-text"),
    pytest.param("[devices.room]", HOST.format('"ro:om"'), "R005", "ro:om", id="colon"),
    pytest.param("[devices.room]", HOST.format("_room"), "R005", "_room", id="reserved"),
    pytest.param("[devices.room]", HOST.format('"channels/x"'), "R005", "channels/x", id="topic-of-the-run"),
    pytest.param("[setpoints.oven]", f"{HOST.format('ROOM')}\n[setpoints.oven]".replace("[devices.room]", ""),
                 "R005", "ROOM", id="device-twice"),
    pytest.param('adapter = "simulated"\nrate', 'adapter = "simulatde"\nrate', "R003", "simulatde", id="adapter"),
    pytest.param('adapter = "simulated"\nrate', "rate", "R002", "[devices.oven]", id="no-adapter"),
    pytest.param('device = "room"', 'device = "rom"', "R003", '"rom"', id="device-of-channel"),
    pytest.param('field = "pv"', 'field = "vp"', "R003", '"vp"', id="field"),
    pytest.param('"t"\nunit = "K"', '"t"\nunit = "V"', "R005", "[[channels]] 2", id="unit"),
    pytest.param("[setpoints.oven]", '[[channels]]\nname = "OVEN_PV"\ndevice = "room"\nfield = "t"\nunit = "K"\n'
                 "[setpoints.oven]", "R005", "[[channels]] 4", id="name-twice"),
    pytest.param(', max_age_s = 5', "", "R005", "derived = ", id="no-max-age"),
    pytest.param('"room_t"]', '"oven_sp"]', "R005", "[[channels]] 3", id="input"),
    pytest.param('command = "set", arg', 'command = "off", arg', "R003", "safe_state", id="command"),
    pytest.param('field = "sp", value', 'feild = "sp", value', "R003", "safe_state", id="argument"),
    pytest.param('field = "sp", value', 'field = "ps", value', "R003", "safe_state", id="argument-value"),
    pytest.param('device = "oven"\ncommand', 'device = "ovn"\ncommand', "R003", '"ovn"', id="device-of-setpoint"),
    pytest.param('command = "set"\n', 'command = "heat"\n', "R003", '"heat"', id="command-of-setpoint"),
    pytest.param('arguments = { field = "sp" }', "", "R003", "[setpoints.oven]", id="argument-of-setpoint"),
    pytest.param("low = 0", "low = 700", "R002", "[setpoints.oven]", id="limits"),
    pytest.param('{ field = "sp" }\n', '{ field = "sp", value = 1 }\n', "R002", "[setpoints.oven]", id="overwritten"),
    pytest.param("[setpoints.oven]", "[setpoints.low]\ndevice = 'oven'\ncommand = 'set'\nunit = 'K'\nhigh = 9\n"
                 "arguments = { field = 'sp' }\n[setpoints.oven]", "R005", "[setpoints.oven]", id="two-limits"),
    pytest.param("[setpoints.oven]", "decimate_to_hz = 5\n[setpoints.oven]", "R002", "decimate", id="channel-key"),
    pytest.param("length_s = 5", 'clock = "simulated"\n[devices.h]\nadapter = "host"', "R004", "clock", id="clock"),
    pytest.param("[setpoints.oven]", '[recording]\nexclude = [\n"x*"]\n[setpoints.oven]', "R004", '"x*"', id="pattern"),
    pytest.param("rate_hz = 20", "rate_hz = 0.1\nsilence_deadline_s = 5", "R005", "silence_deadline_s", id="silence"),
    pytest.param('adapter = "simulated"\nfields', 'adapter = "${A}"\nfields', "R007", "${A}", id="variable"),
    pytest.param('group = "lab"', 'analyzers = ["nowhere:busy"]', "R009", "nowhere:busy", id="analyzer"),
    pytest.param('group = "lab"', 'analyzers = "json:dumps"', "R002", "json:dumps", id="analyzers-no-list"),
    pytest.param('group = "lab"', 'analyzers = ["json:dumps"]', "R009", "json:dumps", id="no-analyzer"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "code", "place"), DEFECTS)
def test_a_defect_is_said_once_on_its_line(
    tmp_path: Path, good: str, bad: str, code: str, place: str
) -> None:
    """One thing wrong gives one problem with its code and the line where a person mends it."""
    assert good in GOOD
    text = GOOD.replace(good, bad, 1)
    found = problems_in(tmp_path, text)
    assert [(found_code, line) for found_code, line, _ in found] == [(code, line_with(text, place))], found


def test_every_code_is_tried() -> None:
    """No code of the table is without a file that gives it: these here, and those of the tests below."""
    tried = {str(defect.values[2]) for defect in DEFECTS}
    assert {*tried, "R006", "R008", "R010"} == set(FINDINGS)


@pytest.mark.parametrize(
    "key", ["devices", "channels", "setpoints", "run", "recording", "metadata", "analyzers"]
)
@pytest.mark.parametrize("value", [3, "text", [3], {"x": 3}, True])
def test_tables_of_any_shape_are_refused_in_words(key: str, value: Any) -> None:
    """Whatever stands where a table belongs, the answer is a list of problems there, or a rig."""
    tables: dict[str, Any] = {"devices": {"h": {"adapter": "host"}}, key: value}
    if (key, value) == ("metadata", {"x": 3}):
        assert Rig.of(tables).metadata == {"x": 3}
        return
    with pytest.raises(RigProblems) as caught:
        Rig.of(tables)
    assert {problem.path[0] for problem in caught.value.problems} == {key}


def test_a_rig_without_devices_is_refused() -> None:
    """There is nothing to record."""
    with pytest.raises(RigProblems, match=r"at least one table \[devices.NAME\]"):
        Rig.of({"name": "empty"})


#: What a person, a template or a program may leave where something else belongs.
JUNK: list[Any] = [
    None, 3, -1, 0, True, 1.5, float("nan"), 2**70, "", "x", ":", "_a", "a/b", "${NO}", "${A:-3}", "\x00", "\ud800",
    "ü" * 300, b"x", date(2020, 1, 1), [], {}, [1], [[]], [{}], {"x": 1}, {"": {}}, {3: 4}, (1, 2),
]  # fmt: skip


def places_in(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of everything inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*place, key)
        yield from places_in(inner, (*place, key))


def spoil(tables: Any, dice: random.Random) -> None:
    """Put junk, or another part of the tables, somewhere into them."""
    place = dice.choice(list(places_in(tables)))
    holder, other = tables, tables
    for key in place[:-1]:
        holder = holder[key]
    for key in dice.choice(list(places_in(tables))):
        other = other[key]
    holder[place[-1]] = copy.deepcopy(other if dice.random() < 0.3 else dice.choice(JUNK))


@pytest.mark.parametrize("seed", range(40))
def test_anything_is_a_rig_or_a_list_of_problems(seed: int) -> None:
    """No tables of any shape end in another error, and a rig that is made can be sealed as JSON."""
    dice = random.Random(seed)
    for _ in range(25):
        tables = tomllib.loads(GOOD)
        for _ in range(dice.randint(1, 3)):
            spoil(tables, dice)
        try:
            json.dumps(Rig.of(tables, environ={}).snapshot(), allow_nan=False)
        except RigProblems as refusal:
            json.dumps([problem.to_json() for problem in refusal.problems])


# -- many things wrong at once -----------------------------------------------------------------


def test_everything_is_said_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Independent defects hide nothing of each other, and what only follows from one is not said."""
    text = GOOD
    for good, bad in [
        ('group = "lab"', "gruop = 1"),  # 2
        ("length_s = 5", "length_s = 0"),
        ("rate_hz = 20", "rate_hz = 0"),  # the oven is broken: its channel, its setpoint are not accused
        ('"t"\nunit = "K"', '"t"\nunit = "V"'),  # room_t is broken: what is derived of it is not accused
        ("high = 600", "hihg = 600"),
    ]:
        assert good in text
        text = text.replace(good, bad, 1)
    assert problems_in(tmp_path, text) == [
        ("R002", line_with(text, "gruop"), "gruop"),
        ("R002", line_with(text, "length_s"), "run.length_s"),
        ("R002", line_with(text, "rate_hz"), "devices.oven.rate_hz"),
        ("R005", line_with(text, "[[channels]] 2"), "channels.1"),
        ("R002", line_with(text, "hihg"), "setpoints.oven.hihg"),
    ]


def test_the_refusal_lists_all_problems(tmp_path: Path) -> None:
    """The text of the error is the list; it survives the way to another process."""
    path = tmp_path / "rig.toml"
    path.write_text(
        GOOD.replace("rate_hz = 20", "rate_hz = 0").replace("low = 0", "lwo = 0"), encoding="utf-8"
    )
    with pytest.raises(RigProblems) as caught:
        load_rig(path)
    error = caught.value
    assert "2 problems" in str(error)
    assert f"{path}:{line_with(GOOD, 'rate_hz')}: devices.oven.rate_hz: " in str(error)
    assert "setpoints.oven.lwo: unknown key; did you mean low? [R002]" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (again.problems, str(again)) == (error.problems, str(error))


def test_names_that_are_nearly_right_are_suggested() -> None:
    """Unknown keys and adapters name the nearest known one, at any depth."""
    device = {"adapter": "simulated", "fields": [{"name": "x", "signal": {"kind": "sine", "amplitud": 2}}]}
    tables = {"devices": {"a": device, "b": {"adapter": "hots"}}, "recording": {"inclde": ["*"]}}
    with pytest.raises(RigProblems) as caught:
        Rig.of(tables)
    words = " ".join(problem.message for problem in caught.value.problems)
    for near in ("amplitude", "host", "include"):
        assert f"did you mean {near}?" in words


def test_a_derived_channel_may_stand_before_its_inputs() -> None:
    """The order of the file is kept, and what is wrong with an input is said of the input."""
    device = {"adapter": "simulated", "fields": [{"name": "x", "unit": "V"}]}
    derived = {"derived": {"function": "sum", "inputs": ["u", "w"]}, "unit": "V"}
    twice = {"derived": {"function": "mean", "inputs": ["both", "u"]}, "unit": "V"}
    bound = {"device": "a", "field": "x", "unit": "V"}
    tables: dict[str, Any] = {"twice": twice, "both": derived, "u": bound, "w": bound}
    rig = Rig.of({"devices": {"a": device}, "channels": tables})
    assert [spec.name for spec in rig.channels] == list(tables)
    with pytest.raises(RigProblems) as caught:
        Rig.of({"devices": {"a": device}, "channels": {**tables, "w": {**bound, "unit": "s"}}})
    assert [problem.path for problem in caught.value.problems] == [("channels", "w")]


def test_channels_derived_in_a_circle_are_refused() -> None:
    """The circle is told once, and what rests on it is not accused."""
    device = {"adapter": "simulated", "fields": [{"name": "x", "unit": "V"}]}
    of = {name: {"derived": {"function": "sum", "inputs": [name]}, "unit": "V"} for name in "abc"}
    with pytest.raises(RigProblems, match="derived from itself") as caught:
        Rig.of({"devices": {"d": device}, "channels": {"a": of["b"], "b": of["a"], "c": of["a"]}})
    assert [problem.path for problem in caught.value.problems] == [("channels", "a")]


# -- resources ---------------------------------------------------------------------------------


def test_two_devices_on_one_resource_are_refused_before_anything_is_opened() -> None:
    """The second device is accused, both are named, and so is the resource."""
    pytest.importorskip("av")
    camera = {"adapter": "camera", "url": "/dev/video7"}
    with pytest.raises(RigProblems) as caught:
        Rig.of({"devices": {"left": camera, "right": camera, "middle": {**camera, "url": "/dev/video8"}}})
    (problem,) = caught.value.problems
    assert (problem.code, problem.path) == ("R006", ("devices", "right"))
    assert "left and right on camera:/dev/video7" in problem.message


def test_devices_that_share_a_bus_agree_on_how_to_open_it() -> None:
    """Units on one serial bus are fine; one that wants another speed is refused."""
    pytest.importorskip("pymodbus")
    unit = {
        "adapter": "modbus",
        "transport": "rtu",
        "port": "/dev/ttyUSB0",
        "points": [{"name": "pv", "register": 1}],
    }
    devices = {"a": {**unit, "unit_id": 1}, "b": {**unit, "unit_id": 2}}
    assert list(Rig.of({"devices": devices}).devices) == ["a", "b"]
    with pytest.raises(RigProblems) as caught:
        Rig.of({"devices": {**devices, "c": {**unit, "unit_id": 3, "baudrate": 9600}}})
    (problem,) = caught.value.problems
    assert (problem.code, problem.path) == ("R006", ("devices", "c"))
    assert "a and c open serial:/dev/ttyUSB0 differently" in problem.message


# -- warnings ----------------------------------------------------------------------------------


def test_a_device_that_is_commanded_and_never_made_safe_is_a_warning(tmp_path: Path) -> None:
    """The rig runs, and says on which line a person should think again."""
    text = "\n".join(line for line in GOOD.split("\n") if not line.startswith("safe_state"))
    rig = read(tmp_path, text)
    (warning,) = rig.warnings
    assert (warning.code, warning.severity) == ("R010", "warning")
    assert warning.line == line_with(text, "[setpoints.oven]") + 1
    assert "warning: setpoints.oven.device: oven has no safe_state" in str(warning)


# -- files that are no rigs --------------------------------------------------------------------


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    """The path is in the words."""
    with pytest.raises(RigProblems, match=r"No such file or directory: .*nowhere\.toml") as caught:
        load_rig(tmp_path / "nowhere.toml")
    assert caught.value.problems[0].code == "R001"


def test_a_file_that_is_no_text_is_a_problem(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are told with the path."""
    path = tmp_path / "rig.toml"
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(RigProblems, match=r"rig\.toml: 'utf-8' codec"):
        load_rig(path)


# -- secrets -----------------------------------------------------------------------------------


def test_secrets_are_masked_in_what_is_sealed() -> None:
    """Passwords, tokens and keys, also inside addresses; the device itself gets the real ones."""
    pytest.importorskip("av")
    devices = {
        "door": {
            "adapter": "camera",
            "url": "rtsp://ann:s3cret@10.0.0.9/live?password-free",
            "password": "s3cret",
            "username": "ann",
            "options": {"api_key": "s3cret", "rtsp_transport": "tcp", "token": ""},
        }
    }
    rig = Rig.of({"devices": devices})
    assert rig.devices["door"].config.model_dump()["password"] == "s3cret"
    text = json.dumps(rig.snapshot())
    assert "s3cret" not in text
    door = rig.snapshot()["devices"]["door"]
    assert door["url"] == "rtsp://ann:***@10.0.0.9/live?password-free"
    assert door["options"] == {"api_key": "***", "rtsp_transport": "tcp", "token": ""}
    assert (door["password"], door["username"]) == ("***", "ann")


def test_a_problem_never_shows_a_value() -> None:
    """A password in the wrong place is not printed to say so."""
    with pytest.raises(RigProblems) as caught:
        Rig.of({"devices": {"h": {"adapter": "host", "passwrd": "s3cret", "rate_hz": "s3cret"}}})
    assert len(caught.value.problems) == 2
    assert "s3cret" not in str(caught.value)
    assert all(isinstance(problem, ConfigProblem) for problem in caught.value.problems)
