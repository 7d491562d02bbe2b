"""What is told of a store's files: their places below its folder, and every other path as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapless.serve.visible import below

PART = "sequences/c/topics/data/part-00000.parquet"


@pytest.mark.parametrize("root", ["/data", "/srv/gapless-data", "/"])
@pytest.mark.parametrize("words", ["{}", "[Errno 13] Permission denied: '{}'", "missing: {}, {}", "({})"])
def test_a_path_is_told_as_it_is_below_the_store(root: str, words: str) -> None:
    """Also where a folder of the store has the name of the store's own."""
    inside = str(Path(root) / PART)
    assert below(Path(root), words.format(inside, inside)) == words.format(PART, PART)


@pytest.mark.parametrize(
    "text",
    [
        "/mnt/data/sequences/c/manifest.json",
        "the file /data/raw/c.h5 of a detector is gone",
        "external:/database/sequences/c",
        "nothing of /data is said",
    ],
)
def test_other_words_are_told_as_they_are(text: str) -> None:
    """Files outside of the store are found by their whole path."""
    assert below(Path("/data"), text) == text
