"""Method files: everything that cannot run is refused at once, batches are checked run by run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from gapless.acquire.problem import RigProblems
from gapless.acquire.procedure.method import iter_batch, load_method
from gapless.acquire.procedure.steps import AnyStepSpec
from gapless.acquire.procedure.timeline import timeline
from gapless.errors import RigRefused
from gapless.model.metadata import canonical_json

from .stage import SmallRig, method_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "methods.md"

TEXT = """
[method]
name = "ramp and hold"
description = "first heating"

[parameters]
target = "580 degC"
soak_s = 60

[[steps]]
kind = "setpoint"
setpoint = "heater"
to = 20

[[steps]]
kind = "ramp"
setpoint = "heater"
to = "${target}"
rate = "10 degC/min"

[[steps]]
kind = "wait"
until = "heater_pv >= ${target}"
for_s = 5
timeout_s = 900
on_timeout = "safe_shutdown"

[[steps]]
kind = "hold"
duration_s = "${soak_s}"

[[steps]]
kind = "safe_shutdown"
"""


def written(folder: Path, text: str, name: str = "m.toml") -> Path:
    """Write a method file."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_becomes_a_method_and_a_timeline(tmp_path: Path) -> None:
    """Known lengths add up; after a wait nobody knows, and its time-out is shown."""
    method = load_method(written(tmp_path, TEXT), SmallRig())
    shown = [(start_s, text) for start_s, _, text in timeline(method, SmallRig())]
    assert shown == [
        (0.0, "set heater to 20 degC"),
        (0.0, "ramp heater from 20 to 580 degC at 10 degC/min (3360 s)"),
        (3360.0, "wait until heater_pv >= 580 degC for 5 s (at most 900 s)"),
        (None, "hold for 60 s"),
        (None, "put every device into its safe state"),
    ]


def test_the_snapshot_is_json_with_the_values_as_run(tmp_path: Path) -> None:
    """What is sealed with the data holds the parameters and the steps that they made."""
    method = load_method(written(tmp_path, TEXT), SmallRig())
    known = method.snapshot()
    canonical_json(known)
    assert known["parameters"] == {"target": "580 degC", "soak_s": 60}
    assert known["steps"][1] == {
        "kind": "ramp",
        "setpoint": "heater",
        "to": "580 degC",
        "rate": "10 degC/min",
    }
    assert known["steps"][3] == {"kind": "hold", "duration_s": 60.0}


WAIT = {"kind": "wait", "until": "flow > 1", "timeout_s": 1}


