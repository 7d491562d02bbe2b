"""A survey that found all done is believed only for as long as nothing that it looked at is another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.features.toy_features import Centre, Double, Plus
from tests.features.tracks import record_tracks

from gapless.features import Dataset, FeatureRegistry, FeatureStep, Pipeline
from gapless.features.identity import RunOptions
from gapless.features.pipeline import StepSurvey
from gapless.features.resolve import RunView, bind_run, survey_run
from gapless.features.run_folder import RunFolder

Spoil = Callable[[Dataset, StepSurvey], None]


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give a data set of four sequences."""
    record_tracks(tmp_path / "store", 4)
    with Dataset(tmp_path / "store") as dataset:
        yield dataset


def pipeline() -> Pipeline:
    """Return a feature, one with neighbours that reads it, and one that learns from that."""
    made = Pipeline().add(FeatureStep("d", Double))
    made.add(FeatureStep("p", Plus, None, ["d"], {"overlap_frames": 1}))
    return made.add(FeatureStep("c", Centre, {"column": "value"}, ["p"]))


def long_ago(ds: Dataset) -> None:
    """Let folders and catalog have changed long ago, so that they may be believed not to change."""
    for path in (ds.root / "sequences", ds.root / "discarded", *ds.root.glob("catalog.db*")):
        os.utime(path, (10**9, 10**9))


def seen(ds: Dataset) -> list[StepSurvey]:
    """Return the steps after a run, everything found done and kept."""
    pipeline().run(ds)
    for _ in range(3):
        long_ago(ds)
        found = pipeline().survey(ds)
    assert all(item.complete for item in found)
    return found


def shared(first: list[StepSurvey], second: list[StepSurvey]) -> list[bool]:
    """Tell of which steps the entries were not looked at one by one again."""
    pairs = zip(first, second, strict=True)
    return [
        a.survey is not None and b.survey is not None and a.survey.states is b.survey.states for a, b in pairs
    ]


def test_a_survey_of_what_did_not_change_is_the_last_one(ds: Dataset) -> None:
    """Of a status, of a run, and of a feature run alone; not where every byte is to be read."""
    found = seen(ds)
    assert shared(found, pipeline().survey(ds)) == [True] * 3
    assert not any(shared(found, pipeline().survey(ds, deep=True)))
    assert shared(found, pipeline().survey(ds)) == [True] * 3
    assert all(result.cache_hit for result in pipeline().run(ds).values())
    assert ds.run_feature(Double()).cache_hit


def _output_gone(ds: Dataset, item: StepSurvey) -> None:
    (RunFolder.of(ds.root, item.label, item.run_id).path / "s001.parquet").unlink()


def _output_other(ds: Dataset, item: StepSurvey) -> None:
    path = RunFolder.of(ds.root, item.label, item.run_id).path / "s001.parquet"
    path.write_bytes(path.read_bytes()[::-1])


def _recorded_failed(ds: Dataset, item: StepSurvey) -> None:
    pair = (item.label, item.run_id)
    with FeatureRegistry(ds.root) as registry:
        record = registry.entry_records([pair])[pair]["g0", "s001"]
        registry.save_records(*pair, [replace(record, status="failed", error_type="E", error_message="boom")])
    long_ago(ds)  # even if the time of the catalog did not tell of it


def _recorded_from_other(ds: Dataset, item: StepSurvey) -> None:
    pair = (item.label, item.run_id)
    with FeatureRegistry(ds.root) as registry:
        record = registry.entry_records([pair])[pair]["g0", "s001"]
        registry.save_records(*pair, [replace(record, key="0" * 64, inputs={"tracks": "0"})])


def _forgotten(ds: Dataset, item: StepSurvey) -> None:
    with FeatureRegistry(ds.root) as registry:
        registry.forget_run(item.label, item.run_id)


@pytest.mark.parametrize(
    "spoil", [_output_gone, _output_other, _recorded_failed, _recorded_from_other, _forgotten]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_happens_to_an_output_is_seen_at_once(ds: Dataset, spoil: Spoil, place: int) -> None:
    """In its own step and in those that read it; what is not touched stays done."""
    found = seen(ds)
    spoil(ds, found[place])
    now = pipeline().survey(ds)
    assert [item.complete for item in now] == [at < place for at in range(3)]
    with Dataset(ds.root) as fresh:
        assert [item.why for item in pipeline().survey(fresh)] == [item.why for item in now]
    assert [item.complete for item in found] == [
        True
    ] * 3  # who holds the last one is not told something else


@pytest.mark.parametrize("gone", [True, False])
def test_an_input_that_changes_is_seen_at_once(ds: Dataset, gone: bool) -> None:
    """A row more in its place, or no file."""
    seen(ds)
    [part] = (ds.root / "sequences" / "s002").glob("topics/tracks/*.parquet")
    other = part.read_bytes()
    part.unlink()
    if not gone:
        part.write_bytes(other[:100] + b"?" + other[101:])
    now = pipeline().survey(ds)
    assert [item.complete for item in now] == [False] * 3
    first = now[0].survey
    assert first is not None
    assert [state.key[1] for state in first.states if not state.done] == ["s002"]


def test_a_state_that_is_not_there_any_more_is_seen_at_once(ds: Dataset) -> None:
    """And one that was learned from something else."""
    found = seen(ds)
    folder = RunFolder.of(ds.root, found[2].label, found[2].run_id)
    kept = folder.state_record.read_bytes()
    folder.state_record.write_bytes(kept.replace(b'"entry:g0/s001": "', b'"entry:g0/s001": "x'))
    assert [item.complete for item in pipeline().survey(ds)] == [True, True, False]
    folder.state_record.unlink()
    assert [item.complete for item in pipeline().survey(ds)] == [True, True, False]
    folder.state_record.write_bytes(kept)
    assert [item.complete for item in pipeline().survey(ds)] == [True] * 3


def test_a_sequence_that_comes_is_seen_at_once(ds: Dataset) -> None:
    """Recorded by another client, in another process or in this one."""
    seen(ds)
    record_tracks(ds.root, 1, start=4)
    first = pipeline().survey(ds)[0].survey
    assert first is not None
    assert first.counts()["pending"] == 1
    assert len(first.states) == 5


@pytest.mark.parametrize("changed_ns", [10**18, 10**19 // 2])
def test_a_look_that_may_not_hold_keeps_nothing(ds: Dataset, changed_ns: int) -> None:
    """A catalog that changed just now may change again within the same tick of its file's time."""
    ds.run_feature(Double())
    ds.run_feature(Double())  # nothing to do: the catalog is not written any more
    long_ago(ds)
    os.utime(ds.root / "catalog.db", ns=(changed_ns, changed_ns))
    view = RunView(ds)
    assert survey_run(view, bind_run(view, Double(), RunOptions())).complete
    assert bool(view.reads.seen_surveys) == view.reads.look.settled == (changed_ns == 10**18)


def test_waiting_for_a_step_leaves_the_kept_survey_as_it_was(ds: Dataset) -> None:
    """It makes other states of the entries."""
    found = seen(ds)
    again = pipeline().survey(ds)
    survey = again[0].survey
    assert survey is not None
    survey.wait_for("training")
    assert survey.counts()["pending"] == 4
    assert [item.complete for item in pipeline().survey(ds)] == [True] * 3
    assert found[0].survey is not None
    assert found[0].survey.complete
