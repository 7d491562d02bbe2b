"""Pictures in, encoded rows on disk, pictures out: through the client, with the real encoders."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from gapless.client.client import Client, connect
from gapless.client.media_writer import MediaTopicWriter
from gapless.client.sequence_writer import SequenceWriter
from gapless.errors import (
    IntegrityError,
    MediaFailed,
    MissingExtra,
    NameTaken,
    NotFound,
    SchemaRefused,
    UsageError,
    ValueRefused,
    WriterClosed,
    WrongProcess,
    WrongThread,
)
from gapless.model.message import Message
from gapless.model.ontology.images import Image
from gapless.model.ontology.sensors import IMU
from gapless.model.outcome import OnErrorPolicy, TopicErrorPolicy
from gapless.store.media.rows import EncodedImage, Media

Pixels = npt.NDArray[Any]


def numbered(k: int) -> Pixels:
    """Return a picture that says k in blocks of black and white, which lossy codecs keep."""
    picture = np.zeros((48, 64, 3), np.uint8)
    for bit in range(12):
        if k >> bit & 1:
            picture[16 * (bit // 4) :, 16 * (bit % 4) :][:16, :16] = 255
    return picture


def number_of(picture: Pixels) -> int:
    """Return the number that a picture says."""
    return sum(int(picture[16 * (b // 4) + 8, 16 * (b % 4) + 8].mean() > 128) << b for b in range(12))


def camera(seq: SequenceWriter, media: str = "mp4", **options: Any) -> MediaTopicWriter:
    """Return a new media topic ``cam``."""
    topic = seq.topic_create("cam", ontology_type=Image, media=Media(media), **options)
    assert isinstance(topic, MediaTopicWriter)
    return topic


def record(client: Client, media: str, pictures: range, *, flush_every: int = 0) -> None:
    """Record numbered pictures into sequence ``s``, ten milliseconds apart."""
    with client.sequence_create("s") as seq:
        cam = camera(seq, media)
        for k in pictures:
            cam.push_image(k * 10_000_000, numbered(k))
            if flush_every and k % flush_every == 0:
                cam.flush()


def numbers(client: Client, *window: int | None, **options: Any) -> list[int]:
    """Return the numbers that the pictures of ``s`` say."""
    return [number_of(p) for _, p in client.sequence_handler("s").topic("cam").frames(*window, **options)]


def image(data: Any, width: int, height: int, stride: int, encoding: str, **more: Any) -> Image:
    """Return raw pixels as an Image."""
    return Image(
        data=data, format="raw", width=width, height=height, stride=stride, encoding=encoding, **more
    )


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("u1", (7, 5, 3)), ("u1", (7, 5)), ("u2", (7, 5)), ("u1", (1, 1)), ("u1", (300, 200, 3))],
)
def test_png_gives_back_the_very_pixels(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    """Noise pushed as png comes back equal, with its exact times, from every kind of array."""
    dice = np.random.default_rng(1)
    top = np.iinfo(dtype).max + 1
    pictures = [dice.integers(0, top, shape).astype(dtype) for _ in range(5)]
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            cam = camera(seq, "png")
            for k, picture in enumerate(pictures):
                cam.push_image(1_700_000_000_000_000_001 + k, picture)
        found = list(client.sequence_handler("s").topic("cam").frames())
    assert [t for t, _ in found] == [1_700_000_000_000_000_001 + k for k in range(5)]
    assert all(a.dtype == b.dtype and np.array_equal(a, b) for (_, a), b in zip(found, pictures, strict=True))


def test_images_of_the_ontology_are_read_row_by_row(tmp_path: Path) -> None:
    """Stride, BGR and the order of bytes of an Image are understood."""
    dice = np.random.default_rng(2)
    padded = dice.integers(0, 256, (6, 20), np.uint8)
    deep = dice.integers(0, 65536, (6, 4)).astype(np.uint16)
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            for name in ("rgb", "bgr", "big", "little"):
                seq.topic_create(name, ontology_type=Image, media="png")
            colour = padded.tobytes()
            seq.get_topic_writer("rgb").push(Message(1, image(colour, 5, 6, 20, "rgb8")))
            seq.get_topic_writer("bgr").push(Message(1, image(bytearray(colour), 5, 6, 20, "bgr8")))
            big, little = deep.astype(">u2").tobytes(), deep.astype("<u2").tobytes()
            seq.get_topic_writer("big").push(Message(1, image(big, 4, 6, 8, "mono16", is_bigendian=True)))
            seq.get_topic_writer("little").push(Message(1, image(little, 4, 6, 8, "mono16")))
        handler = client.sequence_handler("s")
        found = {name: next(handler.topic(name).frames())[1] for name in handler.topics}
    rgb = padded[:, :15].reshape(6, 5, 3)
    assert np.array_equal(found["rgb"], rgb)
    assert np.array_equal(found["bgr"], rgb[:, :, ::-1])
    assert np.array_equal(found["big"], deep)
    assert np.array_equal(found["little"], deep)


def test_video_shows_every_picture_in_order(tmp_path: Path) -> None:
    """Each pushed picture is one row with its exact time, and decodes to what was pushed."""
    with connect(tmp_path) as client:
        record(client, "mp4", range(100))
        topic = client.sequence_handler("s").topic("cam")
        assert numbers(client) == list(range(100))
        assert topic.to_arrow()["timestamp_ns"].to_pylist() == [k * 10_000_000 for k in range(100)]
        assert topic.to_arrow()["keyframe"].to_pylist() == [k % 30 == 0 for k in range(100)]
        assert topic.ledger == {"produced": 100, "written": 100, "dropped": 0, "gapped": 0}
        assert client.verify("s", deep=True) == []


def test_grey_video_comes_back_grey(tmp_path: Path) -> None:
    """mono8 in H.264 reads as [h, w] of nearly the same grey."""
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            camera(seq).push_image(0, ramp)
        ((_, found),) = client.sequence_handler("s").topic("cam").frames()
    assert found.shape == ramp.shape
    assert np.abs(found.astype(int) - ramp).max() < 16


@pytest.mark.parametrize("media", ["png", "mp4"])
def test_a_window_shows_its_pictures_and_no_others(tmp_path: Path, media: str) -> None:
    """A half-open window in the middle of a group of pictures is decoded from the keyframe before it."""
    with connect(tmp_path) as client:
        record(client, media, range(70))
        assert numbers(client, 470_000_000, 520_000_000) == [47, 48, 49, 50, 51]
        assert numbers(client, None, 20_000_000) == [0, 1]
        assert numbers(client, 680_000_000, None) == [68, 69]
        assert numbers(client, 10_000_000_000, None) == []


def test_pictures_out_of_order_in_time_decode_as_they_were_pushed(tmp_path: Path) -> None:
    """Times that jump back or repeat are kept, and the decoder still gets the encoder's order."""
    times = [k * 10 - (95 if k % 7 == 6 else 0) for k in range(60)]
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            cam = camera(seq)
            for k, time_ns in enumerate(times):
                cam.push_image(time_ns, numbered(k))
        assert numbers(client) == list(range(60))
        found = [t for t, _ in client.sequence_handler("s").topic("cam").frames(300, 400)]
    assert found == [t for t in times if 300 <= t < 400]


