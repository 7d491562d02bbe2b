"""The encoder thread: bounded, balanced and loud, whatever its encoder does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gapless.errors import DeadlinePassed, MediaFailed, RecordingFailed, WriterClosed
from gapless.store import journal
from gapless.store.declaration import TopicDeclaration
from gapless.store.durability import Durability
from gapless.store.handover import OverflowPolicy
from gapless.store.layout import Bundle
from gapless.store.media.encode import Encoded, H264Encoder
from gapless.store.media.encoder_thread import EncoderLane, EncoderThread
from gapless.store.media.picture import PictureReader
from gapless.store.media.rows import EncodedImage, Media
from gapless.store.platform import PLATFORM
from gapless.store.writer import BundleWriter, TopicState


class GatedEncoder:
    """An encoder that waits until it is let through, and fails at a chosen picture."""

    encoding = "png"

    def __init__(self, fails_at: int | None = None) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.fails_at = fails_at
        self.seen: list[int] = []

    def encode(self, array: npt.NDArray[Any], pixels: str) -> Encoded:
        """Return the first pixel as the picture's bytes."""
        self.entered.set()
        self.gate.wait()
        if len(self.seen) == self.fails_at:
            raise ValueError("the codec gave up")
        self.seen.append(int(array[0, 0]))
        return Encoded(bytes([array[0, 0]]), keyframe=True)


class Camera:
    """One topic of an open bundle with an encoder thread."""

    def __init__(self, writer: BundleWriter, encoder: GatedEncoder, **options: Any) -> None:
        declaration = TopicDeclaration(16, "cam", EncodedImage.schema(), {"tag": EncodedImage.tag})
        self.writer = writer
        self.encoder = encoder
        self.state: TopicState = writer.declare(declaration)
        lane = EncoderLane(writer.hand_over, declaration, writer.now_ns)
        self.thread = EncoderThread(encoder, lane, max_pending=3, **options)
        self.state.lanes.append(lane)
        self._reader = PictureReader("live", "cam", Media.PNG)

    def push(self, first: int, last: int) -> None:
        """Push pictures whose pixels are their numbers."""
        for k in range(first, last):
            self.thread.submit(k, None, self._reader.of_array(np.full((2, 2), k, np.uint8)), unstamped=False)

    def ledger(self) -> tuple[int, int, int]:
        """Return produced, written and dropped once everything is durable."""
        self.writer.flush()
        found = self.writer.ledger(self.state)
        assert self.state.offered_rows == self.state.next_seq
        return found.produced, found.written, found.dropped


@contextmanager
def recording(path: Path, encoder: GatedEncoder, **options: Any) -> Iterator[Camera]:
    """Open a bundle with one camera; the journal ends with its ledger."""
    path.mkdir(exist_ok=True)
    header = journal.make_header("live", platform=PLATFORM)
    writer = BundleWriter(Bundle(path), header, durability=Durability(flush_ms=5, deadline_s=10))
    camera = Camera(writer, encoder, **options)
    try:
        yield camera
    finally:
        encoder.gate.set()
        camera.thread.close(10)
        writer.close({"outcome": "completed", "cause": None})
        writer.release()


def test_a_failure_counts_what_will_never_be_a_row(tmp_path: Path) -> None:
    """The picture that failed and those behind it are dropped rows; drain, push and close speak of it once."""
    encoder = GatedEncoder(fails_at=1)
    with recording(tmp_path / "live", encoder) as camera:
        camera.push(0, 3)
        encoder.gate.set()
        with pytest.raises(MediaFailed, match=r"picture 1: ValueError: the codec gave up"):
            camera.thread.drain(10)
        with pytest.raises(MediaFailed):
            camera.push(3, 4)
        assert camera.ledger() == (3, 1, 2)
        assert camera.thread.close(10) is None


def test_close_tells_a_failure_that_nobody_heard_of(tmp_path: Path) -> None:
    """A failure after the last push is returned by close."""
    encoder = GatedEncoder(fails_at=0)
    with recording(tmp_path / "live", encoder) as camera:
        camera.push(0, 1)
        encoder.gate.set()
        assert isinstance(camera.thread.close(10), MediaFailed)
        assert camera.ledger() == (1, 0, 1)


def test_an_encoder_that_hangs_is_left_behind_with_its_pictures_counted(tmp_path: Path) -> None:
    """close ends in time, the ledger balances, and what the encoder does later is thrown away."""
    encoder = GatedEncoder()
    with recording(tmp_path / "live", encoder) as camera:
        camera.push(0, 3)
        assert encoder.entered.wait(10)
        failure = camera.thread.close(0.01)
        assert isinstance(failure, MediaFailed)
        assert "did not finish in time" in str(failure)
        assert camera.ledger() == (3, 0, 3)
        encoder.gate.set()
        assert camera.ledger() == (3, 0, 3)


