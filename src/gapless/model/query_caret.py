"""What may be written next in a query that is still being typed, for completion.

Nothing is refused here: text that means nothing expects nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from gapless.model.expression import SEQUENCE_PATHS
from gapless.model.query_text import TOKEN

Expects = Literal["place", "field", "comparison", "value", "joint", "and", "nothing"]

_OPS = frozenset({"==", "=", "!=", "<>", "<", "<=", ">", ">="})
_PREFIXES = frozenset({"not", "without", "(", "!", "~"})
_JOINTS = frozenset({"and", "or", "&", "|"})


@dataclass(frozen=True, slots=True)
class Caret:
    """Where a text ends. ``typed`` is the word being typed, from ``start`` on; "" between two words.

    ``target`` and ``path`` name what is compared, as in :class:`gapless.model.expression.Predicate`, once that
    is known. For ``field`` the target is ``field:<topic glob>``.
    """

    expects: Expects
    start: int
    typed: str
    target: str = ""
    path: str = ""


def caret_of(text: str) -> Caret:
    """Return what the end of the text expects."""
    tokens, rest = _split(text)
    reading = _Reading()
    for token in tokens:
        reading.take(token)
    caret = Caret(reading.expects, len(text) - len(rest), rest, reading.target, reading.path)
    return replace(caret, target="", path="") if caret.expects in ("place", "joint") else caret


def _split(text: str) -> tuple[list[tuple[str, str]], str]:
    """Return kind and text of the whole tokens, and the word at the end that may go on."""
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None or found.lastgroup is None:  # a text that is not closed yet
            return tokens, text[at:]
        if found.lastgroup != "space":
            if found.end() == len(text) and found.lastgroup in ("word", "number"):
                return tokens, found.group()
            tokens.append((found.lastgroup, found.group()))
        at = found.end()
    return tokens, ""


class _Reading:
    """What is expected after each token."""

    def __init__(self) -> None:
        self.expects: Expects = "place"
        self.target = self.path = ""
        self._values = 0  # of between and outside that are still to come
        self._in_list = False

    def take(self, token: tuple[str, str]) -> None:
        """Go on by one token; what follows something that means nothing means nothing either."""
        kind, text = token
        match self.expects:
            case "place":
                self._place(kind, text)
            case "field":
                self._field(kind, text)
            case "comparison":
                self._comparison(text)
            case "value":
                self._value(text)
            case "and":
                self.expects = "value" if text.lower() == "and" else "nothing"
            case "joint":
                self._joint(text)

    def _place(self, kind: str, text: str) -> None:
        if text.lower() in _PREFIXES:
            return
        if kind not in ("word", "text"):
            self.expects = "nothing"
            return
        self.target, self.path = _place_of(text)
        self.expects = "comparison"

    def _field(self, kind: str, text: str) -> None:
        self.path = _unquoted(text)
        self.expects = "comparison" if kind in ("word", "text") else "nothing"

    def _comparison(self, text: str) -> None:
        word = text.lower()
        if text == ":":
            self.target, self.path, self.expects = f"field:{_topic_of(self)}", "", "field"
        elif text in _OPS or word == "match":
            self.expects = "value"
        elif word == "in":
            self._in_list, self.expects = True, "value"
        elif word in ("between", "outside"):
            self._values, self.expects = 2, "value"
        elif word in ("exists", "is_nan", "nan"):
            self.expects = "joint"
        elif word not in ("not", "is"):
            self.expects = "nothing"

    def _value(self, text: str) -> None:
        if self._in_list:
            if text in ("]", ")"):
                self._in_list, self.expects = False, "joint"
            return
        self._values -= 1
        self.expects = "and" if self._values == 1 else "joint"

    def _joint(self, text: str) -> None:
        if text.lower() in _JOINTS:
            self.expects = "place"
        elif text != ")":
            self.expects = "nothing"


def _place_of(text: str) -> tuple[str, str]:
    """Return target and path of a property or field; a bare word may also be a topic before its colon."""
    if text[:1] in "\"'":
        return f"field:{_unquoted(text)}", ""
    root, _, rest = text.partition(".")
    if root in ("metadata", "user_metadata"):
        return "sequence", f"metadata.{rest}"
    if root in ("sequence", "topic") and rest:
        first, _, deeper = rest.partition(".")
        return root, f"metadata.{deeper}" if first in ("metadata", "user_metadata") else rest
    if not rest and root in SEQUENCE_PATHS:
        return "sequence", root
    return f"ontology:{root}", rest


def _topic_of(reading: _Reading) -> str:
    """Return the topic name or glob that a colon follows."""
    kind, _, name = reading.target.partition(":")
    if kind == "field":
        return name
    if kind == "ontology":
        return f"{name}.{reading.path}" if reading.path else name
    return reading.path


def _unquoted(text: str) -> str:
    return text[1:-1] if text[:1] in "\"'" and len(text) > 1 else text
