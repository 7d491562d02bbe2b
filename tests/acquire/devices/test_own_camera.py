"""Cameras whose own program writes the file: against a real one, which dies, loses, stammers and is deaf."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import pytest

av = pytest.importorskip("av")

import gapless  # noqa: E402 - without PyAV the program cannot run
from gapless.acquire.adapter import Adapter, RunFiles  # noqa: E402
from gapless.acquire.devices.own_camera import OwnCameraConfig, OwnCameraDevice  # noqa: E402
from gapless.acquire.ending import RunResult  # noqa: E402
from gapless.acquire.rig import Rig  # noqa: E402
from gapless.acquire.run import Run  # noqa: E402
from gapless.client.client import Client  # noqa: E402
from gapless.model.outcome import Outcome  # noqa: E402
from gapless.testing.adapter_contract import AdapterContract  # noqa: E402

from .pictures import number_of  # noqa: E402

WAIT_S = 60.0
HERE = Path(__file__).parent
FILE = {"file_name": "video.nut", "media_type": "video/x-nut"}
ROOT = HERE.parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}


@pytest.fixture(autouse=True)
def _imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the program import the pictures."""
    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])


def program(*words: str, rate_hz: int = 100) -> list[str]:
    """Return the command of a camera program."""
    return [sys.executable, str(HERE / "camera_program.py"), "{file}", str(rate_hz), *words]


class KeptFiles:
    """A run's files without a sequence, in one folder per run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def frames(self, camera: str, media: str) -> Any:
        """Refuse: a camera with a program of its own gives no pictures."""
        raise NotImplementedError(camera, media)

    def own_file(self, device: str, file_name: str, media_type: str) -> Path:
        """Return a path in the folder."""
        del device, media_type
        return self.folder / file_name


class TestACameraProgram(AdapterContract):
    """The contract, on a program that takes a hundred pictures a second."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder, self.runs = tmp_path, 0

    def make_adapter(self) -> Adapter:
        """Return a camera with its program."""
        config = OwnCameraConfig(
            adapter="own_container_camera", command=tuple(program("nothing")), rate_hz=100
        )
        return OwnCameraDevice("cam", config)

    def make_unreachable(self) -> Adapter:
        """Return a camera whose program is not installed."""
        command = ("no-such-camera-program", "{file}")
        return OwnCameraDevice("cam", OwnCameraConfig(adapter="own_container_camera", command=command))

    def run_files(self) -> RunFiles:
        """Give each run a folder."""
        self.runs += 1
        return KeptFiles(self.folder / str(self.runs))


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A client whose waits for the disk are bounded generously."""
    return gapless.connect(tmp_path / "store", deadline_s=60)


def record(
    client: Client, *words: str, during: Callable[[Run], None] = lambda _run: None, rate_hz: int = 100
) -> RunResult:
    """Record one camera program ``cam`` into sequence ``x`` to its end."""
    command = program(*words, rate_hz=rate_hz)
    table = {"adapter": "own_container_camera", "command": command, "rate_hz": rate_hz} | FILE
    run = Run(Rig.of({"name": "r", "run": {"guard": False}, "devices": {"cam": table}}), client, name="x")
    run.start()
    during(run)
    result = run.wait(WAIT_S)
    assert result is not None, "the run did not end"
    return result


def rows(client: Client, topic: str) -> list[dict[str, Any]]:
    """Return the rows of a topic."""
    found: list[dict[str, Any]] = client.sequence_handler("x").reader.topic(topic).to_arrow().to_pylist()
    return found


def in_file(path: Path) -> list[int]:
    """Return the numbers of the pictures in a file, as any player finds them."""
    with av.open(str(path)) as container:
        return [number_of(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def gaps(client: Client) -> list[tuple[str, int | None]]:
    """Return cause and count of the gaps in the camera's records."""
    return [(row["cause"], row["count"]) for row in rows(client, "_gaps") if row["topic"] == "device/cam"]


def kinds(client: Client) -> list[str]:
    """Return the kinds of the camera's events."""
    return [row["kind"] for row in rows(client, "_events") if row["source"] == "cam"]


def after_receipts(count: int) -> Callable[[Run], None]:
    """Return what stops a run after so many receipts."""

    def stop(run: Run) -> None:
        heard = run.feed(4096)
        left = count
        while left > 0:
            left -= sum(type(item).__name__ == "FrameReceipt" for item in heard.take_blocking(1, WAIT_S))
        run.stop("enough", by="test")

    return stop


