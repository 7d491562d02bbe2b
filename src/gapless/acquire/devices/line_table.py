"""The table of a device that speaks in lines of text: what to send, what comes back, what it means.

Everything is checked when the table is read; replies are taken to the letter or not at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, FiniteFloat, field_validator, model_validator

from gapless.acquire.adapter import DeviceField
from gapless.acquire.device_config import Strict
from gapless.errors import DeviceFault, UsageError

_FLOAT = re.compile(r"[+-]? *(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_INT = re.compile(r"[+-]? *\d+", re.ASCII)
_PARAMETER = re.compile(r"<<(\w+)>>")
_SHOWN = 80

Value = float | int | bool | str
Dtype = Literal["float64", "int64", "bool", "string"]
_JSON_TYPES: dict[Dtype, str] = {"float64": "float", "int64": "int", "bool": "bool", "string": "str"}


class _Exact(Strict):
    """Text is kept as it stands: a blank or a carriage return at its end means something."""

    model_config = ConfigDict(str_strip_whitespace=False)


class SerialSettings(_Exact):
    """How a serial port is set where the device's own table does not say."""

    baudrate: int = Field(default=9600, gt=0)
    bytesize: Literal[5, 6, 7, 8] = 8
    parity: Literal["N", "E", "O", "M", "S"] = "N"
    stopbits: Literal[1, 2] = 1


class ReplyField(_Exact):
    """One value in a reply.

    ``choices`` maps the words of the device to values; ``missing`` are words that stand for no value. A
    number is digits with a point, a sign and an exponent if need be, and nothing else.
    """

    name: str = Field(min_length=1)
    dtype: Dtype = "float64"
    unit: str | None = None
    description: str = ""
    choices: dict[str, Value] = Field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def column(self) -> DeviceField:
        """Return the column of the device's records."""
        return DeviceField(self.name, self.dtype, self.unit, self.description)

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if self.dtype == "bool" and not self.choices:
            raise ValueError(
                f"field {self.name!r}: a bool has choices that say which words are true and false"
            )
        kinds: dict[str, Any] = {"float64": (int, float), "int64": int, "bool": bool, "string": str}
        for word, value in self.choices.items():
            if not isinstance(value, kinds[self.dtype]) or (
                isinstance(value, bool) != (self.dtype == "bool")
            ):
                raise ValueError(f"field {self.name!r}: choice {word!r} is no {self.dtype}")
        return self

    def parse(self, text: str) -> Value | None:
        """Return the value that a text stands for, None for none; raise DeviceFault for anything else."""
        text = text.strip()
        if text in self.missing:
            return None
        if self.choices:
            if text not in self.choices:
                raise DeviceFault(f"field {self.name!r} has none of its words", found=text)
            return self.choices[text]
        if self.dtype == "string":
            return text
        pattern = _INT if self.dtype == "int64" else _FLOAT
        if not pattern.fullmatch(text):
            raise DeviceFault(f"field {self.name!r} is no {self.dtype}", found=repr(text))
        digits = text.replace(" ", "")
        return int(digits) if self.dtype == "int64" else float(digits)


