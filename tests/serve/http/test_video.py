"""Video over HTTP: the stored packets as a file that browsers play, with byte ranges."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from tests.page.recorded import number_of, numbered
from tests.serve.http.frames import api, decode

from gapless import connect
from gapless.client.media_writer import MediaTopicWriter
from gapless.client.sequence_writer import SequenceWriter
from gapless.errors import LimitReached
from gapless.model.ontology import Image
from gapless.serve.http.video_cache import MOST_BUSY, VideoCache

START_NS = 1_700_000_000_000_000_000
# Irregular: pictures closer than a tick of the file's clock, one that was pushed late, a pause of five hours.
TIMES = [0, 5, 9, 40_000_000, 30_000_000, 90_000_000, 18_000_000_000_000, 18_000_033_333_333]
VIDEO = "/sequences/drive/topics/camera/video"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with a camera, a layer's camera, one that is still recording, and one without video."""
    root = tmp_path_factory.mktemp("video") / "store"
    with connect(root) as store:
        with store.sequence_create("drive") as sequence:
            camera, still = (
                sequence.topic_create(name, ontology_type=Image, media=media)
                for name, media in (("camera", "mp4"), ("still", "png"))
            )
            assert isinstance(camera, MediaTopicWriter)
            assert isinstance(still, MediaTopicWriter)
            for number, time_ns in enumerate(TIMES):
                camera.push_image(START_NS + time_ns, numbered(number))
            still.push_image(START_NS, numbered(0))
        with store.sequence_create("layered") as sequence:
            push_every_other(sequence, 0)
        with store.sequence_update("layered", "later") as sequence:
            push_every_other(sequence, 1)
        with store.sequence_create("live") as live:
            topic = live.topic_create("camera", ontology_type=Image, media="mp4")
            assert isinstance(topic, MediaTopicWriter)
            topic.push_image(START_NS, numbered(0))
            live.flush()
            with api(root, root.parent / "work") as made:
                yield made


def push_every_other(sequence: SequenceWriter, late: int) -> None:
    """Record three pictures, 2 s apart, whose numbers count from 0 or, a second later, from 3."""
    camera = sequence.topic_create("camera", ontology_type=Image, media="mp4")
    assert isinstance(camera, MediaTopicWriter)
    for number in range(3):
        camera.push_image(START_NS + (2 * number + late) * 10**9, numbered(3 * late + number))


def test_pictures_of_a_layer_follow_in_the_video(client: httpx.Client) -> None:
    """The list, in time order, says where each is."""
    path = VIDEO.replace("drive", "layered")
    found = decode(client.get(path.replace("/video", "/frames")).content)
    assert found.times("time") == [START_NS + second * 10**9 for second in range(6)]
    seconds = found.columns["pts_s"].tolist()
    with av.open(io.BytesIO(client.get(path).content), "r") as file:
        shown = {made.time: number_of(made.to_ndarray(format="rgb24")) for made in file.decode(video=0)}
    assert [shown[second] for second in seconds] == [0, 3, 1, 4, 2, 5]


def whole(client: httpx.Client) -> httpx.Response:
    """Return the answer with the whole file."""
    answer = client.get(VIDEO)
    assert answer.status_code == 200, answer.text
    return answer


def test_the_video_shows_each_picture_at_the_second_that_the_list_says(client: httpx.Client) -> None:
    """To the tick of the file, also where the times of pictures fall or lie closer than a tick."""
    answer = whole(client)
    assert answer.headers["content-type"] == "video/mp4"
    found = decode(client.get(VIDEO.replace("/video", "/frames")).content)
    seconds = dict(zip(found.columns["number"].tolist(), found.columns["pts_s"].tolist(), strict=True))
    in_time = sorted(range(len(TIMES)), key=lambda number: TIMES[number])
    with av.open(io.BytesIO(answer.content), "r") as file:
        shown = [(number_of(made.to_ndarray(format="rgb24")), made.time) for made in file.decode(video=0)]
    assert [number for number, _ in shown] == list(range(len(TIMES)))
    assert [second for _, second in shown] == [seconds[in_time.index(number)] for number, _ in shown]
    assert seconds[in_time.index(7)] == pytest.approx(18_000.033333, abs=1e-5)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-99", 0, 99),
        ("bytes=100-", 100, None),
        ("bytes=-50", -50, None),
        ("bytes=10-999999999", 10, None),
    ],
)
def test_a_byte_range_is_sent_alone(client: httpx.Client, asked: str, first: int, last: int | None) -> None:
    """As 206, with the place in the whole."""
    data = whole(client).content
    answer = client.get(VIDEO, headers={"Range": asked})
    begin = first if first >= 0 else len(data) + first
    end = len(data) - 1 if last is None else last
    assert answer.status_code == 206
    assert answer.content == data[begin : end + 1]
    assert answer.headers["content-range"] == f"bytes {begin}-{end}/{len(data)}"
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("asked", [{}, {"Range": "bytes=0-99"}])
def test_the_head_of_a_video_is_its_answer_without_a_body(
    client: httpx.Client, asked: dict[str, str]
) -> None:
    """A player asks first how long it is, and whether it may ask for parts."""
    known = ("content-type", "content-length", "content-range", "accept-ranges", "etag", "last-modified")
    sent = client.get(VIDEO, headers=asked)
    head = client.head(VIDEO, headers=asked)
    assert (head.status_code, head.content) == (sent.status_code, b"")
    assert {name: head.headers.get(name) for name in known} == {
        name: sent.headers.get(name) for name in known
    }
    assert head.headers["accept-ranges"] == "bytes"
    assert int(head.headers["content-length"]) == len(sent.content)


