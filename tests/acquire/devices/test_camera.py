"""Cameras against real sources: test pictures, files, and an IP camera that dies and comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

av = pytest.importorskip("av")

import gapless  # noqa: E402 - without PyAV nothing here can run
from gapless.acquire.adapter import Adapter, RunFiles  # noqa: E402
from gapless.acquire.devices.camera import CameraConfig, CameraDevice  # noqa: E402
from gapless.acquire.ending import RunResult  # noqa: E402
from gapless.acquire.rig import Rig  # noqa: E402
from gapless.acquire.run import Run  # noqa: E402
from gapless.client.client import Client  # noqa: E402
from gapless.model.outcome import Outcome  # noqa: E402
from gapless.testing.adapter_contract import AdapterContract  # noqa: E402

from .pictures import IpCamera, jpeg, number_of, numbered, part, record_until_killed, write_video  # noqa: E402

WAIT_S = 60.0


class KeptPictures:
    """The files of a run without a sequence: keeps the numbers of the pictures."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def frames(self, camera: str, media: str) -> KeptPictures:
        """Return itself for the only camera."""
        del camera, media
        return self

    def push(self, timestamp_ns: int, picture: Any) -> None:
        """Keep the number of a picture."""
        del timestamp_ns
        self.numbers.append(number_of(picture))

    def own_file(self, device: str, file_name: str, media_type: str) -> Path:
        """Refuse: cameras write nothing themselves."""
        raise NotImplementedError(device, file_name, media_type)


class TestATestPicture(AdapterContract):
    """The contract, on an endless test picture."""

    def make_adapter(self) -> Adapter:
        """Return a camera of FFmpeg's test picture."""
        url = "testsrc2=size=64x48:rate=100"
        return CameraDevice(
            "cam", CameraConfig(adapter="camera", url=url, format="lavfi", paced=True, rate_hz=100)
        )

    def make_unreachable(self) -> Adapter:
        """Return a camera of a picture that FFmpeg does not know."""
        return CameraDevice("cam", CameraConfig(adapter="camera", url="nosuchsource", format="lavfi"))


class TestAnIpCamera(AdapterContract):
    """The contract, on an HTTP server that can be cut."""

    @pytest.fixture(autouse=True)
    def _served(self) -> Iterator[None]:
        with IpCamera(rate_hz=100) as self.server:
            yield

    def make_adapter(self) -> Adapter:
        """Return a camera of the server."""
        return CameraDevice("cam", CameraConfig(adapter="camera", url=self.server.url, rate_hz=100))

    def make_unreachable(self) -> Adapter:
        """Return a camera at an address where nobody listens."""
        url = "http://127.0.0.1:1/video"
        return CameraDevice("cam", CameraConfig(adapter="camera", url=url))

    def run_files(self) -> RunFiles:
        """Keep the pictures."""
        return KeptPictures()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Let the server keep the connection and give nothing."""
        self.server.silent.set()
        yield
        self.server.silent.clear()

    def cut(self) -> None:
        """Stop the server."""
        self.server.stop()

    def mend(self) -> None:
        """Start the server."""
        self.server.stop()
        self.server.start()


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A client whose waits for the disk are bounded generously."""
    return gapless.connect(tmp_path / "store", deadline_s=60)


def record(client: Client, during: Callable[[Run], None] = lambda _run: None, **camera: Any) -> RunResult:
    """Record one camera ``cam`` into sequence ``x`` to its end."""
    table = {"adapter": "camera", "rate_hz": 50, **camera}
    run = Run(Rig.of({"name": "r", "run": {"guard": False}, "devices": {"cam": table}}), client, name="x")
    run.start()
    during(run)
    result = run.wait(WAIT_S)
    assert result is not None, "the run did not end"
    assert client.verify("x", deep=True) == []
    return result


def rows(client: Client, topic: str) -> list[dict[str, Any]]:
    """Return the rows of a topic."""
    found: list[dict[str, Any]] = client.sequence_handler("x").reader.topic(topic).to_arrow().to_pylist()
    return found


def numbers(client: Client) -> list[int]:
    """Return the numbers of the pictures in the container, in its order."""
    return [number_of(picture) for _, picture in client.sequence_handler("x").topic("cam").frames()]


def gaps(client: Client) -> list[dict[str, Any]]:
    """Return the gap rows of the camera's records."""
    return [row for row in rows(client, "_gaps") if row["topic"] == "device/cam"]


def kinds(client: Client) -> list[str]:
    """Return the kinds of the camera's events."""
    return [row["kind"] for row in rows(client, "_events") if row["source"] == "cam"]


