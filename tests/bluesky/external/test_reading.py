"""Frames of real files, written by the libraries that detectors use, read through the stream by event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from tests.bluesky.external.external_run import external_key, file_uri, record_external

from gapless.bluesky.stored_run import StoredRun
from gapless.client.client import Client
from gapless.errors import ArgumentRefused, DocumentRefused, IntegrityError, NotFound

HDF5 = "application/x-hdf5"
TIFF = "multipart/related;type=image/tiff"
JPEG = "multipart/related;type=image/jpeg"
NPY = "multipart/related;type=application/x-npy"
CSV = "text/csv;header=absent"
ZARR = "application/x-zarr"


def frames(count: int, *shape: int, dtype: str = "<u2") -> np.ndarray[Any, Any]:
    """Return arrays that are all different."""
    values = np.arange(count * int(np.prod(shape, dtype=int))).reshape(count, *shape)
    return values.astype(dtype)


def write_h5(path: Path, values: np.ndarray[Any, Any], name: str = "/entry/data/data") -> str:
    """Write a dataset and return the file's URI."""
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=values, chunks=(1, *values.shape[1:]))
    return file_uri(path)


def read(run: StoredRun, *select: Any, **words: Any) -> np.ndarray[Any, Any]:
    """Return the values of the external key."""
    return run["primary"].read_external("image", *select, **words)


def test_an_hdf5_dataset_is_read_by_event(client: Client, tmp_path: Path) -> None:
    """An HDF5 dataset is read by event."""
    values = frames(5, 4, 6)
    uri = write_h5(tmp_path / "a file #1.h5", values)
    escaped = uri.replace(" ", "%20").replace("#", "%23")
    words = {"dataset": "/entry/data/data", "swmr": True, "chunk_shape": (1, 4, 6)}
    run = record_external(client, external_key((4, 6), "<u2"), [(escaped, HDF5, words)], [(0, 0, 5, 1, 6)])
    assert read(run).dtype == np.dtype("<u2")
    np.testing.assert_array_equal(read(run), values)
    np.testing.assert_array_equal(read(run, slice(1, 4, 2)), values[1:4:2])
    np.testing.assert_array_equal(read(run, slice(None, None, -2)), values[::-2])
    np.testing.assert_array_equal(read(run, -1), values[-1])
    np.testing.assert_array_equal(read(run, (slice(2, 4), slice(1, 3), 0)), values[2:4, 1:3, 0])
    assert read(run, slice(9, 12)).shape == (0, 4, 6)
    assert run["primary"].external["image"].seq_nums().tolist() == [1, 2, 3, 4, 5]
    assert run.check_external(deep=True) == []


def test_an_event_that_is_not_there_is_refused(client: Client, tmp_path: Path) -> None:
    """An event that is not there is refused."""
    uri = write_h5(tmp_path / "a.h5", frames(2, 3))
    words = {"dataset": "entry/data/data"}
    run = record_external(client, external_key((3,), "<u2"), [(uri, HDF5, words)], [(0, 0, 2, 1, 3)])
    with pytest.raises(ArgumentRefused, match="no such event"):
        read(run, 2)
    with pytest.raises(ArgumentRefused, match="slice or a number"):
        read(run, "all")
    with pytest.raises(NotFound, match="no such external data key"):
        run["primary"].read_external("other")


def test_only_the_chosen_frames_are_read(client: Client, tmp_path: Path) -> None:
    """The other files do not exist, so reading one of them would fail."""
    image = frames(1, 4, 4)[0]
    tifffile.imwrite(tmp_path / "img_00007.tif", image)
    run = record_external(
        client,
        external_key((1, 4, 4), "<u2"),
        [(file_uri(tmp_path), TIFF, {"template": "/img_{:05d}.tif", "chunk_shape": (1, 4, 4)})],
        [(0, 0, 600, 1, 601)],
    )
    np.testing.assert_array_equal(read(run, 7), image[np.newaxis])
    with pytest.raises(NotFound, match=r"img_00008\.tif"):
        read(run, slice(7, 9))


