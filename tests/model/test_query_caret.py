"""What the end of a query that is being typed expects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.errors import QueryRefused
from gapless.model.query_caret import Caret, caret_of
from gapless.model.query_text import parse


@pytest.mark.parametrize(
    ("text", "caret"),
    [
        ("", Caret("place", 0, "")),
        ("meta", Caret("place", 0, "meta")),
        ("not (metad", Caret("place", 5, "metad")),
        ("name ", Caret("comparison", 5, "", "sequence", "name")),
        ("name ma", Caret("comparison", 5, "ma", "sequence", "name")),
        ("name not ma", Caret("comparison", 9, "ma", "sequence", "name")),
        ('name match "ru', Caret("value", 11, '"ru', "sequence", "name")),
        ("metadata.a.b == ", Caret("value", 16, "", "sequence", "metadata.a.b")),
        ("sequence.metadata.a == x", Caret("value", 23, "x", "sequence", "metadata.a")),
        ("topic.metadata.a == ", Caret("value", 20, "", "topic", "metadata.a")),
        ("IMU.acceleration.x > 1", Caret("value", 21, "1", "ontology:IMU", "acceleration.x")),
        ("IMU.acceleration.x > 1 ", Caret("joint", 23, "")),
        ("IMU.acceleration.x > 1 an", Caret("joint", 23, "an")),
        ("rows > 1) and gro", Caret("place", 14, "gro")),
        ('"oven/*":', Caret("field", 9, "", "field:oven/*", "")),
        ("oven/pv:val", Caret("field", 8, "val", "field:oven/pv", "")),
        ("name:val", Caret("field", 5, "val", "field:name", "")),
        ("a.b:val ", Caret("comparison", 8, "", "field:a.b", "val")),
        ("x.y between 1 ", Caret("and", 14, "", "ontology:x", "y")),
        ("x.y between 1 and ", Caret("value", 18, "", "ontology:x", "y")),
        ("x.y between 1 and 2 ", Caret("joint", 20, "")),
        ('group in ["a", ', Caret("value", 15, "", "sequence", "group")),
        ('group in ["a", "b"] ', Caret("joint", 20, "")),
        ("x.y is nan ", Caret("joint", 11, "")),
        ("x.y exists ", Caret("joint", 11, "")),
        ("x.y ) ", Caret("nothing", 6, "", "ontology:x", "y")),
    ],
)
def test_the_end_of_a_text_expects(text: str, caret: Caret) -> None:
    """Place, field, comparison, value or what joins two conditions; and what was typed of it."""
    assert caret_of(text) == caret


WORDS = ["name", "IMU.x", "==", ">", '"a"', "1", "and", "or", "not", "(", ")", "in", "[", "]", ",", "between",
         "exists", "is", "nan", "match", ":", "without", "metadata.a"]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_a_whole_query_expects_a_joint(words: list[str]) -> None:
    """Whatever the parser takes, another condition may follow."""
    text = " ".join(words)
    try:
        parse(text)
    except QueryRefused:
        return
    assert caret_of(f"{text} ").expects == "joint"


@given(st.text())
def test_any_text_has_an_end(text: str) -> None:
    """Nothing is refused; what was typed stands at the end."""
    caret = caret_of(text)
    assert text[caret.start :] == caret.typed
