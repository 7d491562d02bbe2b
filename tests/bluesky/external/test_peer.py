"""The same documents and files, read here and by the consolidators of bluesky-tiled-plugins: the same arrays."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from tests.bluesky.external.external_run import (
    datum_document,
    external_key,
    file_uri,
    record_external,
    resource_document,
)
from tests.bluesky.recording.run_documents import descriptor_document, start_document

from gapless.client.client import Client

HDF5 = "application/x-hdf5"
TIFF = "multipart/related;type=image/tiff"
NPY = "multipart/related;type=application/x-npy"
Ranges = list[tuple[int, int, int, int, int]]
Resources = list[tuple[str, str, dict[str, Any]]]


def peer_read(key: dict[str, Any], resources: Resources, ranges: Ranges) -> np.ndarray[Any, Any]:
    """Return what the peer's consolidator makes of the documents."""
    consolidators = pytest.importorskip("bluesky_tiled_plugins.writing.consolidators")
    start = start_document()
    descriptor = descriptor_document(start, {"image": key})
    made = [resource_document(start, uri, mimetype, **words) for uri, mimetype, words in resources]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        consolidator = consolidators.consolidator_factory(copy.deepcopy(made[0]), descriptor)
        told = 0
        for number, first, last, seq_first, seq_last in ranges:
            if number > told:
                consolidator.update_from_stream_resource(copy.deepcopy(made[number]))
                told = number
            datum = datum_document(descriptor, made[number], (first, last), (seq_first, seq_last))
            consolidator.consume_stream_datum(datum)
        return np.asarray(consolidator.init_adapter().read())


def write_h5(path: Path, values: np.ndarray[Any, Any]) -> str:
    """Write a dataset and return the file's URI."""
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("d", data=values, chunks=(1, *values.shape[1:]))
    return file_uri(path)


def frames(count: int, *shape: int) -> np.ndarray[Any, Any]:
    """Return pictures that are all different."""
    return np.arange(count * int(np.prod(shape, dtype=int)), dtype="<u2").reshape(count, *shape)


def assert_as_peer(client: Client, key: dict[str, Any], resources: Resources, ranges: Ranges) -> None:
    """Assert that both read the same."""
    run = record_external(client, key, resources, ranges)
    ours = run["primary"].read_external("image")
    theirs = peer_read(key, resources, ranges)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("shape", "words", "events"),
    [
        ((4, 3), {}, 6),
        ((1, 4, 3), {}, 6),
        ((2, 4, 3), {}, 3),
        ((4, 3), {"multiplier": 2}, 3),
        ((1, 4, 3), {"multiplier": 3}, 2),
        ((2, 4, 3), {"join_method": "concat"}, 3),
        ((4, 2), {"slice": ":,:,0:2"}, 6),
        ((4,), {"slice": ":,:,1", "squeeze": True}, 6),
    ],
)
def test_hdf5(
    client: Client, tmp_path: Path, shape: tuple[int, ...], words: dict[str, Any], events: int
) -> None:
    """One dataset, cut up in every way that parameters can tell."""
    uri = write_h5(tmp_path / "a.h5", frames(6, 4, 3))
    resources: Resources = [(uri, HDF5, {"dataset": "d", "chunk_shape": (1,), **words})]
    assert_as_peer(client, external_key(shape, "<u2"), resources, [(0, 0, events, 1, events + 1)])


def test_hdf5_in_several_files(client: Client, tmp_path: Path) -> None:
    """Indices that go on over files, and files that follow each other."""
    values = frames(6, 4, 3)
    resources: Resources = [
        (write_h5(tmp_path / f"{name}.h5", part), HDF5, {"dataset": "d"})
        for name, part in (("a", values[:2]), ("b", values[2:]))
    ]
    key = external_key((4, 3), "<u2")
    assert_as_peer(client, key, resources, [(0, 0, 2, 1, 3), (1, 2, 4, 3, 5), (1, 4, 6, 5, 7)])


@pytest.mark.parametrize(
    ("shape", "words", "events"),
    [
        ((4, 3), {"chunk_shape": (1, 4, 3)}, 6),
        ((1, 4, 3), {"chunk_shape": (1, 4, 3)}, 6),
        ((2, 4, 3), {"chunk_shape": (1, 4, 3)}, 3),
        ((4, 3), {"chunk_shape": (1, 4, 3), "multiplier": 3}, 2),
        ((2, 4, 3), {"chunk_shape": (1, 4, 3), "join_method": "concat"}, 3),
        ((4, 3), {"chunk_shape": (1, 4, 3), "template": "%s%s_%04d.tif", "filename": "img"}, 6),
    ],
)
def test_tiff(
    client: Client, tmp_path: Path, shape: tuple[int, ...], words: dict[str, Any], events: int
) -> None:
    """A file for each frame, one or several for each event."""
    for number, value in enumerate(frames(6, 4, 3)):
        tifffile.imwrite(tmp_path / f"img_{number:04d}.tif", value)
    resources: Resources = [(file_uri(tmp_path) + "/", TIFF, {"template": "img_{:04d}.tif", **words})]
    assert_as_peer(client, external_key(shape, "<u2"), resources, [(0, 0, events, 1, events + 1)])


def test_npy(client: Client, tmp_path: Path) -> None:
    """The files of simulated detectors, which name no template."""
    for number, value in enumerate(frames(4, 3, 2)):
        np.save(tmp_path / f"det_{number}.npy", value)
    resources: Resources = [(file_uri(tmp_path / "det"), NPY, {})]
    assert_as_peer(client, external_key((3, 2), "<u2"), resources, [(0, 0, 4, 1, 5)])