class TestARun:
    """From the program to the sealed sequence."""

    def test_the_file_is_sealed_with_a_receipt_for_each_picture(self, client: Client) -> None:
        """A program that ends by itself: file, records and receipts agree, and the digest is the file's."""
        assert record(client, "count=30").outcome is Outcome.COMPLETED
        handler = client.sequence_handler("x")
        path = handler.artifact_path("cam/video.nut")
        assert in_file(path) == list(range(30))
        assert handler.artifacts["cam/video.nut"]["sha256"] == sha256(path.read_bytes()).hexdigest()
        records, receipts = rows(client, "device/cam"), rows(client, "cam/frames")
        assert [r["frame"] for r in records] == [r["frame_idx"] for r in receipts] == list(range(30))
        assert [r["timestamp_ns"] for r in records] == [r["timestamp_ns"] for r in receipts]
        assert [r["device_time_ns"] for r in records] == [1000 * k for k in range(30)]
        assert all(r["capture_latency_s"] > 0 for r in receipts)
        assert client.verify("x", deep=True) == []
        assert gaps(client) == []

    def test_stopping_lets_the_program_close_its_file(self, client: Client) -> None:
        """What it took before its input ended is in the file and has its receipt."""
        assert record(client, during=after_receipts(10)).outcome is Outcome.ABORTED
        told = [r["frame"] for r in rows(client, "device/cam")]
        assert len(told) >= 10
        assert in_file(client.sequence_handler("x").artifact_path("cam/video.nut")) == told
        assert client.verify("x", deep=True) == []

    def test_a_program_that_dies_is_started_again(self, client: Client) -> None:
        """Its words are in the event; each start has a file; the receipts of all files are numbered through."""
        record(client, "dies=12", during=after_receipts(30))
        assert kinds(client)[:2] == ["device_lost", "device_back"]
        (event, *_) = [row for row in rows(client, "_events") if row["kind"] == "device_lost"]
        assert "ended with 3" in event["message"]
        assert "the sensor is gone" in event["message"]
        records = rows(client, "device/cam")
        assert [r["record"] for r in records] == list(range(len(records)))
        assert [r["file"] for r in records[:24]] == ["cam/video.nut"] * 12 + ["cam/video-2.nut"] * 12
        assert [r["frame"] for r in records[:24]] == [*range(12), *range(12)]
        assert {count for _, count in gaps(client)} == {None}
        handler = client.sequence_handler("x")
        assert in_file(handler.artifact_path("cam/video.nut")) == list(range(12))
        assert client.verify("x", deep=True) == []

    def test_what_the_camera_lost_is_a_gap(self, client: Client) -> None:
        """Pictures that it counts as lost, and receipts that never came, are told with their number."""
        record(client, "count=20", "loses=5", "mute=9")
        assert gaps(client) == [
            ("device: the camera lost pictures", 2),
            ("device: receipts are missing", 1),
        ]
        assert [r["frame"] for r in rows(client, "device/cam")] == [k for k in range(20) if k != 9]

    def test_a_line_that_is_no_receipt_is_told(self, client: Client) -> None:
        """An event for the line, a gap for the receipt that it stood for; the camera goes on."""
        record(client, "count=20", "garbles=7")
        assert kinds(client) == ["bad_receipt"]
        assert gaps(client) == [("device: receipts are missing", 1)]

    def test_a_program_that_does_not_listen_is_killed(self, client: Client) -> None:
        """The run ends, and what the program had written is sealed."""
        assert record(client, "deaf", during=after_receipts(10)).outcome is Outcome.ABORTED
        told = [r["frame"] for r in rows(client, "device/cam")]
        found = in_file(client.sequence_handler("x").artifact_path("cam/video.nut"))
        assert found == list(range(len(found)))
        assert len(told) >= 10
        assert client.verify("x", deep=True) == []

    def test_a_program_that_writes_no_file_is_named(self, client: Client) -> None:
        """The sequence is sealed and verification says what is missing."""
        assert record(client, "count=5", "nothing").outcome is Outcome.COMPLETED
        assert [finding.code for finding in client.verify("x")] == ["V017"]


def test_a_command_without_the_path_is_refused() -> None:
    """A program that is not told where to write would write anywhere."""
    with pytest.raises(ValueError, match="file"):
        OwnCameraConfig(adapter="own_container_camera", command=("true",))


@pytest.mark.crash
def test_a_killed_run_seals_the_file_of_a_program_that_ends_by_itself(tmp_path: Path, client: Client) -> None:
    """Every durable receipt has its picture in the recovered file; nobody writes to it any more."""
    recorder = [sys.executable, str(HERE / "own_camera_recorder.py"), str(tmp_path / "store")]
    with subprocess.Popen(
        [*recorder, json.dumps(program())], stdout=subprocess.PIPE, env=ENVIRONMENT
    ) as child:
        assert child.stdout is not None
        durable = 0
        while durable < 30:
            line = child.stdout.readline()
            assert line, "the recorder ended"
            durable = int(line)
        child.kill()
    client.recover("x")
    handler = client.sequence_handler("x")
    assert handler.outcome == "interrupted"
    told = [r["frame"] for r in rows(client, "device/cam")]
    assert len(rows(client, "cam/frames")) >= durable
    path = handler.artifact_path("cam/video.nut")
    found = in_file(path)
    assert found == list(range(len(found)))
    assert len(found) >= len(told)
    assert client.verify("x", deep=True) == []
    deadline_s = time.monotonic() + WAIT_S
    while _is_written(path) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not _is_written(path), "the program outlived its recorder"


def _is_written(path: Path) -> bool:
    """Tell whether a program that was told to write the file is there."""
    processes = psutil.process_iter(["cmdline"])
    return any(str(path) in (process.info["cmdline"] or ()) for process in processes)
