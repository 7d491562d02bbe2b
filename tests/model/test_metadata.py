"""Metadata: any JSON is kept exactly, anything else is refused by path."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.errors import MetadataRefused
from gapless.model.metadata import canonical_json, check_metadata, flatten_metadata, join_path, split_path

TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(TEXT, JSON, max_size=4)
QUICK = settings(max_examples=100, deadline=None)


@given(DOCUMENTS)
@QUICK
def test_any_json_is_kept_and_written_canonically(doc: dict[str, Any]) -> None:
    """The copy equals the document, and its canonical form reads back as the same."""
    copied = check_metadata(doc)
    assert copied == doc
    assert json.loads(canonical_json(copied)) == doc
    assert canonical_json(dict(reversed(list(doc.items())))) == canonical_json(doc)


def test_the_copy_shares_nothing() -> None:
    """Callers may change their document afterwards."""
    doc = {"a": {"b": [1, (2,)]}}
    copied = check_metadata(doc, sequence="s", topic="t")
    doc["a"]["b"].append(3)
    assert copied == {"a": {"b": [1, [2]]}}
    assert check_metadata(None) == {}


@pytest.mark.parametrize(
    ("doc", "path"),
    [
        ({"a": {"b": float("nan")}}, "a.b"),
        ({"a": [1, float("inf")]}, "a.1"),
        ({"x.y": {3: "c"}}, r"x\.y"),
        ({"a": 2**63}, "a"),
        ({"a": "\ud800"}, "a"),
        ({"a": b"raw"}, "a"),
        ([1], None),
        ("text", None),
    ],
)
def test_what_is_not_json_is_refused_by_path(doc: Any, path: str | None) -> None:
    """The error names sequence, topic and path."""
    with pytest.raises(MetadataRefused) as refusal:
        check_metadata(doc, sequence="s", topic="t")
    assert (refusal.value.field, refusal.value.sequence, refusal.value.topic) == (path, "s", "t")
    str(refusal.value).encode()  # printable, whatever the value was


def test_a_document_that_contains_itself_is_refused() -> None:
    """Endless nesting is an error and not a hang."""
    doc: dict[str, Any] = {}
    doc["self"] = doc
    with pytest.raises(MetadataRefused, match="deep"):
        check_metadata(doc)


def test_lists_stand_at_the_path_of_the_list() -> None:
    """Each item is found under the path without an index, objects in lists too."""
    doc = {"tags": ["a", 1], "cams": [{"id": 1}, {"id": 2}], "v.w": {"x": None}, "empty": []}
    assert flatten_metadata(doc) == [
        ("tags", "a"),
        ("tags", 1),
        ("cams.id", 1),
        ("cams.id", 2),
        (r"v\.w.x", None),
    ]


@given(st.lists(st.text(alphabet="a.\\b", max_size=6) | TEXT, min_size=1, max_size=5))
@QUICK
def test_paths_are_split_as_they_were_joined(keys: list[str]) -> None:
    """Dots and backslashes in keys survive."""
    assert split_path(join_path(keys)) == keys


def test_split_path_examples() -> None:
    """An escaped dot belongs to the key; a lone backslash stands for itself."""
    assert split_path(r"a.b\.c") == ["a", "b.c"]
    assert split_path("a\\x\\") == ["a\\x\\"]


@pytest.mark.parametrize("value", [float("nan"), {"a": "\ud800"}, {"a": {1, 2}}])
def test_canonical_json_refuses_what_has_no_one_form(value: object) -> None:
    """NaN, lone surrogates and foreign objects have no canonical bytes."""
    with pytest.raises(MetadataRefused):
        canonical_json(value)


def test_canonical_json_is_sorted_tight_utf8() -> None:
    """Keys are sorted, no spaces, text unescaped."""
    assert canonical_json({"b": "é", "a": [1, True, None]}) == '{"a":[1,true,null],"b":"é"}'.encode()
