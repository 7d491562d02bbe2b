"""Patterns of the SDK as ours: topic names begin with a slash there, and ``#`` is a digit."""

from __future__ import annotations

from gapless.model.glob import glob_match


def without_slash(name: str) -> str:
    """Return a topic name of the SDK as ours."""
    return name.removeprefix("/")


def patterns(pattern: str) -> list[str]:
    """Return globs of which one matches a name exactly where ``pattern`` matches ``/`` and the name.

    A pattern that begins with a plain character could match no name at all: it is taken for one of ours.
    """
    found: list[str] = []
    while pattern.startswith("*"):
        found.append(pattern)  # the star takes the slash
        pattern = pattern[1:]
    end = _class_end(pattern, 0)
    if pattern.startswith(("/", "?")):
        found.append(pattern[1:])
    elif end:
        found += [pattern[end + 1 :]] if glob_match(pattern[: end + 1], "/") else []
    elif pattern and not found:
        found.append(pattern)
    return list(dict.fromkeys(found))


def with_digits(pattern: str) -> str:
    """Return a pattern of the SDK, whose ``#`` outside of brackets means one digit, as one of ours."""
    out: list[str] = []
    place = 0
    while place < len(pattern):
        end = _class_end(pattern, place) or place
        piece = pattern[place : end + 1]
        out.append("[0-9]" if piece == "#" else piece)
        place = end + 1
    return "".join(out)


def _class_end(pattern: str, start: int) -> int:
    """Return where the class closes that opens at ``start``, 0 if none does: its first character never closes it."""
    if pattern[start : start + 1] != "[":
        return 0
    first = start + (2 if pattern[start + 1 : start + 2] in ("!", "^") else 1)
    return max(pattern.find("]", first + 1), 0)
