"""Where a run comes from and what a recording touches: the same in a store of any shape, cyclic or not."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.features.run_folders import record, store_run

import gapless
from gapless.errors import ArgumentRefused, IntegrityError
from gapless.features.registry import FeatureRegistry

Pair = tuple[str, str]


def chain(registry: FeatureRegistry, *edges: tuple[str, str]) -> None:
    """Record runs "1" of features, each edge (feature, its upstream)."""
    for feature in dict.fromkeys(name for edge in edges for name in edge):
        registry.record_run_start(feature, "1", "1", "h")
    for feature, upstream in edges:
        registry.record_dependency(feature, "1", upstream, "1")


def node(feature: str, *upstream: dict[str, Any], **marks: bool) -> dict[str, Any]:
    """Return a node of a lineage."""
    return {"feature": feature, "run_id": "1", "upstream": list(upstream), **marks}


def nodes(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every node of a lineage."""
    waiting = [tree]
    while waiting:
        found = waiting.pop()
        yield found
        waiting += found["upstream"]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[FeatureRegistry]:
    """Return the registry of an empty store."""
    with FeatureRegistry(tmp_path) as opened:
        yield opened


def test_a_shared_run_stands_under_each_of_its_readers(registry: FeatureRegistry) -> None:
    """A diamond is told in full on both sides; a run without upstream is a bare node."""
    chain(registry, ("top", "left"), ("top", "right"), ("left", "raw"), ("right", "raw"))
    assert registry.lineage("top", "1") == node("top", node("left", node("raw")), node("right", node("raw")))
    assert registry.lineage("raw", "1") == node("raw")
    assert registry.lineage("nobody", "1") == node("nobody")


def test_a_cycle_ends_where_it_closes(registry: FeatureRegistry) -> None:
    """Made by hand, of one run, and of three: the run that closes it is marked and not told again."""
    chain(registry, ("self", "self"), ("a", "b"), ("b", "c"), ("c", "a"), ("top", "a"))
    assert registry.lineage("self", "1") == node("self", node("self", cycle=True))
    around = node("a", node("b", node("c", node("a", cycle=True))))
    assert registry.lineage("a", "1") == around
    assert registry.lineage("top", "1") == node("top", around)


def test_a_tower_of_diamonds_is_bounded(registry: FeatureRegistry) -> None:
    """Forty levels have 2^40 ways down; every run is told in full at least once, and repeats say so."""
    edges = [
        (f"{side}{level}", f"{below}{level - 1}") for level in range(1, 41) for side in "ab" for below in "ab"
    ]
    chain(registry, *edges)
    before = registry.statements
    tree = registry.lineage("a40", "1")
    assert registry.statements == before + 1
    every = list(nodes(tree))
    assert len(every) < 30_000
    told = {each["feature"] for each in every if each["upstream"] or each["feature"][1:] == "0"}
    assert told == {name for edge in edges for name in edge} - {"b40"}
    cut = [each for each in every if not each["upstream"] and each["feature"][1:] != "0"]
    assert cut
    assert all(each["repeated"] for each in cut)
    json.dumps(tree)


def test_a_long_chain_needs_no_recursion(registry: FeatureRegistry) -> None:
    """Two thousand runs in a row."""
    chain(registry, *[(f"f{number}", f"f{number - 1}") for number in range(1, 2001)])
    assert sum(1 for _ in nodes(registry.lineage("f2000", "1"))) == 2001


def test_a_run_that_was_cleaned_away_is_still_named(registry: FeatureRegistry) -> None:
    """What was read stays known when it is gone."""
    chain(registry, ("top", "gone"), ("gone", "raw"))
    registry.forget_run("gone", "1")
    assert registry.lineage("top", "1") == node("top", node("gone"))


# -- recordings, calibration, models ---------------------------------------------------------------


