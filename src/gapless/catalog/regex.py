"""Regular expressions that somebody else wrote, searched in time that is linear in the text.

The syntax is that of RE2: what Python knows but for look-around and back-references, which no search in
linear time can have.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from gapless.errors import QueryRefused

_PATTERN_LENGTH = 1000
_TEXT_LENGTH = 100_000
_TEXTS_AT_ONCE = 1000


def found_in(pattern: str, texts: Sequence[str], *, ignore_case: bool, patience_s: float) -> list[str]:
    """Return the texts in which the expression is found.

    Raises QueryRefused for an expression that is wrong or longer than 1,000 characters, for a text longer
    than 100,000, and when ``patience_s`` are over.
    """
    _demand("the regular expression is too long", len(pattern), _PATTERN_LENGTH)
    _demand("a text is too long to be searched", max(map(len, texts), default=0), _TEXT_LENGTH)
    end = time.monotonic() + patience_s
    _holding(pattern, [""], ignore_case=ignore_case)  # is it one, even where there is no text?
    found: list[str] = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        found += _holding(pattern, texts[start : start + _TEXTS_AT_ONCE], ignore_case=ignore_case)
        if time.monotonic() > end:
            raise QueryRefused("the search took too long and was given up", next_step="ask for less")
    return found


def _holding(pattern: str, texts: Sequence[str], *, ignore_case: bool) -> list[str]:
    import pyarrow as pa
    import pyarrow.compute as pc

    held = pa.array(texts, pa.string())
    try:
        hits = pc.match_substring_regex(held, pattern, ignore_case=ignore_case)
    except (pa.ArrowInvalid, UnicodeEncodeError) as error:
        raise QueryRefused("the regular expression is not understood", found=str(error)) from error
    found: list[str] = held.filter(hits).to_pylist()
    return found


def _demand(message: str, length: int, limit: int) -> None:
    if length > limit:
        raise QueryRefused(message, found=length, expected=f"at most {limit} characters")
