"""The first look of a process: one statement after opening the store, and nothing that it says is of yesterday."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.features.first_look import long_ago, settle, traced
from tests.features.toy_features import Centre, Double, Plus, Rank
from tests.features.tracks import TRACKS, record_topics, record_tracks, times_of, values

import gapless
from gapless.cli.main import main
from gapless.features import Dataset, FeatureStep, Pipeline, TopicInput
from gapless.features.run_folder import RunFolder
from gapless.model.query_text import parse

STEPS = """
from gapless.features import FeatureStep, Pipeline
from tests.features.toy_features import Double, Plus, Rank

pipeline = Pipeline().add(FeatureStep("d", Double)).add(FeatureStep("p", Plus, None, ["d"]))
pipeline.add(FeatureStep("r", Rank))
"""
OPENING = "SELECT 1 FROM seen"  # whether the registry holds what the folders say


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Give a store of four sequences, all computed, at rest."""
    record_tracks(tmp_path / "store", 4, groups=2)
    with Dataset(tmp_path / "store") as ds:
        pipeline().run(ds)
    settle(tmp_path / "store")
    return tmp_path / "store"


def pipeline() -> Pipeline:
    """Return a feature, one that reads it beside the recording, and one that learns from that."""
    made = Pipeline().add(FeatureStep("d", Double)).add(FeatureStep("p", Plus, None, ["tracks", "d"]))
    return made.add(FeatureStep("c", Centre, {"column": "value"}, ["p"]))


def looks(store: Path, said: list[str], steps: Pipeline) -> list[str]:
    """Return the statements of a status in a data set of its own, without that of opening the store."""
    with Dataset(store) as ds:
        said.clear()
        steps.status(ds)
    assert said[0].startswith(OPENING)
    return said[1:]


