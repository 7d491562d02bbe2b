"""Findings over the network: they say what is wrong in the store, not where the server keeps it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import gapless
from gapless.serve.native.reading import NativeReading
from gapless.serve.server import Server


@pytest.mark.parametrize(
    ("state", "code", "place"),
    [("sealed", "V001", "sequences/lab%2Fx/manifest.json"), ("open", "V016", "sequences/lab%2Fx/journal")],
)
def test_a_finding_does_not_tell_where_the_store_lies(
    tmp_path: Path, state: str, code: str, place: str
) -> None:
    """A file is named as it lies in the store's folder; in the folder itself it has its whole path."""
    root = tmp_path / "store"
    with gapless.connect(root) as client, client.sequence_create("lab/x") as sequence:
        sequence.log("a", 1.0)
    bundle = root / "sequences" / "lab%2Fx"
    if state == "sealed":
        (bundle / "manifest.json").write_bytes(b"{")
    else:
        shutil.rmtree(bundle)
        (bundle / "journal").mkdir(parents=True)
    with Server(root, "127.0.0.1", 0, doors=[NativeReading]) as server, gapless.connect(server.url) as remote:
        [finding] = remote.verify("lab/x")
    assert finding.code == code
    assert place in finding.message
    assert str(tmp_path) not in finding.message
    with gapless.connect(root) as client:
        assert str(root / place) in client.verify("lab/x")[0].message