def record_sequence(root: Path, name: str, calibration: str | None = None) -> None:
    """Record a sequence, with curves if any."""
    with gapless.connect(root) as client, client.sequence_create(name, group="g") as sequence:
        sequence.log("level", 1.0, timestamp_ns=1)
        if calibration is not None:
            path = root / "calibration.json"
            path.write_text(calibration)
            sequence.add_artifact(path, "calibration.json", "application/json")
            sequence.add_artifact(path, "rig.json", "application/json")


def write_model(root: Path, name: str, inputs: list[Pair], status: str = "finished") -> None:
    """Write the manifest of a training."""
    folder = root / "models" / name / "1-abc"
    folder.mkdir(parents=True)
    document = {"status": status, "inputs": [[*pair, "digest"] for pair in inputs]}
    (folder / "manifest.json").write_text(json.dumps(document))


def test_deep_lineage_reaches_recordings_calibration_and_models(tmp_path: Path) -> None:
    """From a run up to the digests of what was recorded, and down to the models made from it."""
    record_sequence(tmp_path, "one", '{"channels": {}}')
    record_sequence(tmp_path, "two")
    with gapless.connect(tmp_path) as client, client.sequence_update("one", "better") as layer:
        path = tmp_path / "new.json"
        path.write_text("{}")
        layer.log("level", 2.0, timestamp_ns=1)
        layer.add_artifact(path, "recalibration.json", "application/json")
    with FeatureRegistry(tmp_path) as registry:
        smooth = store_run(registry, "smooth", [("g", "one"), ("g", "two"), ("", "lost")])
        speed = store_run(registry, "speed", [("g", "one")], upstream=[smooth])
        other = store_run(registry, "other", [("g", "two")])
        write_model(tmp_path, "direct", [smooth])
        write_model(tmp_path, "below", [other, speed], status="failed")
        write_model(tmp_path, "elsewhere", [other])
        plain = registry.lineage(*speed)
        deep = registry.lineage(*speed, deep=True)
        models = registry.lineage(*smooth, deep=True)["models"]
    assert set(plain) == {"feature", "run_id", "upstream"}
    assert {name: deep[name] for name in plain} == plain
    with gapless.connect(tmp_path) as client:
        digests = {name: client.catalog.sequence(name).content_digest for name in ("one", "two")}
    lost, one, two = deep["sequences"]
    assert lost == {"sequence": "lost", "group": None, "content_digest": None, "calibration": []}
    assert two == {"sequence": "two", "group": "g", "content_digest": digests["two"], "calibration": []}
    assert (one["group"], one["content_digest"]) == ("g", digests["one"])
    assert [(each["name"], each["sha256"]) for each in one["calibration"]] == [
        ("calibration.json", hashlib.sha256(b'{"channels": {}}').hexdigest()),
        ("recalibration.json", hashlib.sha256(b"{}").hexdigest()),
    ]
    bundle = tmp_path / "sequences" / "one"
    assert all((bundle / each["path"]).is_file() for each in one["calibration"])
    assert deep["models"] == [{"name": "below", "run_id": "1-abc", "status": "failed"}]
    assert [model["name"] for model in models] == ["below", "direct"]


def test_a_damaged_manifest_of_a_model_is_an_error(tmp_path: Path) -> None:
    """It might have used the run: silence would be wrong."""
    with FeatureRegistry(tmp_path) as registry:
        pair = store_run(registry, "smooth", [("g", "one")])
        write_model(tmp_path, "bad", [pair])
        (tmp_path / "models" / "bad" / "1-abc" / "manifest.json").write_text('{"inputs": [["x"]]}')
        with pytest.raises(IntegrityError, match="bad"):
            registry.lineage(*pair, deep=True)
        with pytest.raises(IntegrityError):
            registry.impact("one")


