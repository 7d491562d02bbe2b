"""Equal values have one form, different ones have different forms, and what has no form is refused."""

from __future__ import annotations

import copy
import json
import math
import os
import random
import subprocess
import sys
from collections import OrderedDict
from enum import IntEnum, StrEnum
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from gapless.errors import IdentityRefused
from gapless.features import Knob, Params
from gapless.features.canonical import canonical, canonical_text, form_digest, form_text

# Few and short on purpose, so that two of them are often equal or nearly so.
KEYS = st.sampled_from(["", "a", "b", "$float", "$set", "$map", "$model", "ß"])
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([0.0, -0.0, 1.0, 0.5, math.nan, math.inf, -math.inf, 1e300, 5e-324]),
    st.sampled_from(["", "a", "nan", "1", "1.0", "true", "null", "[]"]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
        st.frozensets(LEAVES, max_size=3),
    ),
    max_leaves=6,
)


def meaning(value: Any) -> Any:
    """Return what distinguishes a value, made in another way than the form."""
    match value:
        case bool() | int() | None | str():
            return type(value).__name__, value
        case float():
            return "float", repr(value)
        case list() | tuple():
            return "list", tuple(map(meaning, value))
        case frozenset() | set():
            return "set", frozenset(map(meaning, value))
    return "mapping", frozenset((key, meaning(item)) for key, item in value.items())


@given(VALUES, VALUES)
def test_two_values_have_one_text_exactly_if_they_mean_the_same(left: Any, right: Any) -> None:
    """Meaning is type and content; tuples are lists, and a mapping that looks like a tag is none."""
    assert (canonical_text(left) == canonical_text(right)) == (meaning(left) == meaning(right))


@given(st.dictionaries(st.text(max_size=4), VALUES), st.randoms())
def test_the_order_of_insertion_never_matters(value: dict[str, Any], chance: random.Random) -> None:
    """Keys are sorted."""
    items = list(value.items())
    chance.shuffle(items)
    assert canonical_text(dict(items)) == canonical_text(value)


@given(st.sets(st.one_of(st.text(max_size=3), st.integers())), st.randoms())
def test_the_order_of_a_set_never_matters(value: set[Any], chance: random.Random) -> None:
    """Members of sets are sorted, also those of different types."""
    items = list(value)
    chance.shuffle(items)
    assert canonical_text(set(items)) == canonical_text(frozenset(value)) == canonical_text(value)


@given(VALUES)
def test_the_form_is_json_that_survives_being_stored_and_the_value_stays_as_it_was(value: Any) -> None:
    """A document read back from a file has the digest that it was stored under."""
    before = meaning(copy.deepcopy(value))
    form = canonical(value)
    assert meaning(value) == before
    assert form_text(json.loads(json.dumps(form))) == form_text(form) == canonical_text(value)


def test_the_text_is_plain_json_with_sorted_keys() -> None:
    """Another program can make the same digest."""
    value = {"b": [1, 1.0, True, None], "a": math.nan, "ß": "ü"}
    assert canonical_text(value) == '{"a":{"$float":"nan"},"b":[1,1.0,true,null],"ß":"ü"}'
    assert canonical_text({"$a": 1, "a": {2, 1}}) == '{"$map":[["$a",1],["a",{"$set":[1,2]}]]}'
    assert form_digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


class Level(IntEnum):
    """Numbers with names."""

    LOW = 1


class Word(StrEnum):
    """Texts with names."""

    RED = "red"


class Loud(str):
    """A text that shows itself in another way."""

    def __str__(self) -> str:
        return "LOUD"


@pytest.mark.parametrize(
    ("given_", "plain"),
    [
        (np.True_, True),
        (np.uint8(7), 7),
        (np.float32(0.5), 0.5),
        (np.float64(1.0), 1.0),
        (np.str_("x"), "x"),
        (Level.LOW, 1),
        (Word.RED, "red"),
        (Loud("x"), "x"),
        ({Word.RED: 1}, {"red": 1}),
        (PurePosixPath("a/b"), "a/b"),
        (PureWindowsPath("a\\b"), "a/b"),
        (OrderedDict(b=1, a=2), {"a": 2, "b": 1}),
        ({"a": 1}.keys(), {"a"}),
    ],
    ids=repr,
)
def test_what_is_only_another_spelling_has_the_form_of_the_plain_value(given_: Any, plain: Any) -> None:
    """NumPy scalars, enums, subclasses and paths are their values."""
    assert canonical_text(given_) == canonical_text(plain)


class Same:
    """Looks like every other of its kind."""

    def __repr__(self) -> str:
        return "Same()"


@pytest.mark.parametrize(
    "value",
    [
        Same(), Same, len, b"x", bytearray(b"x"), 1j, np.zeros(2), np.longdouble(1), np.complex64(1),
        np.datetime64(1, "ns"), np.timedelta64(1, "ns"), np.bytes_(b"x"), iter([1]), {1: "a"}, {None: 1}, "\ud800",
        {"\ud800": 1},
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_has_no_form_is_refused_with_its_place(value: Any) -> None:
    """Nothing is hashed by its repr or its address."""
    for place, deep in (("value", value), ("value.a[1].b", {"a": [0, {"b": value}]})):
        with pytest.raises(IdentityRefused) as refusal:
            canonical(deep)
        assert refusal.value.field == place
    with pytest.raises(ValueError, match=r"params\.x"):
        canonical(value, "params.x")


def test_what_contains_itself_is_refused() -> None:
    """A typed error, not a full stack."""
    value: list[Any] = []
    value.append(value)
    with pytest.raises(IdentityRefused, match="contains itself"):
        canonical(value)


class Gauss(Params):
    """A rule with a width."""

    width: int = 3
    workers: Annotated[int, Knob()] = 1


class Median(Params):
    """Another rule with a width."""

    width: int = 3


class Foreign(BaseModel):
    """A model of another package."""

    model_config = ConfigDict(extra="allow")
    width: int = 3
    secret: str = Field(default="", exclude=True)


def test_models_of_two_classes_are_two_values_though_their_fields_are_the_same() -> None:
    """A parameter that may be one of several models says which one it is."""
    assert canonical(Gauss()) == {"$model": "Gauss", "width": 3}
    texts = {canonical_text(value) for value in (Gauss(), Median(), Foreign(), {"width": 3})}
    assert len(texts) == 4


def test_a_model_is_its_fields_that_change_a_value() -> None:
    """Knobs and fields outside of dumps do not count; extra fields do."""
    assert canonical_text(Gauss(workers=8)) == canonical_text(Gauss())
    assert canonical_text(Gauss(width=5)) != canonical_text(Gauss())
    assert canonical_text(Foreign(secret="x")) == canonical_text(Foreign())
    assert canonical_text(Foreign(more=1)) != canonical_text(Foreign())  # type: ignore[call-arg]


_PRINT = """
from gapless.features.canonical import canonical_text
print(canonical_text({"names": {"left", "right", "nose", "tail"}, "map": {c: {c, c + c} for c in "zyxw"}}))
"""


@pytest.mark.parametrize("seed", ["0", "1", "4294967295"])
def test_the_form_is_the_same_in_every_process(seed: str) -> None:
    """Hashes of text differ between processes; forms do not."""
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", _PRINT], env=environment, capture_output=True, text=True, check=True
    )
    marks = {letter: {letter, letter * 2} for letter in "wxyz"}
    assert ran.stdout.strip() == canonical_text({"names": {"tail", "nose", "right", "left"}, "map": marks})