class Reply(_Exact):
    """How a line that the device sends is taken apart.

    Either ``pattern``, a regular expression that the whole line must match with a named group for each
    field, or ``split``, a regular expression between the fields, which come in order.
    """

    pattern: str | None = None
    split: str | None = None
    fields: tuple[ReplyField, ...] = ()

    @field_validator("pattern", "split")
    @classmethod
    def _is_an_expression(cls, expression: str | None) -> str | None:
        try:
            re.compile(expression or "", re.ASCII)
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        return expression

    @model_validator(mode="after")
    def _finds_its_fields(self) -> Self:
        if self.pattern is not None and self.split is not None:
            raise ValueError("a reply has a pattern or a split, not both")
        if self.split is not None and not self.fields:
            raise ValueError("a reply that is split has fields")
        if self.pattern is None and self.split is None and self.fields:
            raise ValueError("fields are found by a pattern or a split")
        if self.pattern is not None:
            groups = set(re.compile(self.pattern).groupindex)
            lost = [field.name for field in self.fields if field.name not in groups]
            if lost:
                raise ValueError(f"the pattern has no group named {', '.join(lost)}")
        return self

    @property
    def is_expected(self) -> bool:
        """Whether the device answers at all."""
        return self.pattern is not None or self.split is not None

    def matches(self, line: str, parameters: Mapping[str, str]) -> dict[str, str] | None:
        """Return the texts of the fields and groups of a line; None for a line that is none of these."""
        if self.split is not None:
            texts = re.split(self.split, line.strip(), flags=re.ASCII)
            if len(texts) != len(self.fields):
                return None
            return {field.name: text for field, text in zip(self.fields, texts, strict=True)}
        pattern = _PARAMETER.sub(lambda found: re.escape(parameters[found[1]]), self.pattern or "")
        match = re.fullmatch(pattern, line, re.ASCII)
        return None if match is None else {name: text or "" for name, text in match.groupdict().items()}

    def parse(self, line: str, parameters: Mapping[str, str]) -> dict[str, Value | None]:
        """Return the values of the fields, or raise DeviceFault with the line."""
        texts = self.matches(line, parameters)
        if texts is None:
            raise DeviceFault(
                "the device's reply is not what its table says",
                found=repr(line[:_SHOWN]),
                expected=self.words(),
            )
        return {field.name: field.parse(texts[field.name]) for field in self.fields}

    def words(self) -> str:
        """Return what a line must look like."""
        return self.pattern or f"{len(self.fields)} fields between {self.split!r}"


class Query(Reply):
    """What is asked at every ``every``-th poll, and the reply."""

    send: str
    every: int = Field(default=1, ge=1, le=1_000_000)


class Argument(_Exact):
    """One argument of a command; ``low`` and ``high`` bound a number; ``choices`` maps values to words."""

    dtype: Dtype = "float64"
    unit: str | None = None
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    choices: dict[str, str] = Field(default_factory=dict)

    @property
    def json_type(self) -> str:
        """What a JSON value for the argument is: float, int, bool or str."""
        return "str" if self.choices else _JSON_TYPES[self.dtype]

    def check(self, name: str, value: Any) -> Any:
        """Return the value as it is put into the template, or raise UsageError."""
        if self.choices:
            if str(value) not in self.choices:
                raise UsageError(f"{name} has no such choice", found=value, expected=", ".join(self.choices))
            return self.choices[str(value)]
        if self.dtype in ("bool", "string"):
            is_text = isinstance(value, str) and value.isascii() and value.isprintable()
            if not (isinstance(value, bool) if self.dtype == "bool" else is_text):
                raise UsageError(f"{name} is no plain {self.dtype}", found=value)
            return value
        return self._number(name, value)

    def _number(self, name: str, value: Any) -> float:
        kind: Any = int if self.dtype == "int64" else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not math.isfinite(value):
            raise UsageError(f"{name} is no {self.dtype}", found=value)
        below = self.low is not None and value < self.low
        if below or (self.high is not None and value > self.high):
            raise UsageError(f"{name} is out of range", found=value, expected=f"{self.low} to {self.high}")
        return value  # type: ignore[no-any-return]


class Confirmation(_Exact):
    """A field of a command's reply that must equal one of its arguments within ``tolerance``."""

    field: str
    argument: str
    tolerance: float = Field(default=0.0, ge=0)


class LineCommand(Reply):
    """A command: a template with its arguments in braces, and the reply, if the device gives one.

    ``timeout_s``: how long the reply may take; left out, as long as any other.
    """

    send: str
    timeout_s: float | None = Field(default=None, gt=0)
    arguments: dict[str, Argument] = Field(default_factory=dict)
    confirm: Confirmation | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.confirm is not None:
            if self.confirm.field not in {field.name for field in self.fields}:
                raise ValueError(f"the reply has no field {self.confirm.field!r} to confirm with")
            if self.confirm.argument not in self.arguments:
                raise ValueError(f"the command has no argument {self.confirm.argument!r} to confirm")
        return self

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments as they are put into the template, or raise UsageError."""
        if set(values) != set(self.arguments):
            raise UsageError(
                "the command takes other arguments",
                found=", ".join(values) or "none",
                expected=", ".join(self.arguments) or "none",
            )
        return {name: argument.check(name, values[name]) for name, argument in self.arguments.items()}

    def answer(self, line: str, values: Mapping[str, Any], parameters: Mapping[str, str]) -> Any:
        """Return the reply's value, or its values by name; raise DeviceFault for a reply that denies it."""
        found = self.parse(line, parameters)
        if self.confirm is not None:
            said, asked = found[self.confirm.field], values[self.confirm.argument]
            if not _same(said, asked, self.confirm.tolerance):
                raise DeviceFault(
                    f"the device does not confirm {self.confirm.argument}", found=said, expected=asked
                )
        return next(iter(found.values())) if len(found) == 1 else found or None


