"""Problems of a configuration: their words, their place, and that every code is explained."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import Field

from gapless.acquire.device_config import Strict
from gapless.acquire.problem import FINDINGS, ConfigProblem, RigProblems
from gapless.acquire.problem_list import ProblemList, did_you_mean
from gapless.errors import MissingExtra, RigRefused, UsageError


class Leg(Strict):
    """Something inside something."""

    length_m: float
    colour: str = "black"


class Table(Strict):
    """A table with tables in it."""

    name: str
    legs: tuple[Leg, ...] = Field(min_length=1)
    spare: Leg | None = None


def found_in(table: Any) -> list[tuple[str, str]]:
    """Return path and words of what is wrong with a table."""
    problems = ProblemList()
    assert problems.checked(Table, table, "tables", 0) is None
    assert problems.has_errors
    return [(".".join(map(str, problem.path)), problem.message) for problem in problems.problems]


def test_a_problem_says_where_and_what() -> None:
    """File, line, path, words and code in one line that a terminal or an editor can follow."""
    problem = ConfigProblem("R003", "there is no device 'x'", ("channels", 0, "device"), "rig.toml", 7)
    assert str(problem) == "rig.toml:7: channels.0.device: there is no device 'x' [R003]"
    assert str(ConfigProblem("R001", "empty")) == "empty [R001]"
    assert "warning: " in str(ConfigProblem("R010", "think again", severity="warning"))


@pytest.mark.parametrize("code", sorted(FINDINGS))
def test_every_code_has_a_meaning_and_a_way_out(code: str) -> None:
    """`gapless explain` and the problem itself both have something to say."""
    assert FINDINGS[code].endswith(".")
    problem = ConfigProblem(code, "…", ("a", 1))
    assert problem.next_step
    assert problem.to_json() == {
        "code": code,
        "message": "…",
        "path": ["a", 1],
        "file": None,
        "line": None,
        "fix": problem.next_step,
        "severity": "error",
    }


def test_a_refusal_is_a_usage_error_with_every_problem() -> None:
    """It ends the command line with 2 and lists all, in the words that its maker chose."""
    error = RigProblems([ConfigProblem("R003", "one"), ConfigProblem("R005", "two")], "the method cannot run")
    assert isinstance(error, UsageError)
    assert error.exit_code == 2
    assert re.search(r"the method cannot run as it is written: 2 problems\n  one .*\n  two ", str(error))
    assert "1 problem\n" in str(RigProblems([ConfigProblem("R003", "one")]))


def test_a_table_that_is_right_is_returned() -> None:
    """Nothing is said of it."""
    problems = ProblemList()
    assert problems.checked(Table, {"name": "t", "legs": [{"length_m": "1.5"}]}) == Table(
        name="t", legs=(Leg(length_m=1.5),)
    )
    assert not problems.has_errors


def test_each_problem_of_a_table_has_its_own_path() -> None:
    """At any depth, in the words of a person, with the nearest key for one that is unknown."""
    table = {"nme": "t", "legs": [{"length_m": 1}, {"lenth_m": 1}], "spare": {"length_m": 1, "color": "red"}}
    assert found_in(table) == [
        ("tables.0.name", "Field required"),
        ("tables.0.legs.1.length_m", "Field required"),
        ("tables.0.legs.1.lenth_m", "unknown key; did you mean length_m?"),
        ("tables.0.spare.color", "unknown key; did you mean colour?"),
        ("tables.0.nme", "unknown key; did you mean name?"),
    ]


def test_a_list_is_not_called_too_short_for_items_that_are_wrong() -> None:
    """What follows from a problem is not a problem."""
    assert found_in({"name": "t", "legs": [{}]}) == [("tables.0.legs.0.length_m", "Field required")]
    assert [path for path, _ in found_in({"name": "t", "legs": []})] == ["tables.0.legs"]


@pytest.mark.parametrize("table", [None, 3, "text", [1], [{"name": "t"}]])
def test_what_is_no_table_is_a_problem_at_its_place(table: Any) -> None:
    """Any value may stand where a table belongs."""
    assert [path for path, _ in found_in(table)] == ["tables.0"]


def test_a_spoilt_value_is_spoken_of_once() -> None:
    """Later checks of the same value add nothing; its neighbours are not spared."""
    problems = ProblemList()
    problems.spoil("R007", "not set", "a", "b")
    problems.say("R002", "no number", "a", "b")
    problems.say("R002", "no number", "a", "c")
    assert [problem.message for problem in problems.problems] == ["not set", "no number"]


def test_a_warning_refuses_nothing() -> None:
    """Only errors count."""
    problems = ProblemList()
    problems.say("R010", "think again", severity="warning")
    assert not problems.has_errors


def test_errors_become_problems_with_their_evidence() -> None:
    """What was found and expected is kept; a missing library brings its own code and its way out."""
    problems = ProblemList()
    problems.say_error("R005", RigRefused("x: no", found="a", expected="b"), "p", without="x: ")
    problems.say_error("R005", MissingExtra("needs pint", next_step="pip install 'gapless[units]'"), "p")
    first, second = problems.problems
    assert (first.code, first.message) == ("R005", "no: a; expected b")
    assert (second.code, second.next_step) == ("R008", "pip install 'gapless[units]'")


def test_only_near_words_are_suggested() -> None:
    """A suggestion that is far off would mislead."""
    assert did_you_mean("chanels", ["channels", "run"]) == "; did you mean channels?"
    assert did_you_mean("zzz", ["channels", "run"]) == ""