def test_the_caller_may_change_its_array_at_once(tmp_path: Path) -> None:
    """One array pushed again and again with new pixels: every push is what it was at its time."""
    picture = np.zeros((48, 64, 3), np.uint8)
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            cam = camera(seq, "png")
            for k in range(50):
                picture[:] = numbered(k)
                cam.push_image(k, picture)
                picture[:] = 77
        assert numbers(client) == list(range(50))


def test_an_open_topic_shows_what_flush_made_durable(tmp_path: Path) -> None:
    """flush waits for the encoder and the disk: all pictures are readable while the recording goes on."""
    with connect(tmp_path) as client, client.sequence_create("s") as seq:
        cam = camera(seq)
        for k in range(40):
            cam.push_image(k, numbered(k))
        seq.flush()
        assert (cam.pending_frames, cam.durable_rows) == (0, 40)
        assert numbers(client) == list(range(40))


def test_columns_and_batches_of_images_are_encoded(tmp_path: Path) -> None:
    """push_columns and push_batch take the columns of Image; one bad row refuses the whole block."""
    columns = {
        "data": [numbered(k).tobytes() for k in range(4)],
        "format": ["raw"] * 4,
        "width": [64] * 4,
        "height": [48] * 4,
        "stride": [192] * 4,
        "encoding": ["rgb8"] * 4,
    }
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            cam = camera(seq)
            cam.push_columns(np.arange(4), columns)
            cam.push_batch(pa.table({"timestamp_ns": pa.array([4, 5, 6, 7]), **columns}))
            with pytest.raises(ValueRefused, match="of one size and kind"):
                cam.push_columns(np.arange(4), columns | {"height": [48, 48, 48, 24]})
        assert numbers(client) == [0, 1, 2, 3, 0, 1, 2, 3]


