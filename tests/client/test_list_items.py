"""Lists of objects and of small numbers on their way to the disk and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gapless
from gapless.errors import ValueRefused
from gapless.model.ontology import (
    CovarianceMixin,
    Header,
    HeaderMixin,
    Lidar,
    Point3d,
    Polygon,
    Pose,
    Quaternion,
    RobotPath,
    Time,
)


def test_items_of_a_list_carry_mixins_and_read_back_as_them(tmp_path: Path) -> None:
    """Also where some items have no header: null inside a list does not forbid the seal."""
    kind = RobotPath.using(poses=(HeaderMixin,), **{"poses.position": (CovarianceMixin,)})
    pose = Pose.using(HeaderMixin, position=(CovarianceMixin,))
    point = Point3d.using(CovarianceMixin)
    upright = Quaternion(0.0, 0.0, 0.0, 1.0)
    path = kind(
        [
            pose(point(1.0, 2.0, 3.0, covariance=[0.5]), upright, header=Header(Time(1, 2), "map")),
            pose(point(4.0, 5.0, 6.0), upright),
        ]
    )
    with gapless.connect(tmp_path) as client, client.sequence_create("s") as seq:
        seq.topic_create("path", ontology_type=kind).push(timestamp_ns=1, data=path)
        seq.topic_create("area", ontology_type=Polygon.using(points=HeaderMixin))
        seq.topic_create("lean", ontology_type=Polygon)
    with gapless.connect(tmp_path) as reader:
        handler = reader.sequence_handler("s")
        assert handler.topic("path").ontology_type is kind
        [message] = handler.topic("path")
        assert message.data == path
        assert handler.topic("area").ontology_type is Polygon.using(points=HeaderMixin)
        assert handler.topic("lean").ontology_type is Polygon
        assert reader.verify("s", deep=True) == []


def test_a_list_of_whole_numbers_fits_every_width_that_holds_them(tmp_path: Path) -> None:
    """Signed Python numbers into unsigned columns too; one outside the range is refused."""
    one = [1.0]
    with gapless.connect(tmp_path) as client, client.sequence_create("s") as seq:
        topic = seq.topic_create("scan", ontology_type=Lidar)
        topic.push(timestamp_ns=1, data=Lidar(one, one, one, reflectivity=[0, 65_535], confidence=[255]))
        topic.push(timestamp_ns=2, data=Lidar(one, one, one, beam_id=np.array([3], np.int8)))
        for wrong in ([-1], [65_536]):
            with pytest.raises(ValueRefused, match="reflectivity"):
                topic.push(timestamp_ns=3, data=Lidar(one, one, one, reflectivity=wrong))
    with gapless.connect(tmp_path) as client:
        first, second = client.sequence_handler("s").topic("scan")
        assert list(first.data.reflectivity) == [0, 65_535]
        assert list(second.data.beam_id) == [3]
