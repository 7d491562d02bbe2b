"""Splits: whole sequences or groups, the same for ever, and never a side without entries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.errors import ArgumentRefused
from gapless.features.training.split import SplitSpec

KEYS = [(f"day-{number % 5}", f"mouse-{number:03d}") for number in range(200)]


def test_every_entry_is_on_one_side() -> None:
    """The sides and the folds cut the entries without overlap, in their order."""
    split = SplitSpec(test_fraction=0.3, folds=4).divide(KEYS)
    assert sorted(split.train + split.test) == sorted(KEYS)
    assert sorted(key for fold in split.folds for key in fold) == sorted(split.train)
    assert list(split.train) == [key for key in KEYS if key in set(split.train)]
    assert 30 <= len(split.test) <= 90


@given(st.lists(st.sampled_from(KEYS), min_size=20, unique=True), st.integers(0, 50))
def test_a_new_sequence_moves_no_old_one(keys: list[tuple[str, str]], seed: int) -> None:
    """The side and the fold of an entry are the same in any data set that it belongs to."""
    spec = SplitSpec(test_fraction=0.5, seed=seed, folds=2)
    whole, part = spec._divided(KEYS), spec._divided(keys)
    assert set(part.test) == set(whole.test) & set(keys)
    for fold, larger in zip(part.folds, whole.folds, strict=True):
        assert set(fold) <= set(larger)


def test_groups_stay_together() -> None:
    """By group, no group is on both sides, nor in two folds."""
    split = SplitSpec("group", 0.5, seed=1, folds=2)._divided(KEYS)
    assert {group for group, _ in split.train}.isdisjoint({group for group, _ in split.test})
    first, second = ({group for group, _ in fold} for fold in split.folds)
    assert first.isdisjoint(second)


def test_the_seed_decides() -> None:
    """One seed gives one split, another seed another one; these are the sides for ever."""
    sides = [SplitSpec(seed=seed).divide(KEYS[:8]).test for seed in (0, 0, 1)]
    assert sides[0] == sides[1] != sides[2]
    assert [sequence for _, sequence in sides[0]] == ["mouse-002", "mouse-007"]


def test_an_empty_side_names_a_seed_that_fills_it() -> None:
    """Where chance leaves a side empty, the error says which seed does not."""
    keys = KEYS[:3]
    empty = next(seed for seed in range(99) if not SplitSpec(seed=seed)._divided(keys).test)
    with pytest.raises(ArgumentRefused, match="test side of the split is empty") as caught:
        SplitSpec(seed=empty).divide(keys)
    advised = int(caught.value.advice.split("seed=")[1].split(",")[0])
    assert SplitSpec(seed=advised).divide(keys).test
    with pytest.raises(ArgumentRefused, match="at least two groups"):
        SplitSpec("group").divide([("", "a"), ("", "b")])


def test_too_many_folds_are_refused() -> None:
    """A fold without entries is an error, not a model that was never measured."""
    with pytest.raises(ArgumentRefused, match="fold of the split is empty"):
        SplitSpec(folds=50).divide(KEYS[:20])


@pytest.mark.parametrize(
    "settings",
    [
        {"by": "row"},
        {"test_fraction": 0},
        {"test_fraction": 1.0},
        {"test_fraction": True},
        {"seed": 1.5},
        {"folds": 1},
        {"shuffle": True},
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, object]) -> None:
    """Rows, fractions outside 0 to 1 and unknown settings are typed errors, and ValueErrors."""
    with pytest.raises(ArgumentRefused) as caught:
        SplitSpec.of(settings)
    assert isinstance(caught.value, ValueError)


def test_a_document_gives_the_split_back() -> None:
    """A split survives its own document; the seed of the configuration holds where it names none."""
    spec = SplitSpec("group", 0.4, 7, 3)
    assert SplitSpec.of(spec.document()) == spec
    assert SplitSpec.of({"test_fraction": 0.4}, seed=9).seed == 9
    assert SplitSpec.of({"seed": 2}, seed=9).seed == 2
