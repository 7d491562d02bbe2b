"""Serves a store, records into it over the network from two threads, watches live, and asks what is there.

`python examples/03_remote.py FOLDER` keeps the store; `gapless serve FOLDER` is the same server, by itself.
"""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

import gapless
from gapless import IMU, Message, Vector3d
from gapless.client.topic_writer import TopicWriter
from gapless.serve.server import Server

DISTANCES = np.linspace(1, 30, 20_000, dtype=np.float32)
RAY = pa.schema([pa.field("distance", pa.float32(), metadata={"unit": "m"})])


def shake(imu: TopicWriter, rows: int) -> None:
    """Push a small object 200 times a second, with a bump every half second."""
    for n in range(rows):
        up = 13.0 if n % 100 == 50 else 9.81
        data = IMU(acceleration=Vector3d(0.0, 0.0, up), angular_velocity=Vector3d(0.0, 0.0, 0.1))
        imu.push(Message(timestamp_ns=time.time_ns(), data=data))
        time.sleep(0.005)


def sweep(laser: TopicWriter) -> None:
    """Push 20,000 distances ten times a second: they have a lane of their own and hold nobody up."""
    for _ in range(20):
        laser.push_columns(time.time_ns() + np.arange(len(DISTANCES)), {"distance": DISTANCES})
        time.sleep(0.1)


def watch(url: str) -> None:
    """Follow the open recording, as any other machine could, until it is sealed."""
    rows = 0
    with gapless.connect(url) as client:
        for batch in client.sequence_handler("yard").topic("imu").tail(from_start=True):
            rows += batch.num_rows
            print(f"live      imu has {rows:>3} rows, the last with z = {batch['acceleration.z'][-1]} m/s^2")


def record(url: str) -> None:
    """Record two topics from two threads; leaving the inner block commits them on the server."""
    with gapless.connect(url) as client, ThreadPoolExecutor() as pool:
        with client.sequence_create("yard", {"site": "north"}) as seq:
            imu, laser = seq.topic_create("imu", ontology_type=IMU), seq.topic_create("laser", schema=RAY)
            sweeping = pool.submit(sweep, laser)
            shake(imu, 1)
            imu.flush()  # its row is durable on the server: from here on everybody can see it
            watching = pool.submit(watch, url)
            shake(imu, 400)
            sweeping.result()
            seq.flush()
            print(f"accepted  {imu.accepted_rows:,} rows of imu, {laser.accepted_rows:,} of laser")
        watching.result()


def main() -> None:
    """Serve the folder of the first argument, or a temporary one, to this machine on a free port."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        with Server(root, port=0) as server, gapless.connect(server.url) as client:
            print(f"serving   {server.url}")
            record(server.url)
            for found in client.query(IMU.Q.acceleration.z.gt(12.0)):
                print(f"query     {found.sequence} has {len(found.topics[0].spans)} bumps above 12 m/s^2")


if __name__ == "__main__":
    main()
