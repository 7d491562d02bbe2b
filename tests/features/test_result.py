"""References to results: what identifies them, and what only tells how an attempt went."""

from __future__ import annotations

import pickle
from typing import Any, Literal

import pytest

from gapless.errors import ArgumentRefused
from gapless.features.result import BodyScaleResult, NNResult, Result, ResultColumn, TracksColumn

ATTEMPT: dict[str, Any] = {"execution_id": "e", "cache_hit": True, "failed_entries": (("g", "s"),)}


def test_statement_28_a_dump_never_has_what_tells_of_the_attempt() -> None:
    """Neither as Python nor as JSON, nor in what makes an identity, nor below a subclass."""
    result = Result(feature="speed", run_id="1-a", **ATTEMPT)
    column = ResultColumn(feature="speed", column="v", **ATTEMPT)
    assert result.model_dump() == result.identity_dump() == {"feature": "speed", "run_id": "1-a"}
    assert result.model_dump_json() == '{"feature":"speed","run_id":"1-a"}'
    assert column.model_dump() == {"feature": "speed", "run_id": None, "column": "v"}


def test_results_are_equal_by_feature_and_run() -> None:
    """How it went does not matter; another run, another column and another class do."""
    assert Result(feature="a", run_id="1", **ATTEMPT) == Result[str](feature="a", run_id="1")
    assert Result(feature="a", run_id="1") != Result(feature="a", run_id="2")
    assert ResultColumn(feature="a", column="x") != ResultColumn(feature="a", column="y")
    assert NNResult() != Result(feature="nearest-neighbor")
    assert Result(feature="a") != "a"


def test_attempts_can_be_read() -> None:
    """They are attributes of what run_feature returns."""
    result = Result(feature="a", **ATTEMPT)
    assert (result.execution_id, result.cache_hit, result.failed_entries) == ("e", True, (("g", "s"),))


@pytest.mark.parametrize("kind", [NNResult, BodyScaleResult])
def test_a_family_takes_any_feature_name(kind: type[NNResult] | type[BodyScaleResult]) -> None:
    """The default is the family's name; from_result gives a copy that refers to another run."""
    plain = kind()
    made = plain.from_result(Result(feature="nn__from__smooth", run_id="1-a", cache_hit=True))
    assert type(made) is kind
    assert (made.feature, made.run_id, made.cache_hit) == ("nn__from__smooth", "1-a", None)
    assert plain == kind()


def test_a_column_keeps_its_column_when_it_refers_to_another_run() -> None:
    """from_result changes feature and run alone."""
    made = ResultColumn(feature="?", column="v").from_result(Result(feature="speed", run_id="1-a"))
    assert made == ResultColumn(feature="speed", run_id="1-a", column="v")


def test_a_feature_name_may_be_narrowed() -> None:
    """Result[Literal["speed"]] refuses other features."""
    assert Result[Literal["speed"]](feature="speed").feature == "speed"
    with pytest.raises(ArgumentRefused, match="feature: Input should be 'speed'"):
        Result[Literal["speed"]](feature="nn")  # type: ignore[arg-type]


def test_results_travel_to_other_processes() -> None:
    """Pickled ones are equal, and keep what tells of the attempt."""
    result = Result(feature="a", run_id="1", **ATTEMPT)
    again = pickle.loads(pickle.dumps(result))
    assert again == result
    assert again.failed_entries == (("g", "s"),)
    assert pickle.loads(pickle.dumps(TracksColumn(column="X"))) == TracksColumn(column="X")


def test_unknown_fields_are_refused() -> None:
    """A misspelt run_id is an error and not the latest run."""
    with pytest.raises(ArgumentRefused, match="runid: Extra inputs are not permitted"):
        Result(feature="a", runid="1")  # type: ignore[call-arg]
