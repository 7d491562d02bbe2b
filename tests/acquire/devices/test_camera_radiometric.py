"""A radiometric camera: every bit of every pixel, also after a kill, and temperatures for channels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

av = pytest.importorskip("av")

import gapless  # noqa: E402 - without PyAV nothing here can run
from gapless.acquire.adapter import Adapter  # noqa: E402
from gapless.acquire.devices.radiometric import RadiometricConfig, RadiometricDevice  # noqa: E402
from gapless.acquire.ending import RunResult  # noqa: E402
from gapless.acquire.problem import RigProblems  # noqa: E402
from gapless.acquire.rig import Rig  # noqa: E402
from gapless.acquire.run import run_rig  # noqa: E402
from gapless.model.outcome import Outcome  # noqa: E402
from gapless.testing.adapter_contract import AdapterContract  # noqa: E402

from .pictures import record_until_killed  # noqa: E402

SOURCE = "testsrc2=size=64x48:rate=100,format=gray16le"
CAMERA = {
    "adapter": "radiometric_camera",
    "url": SOURCE,
    "format": "lavfi",
    "paced": True,
    "rate_hz": 100,
    "scale": 0.01,
    "offset": -273.15,
    "unit": "degC",
}
Pictures = list[npt.NDArray[Any]]


class TestARadiometricCamera(AdapterContract):
    """The contract, on an endless test picture of 16 bits."""

    def make_adapter(self) -> Adapter:
        """Return a camera of the test picture."""
        return RadiometricDevice("cam", RadiometricConfig.model_validate(CAMERA))


def record(store: Path, channels: tuple[dict[str, Any], ...] = (), **camera: Any) -> RunResult:
    """Record the source to its end into sequence ``x``."""
    devices = {"cam": {**CAMERA, "paced": False, **camera}}
    rig = Rig.of({"name": "r", "run": {"guard": False}, "devices": devices, "channels": list(channels)})
    result = run_rig(rig, store, name="x")
    with gapless.connect(store) as client:
        assert client.verify("x", deep=True) == []
    return result


def recorded(store: Path) -> Pictures:
    """Return the pictures of the sequence."""
    with gapless.connect(store) as client:
        return [picture for _, picture in client.sequence_handler("x").topic("cam").frames()]


def rows(store: Path, topic: str) -> list[dict[str, Any]]:
    """Return the rows of a topic."""
    with gapless.connect(store) as client:
        table = client.sequence_handler("x").reader.topic(topic).to_arrow()
        found: list[dict[str, Any]] = table.to_pylist()
        return found


def made(count: int) -> Pictures:
    """Return the first pictures of the source."""
    with av.open(f"{SOURCE},trim=end_frame={count}", format="lavfi") as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def write_noise(path: Path, count: int) -> Pictures:
    """Write a file of noise with every value from 0 to 65535 likely, and return it."""
    noise = np.random.default_rng(7)
    pictures: Pictures = [noise.integers(0, 65_536, (48, 64)).astype(np.uint16) for _ in range(count)]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=50)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "gray16le"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray16le")))
        container.mux(stream.encode(None))
    return pictures


@pytest.mark.parametrize("media", ["ffv1", "png"])
def test_every_bit_is_kept(tmp_path: Path, media: str) -> None:
    """What the source gave is what is read, pixel by pixel, in either container."""
    pictures = write_noise(tmp_path / "in.mkv", 20)
    record(tmp_path / "store", url=str(tmp_path / "in.mkv"), format=None, media=media)
    found = recorded(tmp_path / "store")
    assert [picture.dtype.str for picture in found] == ["<u2"] * 20
    assert all((one == other).all() for one, other in zip(found, pictures, strict=True))


def test_temperatures_are_channels_like_any_other(tmp_path: Path) -> None:
    """The extremes and the mean of each picture are in its record, and a channel binds to them."""
    pictures = write_noise(tmp_path / "in.mkv", 5)
    hot = {"name": "hot_spot", "device": "cam", "field": "highest", "unit": "degC"}
    record(tmp_path / "store", (hot,), url=str(tmp_path / "in.mkv"), format=None)
    for row, picture in zip(rows(tmp_path / "store", "device/cam"), pictures, strict=True):
        celsius = 0.01 * picture.astype(np.float64) - 273.15
        found = (row["lowest"], row["highest"], row["mean"])
        assert found == pytest.approx((celsius.min(), celsius.max(), celsius.mean()))
    assert [row["hot_spot"] for row in rows(tmp_path / "store", "channels/cam")] == [
        row["highest"] for row in rows(tmp_path / "store", "device/cam")
    ]


def test_what_a_pixel_means_is_sealed_with_the_pictures(tmp_path: Path) -> None:
    """The conversion is an artifact of the sequence."""
    record(tmp_path, url=f"{SOURCE},trim=end_frame=3")
    with gapless.connect(tmp_path) as client:
        path = client.sequence_handler("x").artifact_path("cam/conversion.json")
    assert json.loads(path.read_bytes()) == {"scale": 0.01, "offset": -273.15, "unit": "degC"}


def test_a_source_of_eight_bits_ends_the_run(tmp_path: Path) -> None:
    """Pixels that would mean something else are never kept as temperatures."""
    result = record(tmp_path, url="testsrc2=size=64x48:rate=100:duration=0.1,format=gray")
    assert result.outcome is Outcome.CRASHED
    assert "radiometric" in str(result.cause)


@pytest.mark.parametrize("wrong", [{"scale": 0}, {"media": "mp4"}, {"unit": ""}])
def test_a_camera_that_could_not_keep_temperatures_is_refused(wrong: dict[str, Any]) -> None:
    """No scale, no unit or a container with loss: the rig does not load."""
    with pytest.raises(RigProblems):
        Rig.of({"name": "r", "devices": {"cam": CAMERA | wrong}})


@pytest.mark.crash
def test_a_killed_run_keeps_every_bit(tmp_path: Path) -> None:
    """What was durable is in the recovered sequence as the source gave it, and so is its meaning."""
    durable = record_until_killed(tmp_path / "store", CAMERA, 30)
    with gapless.connect(tmp_path / "store") as client:
        client.recover("x")
        assert client.verify("x", deep=True) == []
        conversion = client.sequence_handler("x").artifact_path("cam/conversion.json")
        assert json.loads(conversion.read_bytes())["unit"] == "degC"
        client.sequence_handler("x").topic("cam").write_video(tmp_path / "out.mkv")
    found = recorded(tmp_path / "store")
    assert len(found) >= durable
    assert all((one == other).all() for one, other in zip(found, made(len(found)), strict=True))
    with av.open(str(tmp_path / "out.mkv")) as video:
        again = [frame.to_ndarray() for frame in video.decode(video=0)]
    assert all((one == other).all() for one, other in zip(found, again, strict=True))
