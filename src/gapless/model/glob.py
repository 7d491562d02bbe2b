"""Glob patterns over whole values: ``*`` any text, ``?`` one character, ``[a-z]`` and ``[!a-z]`` classes.

Frozen: case sensitive, no escape character (write ``[*]`` for a star), a ``[`` that is never closed
stands for itself, a class with a reversed range matches nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache

_CLASS_SPECIAL = frozenset("\\]^[-&~|")
_NOTHING = r"[^\x00-\U0010ffff]"


def has_wildcard(pattern: str) -> bool:
    """Return whether the pattern can match any text but itself."""
    return literal_prefix(pattern) != pattern


def literal_prefix(pattern: str) -> str:
    """Return the text every match begins with: what stands before the first wildcard."""
    for index, char in enumerate(pattern):
        if char in "*?" or (char == "[" and _class_end(pattern, index) > 0):
            return pattern[:index]
    return pattern


def is_prefix(pattern: str) -> bool:
    """Return whether the pattern is plain text followed by one ``*``: a range lookup answers it."""
    return pattern.endswith("*") and literal_prefix(pattern) == pattern[:-1]


@lru_cache(maxsize=1024)
def matches_nothing(pattern: str) -> bool:
    """Return whether a class of the pattern is empty, so that no text can match."""
    return _NOTHING in regex_body(pattern)


@lru_cache(maxsize=1024)
def regex_body(pattern: str) -> str:
    """Return the pattern as a regular expression without anchors, in the syntax Python and RE2 share."""
    out: list[str] = []
    index = 0
    while index < len(pattern):
        char = pattern[index]
        end = _class_end(pattern, index) if char == "[" else 0
        if char == "*":
            out.append(".*")
        elif char == "?":
            out.append(".")
        elif end > 0:
            out.append(_class(pattern[index + 1 : end]))
            index = end
        else:
            out.append(re.escape(char))
        index += 1
    return "".join(out)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(regex_body(pattern), re.DOTALL)


def glob_match(pattern: str, text: str) -> bool:
    """Return whether the whole text matches the pattern."""
    return _compiled(pattern).fullmatch(text) is not None


def _class_end(pattern: str, start: int) -> int:
    """Return the index of the ``]`` that closes the class opened at ``start``, or 0."""
    first = start + 1
    if pattern[first : first + 1] in ("!", "^"):
        first += 1
    return max(pattern.find("]", first + 1), 0)


def _class(body: str) -> str:
    negated = body[0] in "!^"
    members = body[1:] if negated else body
    out: list[str] = []
    index = 0
    while index < len(members):
        low = members[index]
        if index + 2 < len(members) and members[index + 1] == "-":
            high = members[index + 2]
            if low <= high:
                out.append(f"{_member(low)}-{_member(high)}")
            index += 3
        else:
            out.append(_member(low))
            index += 1
    if not out:
        return "." if negated else _NOTHING
    return f"[{'^' if negated else ''}{''.join(out)}]"


def _member(char: str) -> str:
    return f"\\{char}" if char in _CLASS_SPECIAL else char
