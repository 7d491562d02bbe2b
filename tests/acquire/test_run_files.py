"""Pictures and files that devices put into a sequence without crossing a bridge."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import gapless
from gapless.acquire.run_files import SequenceFiles
from gapless.client.client import Client
from gapless.client.sequence_writer import SequenceWriter
from gapless.errors import NameTaken, UsageError, WrongThread

pytest.importorskip("av")

COUNT = 20


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A client of an empty store."""
    with gapless.connect(tmp_path) as client:
        yield client


def picture(k: int) -> npt.NDArray[Any]:
    """Return a picture of one grey."""
    return np.full((48, 64), k, np.uint8)


def push(files: SequenceFiles, camera: str, media: str) -> None:
    """Push pictures from a thread of the camera's own."""

    def work() -> None:
        sink = files.frames(camera, media)
        for k in range(COUNT):
            sink.push(k, picture(k))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def test_each_camera_pushes_from_its_own_thread(client: Client) -> None:
    """The pictures are in topics of the cameras' names, in order."""
    with client.sequence_create("s") as seq:
        for camera in ("a", "b/c"):
            push(SequenceFiles(seq), camera, "png")
    for camera in ("a", "b/c"):
        found = list(client.sequence_handler("s").topic(camera).frames())
        assert [(stamp, int(pixels[0, 0])) for stamp, pixels in found] == [(k, k) for k in range(COUNT)]


def test_a_sink_belongs_to_the_thread_that_pushes_first(client: Client) -> None:
    """A second thread is refused, and told so."""
    with client.sequence_create("s") as seq:
        sink = SequenceFiles(seq).frames("cam", "png")
        sink.push(0, picture(0))
        refused: list[WrongThread] = []

        def push_too() -> None:
            with pytest.raises(WrongThread) as caught:
                sink.push(1, picture(1))
            refused.append(caught.value)

        thread = threading.Thread(target=push_too, daemon=True)
        thread.start()
        thread.join(60)
    assert len(refused) == 1
    assert client.sequence_handler("s").topic("cam").ledger["written"] == 1


def test_a_camera_that_is_left_out_costs_nothing(client: Client) -> None:
    """There is no topic for its pictures; the other camera's are kept."""
    with client.sequence_create("s") as seq:
        files = SequenceFiles(seq, keeps=lambda camera: camera != "preview")
        push(files, "preview", "png")
        push(files, "cam", "png")
    assert client.sequence_handler("s").topics == ["cam"]


def test_what_cannot_be_is_refused(client: Client) -> None:
    """An unknown container, a camera twice, a file twice."""
    with client.sequence_create("s") as seq:
        files = SequenceFiles(seq)
        with pytest.raises(UsageError, match="media"):
            files.frames("cam", "gif")
        files.frames("cam", "png")
        with pytest.raises(NameTaken):
            files.frames("cam", "png")
        files.own_file("cam", "a.bin", "application/octet-stream")
        with pytest.raises(NameTaken):
            files.own_file("cam", "a.bin", "application/octet-stream")


def fill(seq: SequenceWriter) -> Path:
    """Let a device write a file of its own."""
    path = SequenceFiles(seq).own_file("cam", "video.mkv", "video/x-matroska")
    path.write_bytes(b"pictures")
    return path


def test_a_file_of_a_device_is_sealed_with_the_sequence(client: Client) -> None:
    """Its name begins with the device's; size and digest are those of what is in it at the end."""
    with client.sequence_create("s") as seq:
        path = fill(seq)
    handler = client.sequence_handler("s")
    assert handler.artifact_path("cam/video.mkv") == path
    entry = handler.artifacts["cam/video.mkv"]
    assert (entry["bytes"], entry["sha256"]) == (8, sha256(b"pictures").hexdigest())
    assert client.verify("s", deep=True) == []
