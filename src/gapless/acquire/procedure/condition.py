"""Conditions on channels: ``heater_pv >= 580 degC and (flow < 2 L/min or valve_open == true)``.

Comparisons ``>= <= > < == !=`` of a channel with a value, joined by ``and`` and ``or`` (``and`` binds
tighter) and round brackets. A number's unit is converted to the channel's; without one it is in the
channel's unit. A bool channel is compared with true or false, a text channel with quoted text. A channel
name with blanks stands in quotes.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gapless.errors import MissingExtra, RigRefused

if TYPE_CHECKING:
    from gapless.acquire.channel import ChannelSpec

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_NAME = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^\s()<>=!"']+))""")
_OPERATOR = re.compile(r"\s*(>=|<=|==|!=|>|<)")
_JOINT = re.compile(r"\s+(and|or)\b|\s*$|(?=\))")
_QUOTED = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)')""")
_EXPECTED = "CHANNEL >= VALUE UNIT, joined by and/or"


class Node(Protocol):
    """A part of a condition. Values are numbers, bools, text, None for a bad one, or arrays of numbers."""

    def holds(self, values: Mapping[str, Any]) -> Any:
        """Return whether it holds; element by element where a value is an array."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A channel compared with a value in the channel's unit."""

    channel: str
    symbol: str
    target: float | bool | str

    def holds(self, values: Mapping[str, Any]) -> Any:
        """A missing value and NaN never hold, under ``!=`` neither."""
        value = values.get(self.channel)
        if value is None:
            return False
        return _OPERATORS[self.symbol](value, self.target) & (value == value)


@dataclass(frozen=True, slots=True)
class AllOf:
    """Holds when each part does."""

    parts: tuple[Node, ...]

    def holds(self, values: Mapping[str, Any]) -> Any:
        """Return whether it holds."""
        held = self.parts[0].holds(values)
        for part in self.parts[1:]:
            held = held & part.holds(values)
        return held


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds when a part does."""

    parts: tuple[Node, ...]

    def holds(self, values: Mapping[str, Any]) -> Any:
        """Return whether it holds."""
        held = self.parts[0].holds(values)
        for part in self.parts[1:]:
            held = held | part.holds(values)
        return held


@dataclass(frozen=True)
class Condition:
    """A condition that was checked against the channels it names."""

    text: str
    channels: tuple[str, ...]
    root: Node

    def holds(self, values: Mapping[str, Any]) -> Any:
        """Return whether it holds for these values by channel."""
        return self.root.holds(values)


def parse_condition(text: str, channels: Sequence[ChannelSpec]) -> Condition:
    """Return the condition, or raise RigRefused: no condition, no such channel, another kind of unit."""
    parser = _Parser(text, {spec.name: spec for spec in channels})
    root = parser.any_of()
    parser.expect_end()
    return Condition(" ".join(text.split()), tuple(parser.named), root)


class _Parser:
    """Reads a condition from left to right."""

    def __init__(self, text: str, channels: Mapping[str, ChannelSpec]) -> None:
        self.named: dict[str, None] = {}
        self._text = text
        self._at = 0
        self._channels = channels

    def any_of(self) -> Node:
        parts = [self._all_of()]
        while self._takes_word("or"):
            parts.append(self._all_of())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all_of(self) -> Node:
        parts = [self._term()]
        while self._takes_word("and"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def expect_end(self) -> None:
        if self._text[self._at :].strip():
            raise self._refused("this is left over")

    def _term(self) -> Node:
        if self._takes("("):
            inner = self.any_of()
            if not self._takes(")"):
                raise self._refused("a bracket is not closed")
            return inner
        return self._comparison()

    def _comparison(self) -> Comparison:
        spec = self._channel()
        found = _OPERATOR.match(self._text, self._at)
        if found is None:
            raise self._refused("a comparison is missing here")
        self._at = found.end()
        return Comparison(spec.name, found[1], self._target(spec, found[1]))

    def _channel(self) -> ChannelSpec:
        found = _NAME.match(self._text, self._at)
        if found is None:
            raise self._refused("a channel's name is missing here")
        name = next(part for part in found.groups() if part is not None)
        spec = self._channels.get(name)
        if spec is None:
            raise RigRefused(
                "a condition names no channel of the rig",
                found=name,
                expected=", ".join(self._channels) or "a rig with channels",
            )
        self._at = found.end()
        self.named[name] = None
        return spec

    def _target(self, spec: ChannelSpec, symbol: str) -> float | bool | str:
        if spec.dtype in ("bool", "string") and symbol not in ("==", "!="):
            raise self._refused(f"{spec.name!r} is a {spec.dtype}: compare it with == or !=")
        if spec.dtype == "string":
            return self._quoted(spec)
        words = self._words()
        if spec.dtype == "bool":
            if words not in ("true", "false"):
                raise self._refused(f"{spec.name!r} is compared with true or false")
            return words == "true"
        return self._number(words, spec)

    def _number(self, words: str, spec: ChannelSpec) -> float:
        from gapless.acquire.units import in_unit

        try:
            return in_unit(words, spec.unit, f"channel {spec.name!r} in {self._text!r}")
        except MissingExtra as error:
            raise RigRefused(error.message, found=self._text, next_step=error.advice) from error

    def _quoted(self, spec: ChannelSpec) -> str:
        found = _QUOTED.match(self._text, self._at)
        if found is None:
            raise self._refused(f"{spec.name!r} is compared with text in quotes")
        self._at = found.end()
        return found[1] if found[1] is not None else found[2]

    def _words(self) -> str:
        """Return number and unit up to ``and``, ``or``, a closing bracket or the end; units have brackets too."""
        depth, end = 0, self._at
        while end < len(self._text):
            if depth == 0 and _JOINT.match(self._text, end):
                break
            depth += {"(": 1, ")": -1}.get(self._text[end], 0)
            end += 1
        words, self._at = self._text[self._at : end].strip(), end
        return words

    def _takes(self, symbol: str) -> bool:
        rest = self._text[self._at :]
        if not rest.lstrip().startswith(symbol):
            return False
        self._at += len(rest) - len(rest.lstrip()) + len(symbol)
        return True

    def _takes_word(self, word: str) -> bool:
        found = re.compile(rf"\s*{word}\b").match(self._text, self._at)
        if found is None:
            return False
        self._at = found.end()
        return True

    def _refused(self, message: str) -> RigRefused:
        rest = self._text[self._at :].strip()
        return RigRefused(
            f"{message}: {self._text!r}" + (f" at {rest!r}" if rest else ", at its end"), expected=_EXPECTED
        )
