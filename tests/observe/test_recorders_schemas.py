"""A recorder's columns change only with its version: what was published is kept in recorder_schemas.json."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from gapless.observe.plan import fingerprint
from gapless.observe.recorder import CameraSpec, Source, TableSpec
from gapless.observe.recorder_registry import recorder_for
from gapless.observe.sources import CameraSource, DroneSource, MujocoSource, RobotSource

PUBLISHED = Path(__file__).with_name("recorder_schemas.json")
MODEL = """
<mujoco><worldbody><body><joint name="j"/><geom size=".1"/></body></worldbody>
<actuator><motor joint="j"/></actuator></mujoco>
"""


def nothing() -> None:
    """Stand for a callable that is not called."""


def sources() -> dict[str, Source]:
    """Return a source of each kind that has columns of the package, with all that it can have."""
    mujoco = pytest.importorskip("mujoco")
    model = mujoco.MjModel.from_xml_string(MODEL)
    return {
        "robot": RobotSource(
            ["hinge", "slide"], nothing, nothing, nothing, nothing, None, "velocity", nothing, nothing,
            ["tip"], {"slide": "m"},
        ),
        "drone": DroneSource(
            nothing, nothing, 1, nothing, nothing, ["thrust"], nothing, nothing, "step", {"action.thrust": "N"}
        ),
        "mujoco": MujocoSource(model, mujoco.MjData(model)),
        "colour": CameraSource(nothing, 48, 64),
        "depth": CameraSource(nothing, 48, 64, "depth"),
        "segmentation": CameraSource(nothing, 48, 64, "segmentation"),
    }  # fmt: skip


def specs() -> list[TableSpec | CameraSpec]:
    """Return what their recorders make, in the form that does not depend on the release of MuJoCo."""
    found: list[TableSpec | CameraSpec] = []
    for name, source in sources().items():
        recorder = recorder_for(name, source)
        found += [_without_size(table.spec) for table in recorder.tables]
        found += [camera.spec for camera in recorder.cameras]
    return found


def _without_size(spec: TableSpec) -> TableSpec:
    """Forget how long MuJoCo's state is: a later release may add to it."""
    fields = [
        field.with_type(pa.list_(pa.float64())) if field.name == "state" else field for field in spec.schema
    ]
    return replace(spec, schema=pa.schema(fields))


def refused(now: dict[str, dict[str, str]], published: dict[str, dict[str, str]]) -> list[str]:
    """Return the topics whose columns are other ones than those published under their version, or are not."""
    return [
        f"{topic} version {version}: raise VERSION and add {print_!r} to {PUBLISHED.name}"
        for topic, versions in now.items()
        for version, print_ in versions.items()
        if published.get(topic, {}).get(version) != print_
    ]


def test_no_column_changed_within_a_version() -> None:
    """Neither name, type, unit, meaning nor role; earlier versions stay in the file."""
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    now = {spec.topic: {str(spec.version): fingerprint(spec)} for spec in specs()}
    assert set(now) == set(published)
    assert refused(now, published) == []


@pytest.mark.parametrize("change", ["name", "type", "unit", "description", "role", "every"])
def test_every_change_is_noticed(change: str) -> None:
    """Each of these alone makes another fingerprint, and needs another version."""
    spec = next(spec for spec in specs() if isinstance(spec, TableSpec) and spec.topic == "robot")
    first, *rest = spec.schema
    words = {key.decode(): value.decode() for key, value in first.metadata.items()}
    others = {
        "name": first.with_name("place.hinge"),
        "type": first.with_type(pa.float32()),
        "unit": first.with_metadata({**words, "unit": "deg"}),
        "description": first.with_metadata({**words, "description": "wanted position of the joint"}),
    }
    if change == "role":
        changed = replace(spec, roles={**spec.roles, "state": spec.roles["state"][::-1]})
    elif change == "every":
        changed = replace(spec, every="step")
    else:
        changed = replace(spec, schema=pa.schema([others[change], *rest]))
    published = {spec.topic: {str(spec.version): fingerprint(spec)}}
    now = {spec.topic: {str(spec.version): fingerprint(changed)}}
    assert len(refused(now, published)) == 1
    later = {spec.topic: {**published[spec.topic], "2": fingerprint(changed)}}
    assert refused({spec.topic: {"2": fingerprint(changed)}}, later) == []