def test_the_command_line_takes_one_statement_and_prints_what_there_is(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the one of opening the store."""
    (tmp_path / "steps.py").write_text(STEPS)
    arguments = ["features", "status", str(tmp_path / "steps.py"), "--store", str(store), "--json"]
    assert main(["features", "run", *arguments[2:]]) == 0
    settle(store)
    capsys.readouterr()
    said = traced(monkeypatch)
    assert main(arguments) == 0
    assert [sql.startswith(OPENING) for sql in said] == [True, False]
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["step"], row["cached"], row["ok"]) for row in rows] == [
        ("d", True, 4), ("p", True, 4), ("r", True, 4),
    ]  # fmt: skip


def test_a_run_that_has_everything_asks_once_more_whether_it_is_finished(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that reads a result first asks which output the feature's name means."""
    said = traced(monkeypatch)
    with Dataset(store) as ds:
        first = ds.run_feature(Double())
        assert first.cache_hit
        assert (len(said), "feature_entries" in said[1]) == (3, True)
    said.clear()
    with Dataset(store) as ds:
        assert ds.run_feature(Plus(("tracks", first))).cache_hit
        assert (len(said), "feature_entries" in said[1]) == (4, True)


def test_other_topics_are_in_the_same_statement(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each feature gets the sequences that have all of its topics."""
    columns = {"x": [1.0, 2.0], "y": [0.0, 0.0]}
    record_topics(store, "both", {name: (TRACKS, times_of(9, 2), columns) for name in ("tracks", "other")})
    feature = Double((TopicInput("other"),))
    with Dataset(store) as ds:
        result = ds.run_feature(feature)
        assert list(values(ds, result)) == ["both"]
        ds.run_feature(Double())
    settle(store)
    said = traced(monkeypatch)
    with Dataset(store) as ds:
        assert ds.run_feature(feature).cache_hit
        assert len(said) == 3
        assert ds.scope().keys[0] == ("g0", "both")
        assert len(ds.entries()) == 5


def test_a_run_of_some_sequences_that_is_not_the_newest_takes_one_statement_more(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the sequences tell which run that is of a feature which depends on them; what it says is right."""
    every = Pipeline().add(FeatureStep("r", Rank))
    some = Pipeline({"sequences": ["s001", "s002"]}).add(FeatureStep("r", Rank))
    with Dataset(store) as ds:
        some.run(ds)
        every.run(ds)
    settle(store)
    said = traced(monkeypatch)
    assert len(looks(store, said, every)) == 1
    assert len(looks(store, said, some)) == 2
    with Dataset(store) as ds:
        told = [(table["cached"][0], table["ok"][0]) for table in (some.status(ds), every.status(ds))]
    assert told == [(True, 2), (True, 4)]


def test_a_pipeline_that_cannot_be_named_is_told_by_the_first_look(store: Path) -> None:
    """As by any other."""
    wrong = pipeline().add(FeatureStep("w", Centre, {"column": 3}))
    with Dataset(store) as ds:
        first, again = wrong.status(ds), wrong.status(ds)
    assert first.equals(again)
    assert "cannot be named" in first["why"][3]
    assert list(first["cached"]) == [True, True, True, False]


def test_a_query_is_answered_at_the_first_look(store: Path) -> None:
    """Which sequences it finds is in no statement that can be told before."""
    with Dataset(store, where=parse('group = "g1"')) as ds:
        table = pipeline().status(ds)
        assert list(table["n_seq"]) == [2, 2, 2]


def _recorded(store: Path) -> None:
    record_tracks(store, 1, start=4, groups=2)


def _written_by_hand(store: Path) -> None:
    shutil.copytree(store / "sequences" / "s000", store / "sequences" / "s009")


def _discarded(store: Path) -> None:
    with gapless.connect(store) as client:
        client.discard("s001")


def _removed(store: Path) -> None:
    shutil.rmtree(store / "sequences" / "s001")


def _layered(store: Path) -> None:
    with gapless.connect(store) as client, client.sequence_update("s001") as layer:
        columns = {"x": [7.0], "y": [0.0]}
        layer.topic_create("tracks", schema=TRACKS).push_columns(times_of(1, 20)[-1:], columns)


def _output_removed(store: Path) -> None:
    next(store.glob("features/double/*/s001.parquet")).unlink()


def _run_removed(store: Path) -> None:
    shutil.rmtree(store / "features" / "double")


def _run_forgotten(store: Path) -> None:
    with Dataset(store) as ds:
        ds.registry.forget_run("double", ds.registry.latest_run_id("double"))


def _catalog_removed(store: Path) -> None:
    for path in store.glob("catalog.db*"):
        path.unlink()


CHANGES: dict[Callable[[Path], None], dict[str, int]] = {
    _recorded: {"pending": 1, "ok": 4},
    _written_by_hand: {"ok": 4},  # a copy under another name is no sequence
    _discarded: {"ok": 3},
    _removed: {"ok": 3},
    _layered: {"stale": 1, "ok": 3},
    _output_removed: {"stale": 1, "ok": 3},
    _run_removed: {"stale": 4},
    _run_forgotten: {"pending": 4},
    _catalog_removed: {"ok": 4},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("later", [False, True])
def test_what_changed_is_seen_by_the_first_look(
    store: Path, change: Callable[[Path], None], later: bool
) -> None:
    """By whomever it was changed, just now or long ago; the next look says the same."""
    change(store)
    if later:
        long_ago_by_another_second(store)
    steps = Pipeline().add(FeatureStep("d", Double))
    with Dataset(store) as ds:
        first, again = (item.survey for item in steps.survey(ds) + steps.survey(ds))
    assert first is not None
    assert again is not None
    told = {status: count for status, count in first.counts().items() if count}
    assert told == CHANGES[change]
    assert told == {status: count for status, count in again.counts().items() if count}


def long_ago_by_another_second(store: Path) -> None:
    """Let the changes be no change of this moment, and not that of the time before either."""
    long_ago(store)
    for path in (store / "sequences", store / "discarded"):
        if path.exists():
            os.utime(path, (10**9 + 1, 10**9 + 1))


def test_a_sequence_that_is_sealed_between_two_processes_is_seen(store: Path) -> None:
    """No name in the folder changes with it."""
    with gapless.connect(store) as client:
        with client.sequence_create("live", group="g0") as sequence:
            topic = sequence.topic_create("tracks", schema=TRACKS)
            topic.push_columns(times_of(8, 2), {"x": [1.0, 2.0], "y": [0.0, 0.0]})
            sequence.flush()
            settle(store)
            with Dataset(store) as ds:
                assert len(ds.entries()) == 4
        long_ago(store)
    with Dataset(store) as ds:
        table = pipeline().status(ds)
    assert list(table["n_seq"]) == [5, 5, 5]


def test_a_seal_that_the_catalog_was_never_told_of_is_seen(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sealed may have died before telling it, and only the sequence's own folder says so."""
    with gapless.connect(store) as client:
        with client.sequence_create("live", group="g0") as sequence:
            topic = sequence.topic_create("tracks", schema=TRACKS)
            topic.push_columns(times_of(8, 2), {"x": [1.0, 2.0], "y": [0.0, 0.0]})
            sequence.flush()
            assert "live" in client.list_sequences()
            settle(store)
            monkeypatch.setattr(type(client), "_sealed", lambda *_: None)
        long_ago(store)
    with Dataset(store) as ds:
        table = pipeline().status(ds)
    assert list(table["n_seq"]) == [5, 5, 5]


def test_a_data_set_leaves_the_client_that_it_was_given_open(store: Path) -> None:
    """Its registry uses the client's connection."""
    with gapless.connect(store) as client:
        with Dataset(client) as ds:
            kept = ds.registry
            assert pipeline().status(ds)["cached"].all()
        before = client.catalog.statements
        assert len(client.catalog.sequences()) == 4
        assert client.catalog.statements == before + 1
        assert kept.list_features() == ["centre__from__plus", "double", "plus__from__tracks+double"]
    assert RunFolder.of(store, "double", kept.latest_run_id("double")).path.is_dir()
