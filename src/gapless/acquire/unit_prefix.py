"""Units that differ by a prefix only, such as mV and V or GB and byte: their ratio needs no library."""

from __future__ import annotations

from fractions import Fraction

_DECIMAL = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "µ": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "": Fraction(1),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
}
_OF_BYTES = {
    "": Fraction(1),
    **{prefix: Fraction(1000 ** (n + 1)) for n, prefix in enumerate("kMGT")},
    **{f"{prefix}i": Fraction(1024 ** (n + 1)) for n, prefix in enumerate("KMGT")},
}
_STEMS = (
    "A",
    "Hz",
    "J",
    "N",
    "Pa",
    "V",
    "W",
    "g",
    "m",
    "s",
)  # no prefix makes one of them another unit's name

#: By unit: the unit that it is a multiple of, and how many of that.
PREFIXED: dict[str, tuple[str, Fraction]] = {
    **{f"{prefix}{stem}": (stem, ratio) for stem in _STEMS for prefix, ratio in _DECIMAL.items()},
    **{f"{prefix}B": ("B", ratio) for prefix, ratio in _OF_BYTES.items()},
    "byte": ("B", Fraction(1)),
}


def ratio_of(source: str, target: str) -> Fraction | None:
    """Return how many of the target one of the source is, exactly; None where that is not the prefix alone."""
    if source not in PREFIXED or target not in PREFIXED:
        return None
    (stem, many), (other, few) = PREFIXED[source], PREFIXED[target]
    return many / few if stem == other else None


__all__ = ["PREFIXED", "ratio_of"]
