"""One picture for each row, whatever the encoder does: it waits, repeats and says so, or fails."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.observe.toy import DT_NS, Toy, Wheel, World, column, flush, outcomes, rows_of, run, started

import gapless
from gapless.errors import EpisodeFailed, MediaFailed, RecordingFailed, ValueRefused
from gapless.observe.recorder import CameraSpec
from gapless.observe.step import StepContext
from gapless.store.episode_rows import FrameFlag
from gapless.store.media.encode import Encoded, H264Encoder, PngEncoder

PSNR_DB = 32.0
SIZE = (64, 96)


def scene(number: int, pixels: Any = "rgb8") -> npt.NDArray[Any]:
    """Return a smooth picture in which the place of a bright square tells the number; mono16 begins with it."""
    height, width = SIZE
    down, across = np.mgrid[0:height, 0:width]
    picture: npt.NDArray[Any] = ((down + across) % 256).astype(np.uint16)
    row, place = divmod(number % 24, 6)
    picture[row * 16 : row * 16 + 16, place * 16 : place * 16 + 16] = 235
    if pixels == "mono16":
        picture *= 200
        picture[0, 0] = number
        return picture
    colour: npt.NDArray[Any] = np.repeat(picture.astype(np.uint8)[:, :, None], 3, axis=2)
    return colour


class Scenes:
    """A camera of such pictures; what it showed is kept."""

    def __init__(self, world: World, topic: str, pixels: Any = "rgb8", media: Any = "mp4") -> None:
        self.spec = CameraSpec(topic, *SIZE, pixels, media)
        self.picture = scene(0, pixels)
        self.shown: list[int] = []
        self._world = world

    def read(self, context: StepContext) -> None:
        """Show the step, in the same array as ever."""
        self.shown.append(self._world.step)
        self.picture[:] = scene(self._world.step, self.spec.pixels)


def psnr(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """Return the ratio of peak to noise, dB."""
    noise = np.mean(np.square(one.astype(np.float64) - other.astype(np.float64)))
    return float("inf") if noise == 0 else float(10 * np.log10(255**2 / noise))


@pytest.fixture
def client(tmp_path: Path) -> gapless.Client:
    """Return a client of a new store."""
    return gapless.connect(tmp_path / "store")


def test_the_kth_picture_is_the_kth_input(client: gapless.Client) -> None:
    """The first and the last too, over keyframes and over a boundary between two episodes."""
    world = World()
    cameras = [
        Scenes(world, "front"),
        Scenes(world, "depth", "mono16", "png"),
        Scenes(world, "heat", "mono16", "ffv1"),
    ]
    with started(client, [Toy("toy", [Wheel(world)], cameras)], data_hz=100) as observer:
        names = [observer.begin_episode()]
        run(observer, world, 65)
        names.append(observer.end_and_begin_next())
        world.step += 1
        run(observer, world, 33)
    steps = {names[0]: [*range(65)], names[1]: [*range(65, 98)]}
    for name, shown in steps.items():
        handler = client.sequence_handler(name)
        times = column(client, name, "frames", "timestamp_ns")
        for camera in cameras:
            topic = camera.spec.topic
            assert column(client, name, f"{topic}/frames", "timestamp_ns") == times
            assert column(client, name, f"{topic}/frames", "frame_index") == [*range(len(shown))]
            frames = list(handler.topic(topic).frames())
            assert [time_ns for time_ns, _ in frames] == times
            for step, (_, picture) in zip(shown, frames, strict=True):
                if camera.spec.media == "mp4":
                    assert psnr(picture, scene(step)) > PSNR_DB
                    assert psnr(picture, scene(step + 1)) < PSNR_DB - 10
                else:
                    assert np.array_equal(picture, scene(step, "mono16"))
        assert handler.topic("front").write_video(client.path / f"{shown[0]}.mp4").frames == len(shown)
    assert cameras[0].shown == [*range(98)]


class Gate:
    """Encoders that wait until they are let through, picture by picture or for good."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: Any = PngEncoder) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.fails_at = -1
        self.encoded = 0
        encode, gate = kind.encode, self

        def gated(encoder: Any, array: npt.NDArray[Any], pixels: str) -> Encoded:
            gate.entered.release()
            assert gate.open.wait(60)
            if gate.encoded == gate.fails_at:
                raise ValueError("the codec gave up")
            gate.encoded += 1
            encoded: Encoded = encode(encoder, array, pixels)
            return encoded

        monkeypatch.setattr(kind, "encode", gated)


