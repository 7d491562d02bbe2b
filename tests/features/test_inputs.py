"""Inputs of features: what may stand in them, how a feature narrows them, what they are called."""

from __future__ import annotations

import pickle
from typing import Any, ClassVar

import pytest

from gapless.errors import ArgumentRefused
from gapless.features.artifact import ParquetArtifact
from gapless.features.inputs import InputRequire, Inputs, InputsLike, TopicInput, TrackInput
from gapless.features.result import NNResult, Result, ResultColumn

SPEED = Result(feature="speed__from__smooth", run_id="1-a", cache_hit=True)


class TracksOnly(Inputs[TrackInput]):
    """Takes the recorded topic alone."""


class NoInputs(Inputs[Result]):
    """Takes nothing."""

    _require: ClassVar[InputRequire] = "empty"


class AnyInputs(Inputs[Result]):
    """Takes results or nothing; not annotated as a class variable."""

    _require = "any"


class StillNothing(Inputs[Result]):
    """Takes nothing; not annotated as a class variable."""

    _require = "empty"


@pytest.mark.parametrize(
    ("items", "flags", "suffix"),
    [
        (("tracks",), (True, False, False), ""),
        ((SPEED,), (False, True, False), "__from__speed"),
        ((TopicInput("imu"),), (False, False, False), "__from__imu"),
        (("tracks", SPEED, NNResult()), (False, False, True), "__from__tracks+speed+nearest-neighbor"),
    ],
)
def test_inputs_tell_what_they_are(items: tuple[Any, ...], flags: tuple[bool, ...], suffix: str) -> None:
    """Alone or several, tracks or a feature; names of a chain stay short."""
    inputs = Inputs(items)
    assert (inputs.is_single_tracks, inputs.is_single_feature, inputs.is_multi) == flags
    assert inputs.storage_suffix == suffix
    assert not inputs.is_empty
    assert inputs.root == items


def test_inputs_are_sorted_out_by_kind() -> None:
    """Results and topics keep their order and their class."""
    inputs = Inputs((NNResult(), TopicInput("imu"), "tracks", SPEED))
    assert inputs.feature_inputs == (NNResult(), SPEED)
    assert type(inputs.feature_inputs[0]) is NNResult
    assert inputs.topic_inputs == (TopicInput("imu"),)


def test_a_feature_says_whether_it_needs_inputs() -> None:
    """At least one by default, none, or either; the mark works with and without its annotation."""
    assert NoInputs(()).is_empty
    assert (AnyInputs(()).is_empty, AnyInputs((SPEED,)).is_empty) == (True, False)
    with pytest.raises(ArgumentRefused, match="the feature needs an input"):
        Inputs(())
    with pytest.raises(ArgumentRefused, match="the feature takes no inputs"):
        NoInputs((SPEED,))
    with pytest.raises(ArgumentRefused, match="the feature takes no inputs"):
        StillNothing((SPEED,))


@pytest.mark.parametrize(
    ("kind", "items", "told"),
    [
        (TracksOnly, (SPEED,), "TracksOnly: 0: Input should be 'tracks'"),
        (AnyInputs, ("tracks",), "AnyInputs: 0: "),
        (Inputs, ("track",), "Inputs: 0: Input should be 'tracks'"),
        (Inputs, ("tracks", "tracks"), "an input stands there twice"),
        (Inputs, (SPEED, Result(feature=SPEED.feature, run_id="1-a")), "an input stands there twice"),
        (Inputs, (TopicInput("a"), TopicInput("a")), "an input stands there twice"),
        (Inputs, (ResultColumn(feature="a", column="x"),), "is a parameter, not an input"),
        (Inputs, (ParquetArtifact(feature="a"),), "is a parameter, not an input"),
    ],
)
def test_what_does_not_belong_is_refused(kind: Any, items: tuple[Any, ...], told: str) -> None:
    """By place, with what was found."""
    with pytest.raises(ArgumentRefused, match=told):
        kind(items)


def test_two_runs_of_one_feature_may_be_compared() -> None:
    """They are two inputs."""
    assert Inputs((Result(feature="a", run_id="1"), Result(feature="a", run_id="2"))).is_multi


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": ""}, "name"),
        ({"name": "imu", "tolerance_ns": 5}, "tolerance_ns without align means nothing"),
        ({"name": "imu", "align": "hold", "tolerance_ns": -1}, "tolerance_ns"),
        ({"name": "imu", "align": "nearest"}, "align"),
        ({"name": "imu", "columns": ()}, "columns"),
    ],
)
def test_topics_that_mean_nothing_are_refused(fields: dict[str, Any], told: str) -> None:
    """Nothing of what is written is left out silently."""
    with pytest.raises(ArgumentRefused, match=told):
        TopicInput(**fields)


def test_a_topic_is_named_by_place_and_read_from_a_mapping() -> None:
    """As a file of a pipeline writes it."""
    topic = TopicInput("imu", "interp", 10, ["x", "y"])
    assert topic.columns == ("x", "y")
    written: Any = {"name": "imu", "align": "interp", "tolerance_ns": 10, "columns": ["x", "y"]}
    assert Inputs((written,)).root == (topic,)


@pytest.mark.parametrize(
    "inputs", [Inputs(("tracks", SPEED)), TracksOnly(("tracks",)), Inputs((TopicInput("a"),))]
)
def test_inputs_travel_to_other_processes(inputs: Inputs[Any]) -> None:
    """Pickled ones are equal."""
    assert pickle.loads(pickle.dumps(inputs)) == inputs


def test_any_inputs_are_inputs_to_the_engine() -> None:
    """The protocol reads what the class has."""
    like: InputsLike = TracksOnly(("tracks",))
    assert (like.is_single_tracks, like.feature_inputs, like.topic_inputs) == (True, (), ())
