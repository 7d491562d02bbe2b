"""What becomes of single entries: failed, damaged, changed, new, empty, and what a call may select."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.features.toy_features import Centre, Double, Global, NewerDouble, Plus, Rank, marked
from tests.features.tracks import TRACKS, files, record_tracks, statuses, times_of, tree, values

import gapless
from gapless.cli.main import main
from gapless.errors import AllEntriesFailed, ArgumentRefused, IntegrityError, NotFound
from gapless.features import CallbackStep, Dataset, FeatureStep, FeatureWarning, Pipeline, Result
from gapless.features.run_folder import read_lines


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give a data set of four sequences in one group."""
    record_tracks(tmp_path / "store", 4)
    with Dataset(tmp_path / "store") as dataset:
        yield dataset


@pytest.fixture
def told(tmp_path: Path) -> dict[str, Any]:
    """Give parameters under which toys leave marks and fail for the sequences named in a file."""
    (tmp_path / "marks").mkdir()
    (tmp_path / "failing").write_text("")
    return {"marks": str(tmp_path / "marks"), "failing": str(tmp_path / "failing")}


def calls(told: dict[str, Any]) -> dict[str, int]:
    """Return how often each call was made since the last time it was asked, and forget it."""
    folder = Path(told["marks"])
    found = dict(marked(folder))
    for path in folder.iterdir():
        path.unlink()
    return found


def row(pipeline: Pipeline, ds: Dataset, step: str, *, deep: bool = False) -> dict[str, Any]:
    """Return one step's row of the status."""
    rows = pipeline.status(ds, deep=deep).to_dict(orient="records")
    return next({str(name): value for name, value in each.items()} for each in rows if each["step"] == step)


def track_file(ds: Dataset, name: str) -> Path:
    """Return the file that holds a sequence's tracks."""
    [path] = (ds.root / "sequences" / name / "topics" / "tracks").glob("*.parquet")
    return path


def test_s01_one_failing_entry_is_recorded_and_alone_tried_again(ds: Dataset, told: dict[str, Any]) -> None:
    """The others are served, and so is what reads them; the run is not finished before the last is there."""
    Path(told["failing"]).write_text("s001")
    pipeline = Pipeline().add(FeatureStep("d", Double, told)).add(FeatureStep("p", Plus, None, ["d"]))
    result = ds.run_feature(Double(None, told))

    assert result.failed_entries == (("g0", "s001"),)
    assert statuses(ds, result) == {"s000": "ok", "s001": "failed", "s002": "ok", "s003": "ok"}
    record = ds.entry_records(result)["g0", "s001"]
    assert (record.error_type, record.error_message) == ("RuntimeError", "boom in s001")
    [line] = read_lines(ds.run_root(result) / "errors.jsonl")
    assert line["type"] == "RuntimeError"
    assert "raise RuntimeError" in line["traceback"]
    assert not ds.registry.run_is_finished(result.feature, str(result.run_id))
    assert not (ds.run_root(result) / "manifest.json").exists()
    state = row(pipeline, ds, "d")
    assert (state["cached"], state["ok"], state["failed"]) == ("partial", 3, 1)
    assert "RuntimeError: boom in s001" in state["why"]
    assert pipeline.load(ds) == {}
    assert "boom in s001" in pipeline.why(ds, "d", "s001")

    downstream = pipeline.run(ds)  # what reads the failed entry waits for it, the others do not
    assert calls(told) == {"apply s000": 1, "apply s001": 2, "apply s002": 1, "apply s003": 1}
    assert set(statuses(ds, downstream["p"])) == {"s000", "s002", "s003"}
    assert row(pipeline, ds, "p")["pending"] == 1

    Path(told["failing"]).write_text("")
    mended = pipeline.run(ds)
    assert calls(told) == {"apply s001": 1}
    assert not mended["d"].failed_entries
    assert ds.registry.run_is_finished(result.feature, str(result.run_id))
    assert values(ds, mended["p"])["s001"] == [201.0 + 2 * n for n in range(10)]
    assert list(pipeline.status(ds)["cached"]) == [True, True]


