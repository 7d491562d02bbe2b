"""The same plans through the live TiledWriter and through ours: one layout, one content."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.bluesky.plans.engine import run_plan
from tests.bluesky.plans.plan_table import ALL
from tests.bluesky.tiled_server import TiledServer
from tests.bluesky.tiled_sink.test_sink import PATIENCE_S, feed

from gapless.bluesky.tiled_sink.server import plain
from gapless.bluesky.tiled_writer import TiledWriter

pytestmark = pytest.mark.filterwarnings("ignore")  # the other writer and its client warn of many things

PLANS = [
    "scan",
    "grid_scan",
    "baseline",
    "monitored",
    "fly",
    "ophyd-async of every type",
    "ophyd-async points",
    "ophyd-async camera in steps",
    "ophyd-async camera in flight",
    "resource and datum",
    "two runs at once",
    "reconfigured",
    "failing",
    "rewound",
    "paged",
    "nothing",
]


@pytest.fixture(scope="module")
def places(server: TiledServer) -> tuple[Any, Any]:
    """Return two containers of one server: theirs and ours."""
    root = server.client()
    return root.create_container("theirs"), root.create_container("ours")


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_looks_the_same_from_both(
    plan: str, places: tuple[Any, Any], files: Path, tmp_path: Path
) -> None:
    """Keys, specs, structures, data and stop of every run; ours has the descriptor's types."""
    from bluesky_tiled_plugins.writing.tiled_writer import TiledWriter as LiveWriter

    folder = files / plan.replace(" ", "-")
    folder.mkdir()
    seen = run_plan(ALL[plan], folder)
    feed(LiveWriter(places[0]), copy.deepcopy(seen))  # alone: the server's tables do not bear two writers
    writer = TiledWriter(places[1], backup_directory=tmp_path / "store")
    feed(writer, seen)
    writer.close(PATIENCE_S)
    uids = [doc["uid"] for name, doc in seen if name == "start"]
    assert uids
    for uid in uids:
        assert compare(plain(places[0][uid]), plain(places[1][uid])) == []


def test_a_picture_in_events_is_only_ours(places: tuple[Any, Any], files: Path, tmp_path: Path) -> None:
    """The live writer has no column for an array of two dimensions; ours has every picture."""
    from bluesky_tiled_plugins.writing.tiled_writer import TiledWriter as LiveWriter

    seen = run_plan(ALL["picture in events"], files)
    with pytest.raises(pa.ArrowInvalid):
        feed(LiveWriter(places[0]), copy.deepcopy(seen))
    with TiledWriter(places[1], backup_directory=tmp_path) as writer:
        feed(writer, seen)
    descriptor = next(doc for name, doc in seen if name == "descriptor")
    key, words = next((key, words) for key, words in descriptor["data_keys"].items() if words["shape"])
    pictures = [doc["data"][key] for name, doc in seen if name == "event"]
    found = places[1][descriptor["run_start"]]["primary"][key].read()
    assert np.array_equal(found.reshape(-1, *words["shape"]), np.stack(pictures))


def compare(theirs: Any, ours: Any, path: str = "") -> list[str]:
    """Return what differs between two trees."""
    found = []
    if [spec.name for spec in theirs.specs] != [spec.name for spec in ours.specs]:
        found.append(f"{path}: specs {theirs.specs} {ours.specs}")
    if theirs.item["attributes"]["structure_family"] != ours.item["attributes"]["structure_family"]:
        return [*found, f"{path}: families differ"]
    if hasattr(theirs, "columns"):
        return found + compare_tables(theirs, ours, path)
    if hasattr(theirs, "shape"):
        return found + compare_arrays(theirs, ours, path)
    if set(theirs) != set(ours):
        found.append(f"{path}: {sorted(theirs)} {sorted(ours)}")
    for key in set(theirs) & set(ours):
        found += compare(container(theirs[key]), container(ours[key]), f"{path}/{key}")
    return found + compare_metadata(dict(theirs.metadata), dict(ours.metadata), path)


def container(node: Any) -> Any:
    """Return a node without the conveniences of its specs."""
    return plain(node) if node.item["attributes"]["structure_family"] == "container" else node


def compare_tables(theirs: Any, ours: Any, path: str) -> list[str]:
    """Compare columns and cells."""
    left, right = theirs.read(), ours.read()
    if set(left.columns) != set(right.columns):
        return [f"{path}: columns {sorted(set(left.columns) ^ set(right.columns))}"]
    found = []
    for name in left.columns:
        a, b = left[name].tolist(), right[name].tolist()
        if len(a) != len(b) or not all(map(same, a, b)):
            found.append(f"{path}.{name}: {a[:3]} {b[:3]}")
    return found


def same(left: Any, right: Any) -> bool:
    """Tell whether two cells are the same value."""
    return bool(left == right) or (left != left and right != right) or str(left) == str(right)


def compare_arrays(theirs: Any, ours: Any, path: str) -> list[str]:
    """Compare shape, type, names of dimensions and values."""
    left = (theirs.shape, theirs.dtype.kind, theirs.dims)
    right = (ours.shape, ours.dtype.kind, ours.dims)
    if left != right:
        return [f"{path}: {left} {right}"]
    return [] if np.array_equal(theirs.read(), ours.read()) else [f"{path}: values differ"]


def compare_metadata(theirs: Any, ours: Any, path: str) -> list[str]:
    """Compare metadata but for what each writer says of itself."""
    for words in (theirs, ours):
        words.pop("notes", None)
        words.pop("gapless", None)
        words.get("stop", {}).pop("_run_normalizer_notes", None)
    keys = [key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key)]
    return [f"{path}: metadata {key}: {theirs.get(key)} {ours.get(key)}" for key in keys]
