"""Column headers carry names and units both ways: ``name [unit]`` and ``name (unit)``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_BRACKET = re.compile(r"^(.*?)\s*\[([^\[\]]*)\]\s*$", re.DOTALL)
_PAREN = re.compile(r"^(.*?\S)\s*\(([^()]+)\)\s*$", re.DOTALL)
_ATOM = re.compile(
    "m|s|g|A|K|mol|cd|Hz|N|Pa|J|W|C|V|F|Ω|[oO]hms?|S|Wb|T|H|lm|lx|Bq|Gy|Sv|kat|deg|rad|sr|°|%|‰|m?bar|psi|min|hr?|d"
    "|L|l|eV|rpm|pp[mbt]|dBm?|px|counts?|cts|mmHg|[tT]orr|atm|in|ft|mph|kn|B|bits?|° ?[CFKc]|deg ?[CFK]|C°"
    r"|celsius|kelvin|volts?|amps?|ampere|watts?|secs?|seconds?|[mun]sec|minutes|hours|days|au|a\.u\.|arb|VA|var|Wh|Ah"
    "|t|u|Da|pH|1|Gs?|M|cP|slpm|sccm|lpm"
)
_PREFIXES = ("da", *"yzafpnuµμmcdhkMGTPEZY")
_SPLIT = re.compile(r"[/*·⋅ ]|\*\*")
_EXPONENT = re.compile(r"(?:\^?[-+]?\d+|[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)$")


def split_unit(text: str) -> tuple[str, str | None]:
    """Return the name and the unit of a header; the unit is None when the header names none.

    Square brackets always hold a unit; ``name []`` says that there is none. Round brackets hold one
    only when every part of it is a known unit, so that ``speed (left)`` stays a name.
    """
    found = _BRACKET.match(text)
    if found is not None:
        return found[1].strip(), found[2].strip() or None
    found = _PAREN.match(text)
    if found is not None and looks_like_unit(found[2].strip()):
        return found[1].strip(), found[2].strip()
    return text.strip(), None


def join_unit(name: str, unit: str | None) -> str:
    """Return the header from which :func:`split_unit` reads the same name and unit again."""
    if unit and "[" not in unit and "]" not in unit:
        return f"{name} [{unit}]"
    return f"{name} []" if split_unit(name) != (name, None) else name


def looks_like_unit(text: str) -> bool:
    """Tell whether every factor of a text is a known unit, with or without SI prefix and exponent."""
    return bool(text) and len(text) <= 24 and all(_is_atom(part) for part in _SPLIT.split(text) if part)


def unique_names(headers: Iterable[str]) -> tuple[list[str], list[str | None], list[str]]:
    """Return one unique name per header, the units, and a note for each name that had to change.

    Columns without a name become ``column_N``. Names that differ only in the unit keep the whole
    header; what is still taken gets a number.
    """
    split = [split_unit(_printable(text)) for text in headers]
    originals = [_printable(text).strip() for text in headers]
    often = Counter(name for name, _ in split if name)
    names: list[str] = []
    notes: list[str] = []
    taken: set[str] = set()
    for number, ((name, _), original) in enumerate(zip(split, originals, strict=True), 1):
        wish = name or f"column_{number}"
        if often[wish] > 1:
            wish = original
        if wish == "_seq":
            wish = "seq"  # the hidden order column of every part has this name
        chosen, attempt = wish, 2
        while chosen in taken:
            chosen, attempt = f"{wish}_{attempt}", attempt + 1
        taken.add(chosen)
        names.append(chosen)
        if chosen != name:
            notes.append(f"column {number} with the header {original!r} is called {chosen!r}")
    return names, [unit for _, unit in split], notes


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _is_atom(part: str) -> bool:
    bare = _EXPONENT.sub("", part) or part
    if _ATOM.fullmatch(bare):
        return True
    return any(bare.startswith(prefix) and _ATOM.fullmatch(bare[len(prefix) :]) for prefix in _PREFIXES)