def test_s01_the_command_line_ends_with_an_error_when_an_entry_failed(
    ds: Dataset, told: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And with success when it was mended."""
    Path(told["failing"]).write_text("s001")
    source = tmp_path / "pipeline.py"
    source.write_text(
        "from gapless.features import FeatureStep, Pipeline\nfrom tests.features.toy_features import Double\n"
        f"pipeline = Pipeline().add(FeatureStep('d', Double, {told!r}))\n"
    )
    order = ["features", "run", str(source), "--store", str(ds.root)]
    assert main(order) == 1
    assert "1 entry failed" in capsys.readouterr().err
    Path(told["failing"]).write_text("")
    assert main(order) == 0


def test_s01_a_run_that_was_finished_and_fails_when_overwritten_is_finished_no_more(
    ds: Dataset, told: dict[str, Any]
) -> None:
    """Its manifest goes before the first entry is computed."""
    result = ds.run_feature(Double(None, told))
    assert ds.registry.run_is_finished(result.feature, str(result.run_id))
    Path(told["failing"]).write_text("s002")
    again = ds.run_feature(Double(None, told), overwrite=True)
    assert again.failed_entries == (("g0", "s002"),)
    assert not ds.registry.run_is_finished(result.feature, str(result.run_id))
    assert not (ds.run_root(result) / "manifest.json").exists()


def test_s02_when_all_entries_fail_the_run_raises(ds: Dataset, told: dict[str, Any]) -> None:
    """The error names the first one, and every one is recorded."""
    Path(told["failing"]).write_text("s000 s001 s002 s003")
    feature = Double(None, told)
    with pytest.raises(AllEntriesFailed, match=r"all 4 entries.*RuntimeError: boom in s000"):
        ds.run_feature(feature)
    result = Result(feature="double")
    assert set(statuses(ds, result).values()) == {"failed"}
    assert not ds.registry.run_is_finished("double", ds.resolve(result)[1])
    assert Pipeline().add(FeatureStep("d", Double, told)).load(ds) == {}


def test_s02_an_empty_scope_is_no_failure(tmp_path: Path) -> None:
    """There is nothing that could fail."""
    (tmp_path / "store").mkdir()
    gapless.connect(tmp_path / "store").close()
    with Dataset(tmp_path / "store") as ds:
        with pytest.warns(FeatureWarning, match="double: no sequence of the data set is in scope"):
            assert ds.run_feature(Double()).failed_entries == ()
        pipeline = Pipeline().add(FeatureStep("d", Double))
        with pytest.warns(FeatureWarning, match="nothing was computed"):
            pipeline.run(ds)
        assert row(pipeline, ds, "d")["n_seq"] == 0


@pytest.mark.parametrize("damage", ["truncated", "gone"])
def test_s03_a_damaged_output_is_seen_and_computed_again(
    ds: Dataset, told: dict[str, Any], damage: str
) -> None:
    """Alone, with the same bytes, so that nothing after it is computed again."""
    pipeline = Pipeline().add(FeatureStep("d", Double, told)).add(FeatureStep("p", Plus, None, ["d"]))
    result = pipeline.run(ds)["d"]
    before = files(ds, result)
    calls(told)
    path = ds.entry_path(result, "s002")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:50])
        with pytest.raises(IntegrityError):
            list(ds.results(result))
    else:
        path.unlink()
    state = row(pipeline, ds, "d")
    assert (state["cached"], state["stale"], state["ok"]) == ("stale", 1, 3)
    assert ("missing" if damage == "gone" else "not what was written") in state["why"]
    pipeline.run(ds)
    assert calls(told) == {"apply s002": 1}
    assert files(ds, result) == before
    assert row(pipeline, ds, "p")["cached"] is True  # the same bytes again: nothing after it is stale


def test_s03_damage_inside_a_file_is_found_by_its_digest(ds: Dataset) -> None:
    """And refused by every reader."""
    pipeline = Pipeline().add(FeatureStep("d", Double))
    result = pipeline.run(ds)["d"]
    path = ds.entry_path(result, "s002")
    flip_a_byte(path)
    assert row(pipeline, ds, "d")["cached"] is True  # size and time are as they were
    state = row(pipeline, ds, "d", deep=True)
    assert (state["cached"], state["stale"]) == ("stale", 1)
    assert "not what was written" in pipeline.why(ds, "d", "s002", deep=True)
    with pytest.raises(IntegrityError):
        list(ds.results(result))


def flip_a_byte(path: Path) -> None:
    """Change one byte of the values of the first column; size and time stay."""
    status = path.stat()
    column = pq.read_metadata(path).row_group(0).column(0)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 3] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_s04_a_recording_edited_in_place_makes_its_entry_stale(ds: Dataset, told: dict[str, Any]) -> None:
    """The old value is served no more, nor is the new one, which nobody sealed."""
    pipeline = Pipeline().add(FeatureStep("d", Double, told)).add(FeatureStep("p", Plus, None, ["d"]))
    pipeline.run(ds)
    calls(told)
    path = track_file(ds, "s001")
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, table.schema.field("x"), [np.full(10, 999.0)]), path)
    state = row(pipeline, ds, "d")
    assert (state["cached"], state["ok"], state["stale"]) == ("stale", 3, 1)
    assert state["why"] == "changed since: tracks"
    assert row(pipeline, ds, "p")["why"].startswith("waits for double")
    results = pipeline.run(ds)
    # A sealed file that is not what was sealed is never read: the entry fails rather than tell 1998.
    assert results["d"].failed_entries == (("g0", "s001"),)
    assert ds.entry_records(results["d"])["g0", "s001"].error_type == "IntegrityError"
    assert calls(told) == {}


def test_s04_an_edit_that_hides_its_size_and_time_is_found_by_a_deep_look(ds: Dataset) -> None:
    """And explained, of that entry alone."""
    pipeline = Pipeline().add(FeatureStep("d", Double))
    pipeline.run(ds)
    flip_a_byte(track_file(ds, "s001"))
    assert row(pipeline, ds, "d")["cached"] is True
    state = row(pipeline, ds, "d", deep=True)
    assert (state["cached"], state["stale"], state["why"]) == ("stale", 1, "changed since: tracks")
    assert pipeline.why(ds, "d", "s001", deep=True) == "stale: changed since: tracks"
    assert pipeline.why(ds, "d", "s000", deep=True).startswith("up to date")


def test_s04_a_layer_added_to_a_sequence_makes_its_entry_stale(ds: Dataset, told: dict[str, Any]) -> None:
    """The rows of the layer are in the new output."""
    pipeline = Pipeline().add(FeatureStep("d", Double, told))
    result = pipeline.run(ds)["d"]
    calls(told)
    with gapless.connect(ds.root) as client, client.sequence_update("s001") as layer:
        topic = layer.topic_create("tracks", schema=TRACKS)
        topic.push_columns(times_of(1, 2) + 5 * 10**9, {"x": np.array([7.0, 8.0]), "y": np.zeros(2)})
    state = row(pipeline, ds, "d")
    assert (state["cached"], state["stale"]) == ("stale", 1)
    pipeline.run(ds)
    assert calls(told) == {"apply s001": 1}
    assert values(ds, result)["s001"] == [2 * (100.0 + n) for n in range(10)] + [14.0, 16.0]
    assert row(pipeline, ds, "d")["cached"] is True


def test_s04_a_layer_with_another_topic_changes_nothing(ds: Dataset) -> None:
    """The entry does not read it."""
    pipeline = Pipeline().add(FeatureStep("d", Double))
    pipeline.run(ds)
    with gapless.connect(ds.root) as client, client.sequence_update("s001") as layer:
        layer.topic_create("other", schema=TRACKS).push_columns(times_of(1, 1), {"x": [7.0], "y": [0.0]})
    assert row(pipeline, ds, "d")["cached"] is True


def test_s05_a_new_sequence_is_the_only_one_computed(ds: Dataset, told: dict[str, Any]) -> None:
    """But a feature that depends on its scope is another run."""
    pipeline = Pipeline().add(FeatureStep("d", Double, told)).add(FeatureStep("r", Rank, told))
    first = pipeline.run(ds)
    before = files(ds, first["d"])
    calls(told)
    record_tracks(ds.root, 1, start=4)
    state = row(pipeline, ds, "d")
    assert (state["cached"], state["n_seq"], state["ok"], state["pending"]) == ("partial", 5, 4, 1)
    plan = pipeline.plan(ds)
    assert list(plan[plan["step"] == "d"]["sequence"]) == ["s004"]
    second = pipeline.run(ds)
    assert second["d"].run_id == first["d"].run_id
    assert second["r"].run_id != first["r"].run_id  # it depends on which sequences there are
    made = calls(told)
    assert [made[f"apply s00{n}"] for n in range(5)] == [1, 1, 1, 1, 2]
    assert made["fit"] == 1
    assert {name: data for name, data in files(ds, second["d"]).items() if name in before} == before
    assert values(ds, second["r"])["s000"][0] == pytest.approx(-204.5)
    assert list(pipeline.status(ds)["cached"]) == [True, True]


def test_s09_a_filter_that_leaves_nothing_makes_an_empty_entry_which_is_done(
    ds: Dataset, told: dict[str, Any]
) -> None:
    """It has no file, is not computed again, and the run is finished."""
    with gapless.connect(ds.root) as client, client.sequence_create("s900", group="g0") as sequence:
        topic = sequence.topic_create("tracks", schema=TRACKS)
        topic.push_columns(times_of(9, 20), {"x": np.arange(20.0), "y": np.zeros(20)})
    pipeline = Pipeline().add(FeatureStep("d", Double, told, run_kwargs={"filter_start_frame": 15}))
    result = pipeline.run(ds)["d"]
    assert statuses(ds, result) == {f"s00{n}": "empty" for n in range(4)} | {"s900": "ok"}
    record = ds.entry_records(result)["g0", "s000"]
    assert (record.n_rows, record.file) == (0, "")
    assert list(files(ds, result)) == ["s900.parquet"]
    assert calls(told) == {"apply s900": 1}
    state = row(pipeline, ds, "d")
    assert (state["cached"], state["ok"], state["empty"]) == (True, 1, 4)
    assert ds.registry.run_is_finished(result.feature, str(result.run_id))
    assert ds.run_feature(Double(None, told), filter_start_frame=15).cache_hit
    assert calls(told) == {}
    following = ds.run_feature(Plus((result,)))  # what reads an empty entry gets an empty one
    assert statuses(ds, following) == statuses(ds, result)


@pytest.mark.parametrize(
    "selection", [{"groups": []}, {"sequences": []}, {"groups": [], "sequences": ["s000"]}]
)
def test_s10_an_empty_selection_is_refused(ds: Dataset, selection: dict[str, Any]) -> None:
    """It never means all, and nothing is written."""
    before = tree(ds.root)
    with pytest.raises(ValueError, match="selects nothing") as caught:
        ds.run_feature(Double(), **selection)
    assert isinstance(caught.value, ArgumentRefused)
    pipeline = Pipeline().add(FeatureStep("d", Double, run_kwargs=selection))
    with pytest.raises(ValueError, match="selects nothing"):
        pipeline.run(ds)
    assert "selects nothing" in row(pipeline, ds, "d")["why"]
    assert tree(ds.root) == before


def test_s10_a_selection_narrows_and_an_unknown_name_is_told(tmp_path: Path) -> None:
    """Several narrowed runs make one whole run."""
    record_tracks(tmp_path / "store", 4, groups=2)
    with Dataset(tmp_path / "store") as ds:
        assert set(statuses(ds, ds.run_feature(Double(), groups=["g1"]))) == {"s001", "s003"}
        one = ds.run_feature(Double(), sequences=["s000"])
        assert set(statuses(ds, one)) == {"s000", "s001", "s003"}
        assert not ds.run_feature(Double(), groups=["g0"]).failed_entries
        assert len(statuses(ds, one)) == 4
        for selection in (
            {"groups": ["g9"]},
            {"sequences": ["s009"]},
            {"groups": ["g0"], "sequences": ["s001"]},
        ):
            with pytest.raises(NotFound):
                ds.run_feature(Double(), **selection)
        with pytest.raises(ArgumentRefused):
            ds.run_feature(Double(), sequences="s000")


def test_s10_a_narrowed_run_finishes_no_run_that_failed_elsewhere(ds: Dataset, told: dict[str, Any]) -> None:
    """What it was not asked for counts as well."""
    Path(told["failing"]).write_text("s001")
    result = ds.run_feature(Double(None, told))
    narrow = ds.run_feature(Double(None, told), sequences=["s000"])
    assert narrow.cache_hit
    assert not narrow.failed_entries
    assert not ds.registry.run_is_finished(result.feature, str(result.run_id))
    Path(told["failing"]).write_text("")
    ds.run_feature(Double(None, told), sequences=["s001"])
    assert ds.registry.run_is_finished(result.feature, str(result.run_id))


def test_s10_a_sequence_of_another_group_is_a_mismatch(tmp_path: Path) -> None:
    """The error says in which group it is."""
    record_tracks(tmp_path / "store", 2, groups=2)
    with Dataset(tmp_path / "store") as ds:
        with pytest.raises(NotFound, match="another group"):
            ds.frame("s001", group="g0")
        assert len(ds.frame("s001", group="g1")) == 10


def test_s13_a_reference_without_run_id_means_the_newest_run(ds: Dataset) -> None:
    """The run that it meant is recorded and in the identity."""
    old = ds.run_feature(Double())
    first = ds.run_feature(Plus((Result(feature="double"),)))
    assert ds.registry.get_dependencies(first.feature, str(first.run_id)) == [("double", old.run_id)]
    new = ds.run_feature(Double(None, {"factor": 3.0}))
    second = ds.run_feature(Plus((Result(feature="double"),)))
    assert second.run_id != first.run_id
    assert ds.registry.get_dependencies(second.feature, str(second.run_id)) == [("double", new.run_id)]
    assert values(ds, second)["s001"][0] == 301.0
    assert values(ds, first)["s001"][0] == 201.0
    document = json.loads((ds.run_root(second) / "identity.json").read_text())
    assert document["document"]["inputs"] == [{"feature": "double", "run_id": new.run_id}]


def test_s15_a_new_version_renames_a_run_and_all_that_read_it(ds: Dataset) -> None:
    """Directly or not; the old runs are outdated."""

    def pipeline(cls: type) -> Pipeline:
        steps = Pipeline().add(FeatureStep("d", cls)).add(FeatureStep("p", Plus, None, ["d"]))
        return steps.add(FeatureStep("c", Centre, {"column": "value"}, ["p"])).add(
            FeatureStep("other", Centre)
        )

    old = pipeline(Double).run(ds)
    new = pipeline(NewerDouble).run(ds)
    changed = {name for name in old if old[name].run_id != new[name].run_id}
    assert changed == {"d", "p", "c"}
    assert str(new["d"].run_id).startswith("1.1-")
    table = pipeline(NewerDouble).clean(ds)
    outdated = set(table[table["status"] == "would remove"]["run_id"])
    assert outdated == {old[name].run_id for name in changed}


def test_s16_forcing_a_step_computes_it_and_all_after_it(ds: Dataset, told: dict[str, Any]) -> None:
    """What it reads and what stands beside it keep their files."""
    pipeline = Pipeline().add(FeatureStep("a", Double, told)).add(FeatureStep("b", Plus, told, ["a"]))
    pipeline.add(FeatureStep("c", Centre, {**told, "failing": "", "column": "value"}, ["b"]))
    pipeline.add(FeatureStep("side", Centre, {**told, "failing": ""}))
    results = pipeline.run(ds)
    before = {name: tree(ds.run_root(result)) for name, result in results.items()}
    pipeline.run(ds, force_from="b")
    rewritten = set()
    for name, result in results.items():
        now = tree(ds.run_root(result))
        outputs = [file for file in now if file.endswith(".parquet")]
        fresh = [now[file] != before[name][file] for file in outputs]
        assert all(fresh) or not any(fresh)
        rewritten |= {name} if any(fresh) else set()
    assert rewritten == {"b", "c"}
    with pytest.raises(ValueError, match="a, b, c, side"):
        pipeline.run(ds, force_from="z")
    assert list(pipeline.status(ds)["cached"]) == [True] * 4


def test_s17_a_callback_runs_every_time_and_sees_the_steps_before_it(ds: Dataset) -> None:
    """Even when everything is cached."""
    seen: list[list[str]] = []
    pipeline = Pipeline().add(FeatureStep("a", Double))
    pipeline.add(CallbackStep("look", lambda given, results: seen.append([given.root.name, *results]), ["a"]))
    pipeline.add(FeatureStep("b", Plus, None, ["a"]))
    assert row(pipeline, ds, "look")["cached"] == "stale"
    pipeline.run(ds)
    pipeline.run(ds)
    assert seen == [["store", "a"], ["store", "a"]]
    assert (row(pipeline, ds, "look")["feature"], row(pipeline, ds, "look")["cached"]) == ("(callback)", "-")


def test_s17_what_a_callback_raises_ends_the_run(ds: Dataset, told: dict[str, Any]) -> None:
    """No step after it is computed."""

    def refuse(_ds: Dataset, _results: Any) -> None:
        raise LookupError("no")

    pipeline = Pipeline().add(CallbackStep("first", refuse)).add(FeatureStep("a", Double, told))
    with pytest.raises(LookupError, match="no"):
        pipeline.run(ds)
    assert calls(told) == {}


def test_s17_a_callback_with_outputs_runs_when_they_are_gone_or_its_inputs_changed(
    ds: Dataset, tmp_path: Path
) -> None:
    """And one that is declared ``once`` when its inputs changed."""
    made: list[str] = []
    output = tmp_path / "report.txt"

    def report(_ds: Dataset, results: dict[str, Result[str]]) -> None:
        made.append(str(results["a"].run_id))
        output.write_text("done")

    pipeline = Pipeline().add(FeatureStep("a", Double))
    pipeline.add(CallbackStep("report", report, ["a"], outputs=[output]))
    pipeline.add(CallbackStep("once", lambda _ds, _results: made.append("once"), ["a"], once=True))
    pipeline.run(ds)
    pipeline.run(ds)
    assert len(made) == 2
    assert row(pipeline, ds, "report")["cached"] is True
    output.unlink()
    pipeline.run(ds)
    assert len(made) == 3
    assert output.exists()
    record_tracks(ds.root, 1, start=4)
    pipeline.run(ds)
    assert len(made) == 5
    assert made[-1] == "once"


def test_s21_a_feature_without_inputs_leaves_one_marker_entry(ds: Dataset, told: dict[str, Any]) -> None:
    """It has no rows and no file, and is done."""
    result = ds.run_feature(Global((), told))
    records = ds.entry_records(result)
    assert list(records) == [("", "__global__")]
    record = records["", "__global__"]
    assert (record.status, record.n_rows, record.file) == ("ok", 0, "")
    assert ds.run_feature(Global((), told)).cache_hit
    pipeline = Pipeline().add(FeatureStep("g", Global, told))
    assert (row(pipeline, ds, "g")["n_seq"], row(pipeline, ds, "g")["cached"]) == (1, True)


def test_s21_an_empty_scope_leaves_no_marker_entry(tmp_path: Path) -> None:
    """A feature of sequences without a sequence leaves nothing."""
    (tmp_path / "store").mkdir()
    gapless.connect(tmp_path / "store").close()
    with Dataset(tmp_path / "store") as ds:
        with pytest.warns(FeatureWarning, match="nothing was computed"):
            result = ds.run_feature(Double())
        assert ds.registry.list_entries("double").empty
        assert not ds.registry.has_run("double", str(result.run_id))
