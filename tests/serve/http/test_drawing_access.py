"""Who may see curves, pictures and video: whoever may read the sequence, and for anybody else there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gapless import connect
from gapless.client.media_writer import MediaTopicWriter
from gapless.model.ontology import Image

from .conftest import Begin

START_NS = 1_700_000_000_000_000_000
PATHS = (
    "/sequences/s/curves?fields=t:x",
    "/sequences/s/sparkline",
    "/sequences/s/topics/camera/frames",
    f"/sequences/s/topics/camera/picture?time_ns={START_NS}",
    "/sequences/s/topics/camera/video",
)


@pytest.fixture
def recorded(root: Path) -> Path:
    """A store with a sequence of the group ``lab``."""
    with connect(root) as client, client.sequence_create("s", group="lab") as sequence:
        sequence.topic_create("t", schema=pa.schema([("x", pa.float64())])).push_row(START_NS, 1.0)
        camera = sequence.topic_create("camera", ontology_type=Image, media="mp4")
        assert isinstance(camera, MediaTopicWriter)
        camera.push_image(START_NS, np.zeros((16, 16, 3), np.uint8))
    return root


@pytest.mark.parametrize("path", PATHS)
def test_only_who_may_read_the_sequence_sees_it(recorded: Path, begin: Begin, path: str) -> None:
    """No key: 401; a key of another group: as if there were no such sequence; of its group: the answer."""
    site = begin(recorded)
    own, foreign = site.key("read", "lab"), site.key("read", "barn")
    assert site.api(path).status_code == 401
    refused = site.api(path, key=foreign)
    assert (refused.status_code, refused.json()["error"]) == (404, "NotFound")
    assert refused.json() == {**site.api(path.replace("/s/", "/none/"), key=foreign).json(), "sequence": "s"}
    assert site.api(path, key=own).status_code == 200


def test_names_lead_nowhere_else(recorded: Path, begin: Begin) -> None:
    """A traversal is refused or not found, and is never a file."""
    site = begin(recorded)
    for path in PATHS:
        for name in ("%2e%2e", "..%2fs", "%2Fetc%2Fpasswd", "%00"):
            answer = site.api(path.replace("/s/", f"/{name}/"))
            assert answer.status_code in (400, 404, 422), answer.text
            assert answer.headers["content-type"] == "application/json"