def test_a_lone_registry_has_no_recordings_to_look_at(tmp_path: Path) -> None:
    """Names it knows, digests and models it does not."""
    with FeatureRegistry(tmp_path / "registry.db") as registry:
        registry.record_run_start("speed", "1", "1", "h")
        registry.save_records("speed", "1", [record("g", "one")])
        deep = registry.lineage("speed", "1", deep=True)
        assert deep["sequences"] == [
            {"sequence": "one", "group": "g", "content_digest": None, "calibration": []}
        ]
        assert deep["models"] == []
        assert [item["sequence"] for item in registry.impact("one")] == ["one"]


# -- impact ----------------------------------------------------------------------------------------


def touched(registry: FeatureRegistry, sequence: str) -> dict[str, list[str]]:
    """Return the touched sequences by feature, and the touched models."""
    found: dict[str, list[str]] = {}
    for item in registry.impact(sequence):
        if item["kind"] == "entry":
            found.setdefault(item["feature"], []).append(item["sequence"])
        else:
            found.setdefault("models", []).append(item["name"])
    return found


THREE = [("g", "a"), ("g", "b"), ("g", "c")]


def test_a_change_touches_its_entry_in_every_run_below(registry: FeatureRegistry, tmp_path: Path) -> None:
    """Of runs that learn nothing only the entry of that sequence, and the models trained on any of them."""
    smooth = store_run(registry, "smooth", THREE)
    speed = store_run(registry, "speed", THREE, upstream=[smooth])
    away = store_run(registry, "away", [("g", "c")])
    write_model(tmp_path, "used", [speed])
    write_model(tmp_path, "unused", [away])
    assert touched(registry, "b") == {"smooth": ["b"], "speed": ["b"], "models": ["used"]}
    assert registry.impact("nobody") == []
    why = {(item.get("feature"), item["why"]) for item in registry.impact("b")}
    assert ("smooth", "computed from b") in why


def test_a_run_that_learned_from_it_is_touched_whole(registry: FeatureRegistry) -> None:
    """And with it everything made from that run, but not what it was made from."""
    smooth = store_run(registry, "smooth", THREE)
    model = store_run(registry, "model", THREE, upstream=[smooth], state=True)
    store_run(registry, "after", THREE, upstream=[model])
    assert touched(registry, "b") == {"smooth": ["b"], "model": ["a", "b", "c"], "after": ["a", "b", "c"]}


def test_a_global_entry_passes_the_change_to_all(registry: FeatureRegistry) -> None:
    """Templates drawn from all sequences are one entry; every entry below depends on it."""
    smooth = store_run(registry, "smooth", THREE)
    templates = store_run(registry, "templates", [("", "__global__")], upstream=[smooth])
    store_run(registry, "nearest", [("g", "a"), ("g", "c")], upstream=[templates])
    assert touched(registry, "b") == {"smooth": ["b"], "templates": ["__global__"], "nearest": ["a", "c"]}


def test_overlap_touches_the_neighbours_of_the_group(registry: FeatureRegistry) -> None:
    """Entries that read rows of the one beside them; not across groups, and one step at a time."""
    inputs = {"inputs": {"<tracks": "1", "tracks": "2"}}
    keys = [("f", "z"), ("g", "a"), ("g", "b"), ("g", "c"), ("g", "d")]
    wide = store_run(registry, "wide", [_with_inputs(key, inputs) for key in keys])
    store_run(registry, "after", keys, upstream=[wide])
    assert touched(registry, "a") == {"wide": ["a", "b"], "after": ["a", "b"]}


def _with_inputs(key: tuple[str, str], facts: dict[str, Any]) -> Any:
    return replace(record(*key), **facts)


def test_a_cycle_made_by_hand_ends(registry: FeatureRegistry) -> None:
    """Each entry is touched once."""
    chain(registry, ("a", "b"), ("b", "a"))
    for feature in "ab":
        registry.record_entry(feature, "1", "g", "one", "x", 1)
    assert touched(registry, "one") == {"a": ["one"], "b": ["one"]}


# -- OpenLineage -----------------------------------------------------------------------------------


