"""Who may read what through the real Tiled server: the key, and the folders of external files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from event_model import StreamRange
from tests.bluesky.tiled.sample import IMAGE_KEY, QUIET, RunSample, record_flight
from tiled.client import from_context
from tiled.client.context import Context

from gapless.bluesky.stored_run import StoredRun
from gapless.bluesky.tiled import application, tree
from gapless.client.client import Client
from gapless.errors import IntegrityError, NotFound

pytestmark = pytest.mark.filterwarnings(QUIET)

# What a browser needs before anybody has a key; nothing of the store is in it.
OPEN = {"/", "/healthz", "/ui/{path}", "/tiled-ui-settings", "/api/v1/"}
SECRET = "fa1afe1"


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    """Return the folder that a detector writes into."""
    folder = tmp_path / "detector"
    folder.mkdir()
    return folder


def context_of(store: Client, **words: Any) -> Context:
    """Return the connection to a server over the store, whose key is "secret"."""
    found: Context = Context.from_app(application(store.path, api_key="secret", **words))
    return found


def record(store: Client, uri: str, mimetype: str = "application/x-hdf5", **parameters: Any) -> RunSample:
    """Record a run that points to a file."""
    run = RunSample(store, data_keys={})
    run.describe(img=IMAGE_KEY)
    assert run.bundle.compose_stream_resource is not None
    resource = run.bundle.compose_stream_resource(
        mimetype=mimetype, uri=uri, data_key="img", parameters={"dataset": "entry/data", **parameters}
    )
    run.emit("stream_resource", resource.stream_resource_doc)
    indices, seq_nums = StreamRange(start=0, stop=2), StreamRange(start=1, stop=3)
    run.emit("stream_datum", resource.compose_stream_datum(indices, seq_nums, run.composed.descriptor_doc))
    run.stop()
    return run


def image_file(path: Path) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Write a file with two images and return them."""
    pixels = np.arange(160, dtype=np.uint16).reshape(2, 8, 10)
    with h5py.File(path, "w") as file:
        file["entry/data"] = pixels
    return pixels.reshape(2, 1, 8, 10)


def answer(store: Client, run: RunSample, **words: Any) -> Any:
    """Return what the server answers to somebody with the key who asks for the images."""
    with context_of(store, **words) as context:
        http = context.http_client
        return http.get(
            f"{context.api_uri}array/full/{run.uid}/primary/img",
            headers={"Accept": "application/octet-stream", "Authorization": "Apikey secret"},
        )


# -- the key -----------------------------------------------------------------------------------


def requests(app: Any) -> Iterator[tuple[str, str, str]]:
    """Yield method, path as it is described and path with everything filled in, for each of the server's."""
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            for place in ("flight-1", "flight-1/sensors/imu", "flight-1/sensors/imu/a", ""):
                filled = path.replace("{path}", place)
                for name in ("{uuid}", "{id}", "{provider}", "{first_eight}"):
                    filled = filled.replace(name, "1")
                yield method, path, filled


def test_nothing_of_the_store_is_read_without_the_key(store: Client) -> None:
    """Every address that the server has, also Zarr's, refuses who has no key or a wrong one."""
    record_flight(store)
    app = application(store.path, api_key="secret")
    with Context.from_app(app) as context:
        http = context.http_client
        for name in ("Authorization", "authorization"):
            http.headers.pop(name, None)
        seen = 0
        for method, path, filled in requests(app):
            for words in ({}, {"Authorization": "Apikey wrong"}):
                found = http.request(method.upper(), filled, headers=words)
                seen += 1
                assert found.status_code < 500, (method, filled)
                if path in OPEN and method == "get":
                    assert "Zeppelin" not in found.text
                else:
                    assert found.status_code >= 400, (method, filled)
        assert seen > 100
        for version in ("v2", "v3"):
            for end in (
                "",
                "/.zattrs",
                "/.zgroup",
                "/zarr.json",
                "/sensors/imu/a/.zarray",
                "/sensors/imu/a/0",
            ):
                assert http.get(f"/zarr/{version}/flight-1{end}").status_code == 404


def test_nothing_is_written_with_the_key(store: Client) -> None:
    """Whatever is put, posted, patched or deleted, it is refused, and every file stays as it is."""
    record_flight(store)
    app = application(store.path, api_key="secret")

    def files() -> dict[str, bytes]:
        sequences = store.path / "sequences"
        return {str(path): path.read_bytes() for path in sequences.rglob("*") if path.is_file()}

    before = files()
    with Context.from_app(app) as context:
        writing = [one for one in requests(app) if one[0] != "get"]
        for method, _, filled in writing:
            found = context.http_client.request(
                method.upper(), filled, headers={"Authorization": "Apikey secret"}, json={}
            )
            assert 400 <= found.status_code < 500, (method, filled, found.text)
    assert len(writing) > 20
    assert files() == before


# -- the folders of external files -------------------------------------------------------------


