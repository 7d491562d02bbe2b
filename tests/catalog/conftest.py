"""A store with a few sequences of known content."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from tests.catalog.bundle_files import TopicSpec, write_bundle

from gapless.catalog import Catalog


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return an empty store."""
    (tmp_path / "sequences").mkdir()
    return tmp_path


@pytest.fixture
def mission(store: Path) -> Path:
    """Return a store with two missions: IMU.x is 0…9 in the first, 0…4 in the second."""
    for number, (name, plan, rows) in enumerate(
        [("mission_a", "plan-4.1", 10), ("mission_b", "plan-3.0", 5)]
    ):
        imu = TopicSpec(
            {"acceleration.x": pa.float64(), "acceleration.y": pa.float64()},
            [
                [
                    {"timestamp_ns": 10 * i, "acceleration.x": float(i), "acceleration.y": -float(i)}
                    for i in range(rows)
                ]
            ],
            tag="IMU",
            metadata={"interface": {"type": "UART" if number == 0 else "SPI"}},
        )
        pv = TopicSpec({"value": pa.float64()}, [[{"timestamp_ns": 5, "value": 21.0 + number}]])
        write_bundle(
            store,
            name,
            {"sensors/imu": imu, "oven/pv": pv},
            metadata={"vehicle": {"id": f"veh_{number}", "software": {"planning": plan}}, "n": number},
            group="field",
            opened_ns=1_000 * (number + 1),
        )
    return store


@pytest.fixture
def catalog(mission: Path) -> Catalog:
    """Return the catalog of the missions."""
    return Catalog(mission)
