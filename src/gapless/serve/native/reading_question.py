"""A question that came over the network: a JSON object of which nothing is believed before it is looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar, overload

from gapless.errors import UsageError

T = TypeVar("T")
_GREATEST = 2.0**63
_LONGEST = 300  # characters of a value in an error's text


class Question:
    """The words of an action or ticket; a word that is missing or of another kind raises UsageError."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        try:
            json.dumps(document, ensure_ascii=False).encode()
        except (
            UnicodeEncodeError,
            RecursionError,
        ) as error:  # half of a character, or lists in lists in lists
            raise UsageError("a request cannot be understood", found=type(error).__name__) from error

    def text(self, word: str) -> str:
        """Return a text."""
        return self._of(word, str, "text")

    def maybe_text(self, word: str) -> str | None:
        """Return a text, None where there is none."""
        return None if self.document.get(word) is None else self.text(word)

    def texts(self, word: str) -> list[str] | None:
        """Return a list of texts, None where there is none."""
        if self.document.get(word) is None:
            return None
        found = self._of(word, list, "a list of text")
        if not all(isinstance(item, str) for item in found):
            raise self._no(word, "a list of text")
        return list(found)

    def flag(self, word: str) -> bool:
        """Return true or false; false where the word is missing."""
        return self._of(word, bool, "true or false", missing=False)

    def whole(self, word: str) -> int:
        """Return a whole number."""
        if isinstance(self.document.get(word), bool):
            raise self._no(word, "a whole number")
        return self._of(word, int, "a whole number")

    def maybe_whole(self, word: str) -> int | None:
        """Return a whole number, None where there is none."""
        return None if self.document.get(word) is None else self.whole(word)

    def count(self, word: str, most: int, *, missing: int) -> int:
        """Return a whole number from 1 to ``most``; ``missing`` where the word is."""
        found = missing if self.document.get(word) is None else self.whole(word)
        if not 1 <= found <= most:
            raise self._no(word, f"1 to {most:,}")
        return found

    def maybe_number(self, word: str) -> float | None:
        """Return a number, None where there is none."""
        found = self.document.get(word)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < _GREATEST:
            raise self._no(word, "a number")
        return found

    @overload
    def _of(self, word: str, kind: type[T], expected: str) -> T: ...

    @overload
    def _of(self, word: str, kind: type[T], expected: str, missing: T) -> T: ...

    def _of(self, word: str, kind: type[T], expected: str, missing: T | None = None) -> T:
        found = self.document.get(word, missing)
        if not isinstance(found, kind):
            raise self._no(word, expected)
        return found

    def _no(self, word: str, expected: str) -> UsageError:
        shown = repr(self.document[word])[:_LONGEST] if word in self.document else "nothing"
        return UsageError("a request cannot be understood", field=word, found=shown, expected=expected)