def depth(world: World) -> Toy:
    """Return a recorder of a wheel and a camera without loss."""
    return Toy("toy", [Wheel(world)], [Scenes(world, "depth", "mono16", "png")])


def shown(client: gapless.Client, name: str) -> list[int]:
    """Return the number in each picture of the depth camera."""
    return [int(picture[0, 0]) for _, picture in client.sequence_handler(name).topic("depth").frames()]


def test_block_waits_for_a_slow_encoder(client: gapless.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred times slower, for a moment at the most: every picture is there, none repeated."""
    encode = PngEncoder.encode

    def slow(encoder: PngEncoder, array: npt.NDArray[Any], pixels: str) -> Encoded:
        began = time.perf_counter()
        encoded = encode(encoder, array, pixels)
        time.sleep(min(0.2, 99 * (time.perf_counter() - began)))
        return encoded

    monkeypatch.setattr(PngEncoder, "encode", slow)
    world = World()
    with started(client, [depth(world)], data_hz=100, image_policy="block") as observer:
        name = observer.begin_episode()
        run(observer, world, 20)
    assert shown(client, name) == [*range(20)]
    assert set(column(client, name, "depth/frames", "frame_flags")) == {0}


def test_a_blocked_step_goes_on_when_there_is_room(
    client: gapless.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the encoder stands still the program waits in its hook, and loses nothing."""
    gate, world = Gate(monkeypatch), World()
    observer = started(client, [depth(world)], data_hz=100)
    name = observer.begin_episode()
    release = threading.Timer(0.2, gate.open.set)
    release.start()
    run(observer, world, 30)
    release.join()
    observer.end_session()
    assert shown(client, name) == [*range(30)]


@pytest.mark.parametrize("mode", ["simulated", "realtime"])
def test_repeat_shows_the_picture_before_and_says_so(
    client: gapless.Client, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """As many pictures as rows; those that stand for another are marked, and they are what was shown before."""
    gate, world = Gate(monkeypatch), World()
    observer = started(
        client, [depth(world)], mode=mode, data_hz=1000 if mode == "realtime" else 100, image_policy="repeat"
    )
    name = observer.begin_episode()
    for step in range(60):
        world.step = step
        if step == 40:
            gate.open.set()
            flush(observer)
        if mode == "realtime":
            time.sleep(0.002)
        observer.observe(step, None if mode == "realtime" else world.time_ns)
    [camera] = observer._episode.cameras
    repeated = camera.repeated
    observer.end_session()
    flags = column(client, name, "depth/frames", "frame_flags")
    pictures = shown(client, name)
    rows = len(rows_of(client, name, "frames"))
    assert len(flags) == len(pictures) == rows == 60
    marked = [bool(flag & FrameFlag.REPEATED_IMAGE) for flag in flags]
    assert sum(marked) == repeated
    assert 20 <= repeated < 60
    assert not any(marked[:3])
    taken = [round(angle * 64) for angle in column(client, name, "wheel", "angle")]
    for index, (picture, again) in enumerate(zip(pictures, marked, strict=True)):
        assert picture == (pictures[index - 1] if again else taken[index])
    assert client.sequence_handler(name).ledger["dropped"] == 0
    assert client.verify(name, deep=True) == []


def test_fail_fails_the_episode_when_there_is_no_room(
    client: gapless.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed, at that very step; what was taken is kept, and the next episode records."""
    gate, world = Gate(monkeypatch), World()
    observer = started(client, [depth(world)], data_hz=100, image_policy="fail")
    name = observer.begin_episode()
    threading.Timer(0.3, gate.open.set).start()  # what waits is encoded when the failed episode is sealed
    with pytest.raises(RecordingFailed, match="does not keep up"):
        run(observer, world, 30)
    failed_at = world.step
    assert observer.last_error is not None
    assert gate.open.wait(60)
    later = observer.begin_episode()
    run(observer, world, 3)
    observer.end_session()
    assert outcomes(client) == {name: "failed", later: "completed"}
    assert shown(client, name) == [*range(failed_at)]
    assert len(rows_of(client, name, "depth/frames")) == failed_at


@pytest.mark.parametrize("moment", ["hooks", "end_episode", "end_and_begin_next", "end_session"])
def test_an_encoder_that_fails_fails_the_episode(
    client: gapless.Client, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """At the next call at the latest: never completed, and the next episode works."""
    gate, world = Gate(monkeypatch, H264Encoder), World()
    gate.fails_at = 5
    gate.open.set()
    observer = started(client, [Toy("toy", [Wheel(world)], [Scenes(world, "front")])], data_hz=100)
    name = observer.begin_episode()

    def go_on() -> None:
        if moment == "hooks":
            run(observer, world, 2000)
            return
        run(observer, world, 6)
        if moment == "end_and_begin_next":
            observer.end_and_begin_next()
            observer.end_episode()
        elif moment == "end_episode":
            observer.end_episode()
        else:
            observer.end_session()

    with pytest.raises((MediaFailed, EpisodeFailed), match="the codec gave up"):
        go_on()
    assert "the codec gave up" in str(observer.last_error)
    gate.fails_at = -1
    if moment == "end_session":
        observer.start_session("s")
        observer.tick()
    last = observer.begin_episode()
    run(observer, world, 3)
    observer.end_session()
    found = outcomes(client)
    assert (found[name], found[last]) == ("failed", "completed")
    handler = client.sequence_handler(name)
    assert handler.topic("front").rows == 5
    assert handler.ledger["dropped"] >= 1
    assert [n for n, outcome in found.items() if outcome != "completed"] == [name]


def test_a_picture_of_another_size_fails_the_episode(client: gapless.Client) -> None:
    """A camera keeps the size that it told."""
    world = World()
    camera = Scenes(world, "front")
    observer = started(client, [Toy("toy", [], [camera])], data_hz=100)
    name = observer.begin_episode()
    run(observer, world, 3)
    camera.picture = np.zeros((32, 32, 3), np.uint8)
    camera.read = lambda context: None  # type: ignore[method-assign]
    with pytest.raises(ValueRefused, match="one size and kind"):
        observer.observe(3, 3 * DT_NS)
    observer.end_session()
    assert outcomes(client) == {name: "failed"}
    assert (
        len(rows_of(client, name, "front/frames")) == client.sequence_handler(name).topic("front").rows == 3
    )


def test_pictures_have_their_own_gaps_and_flags(client: gapless.Client) -> None:
    """A camera slower than the rows misses its own ticks."""
    world = World()
    observer = started(client, [depth(world)], data_hz=100, video_hz=50)
    name = observer.begin_episode()
    for step in (0, 1, 2, 3, 9, 10):
        world.step = step
        observer.observe(step, world.time_ns)
    observer.end_session()
    assert shown(client, name) == [0, 2, 9, 10]
    assert column(client, name, "depth/frames", "timestamp_ns") == [n * DT_NS for n in (0, 2, 8, 10)]
    assert column(client, name, "depth/frames", "captured_ns") == [n * DT_NS for n in (0, 2, 9, 10)]
    assert column(client, name, "depth/frames", "frame_flags") == [0, 0, FrameFlag.AFTER_GAP, 0]
