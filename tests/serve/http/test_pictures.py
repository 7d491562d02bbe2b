"""Pictures over HTTP: the right one for a time, without loss where it was stored so."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import numpy.typing as npt
import pytest
from tests.page.recorded import number_of, numbered, picture_of
from tests.serve.http.frames import Decoded, api, decode, part

from gapless import connect
from gapless.client.client import Client
from gapless.client.media_writer import MediaTopicWriter
from gapless.model.ontology import CompressedImage, Image

START_NS = 1_700_000_000_000_000_000
STEP_NS = 33_333_333  # about 30 Hz, on no tick of any clock
COUNT = 75  # two and a half groups of the encoder
DAYS_NS = START_NS + np.arange(365) * (86_400 * 10**9 + 1)
GREY = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 20 + 500
RAW = ("rgb8", "bgr8", "mono8", "mono16")


def time_of(number: int) -> int:
    """Return when the picture of a number was taken."""
    return START_NS + number * STEP_NS


def camera(sequence: Any, name: str, media: str) -> MediaTopicWriter:
    """Return a topic of encoded pictures."""
    topic = sequence.topic_create(name, ontology_type=Image, media=media)
    assert isinstance(topic, MediaTopicWriter)
    return topic


def record(client: Client) -> None:
    """Record cameras of every kind."""
    with client.sequence_create("drive") as sequence:
        topics = {media: camera(sequence, f"camera/{media}", media) for media in ("mp4", "png")}
        deep = {media: camera(sequence, f"depth/{media}", media) for media in ("png", "ffv1")}
        for number in range(COUNT):
            for topic in topics.values():
                topic.push_image(time_of(number), numbered(number))
            for topic in deep.values():
                topic.push_image(time_of(number), GREY + number)
        plain = sequence.topic_create("plain", ontology_type=Image)
        for number, kind in enumerate(RAW):
            data, width, stride = raw(kind)
            plain.push_row(time_of(number), data, "raw", width, 48, stride, kind, None)
        twice = sequence.topic_create("files", ontology_type=CompressedImage)
        for data, kind in [(png(), "png"), (b"II*\x00", "tiff"), (png(5), "png")]:
            twice.push_row(START_NS, data, kind)  # three at one time
        sequence.topic_create("empty", ontology_type=Image)
        sequence.log("speed", 1.0, timestamp_ns=START_NS)
    with client.sequence_create("year") as sequence:
        days = sequence.topic_create("day", ontology_type=CompressedImage)
        shown = png()
        for time_ns in DAYS_NS.tolist():
            days.push_row(time_ns, shown, "png")


def raw(kind: str) -> tuple[bytes, int, int]:
    """Return the bytes of a 64 x 48 picture with two bytes of nothing behind each row, its width and stride."""
    if kind in ("mono8", "mono16"):
        array = GREY if kind == "mono16" else (GREY // 256).astype(np.uint8)
    else:
        array = colours() if kind == "rgb8" else colours()[..., ::-1]
    row_bytes = array.nbytes // 48
    return b"".join(row.tobytes() + b"\xaa\xaa" for row in array), 64, row_bytes + 2


def colours() -> npt.NDArray[np.uint8]:
    """Return a picture whose channels differ."""
    return np.random.default_rng(3).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def png(value: int = 200) -> bytes:
    """Return a PNG file of another program."""
    file = io.BytesIO()
    with av.open(file, "w", format="image2pipe") as container:
        stream = container.add_stream("png")
        stream.width, stream.height, stream.pix_fmt = 8, 8, "gray"
        frame = av.VideoFrame.from_ndarray(np.full((8, 8), value, np.uint8), format="gray")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with cameras, one of them still recording."""
    root = tmp_path_factory.mktemp("pictures") / "store"
    with connect(root) as store:
        record(store)
        with store.sequence_create("live") as live:
            topic = camera(live, "camera", "mp4")
            for number in range(40):
                topic.push_image(time_of(number), numbered(number))
            live.flush()
            with api(root, root.parent / "work") as made:
                yield made


def place(topic: str, sequence: str = "drive") -> str:
    """Return the path of a topic."""
    return f"/sequences/{sequence}/topics/{part(topic)}"


def picture(
    client: httpx.Client, topic: str, time_ns: int, sequence: str = "drive", **asked: str
) -> httpx.Response:
    """Return the answer with a picture."""
    answer = client.get(f"{place(topic, sequence)}/picture", params={"time_ns": str(time_ns), **asked})
    assert answer.status_code == 200, answer.text
    return answer