def test_external_files_are_served_from_named_folders_only(store: Client, detector: Path) -> None:
    """Without a folder the answer names the option; the run, its shape and its documents stay readable."""
    pixels = image_file(detector / "a.h5")
    run = record(store, f"file://localhost{detector}/a.h5")
    refused = answer(store, run)
    assert refused.status_code == 424
    assert f"--external-root {detector}" in refused.json()["detail"]
    assert answer(store, run, external_roots=[store.path]).status_code == 424
    served = answer(store, run, external_roots=[store.path, detector])
    np.testing.assert_array_equal(np.frombuffer(served.content, "<u2").reshape(pixels.shape), pixels)
    with context_of(store) as context:
        found = from_context(context)[run.uid]
        assert found["primary"]["img"].shape == (2, 1, 8, 10)
        assert next(name for name, _ in found.documents()) == "start"
    own = StoredRun(store.sequence_handler(run.uid))["primary"].read_external("img")
    np.testing.assert_array_equal(own, pixels)


def test_links_out_of_the_folder_are_followed_before_they_are_allowed(
    store: Client, detector: Path, tmp_path: Path
) -> None:
    """Neither dots nor symbolic links lead out; a link from inside to inside is fine."""
    pixels = image_file(tmp_path / "outside.h5")
    image_file(detector / "inside.h5")
    (detector / "out.h5").symlink_to(tmp_path / "outside.h5")
    (detector / "in.h5").symlink_to(detector / "inside.h5")
    for name, status in (("out.h5", 424), ("../outside.h5", 424), ("%2e%2e/outside.h5", 424), ("in.h5", 200)):
        run = record(store, f"file://localhost{detector}/{name}")
        assert answer(store, run, external_roots=[detector]).status_code == status, name
    assert pixels.shape == (2, 1, 8, 10)


def test_what_an_hdf5_file_leads_to_is_looked_at_too(store: Client, detector: Path, tmp_path: Path) -> None:
    """Links, virtual datasets and raw storage outside of the folder are refused, those inside are read."""
    image_file(detector / "inside.h5")
    image_file(tmp_path / "outside.h5")
    (tmp_path / "raw").write_bytes(b"\1" * 320)

    def virtual(file: h5py.File, source: str) -> None:
        layout = h5py.VirtualLayout((2, 8, 10), "u2")
        layout[:] = h5py.VirtualSource(source, "entry/data", (2, 8, 10))
        file.create_virtual_dataset("entry/data", layout)

    def linked(file: h5py.File, source: str) -> None:
        file["entry/data"] = h5py.ExternalLink(source, "entry/data")

    def raw(file: h5py.File, source: str) -> None:
        file.create_dataset("entry/data", (2, 8, 10), "u2", external=[(source, 0, 320)])

    outside = str(tmp_path / "outside.h5")
    cases: list[tuple[Any, str, int]] = [
        (virtual, "inside.h5", 200),
        (virtual, outside, 424),
        (virtual, "../outside.h5", 424),
        (virtual, "hidden.h5", 424),
        (linked, "inside.h5", 200),
        (linked, outside, 424),
        (raw, str(tmp_path / "raw"), 424),
    ]
    with h5py.File(detector / "hidden.h5", "w") as file:
        virtual(file, outside)
    for place, (make, source, status) in enumerate(cases):
        with h5py.File(detector / f"case{place}.h5", "w") as file:
            make(file, source)
        run = record(store, f"file://localhost{detector}/case{place}.h5")
        assert answer(store, run, external_roots=[detector]).status_code == status, (make.__name__, source)
        read = StoredRun(store.sequence_handler(run.uid))["primary"].read_external("img")
        assert read.shape == (2, 1, 8, 10)


def test_what_stands_in_a_file_is_in_no_error(store: Client, detector: Path) -> None:
    """A file that is not what the run says it is cannot be read piece by piece through the errors."""
    (detector / "keys").write_text(f"{SECRET},{SECRET}\n" * 2)
    uri = f"file://localhost{detector}/keys"
    for mimetype in ("text/csv", "image/tiff", "image/jpeg", "application/x-npy", "application/x-hdf5"):
        run = record(store, uri, mimetype)
        found = answer(store, run, external_roots=[detector])
        assert found.status_code >= 400, mimetype
        assert SECRET[:4] not in found.text, mimetype
        with pytest.raises(IntegrityError) as refused:  # the answer is cut short, the error is not
            StoredRun(store.sequence_handler(run.uid))["primary"].read_external("img")
        assert SECRET[:4] not in str(refused.value.found), mimetype


def test_a_folder_that_is_not_there_is_refused(store: Client, tmp_path: Path) -> None:
    """A root is a folder, one or several, as text or path."""
    with pytest.raises(NotFound, match="nowhere"):
        tree(store.path, external_roots=[tmp_path / "nowhere"])
    with pytest.raises(NotFound, match="no such folder"):
        tree(store.path, external_roots=[os.devnull])
    assert len(tree(store.path, external_roots=str(tmp_path))) == 0
