"""URIs and templates name the files that the device wrote, in every spelling that is in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapless.bluesky.external.file_names import FileNames, compile_template
from gapless.bluesky.external.file_uri import is_local, local_path
from gapless.errors import DocumentRefused, NotFound


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file://localhost/data/a.h5", "/data/a.h5"),
        ("file:///data/a.h5", "/data/a.h5"),
        ("file:/data/a.h5", "/data/a.h5"),
        ("FILE://localhost/data/a.h5", "/data/a.h5"),
        ("/data/a.h5", "/data/a.h5"),
        ("file://localhost/data/two%20words/a%23b.h5", "/data/two words/a#b.h5"),
        ("file://localhost/data/raw #1?.h5", "/data/raw #1?.h5"),
        ("file://localhost/data/%C3%A4.h5", "/data/ä.h5"),
    ],
)
def test_a_uri_names_a_path(uri: str, path: str) -> None:
    """A URI names a path."""
    assert local_path(uri) == Path(path)


def test_a_percent_sign_that_was_never_escaped_is_found(tmp_path: Path) -> None:
    """A percent sign that was never escaped is found."""
    file = tmp_path / "50%20done.h5"
    file.write_bytes(b"")
    assert local_path(f"file://localhost{file}") == file


@pytest.mark.parametrize("uri", ["s3://bucket/a.h5", "https://host/a.h5", "file://other-host/data/a.h5"])
def test_data_on_another_machine_is_named_and_not_guessed(uri: str) -> None:
    """Data on another machine is named and not guessed."""
    assert not is_local(uri)
    with pytest.raises(NotFound, match="another machine"):
        local_path(uri)


@pytest.mark.parametrize(
    ("template", "filename", "name"),
    [
        ("{:05d}.tif", "", "00007.tif"),
        ("img_{}.tif", "", "img_7.tif"),
        ("%s%s_%06d.tif", "image", "image_000007.tif"),
        ("%s%s_%6.6d.tif", "image", "image_000007.tif"),
        ("%s_%d.npy", "", "_7.npy"),
        ("%s%s_%d.tif", "with {braces}", "with {braces}_7.tif"),
        ("%-4d|", "", "7   |"),
        ("{filename}_{:03d}.tif", "shot", "shot_007.tif"),
    ],
)
def test_a_template_is_filled_with_the_number(template: str, filename: str, name: str) -> None:
    """A template is filled with the number."""
    assert compile_template(template, filename).format(7) == name


def test_a_slash_is_put_between_only_where_the_file_says_so(tmp_path: Path) -> None:
    """A slash is put between only where the file says so."""
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "a_0.tif").write_bytes(b"")
    (tmp_path / "prefix_a_0.tif").write_bytes(b"")
    inside = FileNames(f"file://localhost{tmp_path}/frames", "a_{:d}.tif")
    beside = FileNames(f"file://localhost{tmp_path}/prefix_", "a_{:d}.tif")
    assert inside.path(0) == tmp_path / "frames" / "a_0.tif"
    assert inside.path(3) == tmp_path / "frames" / "a_3.tif"
    assert beside.path(0) == tmp_path / "prefix_a_0.tif"
    double = FileNames(f"file://localhost{tmp_path}/frames/", "/a_{:d}.tif")
    assert double.path(0) == tmp_path / "frames" / "a_0.tif"


@pytest.mark.parametrize("template", ["{", "{a}", "{:s}"])
def test_a_template_that_cannot_be_filled_is_refused(template: str) -> None:
    """A template that cannot be filled is refused."""
    with pytest.raises(DocumentRefused, match="template"):
        FileNames("file://localhost/data/", template)
