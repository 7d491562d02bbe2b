"""Records the sessions and the drive that the page exports."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from tests.exchange.lerobot.episodes import Take, record

import gapless

_IMU = pa.schema([("acceleration.x", pa.float64()), ("acceleration.y", pa.float64())])

with gapless.connect("./gapless-data") as _client:
    for _session in ("pick", "place"):
        for _episode in range(4):
            _take = Take(rows=range(12), cameras={"front": "mp4"}, success=_episode != 1)
            record(_client, _session, _episode, _take)
    with _client.sequence_create("drive-1", group="drives") as _sequence:
        _imu = _sequence.topic_create("imu", schema=_IMU)
        _pedals = _sequence.topic_create("pedals", schema=pa.schema([("gas", pa.float32())]))
        _camera = _sequence.topic_create("camera/front", ontology_type=gapless.Image, media="mp4")
        for _tick in range(100):
            _imu.push_row(_tick * 10_000_000, _tick / 2, -_tick)
            _pedals.push_row(_tick * 10_000_000, 0.5)
        for _tick in range(10):
            _camera.push_image(_tick * 100_000_000, np.full((48, 64, 3), _tick, np.uint8))