def _same(said: Any, asked: Any, tolerance: float) -> bool:
    if isinstance(said, int | float) and isinstance(asked, int | float):
        return abs(said - asked) <= tolerance
    return bool(said == asked)


class LineTable(_Exact):
    """A device that speaks in lines of ASCII.

    ``parameters`` stand as ``{name}`` in what is sent and as ``<<name>>`` in patterns; a device's table may
    set them. ``identity`` is asked when the device is opened. ``stream`` is what a device sends by itself.
    """

    description: str = ""
    terminator: str = Field(default="\n", min_length=1)
    reply_terminator: str = ""
    parameters: dict[str, str] = Field(default_factory=dict)
    identity: Query | None = None
    queries: tuple[Query, ...] = ()
    stream: Reply | None = None
    commands: dict[str, LineCommand] = Field(default_factory=dict)
    serial: SerialSettings = SerialSettings()

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if bool(self.queries) == (self.stream is not None):
            raise ValueError("a table has queries, or a stream of what the device sends by itself")
        names = [field.name for field in self.fields]
        if not names or len(set(names)) != len(names):
            raise ValueError("a table has fields, each with a name of its own")
        if any(
            not query.is_expected for query in (*self.queries, *([self.identity] if self.identity else ()))
        ):
            raise ValueError("a query has a pattern or a split for its reply")
        if self.queries and all(query.every > 1 for query in self.queries):
            raise ValueError("one query at least is asked at every poll")
        for send, known in self._templates():
            unknown = _placeholders(send) - known
            if unknown:
                raise ValueError(f"{send!r} names {', '.join(sorted(unknown))}, which nothing sets")
        for pattern in self._patterns():
            unknown = set(_PARAMETER.findall(pattern)) - set(self.parameters)
            if unknown:
                raise ValueError(f"{pattern!r} names {', '.join(sorted(unknown))}, which nothing sets")
        return self

    def _patterns(self) -> list[str]:
        replies: list[Reply | None] = [self.identity, self.stream, *self.queries, *self.commands.values()]
        return [reply.pattern for reply in replies if reply is not None and reply.pattern is not None]

    def _templates(self) -> list[tuple[str, set[str]]]:
        known = set(self.parameters)
        asked = [*self.queries, *([self.identity] if self.identity else ())]
        orders = self.commands.values()
        return [(q.send, known) for q in asked] + [(o.send, known | set(o.arguments)) for o in orders]

    @property
    def fields(self) -> Sequence[ReplyField]:
        """The columns, in the order of the queries."""
        replies: Sequence[Reply] = [self.stream] if self.stream is not None else self.queries
        return [field for reply in replies for field in reply.fields]

    @property
    def line_end(self) -> bytes:
        """What ends a line that the device sends."""
        return (self.reply_terminator or self.terminator).encode("ascii")


def _placeholders(send: str) -> set[str]:
    try:
        return {name for _, name, _, _ in Formatter().parse(send) if name is not None}
    except ValueError as error:
        raise ValueError(f"{send!r} is no template: {error}") from error


def render(send: str, terminator: str, values: Mapping[str, Any]) -> bytes:
    """Return the bytes of a line to send; raise UsageError for a value that its format cannot show."""
    try:
        return (send.format_map(values) + terminator).encode("ascii")
    except (ValueError, UnicodeEncodeError) as error:
        raise UsageError(f"{send!r} cannot be filled in: {error}") from error


__all__ = ["Argument", "LineCommand", "LineTable", "Query", "Reply", "ReplyField", "render"]