@pytest.mark.parametrize(
    ("step", "place", "words"),
    [
        ({"kind": "dance"}, "steps.0", "dance"),
        ({"duration_s": 1}, "steps.0", "kind"),
        ({"kind": "hold"}, "steps.0", "duration_s or until"),
        ({"kind": "hold", "duration_s": 1, "until": "flow > 1", "timeout_s": 1}, "steps.0", "not both"),
        ({"kind": "hold", "duration_s": 1, "timeout_s": 1}, "steps.0", "no effect"),
        ({"kind": "hold", "duration_s": 1, "on_timeout": "warn"}, "steps.0", "no effect"),
        ({"kind": "hold", "until": "flow > 1"}, "steps.0", "needs timeout_s"),
        ({"kind": "hold", "duration_s": -1}, "steps.0.duration_s", "greater than 0"),
        ({"kind": "hold", "duration_s": 1, "colour": "red"}, "steps.0.colour", "not permitted"),
        ({"kind": "wait", "until": "flow > 1"}, "steps.0.timeout_s", "required"),
        ({**WAIT, "until": "flow > 1 bar"}, "steps.0.until", "different things"),
        ({**WAIT, "until": "pressure > 1"}, "steps.0.until", "no channel"),
        ({**WAIT, "on_timeout": "pray"}, "steps.0.on_timeout", "warn"),
        ({"kind": "setpoint", "setpoint": "cooler", "to": 1}, "steps.0.setpoint", "no such setpoint"),
        ({"kind": "setpoint", "setpoint": "heater", "to": "1 bar"}, "steps.0.to", "different things"),
        ({"kind": "setpoint", "setpoint": "heater", "to": "1000 degC"}, "steps.0.to", "may not be set"),
        ({"kind": "setpoint", "setpoint": "heater", "to": "250 K"}, "steps.0.to", "may not be set"),
        ({"kind": "ramp", "setpoint": "heater", "to": 5, "duration_s": 1}, "steps.0.from", "nobody knows"),
        ({"kind": "ramp", "setpoint": "heater", "from": 1, "to": 5}, "steps.0", "rate or duration_s"),
        (
            {"kind": "ramp", "setpoint": "heater", "from": 1, "to": 5, "rate": "3 degC"},
            "steps.0.rate",
            "no rate",
        ),
        (
            {"kind": "ramp", "setpoint": "heater", "from": 1, "to": 5, "rate": "0 degC/s"},
            "steps.0.rate",
            "moves",
        ),
        (
            {"kind": "ramp", "setpoint": "heater", "from": 1, "to": 5, "rate": "3 bar/s"},
            "steps.0.rate",
            "different",
        ),
        (
            {"kind": "ramp", "setpoint": "heater", "from": -5, "to": 5, "duration_s": 1},
            "steps.0.from",
            "may not",
        ),
        ({"kind": "prompt", "text": "go?"}, "steps.0", "timeout_s or wait"),
        ({"kind": "prompt", "text": "go?", "timeout_s": 0}, "steps.0.timeout_s", "greater than 0"),
        ({"kind": "prompt", "text": "go?", "wait": "forever", "on_timeout": "warn"}, "steps.0", "no effect"),
        (
            {"kind": "prompt", "text": "go?", "wait": "forever", "abort_on": ["no"]},
            "steps.0",
            "not in choices",
        ),
        (
            {"kind": "prompt", "text": "go?", "wait": "forever", "choices": ["a", "a"]},
            "steps.0",
            "stands once",
        ),
        ({"kind": "acquire"}, "steps.0", "duration_s or rows"),
        ({"kind": "acquire", "rows": 3, "timeout_s": 1}, "steps.0", "both or neither"),
        ({"kind": "acquire", "rows": 3, "channel": "flow"}, "steps.0", "needs timeout_s"),
        (
            {"kind": "acquire", "rows": 3, "channel": "x", "timeout_s": 1},
            "steps.0.channel",
            "no such channel",
        ),
        ({"kind": "custom", "function": "no_such_module:f"}, "steps.0.function", "cannot be imported"),
        ({"kind": "custom", "function": "json"}, "steps.0.function", "cannot be imported"),
        ({"kind": "custom", "function": "json:dumps"}, "steps.0.function", "async"),
    ],
)
def test_what_cannot_run_is_refused_with_its_place(step: dict[str, Any], place: str, words: str) -> None:
    """Each fault is named with the field that it is in."""
    with pytest.raises(RigRefused) as caught:
        method_of(step)
    assert f"{place}: " in caught.value.message
    assert words in caught.value.message


def test_problems_have_their_lines(tmp_path: Path) -> None:
    """Each problem says where it stands, also in the two files of a batch, and what kind it is."""
    text = TEXT.replace('to = "${target}"', 'to = "${target}"\nspeed = 3', 1).replace(
        "soak_s = 60", "soak_s = 60\nx = 1"
    )
    with pytest.raises(RigProblems) as caught:
        load_method(written(tmp_path, text), SmallRig())
    lines = text.splitlines()
    assert [(p.code, p.path, lines[(p.line or 0) - 1]) for p in caught.value.problems] == [
        ("R004", ("parameters", "x"), "x = 1"),
        ("R002", ("steps", 1, "speed"), "speed = 3"),
    ]
    written(tmp_path, TEXT)
    batch = 'method = "m.toml"\n[[runs]]\n[[runs]]\nparameters = {target = "5000 degC"}\n'
    with pytest.raises(RigProblems) as caught:
        load_method(written(tmp_path, batch, "batch.toml"), SmallRig())
    assert {(Path(p.file or "").name, p.line, p.code) for p in caught.value.problems} == {
        ("batch.toml", 3, "R005")
    }
    for step, code in [
        ({"kind": "setpoint", "setpoint": "x", "to": 1}, "R003"),
        ({**WAIT, "until": "flow > 1 bar"}, "R005"),
    ]:
        with pytest.raises(RigProblems) as caught:
            method_of(step)
        assert [p.code for p in caught.value.problems] == [code]


