"""Sixteen-bit pictures through FFV1: every bit comes back, also after a kill and in a player's file."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from gapless.client.client import connect
from gapless.errors import ValueRefused
from gapless.model.ontology.images import Image
from gapless.model.outcome import OnErrorPolicy

SHAPE = (47, 63)  # odd: nothing is rounded to blocks


def noise(k: int) -> npt.NDArray[Any]:
    """Return picture number k: noise over all 16 bits, with both ends of the range in it."""
    picture = np.random.default_rng(k).integers(0, 65536, SHAPE).astype(np.uint16)
    picture[0, :2] = (0, 65535)
    return picture


def record_until_killed(store: str) -> None:
    """Push pictures; each line tells how many were durable before it was written."""
    with (
        connect(store, flush_ms=20) as client,
        client.sequence_create("run", on_error=OnErrorPolicy.Report) as seq,
    ):
        thermal = seq.topic_create("thermal", ontology_type=Image, media="ffv1")
        for k in range(10_000):
            thermal.push_image(k * 20_000_000, noise(k))
            os.write(1, f"{thermal.durable_rows}\n".encode())


def test_any_frame_is_decoded_alone_and_exactly(tmp_path: Path) -> None:
    """A window in the middle needs no frame before it, and every bit is as pushed."""
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            thermal = seq.topic_create("thermal", ontology_type=Image, media="ffv1")
            for k in range(40):
                thermal.push_image(k, noise(k))
        topic = client.sequence_handler("s").topic("thermal")
        assert topic.to_arrow(["keyframe", "encoding"]).slice(17, 1).to_pylist()[0]["keyframe"] is True
        found = list(topic.frames(17, 23))
        assert client.verify("s", deep=True) == []
    assert [time_ns for time_ns, _ in found] == list(range(17, 23))
    assert all(pixels.dtype == np.uint16 and np.array_equal(pixels, noise(k)) for k, pixels in found)


def test_only_sixteen_bits_are_taken(tmp_path: Path) -> None:
    """Eight-bit and colour pictures are refused at their push; the topic goes on."""
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            thermal = seq.topic_create("thermal", ontology_type=Image, media="ffv1")
            with pytest.raises(ValueRefused, match="mono8"):
                thermal.push_image(0, np.zeros((4, 4), np.uint8))
            with pytest.raises(ValueRefused, match="rgb8"):
                thermal.push_image(0, np.zeros((4, 4, 3), np.uint8))
            thermal.push_image(1, noise(1))
        assert [t for t, _ in client.sequence_handler("s").topic("thermal").frames()] == [1]


def test_a_player_opens_the_matroska_file(tmp_path: Path) -> None:
    """The file holds the stored frames, bit for bit, at their times to a millisecond."""
    times = [0, 20_000_000, 20_000_000, 90_400_000]
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            thermal = seq.topic_create("thermal", ontology_type=Image, media="ffv1")
            for k, time_ns in enumerate(times):
                thermal.push_image(1_700_000_000_000_000_000 + time_ns, noise(k))
        written = client.sequence_handler("s").topic("thermal").write_video(tmp_path / "thermal.mkv")
    with av.open(str(tmp_path / "thermal.mkv")) as video:
        pictures = list(video.decode(video=0))
    assert (written.frames, written.moved) == (4, 1)
    assert {p.time_base for p in pictures} == {Fraction(1, 1000)}
    assert [p.pts for p in pictures] == [0, 20, 21, 90]
    assert [p.format.name for p in pictures] == ["gray16le"] * 4
    assert all(np.array_equal(p.to_ndarray(), noise(k)) for k, p in enumerate(pictures))


@pytest.mark.crash
def test_every_bit_survives_a_kill(tmp_path: Path) -> None:
    """After SIGKILL and recovery the frames are a prefix, bit for bit, at least as long as was durable."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
    with subprocess.Popen(
        [sys.executable, __file__, str(tmp_path)], stdout=subprocess.PIPE, env=environment
    ) as child:
        assert child.stdout is not None
        durable = 0
        while durable < 25:
            durable = int(child.stdout.readline())
        child.kill()
    with connect(tmp_path) as client:
        client.recover("run")
        handler = client.sequence_handler("run")
        assert handler.outcome == "interrupted"
        assert client.verify("run", deep=True) == []
        found = list(handler.topic("thermal").frames())
        handler.topic("thermal").write_video(tmp_path / "thermal.mkv")
    assert len(found) >= durable
    assert [time_ns for time_ns, _ in found] == [k * 20_000_000 for k in range(len(found))]
    assert all(np.array_equal(pixels, noise(k)) for k, (_, pixels) in enumerate(found))
    with av.open(str(tmp_path / "thermal.mkv")) as video:
        assert all(np.array_equal(p.to_ndarray(), noise(k)) for k, p in enumerate(video.decode(video=0)))


if __name__ == "__main__":
    record_until_killed(sys.argv[1])
