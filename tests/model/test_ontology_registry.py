"""Registries: shipped, own and installed types, conflicts, and rows without a class."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from gapless.errors import NotFound, OntologyConflict, SchemaRefused, ValueRefused
from gapless.model.ontology import IMU, HeaderMixin, Ontology, OntologyRegistry, generic_type
from gapless.model.ontology.shipped import MODULE_OF

MOSAICO = (
    "Integer8 Integer16 Integer32 Integer64 Unsigned8 Unsigned16 Unsigned32 Unsigned64 Floating16 "
    "Floating32 Floating64 Boolean String Time Duration Header Vector2d Vector3d Vector4d Point2d "
    "Point3d Quaternion Transform Pose RobotPath Polygon ForceTorque Inertia Velocity Acceleration "
    "MotionState ROI IMU GPS GPSStatus NMEASentence Magnetometer Pressure Temperature Range Joy "
    "RobotJoint BatteryState FrameTransform Image CompressedImage CameraInfo LaserScan "
    "MultiEchoLaserScan Lidar Radar RGBDCamera ToFCamera StereoCamera GridCells MapMetadata "
    "OccupancyGrid PointField PointCloud2 "
)


def other_imu() -> type[Ontology]:
    """Return another type that claims the tag IMU."""

    class Mine(Ontology, tag="IMU"):
        volts: float

    return Mine


@pytest.mark.parametrize("tag", MOSAICO.split())
def test_every_type_is_found_by_its_tag(tag: str) -> None:
    """The types that Mosaico lists are there under the same tags."""
    found = OntologyRegistry().get(tag)
    assert found is not None
    assert found.tag == tag
    assert found.schema().names[0] == "timestamp_ns"


def test_names_lists_all_tags() -> None:
    """Shipped and registered types are listed."""
    registry = OntologyRegistry()

    class Own(Ontology):
        volts: float

    registry.register(Own)
    assert {*MOSAICO.split(), "Own"} <= set(registry.names())
    assert registry.get("Own") is Own
    assert OntologyRegistry().get("Own") is None
    assert registry.get(None) is None


def test_two_types_under_one_tag_conflict() -> None:
    """The error names both types; equal types and variants do not conflict."""
    registry = OntologyRegistry()
    registry.register(IMU)
    registry.register(IMU.using(HeaderMixin))
    with pytest.raises(OntologyConflict, match=r"Mine.*sensors\.IMU"):
        registry.register(other_imu())
    assert registry.get("IMU") is IMU


def test_only_types_can_be_registered() -> None:
    """Mixins and other objects are refused."""
    with pytest.raises(SchemaRefused):
        OntologyRegistry().register(HeaderMixin)
    with pytest.raises(SchemaRefused):
        OntologyRegistry().register(int)  # type: ignore[arg-type]  # the mistake under test


def test_installed_packages_bring_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point is loaded when its tag is asked for."""
    (tmp_path / "thirdparty_types.py").write_text(
        "from gapless.model.ontology import Ontology\nclass Flux(Ontology):\n    value: float\n"
    )
    info = tmp_path / "thirdparty-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gapless.ontology]\nFlux = thirdparty_types:Flux\nWrong = thirdparty_types:Flux\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = OntologyRegistry()
    assert "Flux" in registry.names()
    assert "thirdparty_types" not in sys.modules
    found = registry.get("Flux")
    assert found is not None
    assert found.__module__ == "thirdparty_types"
    with pytest.raises(SchemaRefused, match="entry point"):
        registry.get("Wrong")


def test_rows_of_unknown_types_are_read_by_path() -> None:
    """A topic with an unknown tag gives rows with attributes by dotted path."""
    schema = pa.schema(
        [("timestamp_ns", pa.int64()), ("pose.x", pa.float64()), ("pose.y", pa.float64()), ("t C", pa.int8())]
    )
    kind = generic_type(schema, "Rover")
    row = kind.unflatten((1.0, 2.0, 3))
    assert (row.pose.x, row["pose.y"], row["t C"], row.pose["y"]) == (1.0, 2.0, 3, 2.0)
    assert repr(row) == "Rover(pose.x=1.0, pose.y=2.0, t C=3)"
    assert row.pose.to_dict() == {"x": 1.0, "y": 2.0}
    assert kind.flatten(row) == (1.0, 2.0, 3)
    assert pickle.loads(pickle.dumps(row)) == row
    with pytest.raises(NotFound):
        row["nothing"]
    assert not hasattr(row, "nothing")
    with pytest.raises(ValueRefused):
        kind.unflatten((1.0,))


def test_a_changed_type_is_read_by_path() -> None:
    """When the class here is not the one that wrote, rows come back by column name."""
    registry = OntologyRegistry()
    assert registry.resolve("IMU", "0" * 16, ["volts"]) is None
    reader = registry.reader("IMU", "0" * 16, ["timestamp_ns", "volts", "_seq"])
    assert reader.unflatten((1.5,)).volts == 1.5
    assert registry.reader("IMU", IMU.fingerprint(), []) is IMU


def test_types_are_imported_when_asked_for() -> None:
    """Importing the package imports neither msgspec, numpy nor pyarrow; a shipped type imports no Arrow."""
    code = (
        "import sys, gapless.model.ontology as o, gapless.model.metadata\n"
        "assert not {'msgspec', 'numpy', 'pyarrow', 'pydantic'} & set(sys.modules)\n"
        "o.IMU.flatten(o.IMU(o.Vector3d(0, 0, 1)))\n"
        "assert not {'numpy', 'pyarrow', 'gapless.model.ontology.ranging'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_docs_list_every_shipped_type() -> None:
    """docs/ontology.md names each type, so that the list cannot go stale."""
    page = (Path(__file__).parents[2] / "docs" / "ontology.md").read_text(encoding="utf-8")
    words = set(page.replace("|", " ").split())
    assert set(MODULE_OF) <= words
    assert set(MODULE_OF) == set(MOSAICO.split())