def test_a_full_queue_waits_and_refuses_at_the_deadline(tmp_path: Path) -> None:
    """Under block a push waits for room; at the deadline it raises and the picture was not taken."""
    encoder = GatedEncoder()
    with recording(tmp_path / "live", encoder) as camera:
        camera.push(0, 1)
        assert encoder.entered.wait(10)
        camera.push(1, 4)
        camera.writer.hand_over.deadline_s = 0.01
        with pytest.raises(DeadlinePassed):
            camera.push(4, 5)
        assert camera.thread.pending == 4
        assert camera.thread.blocked_ns > 0
        camera.writer.hand_over.deadline_s = 10
        encoder.gate.set()
        camera.push(4, 20)
        camera.thread.drain(10)
        assert encoder.seen == list(range(20))
        assert camera.ledger() == (20, 20, 0)


def test_drop_oldest_gives_up_waiting_pictures_and_counts_them(tmp_path: Path) -> None:
    """The producer never waits; the newest pictures become rows, the others dropped rows."""
    encoder = GatedEncoder()
    with recording(tmp_path / "live", encoder, overflow=OverflowPolicy.DROP_OLDEST) as camera:
        camera.push(0, 1)
        assert encoder.entered.wait(10)
        camera.push(1, 50)
        encoder.gate.set()
        camera.thread.drain(10)
        assert encoder.seen == [0, 47, 48, 49]
        assert camera.ledger() == (50, 4, 46)


def test_the_policy_fail_raises_at_once(tmp_path: Path) -> None:
    """Under fail a push onto a full queue raises, and later pushes go on."""
    encoder = GatedEncoder()
    with recording(tmp_path / "live", encoder, overflow=OverflowPolicy.FAIL) as camera:
        camera.push(0, 1)
        assert encoder.entered.wait(10)
        camera.push(1, 4)
        with pytest.raises(RecordingFailed, match="does not keep up"):
            camera.push(4, 5)
        encoder.gate.set()
        camera.thread.drain(10)
        camera.push(5, 6)
        camera.thread.drain(10)
        assert camera.ledger() == (5, 5, 0)


def test_a_closed_thread_takes_no_picture(tmp_path: Path) -> None:
    """After close a push raises WriterClosed, and what was pushed before is encoded."""
    encoder = GatedEncoder()
    encoder.gate.set()
    with recording(tmp_path / "live", encoder) as camera:
        camera.push(0, 3)
        assert camera.thread.close(10) is None
        with pytest.raises(WriterClosed):
            camera.push(3, 4)
        assert camera.ledger() == (3, 3, 0)


def test_read_only_pictures_are_not_copied(tmp_path: Path) -> None:
    """Bytes and arrays that nobody can write go by reference; a read-only view of a writable array does not."""
    reader = PictureReader("s", "cam", Media.PNG)
    writable = np.zeros((2, 2), np.uint8)
    view = writable.view()
    view.flags.writeable = False
    frozen = np.zeros((2, 2), np.uint8)
    frozen.flags.writeable = False
    from_bytes = np.frombuffer(bytes(4), np.uint8).reshape(2, 2)
    from_bytearray = np.frombuffer(bytearray(4), np.uint8).reshape(2, 2)
    from_bytearray.flags.writeable = False
    lasting = [reader.of_array(a).lasting for a in (writable, view, frozen, from_bytes, from_bytearray)]
    assert lasting == [False, False, True, True, False]
    assert reader.of_image((bytes(4), "raw", 2, 2, 2, "mono8", None)).lasting
    assert not reader.of_image((bytearray(4), "raw", 2, 2, 2, "mono8", None)).lasting


def test_h264_gives_each_picture_at_once_and_the_same_bytes_again() -> None:
    """No picture is held back, keyframes carry their parameter sets, and a second run equals the first."""
    dice = np.random.default_rng(3)
    pictures = [dice.integers(0, 256, (96, 128, 3), np.uint8) for _ in range(65)]

    def run() -> list[Encoded]:
        encoder = H264Encoder()
        return [encoder.encode(picture, "rgb8") for picture in pictures]

    first = run()
    assert [e.keyframe for e in first] == [k % 30 == 0 for k in range(65)]
    assert all((b"\x00\x00\x01\x67" in e.data) == e.keyframe for e in first)
    assert run() == first