def test_indices_that_left_frames_out_still_find_theirs(client: Client, tmp_path: Path) -> None:
    """Indices that left frames out still find theirs."""
    values = frames(9, 3)
    uri = write_h5(tmp_path / "a.h5", values, "d")
    run = record_external(
        client,
        external_key((3,), "<u2"),
        [(uri, HDF5, {"dataset": "d"})],
        [(0, 0, 2, 1, 3), (0, 4, 6, 3, 5), (0, 8, 9, 5, 6)],
    )
    np.testing.assert_array_equal(read(run), values[[0, 1, 4, 5, 8]])
    assert [finding.code for finding in run.check_external()] == ["B006", "B006"]


def test_frames_beyond_the_events_of_a_range_belong_to_none(client: Client, tmp_path: Path) -> None:
    """Frames beyond the events of a range belong to none."""
    values = frames(5, 3)
    uri = write_h5(tmp_path / "a.h5", values, "d")
    run = record_external(
        client,
        external_key((3,), "<u2"),
        [(uri, HDF5, {"dataset": "d"})],
        [(0, 0, 1, 1, 2), (0, 1, 4, 2, 4), (0, 4, 5, 4, 5)],
    )
    np.testing.assert_array_equal(read(run), values[[0, 1, 2, 4]])
    np.testing.assert_array_equal(read(run, all=True), values)


def test_an_event_taken_again_reads_its_last_frame(client: Client, tmp_path: Path) -> None:
    """An event taken again reads its last frame."""
    values = frames(5, 3)
    uri = write_h5(tmp_path / "a.h5", values, "d")
    run = record_external(
        client,
        external_key((3,), "<u2"),
        [(uri, HDF5, {"dataset": "d"})],
        [(0, 0, 3, 1, 4), (0, 3, 5, 2, 4)],
    )
    np.testing.assert_array_equal(read(run), values[[0, 3, 4]])
    np.testing.assert_array_equal(read(run, all=True), values)
    assert run.check_external() == []


@pytest.mark.parametrize("second", [(0, 2), (3, 5)], ids=["from zero", "counted on"])
def test_a_second_file_follows_the_first(client: Client, tmp_path: Path, second: tuple[int, int]) -> None:
    """A second file follows the first."""
    values = frames(5, 2, 2)
    uris = [write_h5(tmp_path / "a.h5", values[:3], "d"), write_h5(tmp_path / "b.h5", values[3:], "d")]
    run = record_external(
        client,
        external_key((2, 2), "<u2"),
        [(uri, HDF5, {"dataset": "d"}) for uri in uris],
        [(0, 0, 3, 1, 4), (1, *second, 4, 6)],
    )
    np.testing.assert_array_equal(read(run), values)
    assert run.check_external(deep=True) == []


def test_one_file_named_by_two_resources_counts_on(client: Client, tmp_path: Path) -> None:
    """One file named by two resources counts on."""
    values = frames(5, 2)
    uri = write_h5(tmp_path / "a.h5", values, "d")
    run = record_external(
        client,
        external_key((2,), "<u2"),
        [(uri, HDF5, {"dataset": "d"})] * 2,
        [(0, 0, 3, 1, 4), (1, 3, 5, 4, 6)],
    )
    np.testing.assert_array_equal(read(run), values)
    assert run.check_external() == []


def test_several_frames_make_one_event(client: Client, tmp_path: Path) -> None:
    """Several frames make one event."""
    values = frames(6, 2, 3)
    uri = write_h5(tmp_path / "a.h5", values, "d")
    run = record_external(
        client,
        external_key((1, 2, 3), "<u2"),
        [(uri, HDF5, {"dataset": "d", "multiplier": 3})],
        [(0, 0, 2, 1, 3)],
    )
    np.testing.assert_array_equal(read(run), values.reshape(2, 3, 2, 3))


def test_concat_joins_along_the_axis_that_is_there(client: Client, tmp_path: Path) -> None:
    """Concat joins along the axis that is there."""
    values = frames(6, 2, 3)
    uri = write_h5(tmp_path / "a.h5", values, "d")
    run = record_external(
        client,
        external_key((3, 2, 3), "<u2"),
        [(uri, HDF5, {"dataset": "d", "join_method": "concat"})],
        [(0, 0, 2, 1, 3)],
    )
    np.testing.assert_array_equal(read(run), values)
    np.testing.assert_array_equal(read(run, 1), values[3:])