class TestARun:
    """From the source to the sealed sequence."""

    @pytest.mark.parametrize("media", ["mp4", "png"])
    def test_a_file_is_read_to_its_end(self, client: Client, tmp_path: Path, media: str) -> None:
        """Every picture of the file is in the container, with its record and its receipt, joined by time."""
        write_video(tmp_path / "in.mkv", range(60))
        result = record(client, url=str(tmp_path / "in.mkv"), media=media)
        assert result.outcome is Outcome.COMPLETED
        assert numbers(client) == list(range(60))
        records, receipts = rows(client, "device/cam"), rows(client, "cam/frames")
        pictures = rows(client, "cam")
        assert [r["record"] for r in records] == [r["frame_idx"] for r in receipts] == list(range(60))
        stamps = [[r["timestamp_ns"] for r in table] for table in (records, receipts, pictures)]
        assert stamps[0] == stamps[1] == stamps[2]
        assert [r["pts_ns"] for r in records] == [20_000_000 * k for k in range(60)]
        assert all(r["capture_latency_s"] >= 0 for r in receipts)

    def test_png_keeps_the_pixels(self, client: Client) -> None:
        """What FFmpeg made is what is read, bit by bit."""
        url = "testsrc2=size=64x48:rate=50:duration=0.2,format=rgb24"
        record(client, url=url, format="lavfi", media="png")
        with av.open(url, format="lavfi") as again:
            expected = [frame.to_ndarray(format="rgb24") for frame in again.decode(video=0)]
        found = [picture for _, picture in client.sequence_handler("x").topic("cam").frames()]
        assert len(found) == 10
        assert all((one == other).all() for one, other in zip(found, expected, strict=True))

    def test_sixteen_bits_stay_sixteen(self, client: Client) -> None:
        """Grey of 16 bits is kept as such in PNG."""
        record(
            client,
            url="testsrc2=size=64x48:rate=50:duration=0.2,format=gray16le",
            format="lavfi",
            media="png",
        )
        found = [picture for _, picture in client.sequence_handler("x").topic("cam").frames()]
        assert {(picture.shape, picture.dtype.str) for picture in found} == {((48, 64), "<u2")}

    def test_a_paced_source_keeps_its_own_time(self, client: Client) -> None:
        """No picture is given before its own time after the first."""
        record(
            client, url="testsrc2=size=64x48:rate=50:duration=0.5", format="lavfi", paced=True, media="png"
        )
        records = rows(client, "device/cam")
        assert len(records) == 25
        first = records[0]
        assert all(
            r["timestamp_ns"] - first["timestamp_ns"] >= r["pts_ns"] - first["pts_ns"] - 1_000_000
            for r in records
        )

    def test_holes_in_the_sources_time_are_counted(self, client: Client, tmp_path: Path) -> None:
        """At a fixed rate, rows and gaps together are what the source made."""
        made = [k for k in range(60) if k not in (10, 30, 31, 32)]
        write_video(tmp_path / "in.mkv", made)
        record(client, url=str(tmp_path / "in.mkv"), fixed_rate=True)
        assert numbers(client) == made
        assert [gap["count"] for gap in gaps(client)] == [1, 3]
        assert kinds(client) == ["frame_lost", "frame_lost"]

    def test_without_a_fixed_rate_a_jump_is_an_event(self, client: Client, tmp_path: Path) -> None:
        """Nobody can say how many pictures are missing, so none are counted."""
        write_video(tmp_path / "in.mkv", [*range(10), *range(100, 110)])
        record(client, url=str(tmp_path / "in.mkv"))
        assert kinds(client) == ["time_jump"]
        assert gaps(client) == []

    def test_packets_that_are_no_pictures_are_counted(self, client: Client, tmp_path: Path) -> None:
        """What was served is what was kept and what is in the gap."""
        served = [jpeg(k) for k in range(20)]
        served[7] = served[8] = b"\xff\xd8 no picture at all \xff\xd9"
        (tmp_path / "in.mjpeg").write_bytes(b"".join(map(part, served)))
        record(client, url=str(tmp_path / "in.mjpeg"), format="mpjpeg")
        assert numbers(client) == [k for k in range(20) if k not in (7, 8)]
        (gap,) = gaps(client)
        assert gap["count"] == 2
        assert kinds(client) == ["frame_lost"]

    def test_a_stream_that_lost_bytes_is_marked_and_counted(self, client: Client, tmp_path: Path) -> None:
        """Rows and gaps together are what was sent; the picture whose bytes are incomplete says so."""
        write_video(tmp_path / "in.ts", range(60))
        sent = (tmp_path / "in.ts").read_bytes()
        cut = len(sent) // 188 // 2 * 188
        (tmp_path / "in.ts").write_bytes(sent[:cut] + sent[cut + 3 * 188 :])
        record(client, url=str(tmp_path / "in.ts"), fixed_rate=True)
        kept, lost = rows(client, "device/cam"), sum(gap["count"] for gap in gaps(client))
        assert (len(kept) + lost, sum(row["corrupt"] for row in kept)) == (60, 1)
        assert lost > 0

    def test_a_server_that_dies_and_comes_back(self, client: Client) -> None:
        """An event of the loss, a gap that spans it, an event of the return; within a connection none is lost."""
        with IpCamera(rate_hz=50) as server:

            def cut_and_mend(run: Run) -> None:
                heard = run.feed(4096)
                _until(heard, "FrameReceipt", 10)
                server.stop()
                _until(heard, "device_lost", 1)
                server.start()
                _until(heard, "device_back", 1)
                _until(heard, "FrameReceipt", 10)
                run.stop("enough", by="test")

            result = record(client, cut_and_mend, url=server.url)
        assert result.outcome is Outcome.ABORTED
        assert [kind for kind in kinds(client) if kind.startswith("device_")] == [
            "device_lost",
            "device_back",
        ]
        (gap,) = gaps(client)
        stamps = [row["timestamp_ns"] for row in rows(client, "cam")]
        before = [t for t in stamps if t <= gap["timestamp_ns"]]
        after = [t for t in stamps if t >= gap["end_ns"]]
        assert (gap["count"], len(before) + len(after)) == (None, len(stamps))
        found = numbers(client)
        assert found == [*range(len(before)), *range(len(after))]
        assert min(len(before), len(after)) >= 10

    def test_a_source_that_no_container_can_take_ends_the_run(self, client: Client) -> None:
        """H.264 needs even sizes: the run crashes at the first picture and says why."""
        result = record(client, url="testsrc=size=63x47:rate=50:duration=1", format="lavfi")
        assert result.outcome is Outcome.CRASHED
        assert "2 x 2" in str(result.cause)

    def test_credentials_are_shown_nowhere(self, client: Client, tmp_path: Path) -> None:
        """The server lets nobody in without them, and the password is in no file of the sequence."""
        with IpCamera(rate_hz=50, credentials="Basic YW5uOnBhc3MvdzByZA==") as server:

            def stop_soon(run: Run) -> None:
                _until(run.feed(4096), "FrameReceipt", 3)
                run.stop("enough", by="test")

            record(client, stop_soon, url=server.url, username="ann", password="pass/w0rd")
        assert not [
            path
            for path in (tmp_path / "store").rglob("*")
            if path.is_file() and b"w0rd" in path.read_bytes()
        ]


