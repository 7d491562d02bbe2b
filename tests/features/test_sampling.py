"""Frames chosen over a data set: how many, how far apart, the same ones each time, and their pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import gapless
from gapless import Image
from gapless.errors import ArgumentRefused, NotFound
from gapless.features import Dataset, sample_frames
from gapless.features.sampling import METHODS, FrameSample, Method

from .toy_features import Double

SEQUENCES, FRAMES = 4, 60
PERIOD_NS = 100_000_000


def record(store: Path) -> None:
    """Record two objects a sequence, whose places make three heaps; the last sequence is twice as long."""
    with gapless.connect(store) as client:
        for number in range(SEQUENCES):
            frames = FRAMES * (2 if number == SEQUENCES - 1 else 1)
            with client.sequence_create(f"s{number}", group="g") as writer:
                schema = pa.schema([("id", pa.int64()), ("x", pa.float64())])
                times = np.repeat(np.arange(frames, dtype=np.int64) * PERIOD_NS, 2)
                heap = np.repeat(np.arange(frames) * 3 // frames, 2)
                columns = {"id": np.tile([1, 2], frames), "x": 100.0 * heap + times / 1e12}
                writer.topic_create("tracks", schema=schema).push_columns(times, columns)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with four sequences."""
    path = tmp_path_factory.mktemp("sampling") / "store"
    record(path)
    return path


@pytest.fixture
def ds(store: Path) -> Iterator[Dataset]:
    """Give the data set."""
    with Dataset(store) as found:
        yield found


def pairs(sample: FrameSample) -> list[tuple[str, int]]:
    """Return sequence and frame of each chosen frame."""
    return list(zip(sample.table["sequence"], sample.table["frame"], strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_as_many_as_wanted_each_once_and_the_same_again(ds: Dataset, method: Method) -> None:
    """A frame of several rows is one frame; the second time nothing is computed."""
    by = ds.run_feature(Double()) if method == "kmeans" else None
    sample = sample_frames(ds, 20, method, by=by, seed=3)
    assert len(sample) == len(set(pairs(sample))) == 20
    assert list(sample.table.columns) == ["group", "sequence", "frame", "time", "timestamp_ns"]
    assert (sample.table["timestamp_ns"] == sample.table["frame"] * PERIOD_NS).all()
    again = sample_frames(ds, 20, method, by=by, seed=3)
    assert pairs(again) == pairs(sample)
    assert again.result.cache_hit


def test_uniform_is_even_over_all_frames(ds: Dataset) -> None:
    """A sequence twice as long has twice as many, at even distances."""
    sample = sample_frames(ds, 25, "uniform")
    assert Counter(name for name, _ in pairs(sample)) == {"s0": 5, "s1": 5, "s2": 5, "s3": 10}
    frames = sample.table.loc[sample.table["sequence"] == "s0", "frame"].to_numpy()
    assert set(np.diff(frames)) == {12}


def test_stratified_has_equally_many_of_each_sequence(ds: Dataset) -> None:
    """Long or short."""
    sample = sample_frames(ds, 20, "stratified")
    assert Counter(name for name, _ in pairs(sample)) == {f"s{n}": 5 for n in range(SEQUENCES)}


def test_kmeans_finds_every_heap(ds: Dataset) -> None:
    """Three frames of three heaps: one of each."""
    sample = sample_frames(ds, 3, "kmeans", by=ds.run_feature(Double()))
    lengths = {"s3": 2 * FRAMES}
    heaps = {frame * 3 // lengths.get(name, FRAMES) for name, frame in pairs(sample)}
    assert heaps == {0, 1, 2}


def test_another_seed_is_another_choice(ds: Dataset) -> None:
    """Each has its own run."""
    first, second = (sample_frames(ds, 20, "random", seed=seed) for seed in (1, 2))
    assert pairs(first) != pairs(second)
    assert first.result.run_id != second.result.run_id


@pytest.mark.parametrize("method", ["uniform", "random", "stratified"])
def test_frames_keep_their_distance(ds: Dataset, method: Method) -> None:
    """Fewer are chosen where more would be too close."""
    sample = sample_frames(ds, 200, method, min_gap_s=1.0)
    assert 0 < len(sample) < 200
    for _, rows in sample.table.groupby("sequence"):
        assert (np.diff(rows["time"]) >= 1.0 - 1e-9).all()


def test_what_means_nothing_is_refused(ds: Dataset) -> None:
    """A method that is none, kmeans without features, no frames at all."""
    with pytest.raises(ArgumentRefused, match="no such method"):
        sample_frames(ds, 5, "best")  # type: ignore[arg-type]
    with pytest.raises(ArgumentRefused, match="by features"):
        sample_frames(ds, 5, "kmeans")
    with pytest.raises(ArgumentRefused):
        sample_frames(ds, 0)
    with (
        Dataset(ds.client, topic="nothing") as empty,
        pytest.raises(NotFound, match="has the topic 'nothing'"),
    ):
        sample_frames(empty, 5)


@pytest.mark.parametrize("media", ["png", "mp4"])
def test_pictures_of_chosen_frames(tmp_path: Path, media: str) -> None:
    """The picture at or before each frame, as PNG; a frame before the first picture is named."""
    pytest.importorskip("av", reason="pictures need PyAV, which this machine has no wheel of")
    import av

    with gapless.connect(tmp_path / "store") as client:
        with client.sequence_create("filmed") as writer:
            tracks = writer.topic_create("tracks", schema=pa.schema([("x", pa.float64())]))
            tracks.push_columns(np.arange(10, dtype=np.int64) * PERIOD_NS, {"x": np.arange(10.0)})
            camera: Any = writer.topic_create("camera", ontology_type=Image, media=media)
            for number in range(10):
                picture = np.full((32, 48, 3), 20 * number, np.uint8)
                camera.push_image(number * PERIOD_NS, picture)
            late: Any = writer.topic_create("late", ontology_type=Image, media=media)
            late.push_image(10 * PERIOD_NS, np.zeros((32, 48, 3), np.uint8))
        with Dataset(client) as ds:
            sample = sample_frames(ds, 3, "random", seed=5)
            written = sample.write_images(tmp_path / "pictures", "camera")
            assert [path.name for path in written] == [
                f"filmed-{frame:07d}.png" for _, frame in pairs(sample)
            ]
            for path, (_, frame) in zip(written, pairs(sample), strict=True):
                with av.open(str(path)) as file:
                    pixels = next(file.decode(video=0)).to_ndarray(format="rgb24")
                assert abs(int(pixels.mean()) - 20 * frame) <= (0 if media == "png" else 4)
            with pytest.raises(NotFound, match="no picture at or before"):
                sample.write_images(tmp_path / "pictures", "late")