def test_scalars_in_a_file_are_one_number_each(client: Client, tmp_path: Path) -> None:
    """Scalars in a file are one number each."""
    values = np.linspace(0, 1, 4)
    uri = write_h5(tmp_path / "a.h5", values, "d")
    run = record_external(
        client, external_key((1,), "<f8"), [(uri, HDF5, {"dataset": "d"})], [(0, 0, 4, 1, 5)]
    )
    np.testing.assert_array_equal(read(run), values)


@pytest.mark.parametrize("words", [":, 1, 0:2", "(:,1,:2)", [":", "1", "0:2"]])
def test_a_slice_of_the_dataset_is_all_there_is(client: Client, tmp_path: Path, words: Any) -> None:
    """A slice of the dataset is all there is."""
    values = frames(4, 3, 5)
    uri = write_h5(tmp_path / "a.h5", values, "d")
    run = record_external(
        client,
        external_key((2,), "<u2"),
        [(uri, HDF5, {"dataset": "d", "slice": words, "squeeze": True})],
        [(0, 0, 4, 1, 5)],
    )
    np.testing.assert_array_equal(read(run, slice(1, 3)), values[1:3, 1, 0:2])


def test_an_hdf5_file_for_each_event(client: Client, tmp_path: Path) -> None:
    """An HDF5 file for each event."""
    values = frames(3, 2, 4)
    for number, value in enumerate(values):
        with h5py.File(tmp_path / f"run_{number:03d}.h5", "w") as file:
            file["d"] = value[np.newaxis]
    run = record_external(
        client,
        external_key((2, 4), "<u2"),
        [(file_uri(tmp_path), HDF5, {"dataset": "d", "template": "/run_{:03d}.h5"})],
        [(0, 0, 3, 1, 4)],
    )
    np.testing.assert_array_equal(read(run), values)


def test_an_hdf5_file_that_is_being_written_is_read(client: Client, tmp_path: Path) -> None:
    """An HDF5 file that is being written is read."""
    values = frames(4, 3)
    path = tmp_path / "live.h5"
    with h5py.File(path, "w", libver="latest") as file:
        stored = file.create_dataset("d", (0, 3), "<u2", maxshape=(None, 3), chunks=(1, 3))
        file.swmr_mode = True
        stored.resize(2, 0)
        stored[:] = values[:2]
        stored.flush()
        run = record_external(
            client,
            external_key((3,), "<u2"),
            [(file_uri(path), HDF5, {"dataset": "d", "swmr": True})],
            [(0, 0, 4, 1, 5)],
        )
        np.testing.assert_array_equal(read(run, slice(0, 2)), values[:2])
        with pytest.raises(IntegrityError, match="fewer frames"):
            read(run)
        stored.resize(4, 0)
        stored[2:] = values[2:]
        stored.flush()
        np.testing.assert_array_equal(read(run), values)


