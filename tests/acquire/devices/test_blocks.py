"""Sampling cards: exact stamps, every sample once, and holes that the indices show."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import gapless
from gapless.acquire.devices.simulated_blocks import SimulatedBlockDevice, SimulatedBlocksConfig
from gapless.acquire.rig import Rig
from gapless.acquire.run import run_rig


def rig(**settings: Any) -> Rig:
    """Return four cards of 100 kHz with a calibrated channel each."""
    cards = [f"card{n}" for n in range(4)]
    config = {"adapter": "simulated_blocks", "blocks": 50, **settings}
    channels = [
        {"name": name, "device": name, "field": "c0", "unit": "V", "keep_raw": True,
         "calibration": {"kind": "linear", "gain": 2.0, "offset": 1.0}}
        for name in cards
    ]  # fmt: skip
    return Rig.of({"name": "cards", "devices": dict.fromkeys(cards, config), "channels": channels})


def test_every_sample_is_there_once(tmp_path: Path) -> None:
    """4 x 100 kHz: stamps 10 microseconds apart, values calibrated, no gap."""
    run_rig(rig(), tmp_path, name="x")
    with gapless.connect(tmp_path) as client:
        for n in range(4):
            table = client.sequence_handler("x").reader.topic(f"channels/card{n}").to_arrow()
            stamps = table.column("timestamp_ns").to_numpy()
            assert len(stamps) == 50_000
            assert set(np.diff(stamps)) == {10_000}
            raw = table.column(f"card{n}_raw").to_numpy()
            assert np.array_equal(table.column(f"card{n}").to_numpy(), raw * 2.0 + 1.0)
            numbers = table.column("source_record").to_numpy()
            assert np.array_equal(numbers, np.repeat(np.arange(50), 1000))
        assert client.verify("x") == []


def test_an_overrun_is_a_gap_with_its_count(tmp_path: Path) -> None:
    """A block lost in the card is 1,000 rows of a gap; the stamps behind it are right."""
    run_rig(rig(overrun_every=10), tmp_path, name="x")
    with gapless.connect(tmp_path) as client:
        reader = client.sequence_handler("x").reader
        ledger = reader.topics["channels/card0"].ledger
        assert (ledger["written"], ledger["gapped"]) == (
            45_000,
            4_000,
        )  # the fifth hole is behind the last block
        stamps = reader.topic("channels/card0").to_arrow().column("timestamp_ns").to_numpy()
        assert set(np.diff(stamps)) == {10_000, 10_010_000}
        gaps = [g for g in reader.topic("_gaps").to_arrow().to_pylist() if g["topic"] == "channels/card0"]
        assert [gap["count"] for gap in gaps] == [1000] * 4
        assert {gap["cause"] for gap in gaps} == {"device_overrun"}


def test_stamps_do_not_drift_at_any_rate() -> None:
    """Sample k of a rate that is no whole number of nanoseconds lies at k / rate, however large k is."""
    device = SimulatedBlockDevice(
        "d", SimulatedBlocksConfig(adapter="simulated_blocks", sample_rate_hz=44_100)
    )
    for first in (0, 1, 44_099, 10**12):
        stamps = device.stamps(5, first, 3)
        exact = [5 + int(Fraction(k * 10**9, 44_100)) for k in range(first, first + 3)]
        assert stamps.tolist() == exact
