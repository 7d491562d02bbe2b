"""What `record host` and the demo record."""

from __future__ import annotations

from pathlib import Path

from gapless.acquire.devices.host_figures import HostSource
from gapless.cli.imu_source import KNOCK_EVERY, KNOCK_THRESHOLD, ImuSource


def test_host_rows_fit_their_schemas(tmp_path: Path) -> None:
    """Each sampled row has one value per field of its schema, and real figures in it."""
    source = HostSource(tmp_path)
    schemas = source.schemas()
    rows = source.sample()
    assert {"host/cpu", "host/memory", "host/disk", "host/network"} <= set(rows)
    for topic, values in rows.items():
        assert len(values) == len(schemas[topic]) - 1
    assert rows["host/memory"][0] > 0


def test_host_fields_carry_units() -> None:
    """Quantities that have a unit carry it in the schema."""
    schemas = HostSource(Path(".")).schemas()
    assert schemas["host/memory"].field("used").metadata[b"unit"] == b"byte"
    assert schemas["host/cpu"].field("percent").metadata[b"unit"] == b"%"


def test_the_synthetic_sensor_repeats_itself() -> None:
    """The same seed gives the same rows in any order, another seed gives others."""
    first, again = ImuSource(7), ImuSource(7)
    assert [first.row(k) for k in range(50)] == [again.row(k) for k in reversed(range(50))][::-1]
    assert first.row(3) != ImuSource(8).row(3)


def test_only_knocks_pass_the_threshold() -> None:
    """The content query of the demo finds the knocks and nothing else."""
    source = ImuSource()
    above = [k for k in range(2 * KNOCK_EVERY) if source.row(k)[2] > KNOCK_THRESHOLD]
    starts = [k for k in above if k - 1 not in above]
    assert 2 <= len(starts) <= 6
    assert all(KNOCK_EVERY // 3 <= k % KNOCK_EVERY < KNOCK_EVERY // 3 + 40 for k in above)
