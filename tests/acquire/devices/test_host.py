"""This machine as a device: what it reads is what the system says, under the contract of all adapters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

import gapless
from gapless.acquire.adapter import Adapter
from gapless.acquire.devices.host import HostConfig, HostDevice
from gapless.acquire.recorder import record_schema
from gapless.acquire.rig import Rig, load_rig
from gapless.acquire.run import run_rig
from gapless.testing.adapter_contract import AdapterContract

EXAMPLE = Path(__file__).parents[3] / "examples" / "rigs" / "host.toml"


class TestContract(AdapterContract):
    """The host is an adapter like any other."""

    def make_adapter(self) -> Adapter:
        """Return this machine."""
        return HostDevice("here", HostConfig(adapter="host", rate_hz=50.0, read_timeout_s=20.0))


def names(device: HostDevice) -> Sequence[str]:
    """Return the names of the fields."""
    return [item.name for item in device.fields()]


def test_the_fields_are_the_figures_with_their_units() -> None:
    """Every figure is a field, and the records' schema can be made of them."""
    device = HostDevice("here", HostConfig(adapter="host"))
    schema = record_schema(device.fields())
    assert {"cpu_percent", "memory_used", "disk_free", "network_sent_bytes"} <= set(schema.names)
    assert schema.field("memory_used").type == pa.int64()
    assert schema.field("memory_used").metadata[b"unit"] == b"byte"
    assert f"cpu_core_{(psutil.cpu_count() or 1) - 1}" in names(device)
    assert len(set(names(device))) == len(names(device))


def test_a_run_records_what_the_system_says(tmp_path: Path) -> None:
    """The memory of the machine, the free space of the folder, and the busiest process by name."""
    rig = Rig.of(
        {
            "name": "host",
            "devices": {
                "here": {"adapter": "host", "rate_hz": 50, "folder": str(tmp_path), "read_timeout_s": 20}
            },
            "channels": [
                {"name": "memory", "device": "here", "field": "memory_total", "unit": "GB"},
                {"name": "busiest", "device": "here", "field": "processes_top_name", "dtype": "string",
                 "group": "busiest"},
            ],
        }
    )  # fmt: skip
    run_rig(rig, tmp_path / "store", name="x", length_s=3.0)
    with gapless.connect(tmp_path / "store") as client:
        reader = client.sequence_handler("x").reader
        records = reader.topic("device/here").to_arrow().to_pylist()
        samples = reader.topic("channels/here").to_arrow().to_pylist()
        busiest = reader.topic("channels/busiest").to_arrow().to_pylist()
        assert client.verify("x") == []
    total = psutil.virtual_memory().total
    assert {record["memory_total"] for record in records} == {total}
    assert [sample["memory"] for sample in samples] == pytest.approx([total / 1e9] * len(records))
    walked = [record for record in records if record["processes_count"] is not None]
    assert 1 <= len(walked) < len(records)
    assert [row["source_record"] for row in busiest] == [record["record"] for record in walked]
    assert [row["busiest"] for row in busiest] == [record["processes_top_name"] for record in walked]
    assert all(row["busiest"] for row in busiest)
    assert records[0]["disk_free"] == pytest.approx(psutil.disk_usage(str(tmp_path)).free, rel=0.5)


def test_the_example_is_a_rig_whose_channels_this_machine_has() -> None:
    """The shipped file has no problem and names only fields that are there."""
    rig = load_rig(EXAMPLE, environ={})
    (device,) = rig.make_adapters().values()
    assert {spec.field for spec in rig.channels} <= set(names(device))
