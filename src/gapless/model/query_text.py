r"""Query text for the command line: the same expressions, written as one line.

::

    metadata.vehicle.id == "x" and IMU.acceleration.x > 9.8 and not topic.name match "cam*"
    name match "run-*" and "sensors/*":pv between 20 and 30 and without (IMU.acceleration.z > 50)

A refusal names the column, counted from 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn, TypeVar

from gapless.errors import QueryRefused
from gapless.model.expression import SEQUENCE_PATHS, And, Expression, Not, Or, Predicate, Scalar, Without

TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
  | (?P<number>[+-]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
  | (?P<symbol>==|!=|<=|>=|<>|[=<>()\[\],:!&|~])
  | (?P<word>(?:[\w/*?$@%+-]|\\.|\.)+)
    """,
    re.VERBOSE,
)
_SYMBOL_OPS = {
    "==": "eq",
    "=": "eq",
    "!=": "neq",
    "<>": "neq",
    "<": "lt",
    "<=": "leq",
    ">": "gt",
    ">=": "geq",
}
_WORD_OPS = {"match": "match", "in": "in", "between": "between", "outside": "outside"}
_CONSTANTS: dict[str, Scalar] = {
    "true": True, "false": False, "nan": float("nan"), "inf": float("inf"), "-inf": float("-inf"),
}  # fmt: skip
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_ALIASES = {
    "created": "created_ns", "created_timestamp": "created_ns", "ontology": "ontology_tag",
    "label": "annotation",
}  # fmt: skip
_MAX_DEPTH = 100  # nested parentheses; keeps a hostile query from exhausting the stack
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int