def frames(client: httpx.Client, topic: str, sequence: str = "drive", **asked: int) -> Decoded:
    """Return when there are pictures."""
    answer = client.get(f"{place(topic, sequence)}/frames", params=asked)
    assert answer.status_code == 200, answer.text
    return decode(answer.content)


@pytest.mark.parametrize("number", [74, 0, 29, 30, 31, 59, 60, 1])
def test_every_picture_of_a_video_is_the_one_of_its_time(client: httpx.Client, number: int) -> None:
    """In any order, behind and before keyframes; the number that is drawn into it says which it is."""
    answer = picture(client, "camera/mp4", time_of(number), mode="at")
    assert answer.headers["content-type"] == "image/jpeg"
    assert number_of(picture_of(answer.content)) == number
    assert answer.headers["x-gapless-frame"] == str(number)
    assert answer.headers["x-gapless-time-ns"] == str(time_of(number))


@pytest.mark.parametrize(
    ("after_ns", "mode", "number"),
    [(1, "before", 10), (-1, "before", 9), (STEP_NS // 2 - 1, "nearest", 10), (STEP_NS // 2 + 1, "nearest", 11),
     (-STEP_NS * 20, "nearest", 0), (STEP_NS * 1000, "nearest", 74), (STEP_NS * 1000, "before", 74)],
)  # fmt: skip
def test_modes_choose_between_pictures(client: httpx.Client, after_ns: int, mode: str, number: int) -> None:
    """The last one before, or the closest."""
    answer = picture(client, "camera/png", time_of(10) + after_ns, mode=mode)
    assert answer.headers["x-gapless-frame"] == str(number)
    assert number_of(picture_of(answer.content)) == number


def test_png_comes_as_it_is_stored(client: httpx.Client) -> None:
    """Pixel for pixel."""
    answer = picture(client, "camera/png", time_of(7))
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(picture_of(answer.content), numbered(7))


@pytest.mark.parametrize("media", ["png", "ffv1"])
def test_sixteen_bits_stay_sixteen(client: httpx.Client, media: str) -> None:
    """The stored view is exact; the 8 bit one spreads the values and says between which."""
    answer = picture(client, f"depth/{media}", time_of(3))
    assert np.array_equal(sixteen(answer.content), GREY + 3)
    assert answer.headers["x-gapless-pixels"] == "mono16"
    shown = picture(client, f"depth/{media}", time_of(3), view="8bit")
    assert (shown.headers["x-gapless-low"], shown.headers["x-gapless-high"]) == ("503", str(GREY.max() + 3))
    grey = picture_of(shown.content)[..., 0].astype(int)
    assert (grey.min(), grey.max()) == (0, 255)
    assert np.array_equal(grey, np.rint((GREY - 500) * (255 / (GREY.max() - 500))))


def sixteen(data: bytes) -> npt.NDArray[Any]:
    """Return the pixels of a 16 bit PNG."""
    assert struct.unpack(">IIBB", data[16:26])[2:] == (16, 0)  # depth, grey
    with av.open(io.BytesIO(data), "r") as file:
        return next(file.decode(video=0)).to_ndarray()


@pytest.mark.parametrize("number", range(4))
def test_images_in_rows_are_shown_without_loss(client: httpx.Client, number: int) -> None:
    """Whatever order of colours and length of rows they have."""
    data = picture(client, "plain", time_of(number)).content
    kind = RAW[number]
    if kind == "mono16":
        assert np.array_equal(sixteen(data), GREY)
    elif kind == "mono8":
        assert np.array_equal(picture_of(data)[..., 0], GREY // 256)
    else:
        assert np.array_equal(picture_of(data), colours())


def test_files_in_rows_come_as_they_are(client: httpx.Client) -> None:
    """The last of three at one time; what browsers do not show is refused."""
    answer = picture(client, "files", START_NS)
    assert answer.content == png(5)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-gapless-frame"] == "2"


def test_the_list_of_pictures(client: httpx.Client) -> None:
    """Times, numbers and keyframes, and a video's seconds."""
    found = frames(client, "camera/mp4")
    assert found.times("time") == [time_of(n) for n in range(COUNT)]
    assert found.columns["number"].tolist() == list(range(COUNT))
    assert np.flatnonzero(found.columns["keyframe"]).tolist() == [0, 30, 60]
    assert set(found.columns["width"]) == {128}
    assert set(found.columns["height"]) == {96}
    header = found.header
    assert (header["encoding"], header["pixels"], header["video"]) == ("h264", "rgb8", True)
    assert (header["total"], header["next_ns"]) == (COUNT, None)
    assert np.allclose(found.columns["pts_s"], np.arange(COUNT) * STEP_NS / 1e9, rtol=0, atol=1e-5)


def test_the_list_goes_on_where_its_limit_cut_it(client: httpx.Client) -> None:
    """No picture twice, none left out."""
    numbers: list[int] = []
    start: int | None = time_of(5)
    while start is not None:
        found = frames(client, "camera/png", start_ns=start, end_ns=time_of(50), limit=20)
        numbers += found.columns["number"].tolist()
        start = None if found.header["next_ns"] is None else int(found.header["next_ns"])
    assert numbers == list(range(5, 50))
    assert len(frames(client, "files", limit=1).columns["time"]) == 3  # those of one time stay together


def test_pictures_of_a_year_have_exact_times(client: httpx.Client) -> None:
    """Also where float64 rounds their offsets: each is found by the time that was told."""
    frame = frames(client, "day", "year")
    assert frame.columns["time_ns"].tolist() == DAYS_NS.tolist() != frame.times("time")
    for number in (0, 1, 180, 364):
        answer = picture(client, "day", int(frame.columns["time_ns"][number]), "year", mode="at")
        assert answer.headers["X-Gapless-Frame"] == str(number)
    assert "time_ns" not in frames(client, "camera/mp4").columns


def test_topics_without_video_say_so(client: httpx.Client) -> None:
    """The list has no seconds of a file that there is not."""
    for topic in ("camera/png", "depth/ffv1", "plain", "files", "empty"):
        found = frames(client, topic)
        assert found.header["video"] is False, topic
        assert "pts_s" not in found.columns


def test_pictures_of_an_open_sequence(client: httpx.Client) -> None:
    """As far as they are durable."""
    found = frames(client, "camera", "live")
    assert len(found.columns["time"]) == 40
    assert found.header["video"] is False
    assert number_of(picture_of(picture(client, "camera", time_of(35), "live").content)) == 35


@pytest.mark.parametrize(
    ("topic", "asked", "status", "words"),
    [
        pytest.param(
            "camera/png", {"time_ns": START_NS - 1}, 404, "no picture at that time", id="before the first"
        ),
        pytest.param(
            "camera/png", {"time_ns": START_NS + 1, "mode": "at"}, 404, "mode=nearest", id="between two"
        ),
        pytest.param(
            "empty", {"time_ns": START_NS, "mode": "nearest"}, 404, "the topic has none", id="none at all"
        ),
        pytest.param("speed", {"time_ns": START_NS}, 400, "holds no pictures", id="no camera"),
        pytest.param("nothing", {"time_ns": START_NS}, 404, "no such topic", id="no topic"),
        pytest.param("camera/png", {}, 422, "time_ns", id="no time"),
        pytest.param("camera/png", {"time_ns": START_NS, "mode": "after"}, 422, "mode", id="unknown mode"),
        pytest.param("camera/png", {"time_ns": START_NS, "view": "16bit"}, 422, "view", id="unknown view"),
    ],
)
def test_what_cannot_be_shown_is_told(
    client: httpx.Client, topic: str, asked: dict[str, Any], status: int, words: str
) -> None:
    """Each with what to do instead."""
    answer = client.get(f"{place(topic)}/picture", params=asked)
    assert answer.status_code == status, answer.text
    assert words in answer.text


def test_pictures_after_lost_ones_are_refused_until_the_next_keyframe(tmp_path: Path) -> None:
    """A picture is shown right or not at all."""
    from gapless.serve.http.picture_index import PictureIndex

    packet = np.array([0, 1, 3, 4, 5, 0, 1])
    index = PictureIndex(
        np.arange(7), np.array([0, 0, 0, 0, 0, 1, 1]), packet,
        np.array([True, False, False, True, False, False, False]),
        np.full(7, 8), np.full(7, 8), ("", "later"), "h264", "rgb8",
    )  # fmt: skip
    assert index.decodable.tolist() == [True, True, False, True, True, False, False]
    assert index.group(4).tolist() == [3, 4]
    assert np.flatnonzero(np.isnan(index.shown_s)).tolist() == [2, 5, 6]
