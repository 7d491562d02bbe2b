"""A store of many sequences, made quickly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from gapless import connect
from gapless.store.folder import FolderStore


def make_sequences(root: Path, count: int) -> None:
    """Make one sealed sequence and as many as wanted that differ in name and metadata only."""
    with connect(root) as client, client.sequence_create("run-00000", metadata={"run": 0}) as sequence:
        topic = sequence.topic_create("value", schema=pa.schema([("value", pa.float64())]))
        topic.push_columns(np.arange(100), {"value": np.zeros(100)})
    store = FolderStore(root)
    manifest = json.loads(store.bundle("run-00000").manifest.read_bytes())
    for number in range(1, count):
        manifest["content"]["name"] = f"run-{number:05d}"
        manifest["content"]["metadata"] = {"run": number}
        bundle = store.sequences / f"run-{number:05d}"
        bundle.mkdir()
        (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