@pytest.mark.parametrize("per_event", [1, 2])
def test_tiff_files_are_read_whether_each_holds_an_event_or_a_part(
    client: Client, tmp_path: Path, per_event: int
) -> None:
    """TIFF files are read whether each holds an event or a part."""
    values = frames(6, 4, 5)
    for number, value in enumerate(values):
        tifffile.imwrite(tmp_path / f"image_{number:06d}.tif", value)
    run = record_external(
        client,
        external_key((per_event, 4, 5), "<u2"),
        [
            (
                file_uri(tmp_path) + "/",
                TIFF,
                {"template": "%s%s_%06d.tif", "filename": "image", "chunk_shape": (1, 4, 5)},
            )
        ],
        [(0, 0, 6 // per_event, 1, 1 + 6 // per_event)],
    )
    np.testing.assert_array_equal(read(run), values.reshape(-1, per_event, 4, 5))
    assert run.check_external(deep=True) == []


def test_pages_of_a_tiff_are_frames(client: Client, tmp_path: Path) -> None:
    """Pages of a TIFF are frames."""
    values = frames(6, 4, 5)
    tifffile.imwrite(tmp_path / "all.tif", values, photometric="minisblack")
    for number in range(3):
        pages = values[2 * number : 2 * number + 2]
        tifffile.imwrite(tmp_path / f"part_{number}.tif", pages, photometric="minisblack")
    one = record_external(
        client,
        external_key((4, 5), "<u2"),
        [(file_uri(tmp_path / "all.tif"), "image/tiff", {})],
        [(0, 0, 6, 1, 7)],
    )
    np.testing.assert_array_equal(read(one), values)
    many = record_external(
        client,
        external_key((2, 4, 5), "<u2"),
        [(file_uri(tmp_path), TIFF, {"template": "/part_{:d}.tif", "chunk_shape": (2, 4, 5)})],
        [(0, 0, 3, 1, 4)],
    )
    np.testing.assert_array_equal(read(many), values.reshape(3, 2, 4, 5))


def test_a_second_template_begins_again_at_zero(client: Client, tmp_path: Path) -> None:
    """A second template begins again at zero."""
    values = frames(5, 2, 2)
    for number, value in enumerate(values):
        name = f"a_{number}.tif" if number < 3 else f"b_{number - 3}.tif"
        tifffile.imwrite(tmp_path / name, value)
    run = record_external(
        client,
        external_key((2, 2), "<u2"),
        [(file_uri(tmp_path) + "/", TIFF, {"template": name + "_{:d}.tif"}) for name in ("a", "b")],
        [(0, 0, 3, 1, 4), (1, 3, 5, 4, 6)],
    )
    np.testing.assert_array_equal(read(run), values)


@pytest.mark.parametrize("shape", [(8, 16), (8, 16, 3)], ids=["grey", "colour"])
def test_jpeg_pictures_are_read_as_they_decode(
    client: Client, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    """JPEG pictures are read as they decode."""
    for number in range(3):
        picture = np.full(shape, 40 * number, np.uint8)
        Image.fromarray(picture).save(tmp_path / f"p_{number}.jpg", quality=95)
    run = record_external(
        client,
        external_key(shape, "|u1"),
        [(file_uri(tmp_path), JPEG, {"template": "/p_{:d}.jpg"})],
        [(0, 0, 3, 1, 4)],
    )
    values = read(run)
    assert values.shape == (3, *shape)
    assert np.abs(values.reshape(3, -1).mean(axis=1) - [0, 40, 80]).max() < 3


def test_npy_files_need_no_template(client: Client, tmp_path: Path) -> None:
    """NPY files need no template."""
    values = frames(3, 4, dtype="<f4")
    for number, value in enumerate(values):
        np.save(tmp_path / f"det_{number}.npy", value)
    run = record_external(
        client,
        external_key((4,), "<f4"),
        [(file_uri(tmp_path / "det"), NPY, {})],
        [(0, 0, 3, 1, 4)],
    )
    np.testing.assert_array_equal(read(run), values)
    np.save(tmp_path / "one.npy", values)
    one = record_external(
        client,
        external_key((4,), "<f4"),
        [(file_uri(tmp_path / "one.npy"), "application/x-npy", {})],
        [(0, 0, 3, 1, 4)],
    )
    np.testing.assert_array_equal(read(one, slice(1, None)), values[1:])


def test_lines_of_a_csv_are_rows(client: Client, tmp_path: Path) -> None:
    """Lines of a CSV are rows."""
    (tmp_path / "a.csv").write_text("# made by a device\n1,2,3\n4,5,6\n\n7,8,9\n10,11,12\n")
    run = record_external(
        client,
        external_key((2, 3), "<f8"),
        [(file_uri(tmp_path / "a.csv"), CSV, {"comment": "#"})],
        [(0, 0, 2, 1, 3)],
    )
    np.testing.assert_array_equal(read(run), np.arange(1.0, 13).reshape(4, 3))
    np.testing.assert_array_equal(read(run, 1), np.arange(7.0, 13).reshape(2, 3))


def test_named_columns_of_a_csv_keep_their_types(client: Client, tmp_path: Path) -> None:
    """Named columns of a CSV keep their types."""
    (tmp_path / "a.csv").write_text("x;n\n0.5;1\n1.5;2\n")
    key = external_key((1,)) | {"dtype_numpy": [["x", "<f8"], ["n", "<i4"]]}
    run = record_external(
        client,
        key,
        [(file_uri(tmp_path / "a.csv"), CSV, {"sep": ";", "header": 0})],
        [(0, 0, 2, 1, 3)],
    )
    assert read(run)["n"].tolist() == [1, 2]
    assert read(run)["x"].tolist() == [0.5, 1.5]


@pytest.mark.parametrize("dataset", ["", "detector/image"])
def test_a_zarr_array_is_read_by_event(client: Client, tmp_path: Path, dataset: str) -> None:
    """A Zarr array is read by event."""
    values = frames(4, 3, 2)
    path = tmp_path / "a.zarr"
    if dataset:
        zarr.open_group(path, mode="w").create_array(dataset, data=values)
    else:
        zarr.create_array(path, data=values)
    run = record_external(
        client,
        external_key((3, 2), "<u2"),
        [(file_uri(path), ZARR, {"dataset": dataset} if dataset else {})],
        [(0, 0, 4, 1, 5)],
    )
    np.testing.assert_array_equal(read(run), values)
    assert run.check_external(deep=True) == []


def test_sizes_that_only_the_files_know_are_taken_from_them(client: Client, tmp_path: Path) -> None:
    """Sizes that only the files know are taken from them."""
    values = frames(4, 7, 2)
    uri = write_h5(tmp_path / "a.h5", values, "d")
    run = record_external(
        client, external_key((None, 2), "<u2"), [(uri, HDF5, {"dataset": "d"})], [(0, 0, 4, 1, 5)]
    )
    np.testing.assert_array_equal(read(run), values)


def test_another_shape_is_an_error_and_never_a_cast(client: Client, tmp_path: Path) -> None:
    """Another shape is an error and never a cast."""
    uri = write_h5(tmp_path / "a.h5", frames(4, 3, 2), "d")
    run = record_external(
        client, external_key((2, 3), "<u2"), [(uri, HDF5, {"dataset": "d"})], [(0, 0, 4, 1, 5)]
    )
    with pytest.raises(IntegrityError, match="another shape"):
        read(run)


def test_another_type_is_read_as_it_is(client: Client, tmp_path: Path) -> None:
    """Another type is read as it is."""
    uri = write_h5(tmp_path / "a.h5", frames(2, 3), "d")
    run = record_external(
        client, external_key((3,), "<f8"), [(uri, HDF5, {"dataset": "d"})], [(0, 0, 2, 1, 3)]
    )
    assert read(run).dtype == np.dtype("<u2")


def test_files_of_two_types_are_no_one_array(client: Client, tmp_path: Path) -> None:
    """Files of two types are no one array."""
    uris = [
        write_h5(tmp_path / "a.h5", frames(2, 3), "d"),
        write_h5(tmp_path / "b.h5", frames(2, 3, dtype="<f4"), "d"),
    ]
    run = record_external(
        client,
        external_key((3,), "<u2"),
        [(uri, HDF5, {"dataset": "d"}) for uri in uris],
        [(0, 0, 2, 1, 3), (1, 0, 2, 3, 5)],
    )
    with pytest.raises(IntegrityError, match="no one array"):
        read(run)
    assert read(run, slice(2, 4)).dtype == np.dtype("<f4")


def test_blocks_hand_out_events_and_values_together(client: Client, tmp_path: Path) -> None:
    """Blocks hand out events and values together."""
    values = frames(5, 3)
    uri = write_h5(tmp_path / "a.h5", values, "d")
    run = record_external(
        client,
        external_key((3,), "<u2"),
        [(uri, HDF5, {"dataset": "d"})],
        [(0, 0, 2, 1, 3), (0, 3, 5, 3, 5)],
    )
    blocks = list(run["primary"].external["image"].blocks())
    assert [numbers.tolist() for numbers, _ in blocks] == [[1, 2], [3, 4]]
    np.testing.assert_array_equal(np.concatenate([held for _, held in blocks]), values[[0, 1, 3, 4]])


def test_what_nothing_reads_is_told_apart_from_what_is_missing(client: Client, tmp_path: Path) -> None:
    """What nothing reads is told apart from what is missing."""
    (tmp_path / "a.bin").write_bytes(b"???")
    run = record_external(
        client,
        external_key((3,), "<u2"),
        [(file_uri(tmp_path / "a.bin"), "application/octet-stream", {})],
        [(0, 0, 2, 1, 3)],
    )
    with pytest.raises(DocumentRefused, match="no reader"):
        read(run)