def parse(text: str) -> Expression:
    """Return the expression that the text writes, or raise QueryRefused naming the column."""
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split()
        self._at = 0
        self._depth = 0

    def parse(self) -> Expression:
        if self._token.kind == "end":
            self._refuse("the query is empty")
        expression = self._any()
        if self._token.kind != "end":
            self._refuse("expected 'and', 'or' or the end of the query")
        return expression

    def _split(self) -> list[_Token]:
        tokens, at = [], 0
        while at < len(self._text):
            found = TOKEN.match(self._text, at)
            if found is None or found.lastgroup is None:
                raise self._failure(
                    "this text is never closed" if self._text[at] in "\"'" else "unexpected character", at
                )
            if found.lastgroup != "space":
                tokens.append(_Token(found.lastgroup, found.group(), at))
            at = found.end()
        return [*tokens, _Token("end", "", len(self._text))]

    @property
    def _token(self) -> _Token:
        return self._tokens[self._at]

    def _failure(self, message: str, at: int) -> QueryRefused:
        found = self._text[at : at + 30] or "the end of the query"
        return QueryRefused(f"column {at + 1}: {message}", found=found)

    def _refuse(self, message: str) -> NoReturn:
        raise self._failure(message, self._token.start)

    def _take(self, *texts: str) -> bool:
        token = self._token
        if token.kind in ("word", "symbol") and token.text.lower() in texts:
            self._at += 1
            return True
        return False

    def _need(self, text: str) -> None:
        if not self._take(text):
            self._refuse(f"expected {text!r}")

    def _any(self) -> Expression:
        items = [self._all()]
        while self._take("or", "|"):
            items.append(self._all())
        return items[0] if len(items) == 1 else Or(_flat(items, Or))

    def _all(self) -> Expression:
        items = [self._one()]
        while self._take("and", "&"):
            items.append(self._one())
        return items[0] if len(items) == 1 else And(_flat(items, And))

    def _one(self) -> Expression:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self._refuse("the query is nested too deeply")
        try:
            if self._take("not", "!", "~"):
                inner = self._one()
                return inner.item if isinstance(inner, Not) else Not(inner)
            if self._take("without"):
                return Without(self._one())
            if self._take("("):
                inner = self._any()
                self._need(")")
                return inner
            return self._predicate()
        finally:
            self._depth -= 1

    def _predicate(self) -> Expression:
        start = self._token.start
        target, path = self._place()
        negated = self._take("not")
        predicate = self._guard(start, lambda: self._comparison(target, path))
        return Not(predicate) if negated else predicate

    def _place(self) -> tuple[str, str]:
        token = self._token
        if token.kind not in ("word", "text"):
            self._refuse("expected a property or field such as metadata.vehicle.id or IMU.acceleration.x")
        self._at += 1
        if self._take(":"):
            field = self._token
            if field.kind not in ("word", "text"):
                self._refuse("expected a field after ':'")
            self._at += 1
            return f"field:{_plain(token)}", _plain(field)
        if token.kind == "text":
            self._refuse("expected ':' and a field after a topic name")
        return self._property(token)

    def _property(self, token: _Token) -> tuple[str, str]:
        root, _, rest = token.text.partition(".")
        if root in ("metadata", "user_metadata") and rest:
            return "sequence", f"metadata.{rest}"
        if root in ("sequence", "topic") and rest:
            first, _, deeper = rest.partition(".")
            return root, f"metadata.{deeper}" if first in ("metadata", "user_metadata") else _ALIASES.get(
                rest, rest
            )
        if not rest and _ALIASES.get(root, root) in SEQUENCE_PATHS:
            return "sequence", _ALIASES.get(root, root)
        if not rest:
            raise self._failure(
                "expected a property of sequences, or 'topic.…', 'metadata.…', 'TAG.field' or 'topic:field'",
                token.start,
            )
        return f"ontology:{root}", rest

    def _comparison(self, target: str, path: str) -> Predicate:
        token = self._token
        if token.kind == "symbol" and token.text in _SYMBOL_OPS:
            self._at += 1
            return Predicate(target, path, _SYMBOL_OPS[token.text], self._value(path))
        if self._take("exists"):
            return Predicate(target, path, "exists")
        if self._take("is_nan"):
            return Predicate(target, path, "is_nan")
        if self._take("is"):
            self._need("nan")
            return Predicate(target, path, "is_nan")
        op = _WORD_OPS.get(token.text.lower()) if token.kind == "word" else None
        if op is None:
            self._refuse("expected a comparison: == != < <= > >= match in between outside exists 'is nan'")
        self._at += 1
        if op == "in":
            return Predicate(target, path, op, self._list(path))
        if op == "match":
            return Predicate(target, path, op, self._value(path))
        low = self._value(path)
        self._need("and")
        return Predicate(target, path, op, (low, self._value(path)))

    def _list(self, path: str) -> tuple[Scalar, ...]:
        closing = ")" if self._take("(") else "]"
        if closing == "]":
            self._need("[")
        values: list[Scalar] = []
        while not self._take(closing):
            values.append(self._value(path))
            if not self._take(","):
                self._need(closing)
                break
        return tuple(values)

    def _value(self, path: str) -> Scalar:
        token = self._token
        self._at += token.kind != "end"
        if token.kind == "text":
            text = _unquote(token.text)
            return self._guard(token.start, lambda: _time(text)) if path in _TIMES else text
        if token.kind == "number":
            return self._guard(token.start, lambda: _number(token.text))
        if token.kind == "word" and token.text.lower() in _CONSTANTS:
            return _CONSTANTS[token.text.lower()]
        hint = f': write it in quotes, "{token.text}"' if token.kind == "word" else ""
        raise self._failure(f"expected a value: text in quotes, a number, true or false{hint}", token.start)

    def _guard(self, start: int, build: Callable[[], _T]) -> _T:
        """Run ``build``; what it refuses is told with its column."""
        try:
            return build()
        except QueryRefused as refused:
            if refused.message.startswith("column "):
                raise
            raise QueryRefused(
                f"column {start + 1}: {refused.message}",
                field=refused.field,
                found=refused.found,
                expected=refused.expected,
            ) from refused


_TIMES = ("created_ns", "start_ns", "end_ns", "timestamp_ns")


def _flat(items: list[Expression], kind: type[And] | type[Or]) -> tuple[Expression, ...]:
    out: list[Expression] = []
    for item in items:
        out.extend(item.items if isinstance(item, kind) else (item,))
    return tuple(out)


def _plain(token: _Token) -> str:
    return _unquote(token.text) if token.kind == "text" else token.text


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m.group(1), m.group(1)), text[1:-1], flags=re.DOTALL)


def _number(text: str) -> Scalar:
    try:
        return float(text) if set(text) & set(".eE") else int(text)
    except ValueError as bad:  # Python limits the digits of an int
        raise QueryRefused("not a number", found=text) from bad


def _time(text: str) -> Scalar:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as bad:
        raise QueryRefused("a time is nanoseconds or ISO 8601 with a zone", found=text) from bad
    value = Predicate("sequence", "created_ns", "eq", moment).value  # type: ignore[arg-type] # becomes ns
    assert isinstance(value, int)
    return value