def test_the_clock_of_the_sequence_stamps_at_the_push(tmp_path: Path) -> None:
    """Without a time a picture gets the time of its push, not that of its encoding."""
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            cam = camera(seq)
            before = seq.now_ns()
            cam.push_image(None, numbered(1))
            after = seq.now_ns()
        topic = client.sequence_handler("s").topic("cam")
        assert before <= next(topic.frames())[0] <= after
        assert topic.clock == "gapless"


def test_pictures_numbered_by_the_producer_leave_gaps(tmp_path: Path) -> None:
    """A hole in the producer's numbers is a gap of the topic, and the pictures around it decode."""
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            cam = camera(seq, producer_seq=True)
            for k in (0, 1, 2, 5, 6):
                cam.push_image(k, numbered(k), seq=k)
            with pytest.raises(ValueRefused, match="numbers its messages"):
                cam.push_image(9, numbered(9))
        assert numbers(client) == [0, 1, 2, 5, 6]
        assert client.sequence_handler("s").topic("cam").ledger["gapped"] == 2


def test_another_thread_needs_a_lane_of_its_own(tmp_path: Path) -> None:
    """A second thread is refused, and through lane() its pictures join the same stream."""
    refused: list[Exception] = []

    def produce(cam: MediaTopicWriter) -> None:
        try:
            cam.push_image(1, numbered(1))
        except WrongThread as error:
            refused.append(error)
        other = cam.lane()
        assert isinstance(other, MediaTopicWriter)
        for k in range(20, 40):
            other.push_image(k, numbered(k))

    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            cam = camera(seq)
            cam.push_image(0, numbered(0))
            thread = threading.Thread(target=produce, args=(cam,))
            thread.start()
            for k in range(1, 20):
                cam.push_image(k, numbered(k))
            thread.join()
        assert sorted(numbers(client)) == list(range(40))
    assert len(refused) == 1


def test_a_forked_child_cannot_push_pictures(tmp_path: Path) -> None:
    """The child's push raises, though it forked right after the topic was made; the parent goes on."""
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            cam = camera(seq)
            cam.push_image(0, numbered(0))
            child = os.fork()
            if not child:
                try:
                    cam.push_image(1, numbered(1))
                except (WrongProcess, WriterClosed):
                    os._exit(7)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            cam.push_image(1, numbered(1))
        assert numbers(client) == [0, 1]


