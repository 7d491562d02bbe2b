"""Names and types of topics that a query asks for and no sequence has: a slip of the pen finds nothing."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Final

from gapless.catalog.sqlite import Database
from gapless.errors import GaplessError
from gapless.model.expression import Predicate, closest
from gapless.model.glob import glob_match, has_wildcard

_TYPE: Final = "ontology_tag"


def unknown_topics(database: Database, sequences: Path, predicate: Predicate) -> list[str]:
    """Return that no topic, sealed or not, has a name or type that a condition asks for, and the nearest ones.

    Nothing where there are no topics, or where a manifest or a journal that cannot be read may hold one.
    """
    column, asked = _asked(predicate)
    missing = {word: glob for word, glob in asked.items() if not _is_sealed(database, column, glob)}
    unsealed = _unsealed(database, sequences) if missing else None
    if unsealed is None:
        return []
    sealed = database.rows("SELECT DISTINCT name, ontology_tag FROM topic WHERE NOT reserved")
    names = {str(name) for name, _ in [*sealed, *unsealed]}
    types = {str(tag) for _, tag in [*sealed, *unsealed] if tag is not None}
    if not names:
        return []
    known = types if column == _TYPE else names
    return [
        _no_type(word, predicate, names, types) if column == _TYPE else _no_name(word, names)
        for word, glob in missing.items()
        if not any(glob_match(glob, found) for found in known)
    ]


def _no_name(word: str, names: set[str]) -> str:
    return f"no topic has the name {word!r}; there is {closest(word, names)}"


def _no_type(word: str, predicate: Predicate, names: set[str], types: set[str]) -> str:
    """Return that no topic has a type; one that is called nearly so may have been meant."""
    there = f"there is {closest(word, types)}" if types else "topics here have no type"
    near = get_close_matches(word, sorted(names), n=1) if predicate.target.startswith("ontology:") else []
    hint = f'; a field of the topic {near[0]!r} is written "{near[0]}":{predicate.path}' if near else ""
    return f"no topic is of the type {word!r}; {there}{hint}"


def _asked(predicate: Predicate) -> tuple[str, dict[str, str]]:
    """Return the column of ``topic`` that a condition is about, and the words it has for it with their globs."""
    kind, _, name = predicate.target.partition(":")
    if kind == "ontology":
        return _TYPE, {name: _literal(name)}
    if kind == "field":
        return "name", {name: name}
    if kind == "topic" and predicate.path in ("name", _TYPE):
        if predicate.op == "match" and has_wildcard(str(predicate.value)):
            return predicate.path, {str(predicate.value): str(predicate.value)}
        if predicate.op in ("eq", "in"):
            words = predicate.value if isinstance(predicate.value, tuple) else (predicate.value,)
            return predicate.path, {word: _literal(word) for word in words if isinstance(word, str)}
    return "name", {}


def _literal(word: str) -> str:
    """Return the glob that only this word matches."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in word)


def _is_sealed(database: Database, column: str, glob: str) -> bool:
    """Tell whether a sealed topic is meant; those of gapless itself only by a glob that begins with ``_``."""
    own = "" if column == _TYPE or glob.startswith("_") else " AND NOT reserved"
    return bool(database.rows(f"SELECT 1 FROM topic WHERE glob_match(?, {column}){own} LIMIT 1", (glob,)))


def _unsealed(database: Database, sequences: Path) -> set[tuple[str, str | None]] | None:
    """Return names and types of the topics of unsealed sequences; None where any sequence cannot be read."""
    from gapless.catalog.confirm import unsealed_topics

    if database.rows("SELECT 1 FROM sequence WHERE problem IS NOT NULL LIMIT 1"):
        return None
    found: set[tuple[str, str | None]] = set()
    for (component,) in database.rows("SELECT component FROM sequence WHERE state<>'sealed'"):
        try:
            found |= set(unsealed_topics(sequences / component).items())
        except (GaplessError, OSError):
            return None
    return found