@pytest.mark.parametrize(("topic", "status"), [("still", 404), ("nothing", 404)])
def test_a_head_is_refused_as_the_video_is(client: httpx.Client, topic: str, status: int) -> None:
    """By its status alone."""
    answer = client.head(VIDEO.replace("camera", topic))
    assert (answer.status_code, answer.content) == (status, b"")


def test_a_range_behind_the_end_is_refused(client: httpx.Client) -> None:
    """With the length there is."""
    answer = client.get(VIDEO, headers={"Range": "bytes=999999999-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(whole(client).content)}"


def test_a_range_counts_only_for_the_same_bytes(client: httpx.Client) -> None:
    """If-Range with another tag gets the whole file."""
    answer = whole(client)
    assert answer.headers["accept-ranges"] == "bytes"
    same = client.get(VIDEO, headers={"Range": "bytes=0-9", "If-Range": answer.headers["etag"]})
    other = client.get(VIDEO, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (same.status_code, len(same.content)) == (206, 10)
    assert (other.status_code, other.content) == (200, answer.content)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        pytest.param(VIDEO.replace("camera", "still"), 404, "shows its pictures", id="single images"),
        pytest.param(VIDEO.replace("camera", "nothing"), 404, "no such topic", id="no topic"),
        pytest.param(VIDEO.replace("drive", "live"), 409, "before the sequence is sealed", id="open"),
        pytest.param(VIDEO.replace("camera", "_events"), 400, "holds no pictures", id="no camera"),
    ],
)
def test_what_has_no_video_says_so(client: httpx.Client, path: str, status: int, words: str) -> None:
    """And where its pictures are."""
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert words in answer.text


def test_files_are_built_once_and_the_oldest_goes() -> None:
    """Within the bound; the one that was asked for last stays."""
    cache, built = VideoCache(most_bytes=100), list[str]()

    def ask(name: str) -> Path:
        def build(path: Path) -> None:
            built.append(path.name)
            path.write_bytes(bytes(40))

        return cache.file(name, 40, build)

    for name in ("a", "b", "a", "c", "a"):
        assert ask(name).stat().st_size == 40
    assert built == ["a", "b", "c"]
    assert sorted(path.name for path in cache.folder.iterdir()) == ["a", "c"]
    ask("b")
    assert built == ["a", "b", "c", "b"]
    with pytest.raises(LimitReached):
        cache.file("d", 101, lambda path: path.write_bytes(b""))


def test_a_build_that_fails_leaves_nothing() -> None:
    """The next one may succeed."""
    cache = VideoCache(most_bytes=100)

    def broken(path: Path) -> None:
        raise ValueError(path.name)

    with pytest.raises(ValueError, match="a"):
        cache.file("a", 60, broken)
    assert cache.file("a", 60, lambda path: path.write_bytes(b"x")).read_bytes() == b"x"
    assert cache.file("b", 60, lambda path: path.write_bytes(b"y")).read_bytes() == b"y"


def test_builds_take_only_some_of_the_threads() -> None:
    """Who would have to wait behind the others is told so, and a file that is there is given all the same."""
    cache, go = VideoCache(), threading.Event()
    cache.file("there", 1, lambda path: path.write_bytes(b"x"))

    def slow(path: Path) -> None:
        begun.release()
        assert go.wait(60)
        path.write_bytes(b"y")

    begun = threading.Semaphore(0)
    waiting = [threading.Thread(target=cache.file, args=(f"slow{n}", 1, slow)) for n in range(MOST_BUSY)]
    for thread in waiting:
        thread.start()
    for _ in waiting:
        assert begun.acquire(timeout=60)
    with pytest.raises(LimitReached, match="as many videos"):
        cache.file("more", 1, slow)
    assert cache.file("there", 1, slow).read_bytes() == b"x"
    go.set()
    for thread in waiting:
        thread.join()
    assert cache.file("more", 1, slow).read_bytes() == b"y"


def test_the_folder_goes_with_its_cache() -> None:
    """Nothing is left in the system's temporary folder."""
    cache = VideoCache()
    folder = cache.file("a", 1, lambda path: path.write_bytes(b"x")).parent
    assert folder.exists()
    del cache
    assert not folder.exists()


def test_a_server_leaves_no_folder(tmp_path: Path) -> None:
    """Its videos are gone when it has stopped."""
    with connect(tmp_path / "store") as store, store.sequence_create("drive") as sequence:
        camera = sequence.topic_create("camera", ontology_type=Image, media="mp4")
        assert isinstance(camera, MediaTopicWriter)
        camera.push_image(START_NS, np.zeros((16, 16, 3), np.uint8))
    folder = tmp_path / "temporary"
    folder.mkdir()
    with api(tmp_path / "store", tmp_path / "work", TMPDIR=str(folder)) as client:
        whole(client)
        assert len(list(folder.glob("gapless-videos-*/*.mp4"))) == 1
    assert list(folder.glob("gapless-videos-*")) == []
