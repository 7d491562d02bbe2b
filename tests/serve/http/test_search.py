"""Searching: words, the query language, both at once, and only among what the caller sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import gapless

from .conftest import Begin, Site
from .sample_store import BASE_NS, SPIKE_NS


def found(site: Site, **asked: Any) -> dict[str, Any]:
    """Return the first page."""
    answer = site.api("/sequences", key=asked.pop("key", None), params=asked)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def names(site: Site, **asked: Any) -> list[str]:
    """Return the names on the first page, in alphabetical order."""
    return sorted(row["name"] for row in found(site, **asked)["sequences"])


WORDS: dict[str, list[str]] = {
    "walk": ["walk"],
    "WALK": ["walk"],
    "ann": ["walk"],
    "lab": ["broken", "walk"],
    "sensors/i": ["walk"],
    "oven": ["a/b"],
    "bump": ["walk"],
    "night lab": ["walk"],
    "night barn": [],
    "%": [],
    "_": [],
    "": ["a/b", "broken", "plain", "walk"],
    "  ": ["a/b", "broken", "plain", "walk"],
    "naïve": [],
}


def test_words_are_looked_for_everywhere(still: Site) -> None:
    """Name, group, metadata, topics and labels, in any case; each word somewhere, and no wildcards."""
    for text, expected in WORDS.items():
        page = found(still, text=text)
        assert sorted(row["name"] for row in page["sequences"]) == expected, text
        assert page["total"] == len(expected)


QUERIES: dict[str, list[str]] = {
    'metadata.vehicle.id == "x"': ["walk"],
    "metadata.vehicle.id exists": ["a/b", "walk"],
    'group == "lab" and not state == "pending"': ["walk"],
    'annotation == "bump"': ["walk"],
    "IMU.acceleration.x > 40": ["walk"],
    "IMU.acceleration.x > 43": [],
    '"oven/*":value > 8 or metadata.n == 7': ["a/b", "walk"],
    "without (IMU.acceleration.x > 40)": ["a/b", "broken", "plain"],
    "t:v == 1": ["broken"],
    " ": ["a/b", "broken", "plain", "walk"],
}


def test_words_find_topics_of_what_is_being_recorded(begin: Begin, root: Path) -> None:
    """And of what waits to be sealed: the catalog does not hold them yet."""
    site = begin(root)
    with gapless.connect(root) as client, client.sequence_create("now") as sequence:
        sequence.topic_create("Pump/pressure", schema=pa.schema([("v", pa.int64())])).push_row(BASE_NS, 1)
        sequence.flush()
        assert names(site, text="pump/PRES") == ["now"]
        assert names(site, text="pump valve") == []
        assert names(site, text="_events") == []


def test_the_query_language_finds(still: Site) -> None:
    """Properties, metadata, labels and rows, of sealed and other sequences."""
    for query, expected in QUERIES.items():
        assert names(still, query=query) == expected, query


def test_a_query_about_rows_tells_where_they_are(still: Site) -> None:
    """The spans, with both ends, by topic; none for a query about metadata."""
    [row] = found(still, query="IMU.acceleration.x > 40")["sequences"]
    spike = {"topic": "sensors/imu", "start_ns": str(SPIKE_NS), "end_ns": str(SPIKE_NS)}
    assert (row["spans"], row["spans_total"]) == ([spike], 1)
    [row] = found(still, query="metadata.n == 7")["sequences"]
    assert (row["spans"], row["spans_total"]) == (None, None)


def test_only_the_first_spans_come_with_a_row(begin: Begin, root: Path) -> None:
    """And how many there are; the rest is to be seen in the sequence."""
    with gapless.connect(root) as client, client.sequence_create("saw") as sequence:
        topic = sequence.topic_create("t", schema=pa.schema([("v", pa.int64())]))
        topic.push_columns(BASE_NS + np.arange(40), {"v": np.arange(40) % 4})
    [row] = found(begin(root), query="t:v == 3")["sequences"]
    assert row["spans_total"] == 10
    assert [span["start_ns"] for span in row["spans"]] == [str(BASE_NS + n) for n in (3, 7, 11, 15, 19)]


def test_words_query_and_properties_all_hold(still: Site) -> None:
    """Whatever is asked together."""
    assert names(still, query="metadata.vehicle.id exists", text="farm") == ["a/b"]
    assert names(still, query="IMU.acceleration.x > 40", text="farm") == []
    assert names(still, query="IMU.acceleration.x > 40", group="lab", outcome="completed") == ["walk"]
    assert names(still, query="name match '*'", state="pending") == ["broken"]


def test_the_total_is_told_where_it_costs_nothing_more(still: Site) -> None:
    """Of a query about rows only when all of it is on the page."""
    assert found(still, query="name match '*'", limit=1)["total"] == 4
    assert found(still, query='metadata.n == 7 or group == "barn"', limit=1)["total"] == 2
    assert found(still, query="IMU.acceleration.x > -2 or t:v == 1", limit=1)["total"] is None
    assert found(still, query="IMU.acceleration.x > 40", limit=1)["total"] == 1


@pytest.mark.parametrize(
    "query", ["name match '*'", "IMU.acceleration.x > -2 or t:v == 1 or oven/pv:value >= 0"]
)
@pytest.mark.parametrize("order", ["live", "-name", "labels", "-duration", "outcome"])
def test_pages_of_an_answer_follow_one_another(still: Site, query: str, order: str) -> None:
    """In any order, each sequence once."""
    whole = [row["name"] for row in found(still, query=query, order=order)["sequences"]]
    assert len(whole) >= 3
    one_by_one: list[str] = []
    asked: dict[str, Any] = {"query": query, "order": order, "limit": 1}
    while True:
        page = found(still, **asked)
        one_by_one += [row["name"] for row in page["sequences"]]
        if page["next_cursor"] is None:
            break
        asked["cursor"] = page["next_cursor"]
    assert one_by_one == whole


@pytest.mark.parametrize(
    ("query", "column"),
    [
        ("IMU.acceleration.x >", "column 21"),
        ("nonsense", "column 1"),
        ('name = "x', "column 8"),
        ("(" * 200, "column 101"),
    ],
)
def test_a_wrong_query_is_refused_with_its_place(still: Site, query: str, column: str) -> None:
    """As the command line says it."""
    answer = still.api("/sequences", params={"query": query})
    told = answer.json()
    assert (answer.status_code, told["error"], told["code"]) == (400, "QueryRefused", "E106")
    assert told["message"].startswith(column)
    assert told["found"]


def test_nothing_found_says_why(filled: Site) -> None:
    """A path that nobody has; but not to a key for groups, for it would learn of other metadata."""
    page = found(filled, query='metadata.vehicel.id == "x"')
    assert page["sequences"] == []
    assert "vehicle.id" in page["warnings"][0]
    assert found(filled, query='metadata.sit == "x"', key=filled.key("read", "lab"))["warnings"] == []


def test_a_key_for_groups_finds_among_these_only(filled: Site) -> None:
    """By words and by queries, also by rows and by what is not there."""
    key = filled.key("read", "barn")
    assert names(filled, key=key, query="name match '*'") == ["a/b"]
    assert names(filled, key=key, query="IMU.acceleration.x > 40") == []
    assert names(filled, key=key, query="without (IMU.acceleration.x > 40)") == ["a/b"]
    assert names(filled, key=key, text="Ann") == []
    assert found(filled, key=key, query="name match '*'")["total"] == 1
    hint = filled.api("/sequences", params={"query": 'vehicle.id == "x"'}, key=key)
    assert (hint.status_code, hint.json()["next"]) == (400, "write metadata.vehicle.id")
    assert names(filled, key=filled.key("read", "nobody"), query='vehicle.id == "x"') == []


# -- completion ------------------------------------------------------------------------------------


def offered(site: Site, at: str, key: str | None = None) -> dict[str, tuple[str, str]]:
    """Return kind and hint of each completion by its text."""
    answer = site.api("/completions", params={"at": at}, key=key)
    assert answer.status_code == 200, answer.text
    return {item["text"]: (item["kind"], item["hint"]) for item in answer.json()["completions"]}


def test_metadata_and_fields_complete_what_is_typed(still: Site) -> None:
    """Paths with an example, fields with type and unit, by any part of their names."""
    told = offered(still, "vehi")
    assert told["metadata.vehicle.mass"] == ("metadata", "such as 12.5")
    assert set(told) == {"metadata.vehicle.id", "metadata.vehicle.mass"}
    assert offered(still, "metadata.op")["metadata.operator"] == ("metadata", 'such as "Ann Lee"')
    kind, hint = offered(still, "IMU.acc")["IMU.acceleration.x"]
    assert kind == "field"
    assert hint.startswith("double, m/s")
    assert offered(still, "mixed:sp") == {"speed": ("field", "double, m/s")}
    assert offered(still, "mixed:")["word"] == ("field", "string")
    assert offered(still, "spee")["mixed:speed"] == ("field", "double, m/s")
    assert offered(still, "topic.metadata.")["topic.metadata.side"] == ("metadata", 'such as "left"')
    assert "topic.ontology_tag" in offered(still, "topic.")


def test_the_start_says_what_a_completion_replaces(still: Site) -> None:
    """In UTF-16 units, as a browser counts."""
    for at, start in [
        ("", 0),
        ("vehi", 0),
        ('name == "😀" and metadata.ve', 17),
        ("IMU.acceleration.x > ", 21),
    ]:
        assert still.api("/completions", params={"at": at}).json()["start"] == start
    assert still.api("/completions", params={"at": "mixed:sp"}).json()["start"] == 6


def test_operators_values_and_joints_come_where_they_belong(still: Site) -> None:
    """After a place an operator, then a value that there is, then and/or."""
    operators = offered(still, "metadata.operator ")
    assert {"==", "match", "between", "in"} <= set(operators)
    assert operators["exists"][0] == "function"
    assert offered(still, "metadata.operator == ") == {'"Ann Lee"': ("value", "")}
    assert offered(still, 'metadata.operator == "an') == {'"Ann Lee"': ("value", "")}
    assert offered(still, "metadata.n == ") == {"7": ("value", "")}
    assert set(offered(still, "state == ")) == {'"open"', '"pending"', '"sealed"'}
    assert '"completed"' in offered(still, "outcome == ")
    assert set(offered(still, "annotation == ")) == {'"bump"'}
    assert set(offered(still, 'group in ["lab", ')) == {'"lab"', '"barn"'}
    assert set(offered(still, 'name match "wa')) == {'"walk"'}
    assert set(offered(still, "topic.ontology_tag == ")) == {'"IMU"'}
    assert set(offered(still, "rows > 5 ")) == {"and", "or"}
    assert set(offered(still, "rows between 5 ")) == {"and"}
    assert "name" in offered(still, "rows > 5 and not (")
    assert offered(still, "rows > 5 5 5 ") == {}


@pytest.mark.parametrize(
    "at", ['"', "'a", "((((", ":", "a:b:c", "rows in [", "\\", "not", "é", "\x00", "x" * 4000]
)
def test_any_beginning_may_be_completed(still: Site, at: str) -> None:
    """Nothing is refused while somebody types."""
    assert still.api("/completions", params={"at": at}).status_code == 200


def test_every_completion_is_part_of_a_query_that_is_understood(still: Site) -> None:
    """Places with a comparison behind them, values behind a comparison."""
    for at in ("", "metadata.", "topic.", "mixed:"):
        start = still.api("/completions", params={"at": at}).json()["start"]
        for text, (kind, _) in offered(still, at).items():
            if kind in ("metadata", "field") and at[:start] + text:
                query = f"{at[:start]}{text} exists"
                answer = still.api("/sequences", params={"query": query})
                assert answer.status_code == 200, query


def test_a_key_for_groups_learns_nothing_of_others(filled: Site) -> None:
    """Neither paths, values, names, topics, labels nor fields."""
    lab, barn = filled.key("read", "lab"), filled.key("read", "barn")
    assert "metadata.site" not in offered(filled, "", lab)
    assert "metadata.site" in offered(filled, "", barn)
    assert "metadata.operator" not in offered(filled, "", barn)
    assert set(offered(filled, "metadata.vehicle.id == ", lab)) == {'"x"'}
    assert set(offered(filled, "metadata.vehicle.id == ", barn)) == {'"secret"'}
    assert set(offered(filled, "name == ", barn)) == {'"a/b"'}
    assert set(offered(filled, "group == ", barn)) == {'"barn"'}
    assert offered(filled, "annotation == ", barn) == {}
    assert offered(filled, "oven", lab) == {}
    assert offered(filled, "IMU.", barn) == {}
    assert offered(filled, "topic.metadata.", barn) == {}
