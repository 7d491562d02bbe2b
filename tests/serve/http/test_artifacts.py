"""Files of a sequence over HTTP, and what made the recording."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gapless

from .conftest import Begin, Site

NOTES = b"<script>alert(1)</script>"
FILE = "/sequences/walk/artifacts/notes.html"


def test_artifacts_are_listed_and_sent(still: Site) -> None:
    """As files to save: what somebody recorded never becomes a page of this server."""
    [told] = still.api("/sequences/walk/artifacts").json()["artifacts"]
    assert (told["name"], told["media_type"], told["bytes"], told["here"]) == (
        "notes.html", "text/html", len(NOTES), True,
    )  # fmt: skip
    answer = still.api(FILE)
    assert (answer.status_code, answer.content) == (200, NOTES)
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_a_part_of_a_file_can_be_asked_for(still: Site) -> None:
    """As a download that goes on does."""
    answer = still.api(FILE, headers={"Range": "bytes=1-6"})
    assert (answer.status_code, answer.content) == (206, b"script")
    assert answer.headers["content-range"] == f"bytes 1-6/{len(NOTES)}"
    assert still.api(FILE, headers={"Range": "bytes=1000-"}).status_code == 416


def test_the_head_of_a_file_tells_its_size(still: Site) -> None:
    """And that parts of it can be had; the file itself is not sent."""
    sent, head = still.api(FILE), still.api(FILE, "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-disposition", "content-length", "accept-ranges", "etag"):
        assert head.headers[name] == sent.headers[name], name
    assert head.headers["content-length"] == str(len(NOTES))


def test_the_description_promises_no_media_type(still: Site) -> None:
    """Because a file is sent under its own."""
    path = "/api/v1/sequences/{name}/artifacts/{artifact}"
    answers = still.api("/openapi.json").json()["paths"][path]["get"]["responses"]
    assert [list(answers[code]["content"]) for code in ("200", "206")] == [["*/*"], ["*/*"]]


@pytest.mark.parametrize(
    "name", ["nope", "..%2F..%2Fmanifest.json", "%2e%2e", "manifest.json", "%2Fetc%2Fpasswd"]
)
def test_no_name_leads_to_another_file(still: Site, name: str) -> None:
    """Names are looked up, never joined to a path."""
    assert still.api(f"/sequences/walk/artifacts/{name}").status_code in (400, 404)


def test_a_file_elsewhere_and_one_that_is_gone_are_not_here(begin: Begin, root: Path, tmp_path: Path) -> None:
    """The list says so, and what to do."""
    file = tmp_path / "weights.bin"
    file.write_bytes(b"1234")
    with gapless.connect(root) as client, client.sequence_create("s") as sequence:
        sequence.add_artifact("s3://bucket/far.bin", "far.bin")
        sequence.add_artifact(file)
    site = begin(root)
    known = {told["name"]: told for told in site.api("/sequences/s/artifacts").json()["artifacts"]}
    assert (known["far.bin"]["uri"], known["far.bin"]["here"]) == ("s3://bucket/far.bin", False)
    answer = site.api("/sequences/s/artifacts/far.bin")
    assert (answer.status_code, answer.json()["found"]) == (404, "s3://bucket/far.bin")
    [stored] = (root / "sequences" / "s" / "artifacts").iterdir()
    stored.unlink()
    assert site.api("/sequences/s/artifacts/weights.bin").status_code == 404
    outside = tmp_path / "secret"
    outside.write_bytes(b"key")
    stored.symlink_to(outside)
    assert site.api("/sequences/s/artifacts/weights.bin").json()["error"] == "IntegrityError"


def test_provenance_tells_what_made_base_and_layers(filled: Site, root: Path) -> None:
    """As the files hold it."""
    bundle = root / "sequences" / "walk"
    told = filled.api("/sequences/walk/provenance").json()
    assert told["sequence"] == json.loads((bundle / "provenance.json").read_bytes())
    assert [layer["layer"] for layer in told["layers"]] == ["later"]
    assert told["layers"][0]["provenance"]["command"]
    (bundle / "provenance.json").unlink()
    assert filled.api("/sequences/walk/provenance").json()["sequence"] is None
