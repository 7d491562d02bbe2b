"""Which sequences a model learns from and which it is tested on: whole sequences or groups, never rows.

Neighbouring rows of a recording are nearly the same, so rows of one sequence on both sides would make any
model look good.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from gapless.errors import ArgumentRefused
from gapless.features.entry import EntryKey

_SEEDS_TRIED = 1_000


@dataclass(frozen=True)
class Split:
    """The two sides, in the order of the entries; ``folds`` cuts ``train`` for cross-validation."""

    train: tuple[EntryKey, ...]
    test: tuple[EntryKey, ...]
    folds: tuple[tuple[EntryKey, ...], ...] = ()


@dataclass(frozen=True)
class SplitSpec:
    """How entries are divided: the side of an entry depends on its own name and the seed, on nothing else.

    So a new sequence never moves an older one from one side to the other, or from one fold to another.
    The price: ``test_fraction`` is what is expected, and a small data set can miss it.
    """

    by: Literal["sequence", "group"] = "sequence"
    test_fraction: float = 0.25
    seed: int = 0
    folds: int | None = None

    def __post_init__(self) -> None:
        if self.by not in ("sequence", "group"):
            raise ArgumentRefused(
                "a split is by sequence or by group, never by row", field="by", found=self.by,
                expected="sequence | group",
            )  # fmt: skip
        if not _is_number(self.test_fraction) or not 0 < self.test_fraction < 1:
            raise ArgumentRefused(
                "the fraction of the test side lies between 0 and 1", field="test_fraction",
                found=self.test_fraction,
            )  # fmt: skip
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise ArgumentRefused("a seed is an integer", field="seed", found=self.seed)
        if self.folds is not None and (not isinstance(self.folds, int) or self.folds < 2):
            raise ArgumentRefused("there are at least 2 folds, or None", field="folds", found=self.folds)

    @classmethod
    def of(cls, value: Mapping[str, Any] | Self, seed: int = 0) -> Self:
        """Return the split that a configuration describes; ``seed`` holds where it names none."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ArgumentRefused(
                "a split is a mapping", field="split", found=value, expected="by, test_fraction, seed, folds"
            )
        unknown = sorted(set(value) - set(cls.__dataclass_fields__))
        if unknown:
            raise ArgumentRefused(
                "a split has no such setting", field="split", found=unknown,
                expected=", ".join(cls.__dataclass_fields__),
            )  # fmt: skip
        return cls(**{"seed": seed, **value})

    def document(self) -> dict[str, Any]:
        """Return the settings as JSON."""
        return asdict(self)

    def divide(self, keys: Sequence[EntryKey]) -> Split:
        """Return the sides of the entries; ArgumentRefused when a side or a fold would be empty."""
        split = self._divided(keys)
        if not split.train or not split.test:
            side = "test" if not split.test else "train"
            raise ArgumentRefused(
                f"the {side} side of the split is empty",
                found=self._found(keys),
                next_step=self._advice(keys),
            )
        if any(not fold for fold in split.folds):
            raise ArgumentRefused(
                "a fold of the split is empty", found=self._found(keys), expected=f"at most {self.folds} folds",
                next_step="use fewer folds, another seed or more sequences",
            )  # fmt: skip
        return split

    def _divided(self, keys: Sequence[EntryKey]) -> Split:
        test = tuple(key for key in keys if self._draw("side", key) < self.test_fraction)
        held = set(test)
        train = tuple(key for key in keys if key not in held)
        count = self.folds or 0
        places = [int(self._draw("fold", key) * count) for key in train]
        folds = tuple(
            tuple(key for key, at in zip(train, places, strict=True) if at == place) for place in range(count)
        )
        return Split(train, test, folds)

    def _unit(self, key: EntryKey) -> str:
        return key[0] if self.by == "group" else key[1]

    def _draw(self, purpose: str, key: EntryKey) -> float:
        """Return a number in [0, 1) that the unit of the entry always has with this seed."""
        text = f"{purpose}\0{self.seed}\0{self.by}\0{self._unit(key)}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48

    def _found(self, keys: Sequence[EntryKey]) -> str:
        units = len({self._unit(key) for key in keys})
        return f"{units} {self.by}s, test_fraction={self.test_fraction}, seed={self.seed}"

    def _advice(self, keys: Sequence[EntryKey]) -> str:
        if len({self._unit(key) for key in keys}) < 2:
            return f"record or label at least two {self.by}s" + (
                ', or split by="sequence"' if self.by == "group" else ""
            )
        for seed in range(_SEEDS_TRIED):
            split = SplitSpec(self.by, self.test_fraction, seed, None)._divided(keys)
            if split.train and split.test:
                return f"use seed={seed}, which tests on {len(split.test)} of {len(keys)} entries"
        return "use another test_fraction"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