@pytest.mark.parametrize("media", ["png", "mp4"])
def test_same_pictures_same_digest(tmp_path: Path, media: str) -> None:
    """However often the producer flushes, the same pictures make the same sequence."""
    digests = set()
    for every in (0, 1, 7):
        with connect(tmp_path / str(every)) as client:
            record(client, media, range(40), flush_every=every)
            digests.add(
                json.loads((tmp_path / str(every) / "sequences/s/manifest.json").read_text())[
                    "content_digest"
                ]
            )
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("array", "field"),
    [
        (np.zeros((24, 64, 3), np.uint8), "data"),
        (np.zeros((48, 64), np.uint8), "data"),
        (np.zeros((48, 64, 4), np.uint8), "data"),
        (np.zeros((48, 64, 3), np.float32), "data"),
        (np.zeros((48, 63, 3), np.uint8), "data"),
        (np.zeros((48, 64), np.uint16), "encoding"),
        ([[1, 2], [3, 4]], "data"),
    ],
)
def test_a_picture_that_does_not_fit_is_refused_at_the_push(tmp_path: Path, array: Any, field: str) -> None:
    """The error names the field; what was pushed before and after is unharmed."""
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            cam = camera(seq)
            cam.push_image(0, numbered(0))
            with pytest.raises(ValueRefused) as caught:
                cam.push_image(1, array)
            assert (caught.value.sequence, caught.value.topic, caught.value.field) == ("s", "cam", field)
            cam.push_image(2, numbered(2))
        assert numbers(client) == [0, 2]


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": "png"},
        {"encoding": "yuv"},
        {"width": 0},
        {"width": 2.5},
        {"stride": 100},
        {"height": 49},
        {"data": "text"},
    ],
)
def test_an_image_that_contradicts_itself_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Format, pixels, counts and bytes must agree."""
    values: dict[str, Any] = {
        "data": numbered(0).tobytes(), "format": "raw", "width": 64, "height": 48, "stride": 192, "encoding": "rgb8"
    }  # fmt: skip
    with connect(tmp_path) as client, client.sequence_create("s") as seq:
        cam = camera(seq, "png")
        with pytest.raises(ValueRefused):
            cam.push(Message(0, Image(**(values | wrong))))


def test_a_policy_counts_what_was_refused(tmp_path: Path) -> None:
    """Under Ignore and Quarantine a wrong picture is dropped by its policy, and the ledger balances."""
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            cam = camera(seq, on_error=TopicErrorPolicy.Quarantine)
            cam.push_image(0, numbered(0))
            cam.push_image(1, np.zeros((2, 2), np.uint8))
            cam.push_row(2, numbered(2).tobytes(), "raw", 64, 48, 192, "rgb8", None)
            assert cam.ledger.produced == 3
            assert len(cam.quarantined()) == 1
            fixed = image(numbered(1).tobytes(), 64, 48, 192, "rgb8")
            assert cam.repush(lambda kept: Message(kept.timestamp_ns, fixed)) == 1
        assert sorted(numbers(client)) == [0, 1, 2]
        ledger = client.sequence_handler("s").topic("cam").ledger
    assert ledger == {"produced": 4, "written": 3, "dropped": 1, "gapped": 0}


def test_only_plain_images_can_be_encoded(tmp_path: Path) -> None:
    """A schema, another type or an unknown medium is an error at topic_create, and takes no name."""
    with connect(tmp_path) as client, client.sequence_create("s") as seq:
        with pytest.raises(SchemaRefused):
            seq.topic_create("cam", ontology_type=IMU, media="mp4")
        with pytest.raises(SchemaRefused):
            seq.topic_create("cam", schema=pa.schema([("data", pa.large_binary())]), media="png")
        with pytest.raises(UsageError, match="unknown media"):
            seq.topic_create("cam", ontology_type=Image, media="gif")
        camera(seq).push_image(0, numbered(0))


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """topic_create tells what to install before any picture is pushed."""
    monkeypatch.setitem(sys.modules, "av", None)
    with (
        connect(tmp_path) as client,
        client.sequence_create("s") as seq,
        pytest.raises(MissingExtra, match=r"gapless\[video\]"),
    ):
        camera(seq)


# -- an encoder that fails: libx264 takes no picture wider than 16,384 pixels --------------------------

TOO_WIDE = np.zeros((2, 16_400, 3), np.uint8)


def record_spoiled(client: Client) -> None:
    """Record a note and a picture that no encoder takes."""
    with client.sequence_create("s", on_error=OnErrorPolicy.Report) as seq:
        seq.log("note", 1.0)
        camera(seq).push_image(5, TOO_WIDE)


def record_and_fail(client: Client) -> None:
    """Record twelve pictures, then fail as a program does."""
    with client.sequence_create("s", on_error=OnErrorPolicy.Report) as seq:
        cam = camera(seq)
        for k in range(12):
            cam.push_image(k, numbered(k))
        raise ZeroDivisionError


def test_a_failing_encoder_fails_the_sequence(tmp_path: Path) -> None:
    """The end of the block raises MediaFailed naming topic and picture; Report keeps the sequence pending."""
    with connect(tmp_path) as client:
        with pytest.raises(MediaFailed, match="picture 0") as caught:
            record_spoiled(client)
        assert caught.value.topic == "cam"
        assert client.sequence_handler("s").state == "pending"
        client.seal("s")
        handler = client.sequence_handler("s")
        assert handler.outcome == "failed"
        assert handler.topic("cam").ledger == {"produced": 1, "written": 0, "dropped": 1, "gapped": 0}
        assert handler.topic("note").rows == 1
        assert client.verify("s", deep=True) == []


def test_a_failure_that_the_program_handled_does_not_fail_the_sequence(tmp_path: Path) -> None:
    """flush raises it once; the topic takes no more, the others go on, and the loss is in the ledger."""
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            cam = camera(seq)
            cam.push_image(0, TOO_WIDE)
            with pytest.raises(MediaFailed):
                seq.flush()
            with pytest.raises(MediaFailed):
                cam.push_image(1, TOO_WIDE)
            seq.log("note", 1.0)
            seq.flush()
        handler = client.sequence_handler("s")
        assert handler.outcome == "completed"
        assert handler.topic("cam").ledger == {"produced": 1, "written": 0, "dropped": 1, "gapped": 0}


def test_the_policy_delete_discards_what_the_encoder_spoiled(tmp_path: Path) -> None:
    """Under Delete a failing encoder moves the sequence to the trash like any other error."""
    with connect(tmp_path) as client:
        with pytest.raises(MediaFailed), client.sequence_create("s") as seq:
            camera(seq).push_image(0, TOO_WIDE)
        assert client.list_sequences() == []


def test_closing_a_topic_finishes_its_pictures(tmp_path: Path) -> None:
    """close() encodes what waits and takes no more."""
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            cam = camera(seq)
            for k in range(10):
                cam.push_image(k, numbered(k))
            cam.close()
            assert cam.pending_frames == 0
            with pytest.raises(WriterClosed):
                cam.push_image(10, numbered(10))
        assert numbers(client) == list(range(10))


def test_an_error_in_the_block_still_encodes_what_was_pushed(tmp_path: Path) -> None:
    """Under Report the pictures that waited when the program failed are kept."""
    with connect(tmp_path) as client:
        with pytest.raises(ZeroDivisionError):
            record_and_fail(client)
        assert numbers(client) == list(range(12))


# -- reading what is not whole, and writing files ------------------------------------------------------


def test_a_missing_picture_is_never_papered_over(tmp_path: Path) -> None:
    """Pictures after a hole raise, or are left out until the next keyframe; none is shown wrongly."""
    with connect(tmp_path) as client:
        record(client, "mp4", range(40))
        rows = client.sequence_handler("s").topic("cam").to_arrow()
        with client.sequence_create("holed") as seq:
            copy = seq.topic_create("cam", ontology_type=EncodedImage)
            copy.push_batch(pa.concat_tables([rows.slice(0, 10), rows.slice(11)]))
        topic = client.sequence_handler("holed").topic("cam")
        with pytest.raises(IntegrityError, match="picture 11"):
            list(topic.frames())
        found = [number_of(p) for _, p in topic.frames(skip_undecodable=True)]
        assert found == [*range(10), *range(30, 40)]
        assert [number_of(p) for _, p in topic.frames(300_000_000)] == list(range(30, 40))


def test_a_layer_goes_on_with_the_video(tmp_path: Path) -> None:
    """Pictures of a layer come after those of the base, from a stream of their own."""
    with connect(tmp_path) as client:
        record(client, "mp4", range(35))
        with client.sequence_update("s", "later") as layer:
            cam = camera(layer)
            for k in range(35, 45):
                cam.push_image(k * 10_000_000, numbered(k))
        assert numbers(client) == list(range(45))
        written = client.sequence_handler("s").topic("cam").write_video(tmp_path / "all.mp4")
        assert written.frames == 45


def test_write_video_keeps_the_bytes_and_the_times(tmp_path: Path) -> None:
    """A player sees every picture at its time to a tick of 1/90000 s, and the packets are those stored."""
    times = [0, 33_333_333, 33_333_333, 90_000_000, 5_000_000_000]
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            cam = camera(seq)
            for k, time_ns in enumerate(times):
                cam.push_image(1_700_000_000_000_000_000 + time_ns, numbered(k))
        written = client.sequence_handler("s").topic("cam").write_video(tmp_path / "cam.mp4")
        with pytest.raises(NameTaken):
            client.sequence_handler("s").topic("cam").write_video(tmp_path / "cam.mp4")
    with av.open(str(tmp_path / "cam.mp4")) as video:
        pictures = list(video.decode(video=0))
    assert (written.frames, written.moved) == (5, 1)
    assert [p.pts for p in pictures] == [0, 3000, 3001, 8100, 450_000]
    assert [number_of(p.to_ndarray(format="rgb24")) for p in pictures] == list(range(5))
    assert sorted(p.name for p in tmp_path.glob("*.mp4*")) == ["cam.mp4"]


def test_a_window_of_video_begins_at_its_keyframe(tmp_path: Path) -> None:
    """A file that starts in the middle holds the pictures back to the keyframe; one of nothing is refused."""
    with connect(tmp_path) as client:
        record(client, "mp4", range(50))
        topic = client.sequence_handler("s").topic("cam")
        written = topic.write_video(tmp_path / "part.mp4", 400_000_000, 450_000_000)
        assert (written.frames, written.start_ns, written.end_ns) == (15, 300_000_000, 440_000_000)
        with pytest.raises(NotFound):
            topic.write_video(tmp_path / "none.mp4", 900_000_000)
    assert not (tmp_path / "none.mp4").exists()


def test_write_images_writes_the_stored_files(tmp_path: Path) -> None:
    """One PNG for each picture, in order, that any reader opens; video is refused with the way to go."""
    with connect(tmp_path) as client:
        record(client, "png", range(5))
        topic = client.sequence_handler("s").topic("cam")
        paths = topic.write_images(tmp_path / "out", 10_000_000)
        assert [p.name for p in paths] == [f"{k:08d}_{(k + 1) * 10_000_000}.png" for k in range(4)]
        stored = topic.to_arrow(["data"], 10_000_000)["data"].to_pylist()
        assert [p.read_bytes() for p in paths] == stored
        with pytest.raises(UsageError, match="write_images"):
            topic.write_video(tmp_path / "x.mp4")
        with pytest.raises(SchemaRefused):
            list(_plain_topic(client).frames())


def _plain_topic(client: Client) -> Any:
    with client.sequence_create("plain") as seq:
        seq.log("x", 1.0)
    return client.sequence_handler("plain").topic("x")