def _until(heard: Any, what: str, count: int) -> None:
    """Read a watcher's feed until so many receipts or events of a kind came."""
    while count > 0:
        for item in heard.take_blocking(1, WAIT_S):
            count -= what in (type(item).__name__, getattr(item, "kind", ""))


@pytest.mark.crash
def test_a_killed_run_leaves_a_video(tmp_path: Path, client: Client) -> None:
    """Every picture that was durable is in the recovered sequence, and in a file that players open."""
    camera = {
        "adapter": "camera",
        "url": "testsrc2=size=64x48:rate=100",
        "format": "lavfi",
        "paced": True,
        "rate_hz": 100,
    }
    durable = record_until_killed(tmp_path / "store", camera, 40)
    client.recover("x")
    assert client.verify("x", deep=True) == []
    assert client.sequence_handler("x").outcome == "interrupted"
    stamps = [stamp for stamp, _ in client.sequence_handler("x").topic("cam").frames()]
    assert len(stamps) >= durable
    assert all(earlier < later for earlier, later in pairwise(stamps))
    client.sequence_handler("x").topic("cam").write_video(tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == len(stamps)


@pytest.mark.parametrize("read_timeout_s", [0, -1, 121, float("inf"), float("nan")])
def test_a_wait_without_bound_is_refused(read_timeout_s: float) -> None:
    """A picture is waited for at most two minutes, and at least for some time."""
    with pytest.raises(ValidationError, match="read_timeout_s"):
        CameraConfig(adapter="camera", url="x", read_timeout_s=read_timeout_s)


def test_numbers_survive_the_codec() -> None:
    """The pictures of these tests say what they should."""
    assert [number_of(numbered(k)) for k in (0, 1, 2047, 4095)] == [0, 1, 2047, 4095]


def test_pictures_that_the_plan_leaves_out_are_not_kept(client: Client) -> None:
    """Only the records of the camera are recorded; each picture counts once as a reading."""
    table = {
        "adapter": "camera",
        "rate_hz": 50,
        "url": "testsrc2=size=64x48:rate=50:duration=0.2",
        "format": "lavfi",
    }
    rig = {"name": "r", "run": {"guard": False}, "devices": {"cam": table}, "recording": {"exclude": ["cam"]}}
    run = Run(Rig.of(rig), client, name="x")
    run.start()
    assert run.wait(WAIT_S) is not None
    assert client.sequence_handler("x").topics == ["device/cam"]
    assert run.conductor.readings == {"cam": 10}