def check_event(event: dict[str, Any]) -> None:
    """Check what OpenLineage 2-0-2 requires of a RunEvent and of every facet in it."""
    assert {"eventTime", "producer", "schemaURL", "run", "job"} <= set(event)
    assert event["schemaURL"] == "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
    assert event["eventType"] in {"START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"}
    assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
    assert uuid.UUID(event["run"]["runId"])
    assert event["producer"].startswith("https://")
    assert {"namespace", "name"} <= set(event["job"])
    facets = [event["run"]["facets"], event["job"]["facets"]]
    for dataset in event["inputs"] + event["outputs"]:
        assert {"namespace", "name"} <= set(dataset)
        facets += [dataset["facets"], dataset.get("outputFacets", {}), dataset.get("inputFacets", {})]
    for holder in facets:
        for facet in holder.values():
            assert facet["_producer"].startswith("https://")
            assert facet["_schemaURL"].startswith("https://openlineage.io/")
    assert json.loads(json.dumps(event)) == event


def test_a_run_is_an_openlineage_event(tmp_path: Path) -> None:
    """Inputs are the runs and recordings it read, with their digests; the id is the same everywhere."""
    record_sequence(tmp_path, "one")
    with FeatureRegistry(tmp_path) as registry:
        smooth = store_run(registry, "smooth", [("g", "one")])
        speed = store_run(registry, "speed", [("g", "one"), record("g", "two", "failed")], upstream=[smooth])
        event = registry.open_lineage(*speed)
        again = registry.open_lineage(*speed)
        row = registry.run_row(*speed)
        above = registry.run_row(*smooth)
        [[digest]] = registry._database.rows("SELECT content_digest FROM sequence")
    assert row
    assert above
    check_event(event)
    assert event == again
    assert (event["eventType"], event["eventTime"]) == ("COMPLETE", row.finished_at)
    assert event["job"]["name"] == "speed"
    names = [
        (item["name"], item["facets"].get("version", {}).get("datasetVersion")) for item in event["inputs"]
    ]
    assert names == [
        (str(tmp_path / "features" / "smooth" / smooth[1]), above.digest),
        (str(tmp_path / "sequences" / "one"), digest),
        (str(tmp_path / "sequences" / "two"), None),
    ]
    [output] = event["outputs"]
    assert output["name"] == str(tmp_path / "features" / "speed" / speed[1])
    assert output["facets"]["version"]["datasetVersion"] == row.digest
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 6
    assert event["run"]["facets"]["gapless_run"]["entries"] == {"failed": 1, "ok": 1}


def test_the_event_tells_how_far_a_run_is(registry: FeatureRegistry) -> None:
    """Begun, failed as a whole, and by hand without a digest; an unknown run is refused."""
    begun = store_run(registry, "begun", [], finish=False)
    failed = store_run(registry, "failed", [record("g", "a", "failed")], finish=False)
    partly = store_run(registry, "partly", [record("g", "a", "failed"), ("g", "b")], finish=False)
    registry.record_run_start("hand", "1", "1", "h")
    events = [registry.open_lineage(*pair) for pair in (begun, failed, partly, ("hand", "1"))]
    assert [event["eventType"] for event in events] == ["RUNNING", "FAIL", "RUNNING", "RUNNING"]
    for event in events:
        check_event(event)
    assert len({event["run"]["runId"] for event in events}) == 4
    with pytest.raises(ArgumentRefused):
        registry.open_lineage("hand", "2")


def test_an_event_of_a_lone_registry_names_no_files(tmp_path: Path) -> None:
    """It does not know where they are."""
    with FeatureRegistry(tmp_path / "registry.db") as registry:
        chain(registry, ("speed", "smooth"))
        registry.record_entry("speed", "1", "g", "one", "x", 1)
        event = registry.open_lineage("speed", "1")
    check_event(event)
    assert [item["name"] for item in event["inputs"]] == ["features/smooth/1", "sequences/one"]