def test_all_faults_are_told_at_once() -> None:
    """One look at the message shows every step that is wrong."""
    with pytest.raises(RigRefused) as caught:
        method_of({**WAIT, "until": "x > 1"}, {"kind": "hold", "duration_s": 1}, {**WAIT, "until": "y > 1"})
    assert "steps.0.until" in caught.value.message
    assert "steps.2.until" in caught.value.message
    assert "steps.1" not in caught.value.message


def test_nothing_comes_after_safe_shutdown() -> None:
    """A step that would heat again after safe state is refused."""
    with pytest.raises(RigRefused, match="would not be safe"):
        method_of({"kind": "safe_shutdown"}, {"kind": "setpoint", "setpoint": "heater", "to": 20})


def test_arguments_of_a_custom_step_must_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that Python would refuse is refused when the file is loaded, not an hour later."""
    written(tmp_path, "async def step(context, *, level): ...\n", "user_steps_of_test.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    step = {"kind": "custom", "function": "user_steps_of_test:step"}
    assert method_of({**step, "arguments": {"level": 1}}).name == "m"
    with pytest.raises(RigRefused, match="level"):
        method_of(step)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TEXT.replace("${target}", "${goal}"), "no 'goal' in"),
        (TEXT.replace("soak_s = 60", "soak_s = 60\nspare = 1"), "parameters.spare: no step uses"),
        (TEXT + "\n[batch]\ncooldown_s = 1\n", "batch: [batch] has no effect"),
        (TEXT + "\n[[runs]]\nparameters = {goal = 1}\n", "runs.0.parameters.goal"),
        (TEXT + '\n[[runs]]\nparameters = {target = "5000 degC"}\n', "runs.0.steps.1.to"),
        (TEXT + "\n[batch]\ncooldown_s = -1\n[[runs]]\n", "batch.cooldown_s"),
        ("[method]\nname = 'x'\n", "steps"),
        ("[[steps]]\nkind = 'hold'\nduration_s = 1\n", "method"),
        ("[method\n", "m.toml: Expected"),
    ],
)
def test_files_and_batches_are_checked_as_a_whole(tmp_path: Path, text: str, words: str) -> None:
    """Parameters that nothing uses or gives, and runs that break a limit, are refused at load."""
    with pytest.raises(RigRefused) as caught:
        load_method(written(tmp_path, text), SmallRig())
    assert words in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing file is told as such."""
    with pytest.raises(RigProblems, match="No such file"):
        load_method(tmp_path / "m.toml", SmallRig())


def test_the_page_shows_methods_that_load(tmp_path: Path) -> None:
    """Every method file in the documentation is accepted on a rig with its channels and setpoints."""
    shown = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    loaded = [load_method(written(tmp_path, text), SmallRig()) for text in shown]
    assert [len(list(iter_batch(method))) for method in loaded] == [1, 3]


def test_the_page_names_every_field_of_every_step() -> None:
    """The table of steps has a row for each kind with all of its fields."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.M))
    kinds = {get_args(spec.model_fields["kind"].annotation)[0]: spec for spec in get_args(AnyStepSpec)}
    assert rows.keys() == kinds.keys()
    for kind, spec in kinds.items():
        names = {field.alias or name for name, field in spec.model_fields.items()} - {"kind"}
        assert names == set(re.findall(r"`(\w+)(?: = [^`]*)?`", rows[kind]))


def test_one_method_is_a_batch_of_one(tmp_path: Path) -> None:
    """Without runs the method itself is the one run."""
    method = load_method(written(tmp_path, TEXT), SmallRig())
    [run] = iter_batch(method)
    assert run.method is method
    assert run.metadata == {"method": "ramp and hold", "parameters": {"target": "580 degC", "soak_s": 60}}
