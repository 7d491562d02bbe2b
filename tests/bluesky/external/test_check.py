"""Everything that can be wrong with external files is found by `verify`, by a code of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from tests.bluesky.external.external_run import external_key, file_uri, record_external

import gapless
from gapless.bluesky.external.check import FINDINGS
from gapless.bluesky.stored_run import StoredRun, check_external
from gapless.cli.explain import explanations
from gapless.cli.main import main
from gapless.client.client import Client

HDF5 = "application/x-hdf5"
TIFF = "multipart/related;type=image/tiff"


def h5_run(client: Client, path: Path, *, held: int = 4, key: dict[str, Any] | None = None) -> StoredRun:
    """Record a run of four events whose file holds so many frames."""
    with h5py.File(path, "w") as file:
        file["d"] = np.zeros((held, 3), "<u2")
    words = {"dataset": "d"}
    known = key or external_key((3,), "<u2")
    return record_external(client, known, [(file_uri(path), HDF5, words)], [(0, 0, 4, 1, 5)])


def codes(run: StoredRun, *, deep: bool = False) -> list[tuple[str, str]]:
    """Return code and severity of each finding."""
    return [(finding.code, finding.severity) for finding in run.check_external(deep=deep)]


def test_a_sound_file_has_no_finding(client: Client, tmp_path: Path) -> None:
    """A sound file has no finding."""
    assert codes(h5_run(client, tmp_path / "a.h5"), deep=True) == []


def test_a_missing_file_is_named(client: Client, tmp_path: Path) -> None:
    """A missing file is named."""
    run = h5_run(client, tmp_path / "a.h5")
    (tmp_path / "a.h5").unlink()
    (finding,) = run.check_external()
    assert (finding.code, finding.severity) == ("B001", "error")
    assert finding.file == file_uri(tmp_path / "a.h5")
    assert "primary/image: 1 of 1 files" in finding.message


def test_missing_files_of_a_sequence_are_counted(client: Client, tmp_path: Path) -> None:
    """Missing files of a sequence are counted."""
    for number in (0, 3, 4):
        tifffile.imwrite(tmp_path / f"{number}.tif", np.zeros((2, 2), "<u2"))
    run = record_external(
        client,
        external_key((2, 2), "<u2"),
        [(file_uri(tmp_path) + "/", TIFF, {"template": "{:d}.tif"})],
        [(0, 0, 5, 1, 6)],
    )
    (finding,) = run.check_external()
    assert finding.code == "B001"
    assert "2 of 5 files" in finding.message
    assert finding.file is not None
    assert finding.file.endswith("/1.tif")


def test_bytes_that_are_no_such_file(client: Client, tmp_path: Path) -> None:
    """Bytes that are no such file."""
    run = h5_run(client, tmp_path / "a.h5")
    (tmp_path / "a.h5").write_bytes(b"not HDF5")
    assert codes(run) == [("B002", "error")]


def test_a_dataset_that_is_not_there(client: Client, tmp_path: Path) -> None:
    """A dataset that is not there."""
    run = h5_run(client, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["other"] = 1
    assert codes(run) == [("B002", "error")]


def test_another_shape_and_another_type(client: Client, tmp_path: Path) -> None:
    """Another shape and another type."""
    shape = h5_run(client, tmp_path / "a.h5", key=external_key((5,), "<u2"))
    kind = h5_run(client, tmp_path / "b.h5", key=external_key((3,), "<f8"))
    assert codes(shape) == [("B003", "error")]
    assert codes(kind) == [("B004", "warning")]


def test_a_type_that_nobody_declared_is_no_finding(client: Client, tmp_path: Path) -> None:
    """A type that nobody declared is no finding."""
    assert codes(h5_run(client, tmp_path / "a.h5", key=external_key((3,)))) == []


def test_fewer_frames_than_events(client: Client, tmp_path: Path) -> None:
    """Fewer frames than events."""
    assert codes(h5_run(client, tmp_path / "a.h5", held=3)) == [("B005", "error")]


@pytest.mark.parametrize(
    ("ranges", "found"),
    [
        ([(0, 0, 2, 1, 3), (0, 3, 4, 3, 4)], "B006"),
        ([(0, 0, 3, 1, 4), (0, 2, 4, 4, 6)], "B006"),
        ([(0, 0, 4, 1, 4)], "B007"),
    ],
    ids=["left out", "twice", "lengths"],
)
def test_ranges_that_do_not_fit_each_other(
    client: Client, tmp_path: Path, ranges: list[tuple[int, int, int, int, int]], found: str
) -> None:
    """Ranges that do not fit each other."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["d"] = np.zeros((4, 3), "<u2")
    words = (file_uri(tmp_path / "a.h5"), HDF5, {"dataset": "d"})
    run = record_external(client, external_key((3,), "<u2"), [words], ranges)
    assert codes(run) == [(found, "warning")]


def test_what_lies_elsewhere_or_means_nothing_here_is_said(client: Client, tmp_path: Path) -> None:
    """What lies elsewhere or means nothing here is said."""
    (tmp_path / "a.bin").write_bytes(b"???")
    elsewhere = record_external(
        client, external_key((3,), "<u2"), [("s3://bucket/a.h5", HDF5, {})], [(0, 0, 4, 1, 5)]
    )
    opaque = record_external(
        client,
        external_key((3,), "<u2"),
        [(file_uri(tmp_path / "a.bin"), "application/octet-stream", {})],
        [(0, 0, 4, 1, 5)],
    )
    assert codes(elsewhere) == [("B008", "warning")]
    assert codes(opaque) == [("B009", "warning")]


def test_a_library_that_is_not_installed_is_said(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that is not installed is said."""
    run = h5_run(client, tmp_path / "a.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert codes(run) == [("B010", "warning")]
    with pytest.raises(gapless.errors.MissingExtra, match=r"gapless\[bluesky\]"):
        run["primary"].read_external("image")


def test_deep_opens_every_file(client: Client, tmp_path: Path) -> None:
    """Deep opens every file."""
    for number in range(3):
        tifffile.imwrite(tmp_path / f"{number}.tif", np.zeros((2, 2 + number), "<u2"))
    run = record_external(
        client,
        external_key((2, 2), "<u2"),
        [(file_uri(tmp_path) + "/", TIFF, {"template": "{:d}.tif"})],
        [(0, 0, 3, 1, 4)],
    )
    assert codes(run) == []
    assert codes(run, deep=True) == [("B003", "error")] * 2


def test_a_sequence_without_documents_has_nothing_external(client: Client) -> None:
    """A sequence without documents has nothing external."""
    with client.sequence_create("plain"):
        pass
    assert check_external(client.sequence_handler("plain")) == []


def test_verify_shows_the_findings(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Verify shows the findings."""
    run = h5_run(client, tmp_path / "a.h5")
    store = str(client.path)
    assert main(["verify", run.name, "--store", store]) == 0
    (tmp_path / "a.h5").unlink()
    capsys.readouterr()
    assert main(["verify", run.name, "--json", "--store", store]) == 4
    (found,) = json.loads(capsys.readouterr().out)["sequences"][0]["findings"]
    assert (found["code"], found["file"]) == ("B001", file_uri(tmp_path / "a.h5"))


def test_each_finding_is_explained() -> None:
    """Each finding is explained."""
    known = explanations()
    assert {code: known[code].meaning for code in FINDINGS} == FINDINGS
