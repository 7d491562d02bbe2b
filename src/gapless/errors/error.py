"""The root of all errors: what happened, where, what was found and what to do next."""

from __future__ import annotations

from typing import ClassVar


class GaplessError(Exception):
    """Base of every error: says what happened, where, what was found and what to do next.

    ``message`` is one sentence. The keyword arguments name the place and the evidence; they are kept
    as attributes and appended to the text.
    """

    code: ClassVar[str] = "E000"
    exit_code: ClassVar[int] = 1
    next_step: ClassVar[str] = "report this with the output of `gapless doctor`"

    def __init__(
        self,
        message: str,
        *,
        sequence: str | None = None,
        topic: str | None = None,
        field: str | None = None,
        found: object = None,
        expected: object = None,
        next_step: str | None = None,
    ) -> None:
        self.message = message
        self.sequence = sequence
        self.topic = topic
        self.field = field
        self.found = found
        self.expected = expected
        self.advice = next_step or self.next_step
        super().__init__(self._text())

    def _text(self) -> str:
        place = [
            f"{kind} {name!r}"
            for kind, name in (("sequence", self.sequence), ("topic", self.topic), ("field", self.field))
            if name is not None
        ]
        parts = [self.message.rstrip(".")]
        if place:
            parts[0] += f" ({', '.join(place)})"
        if self.found is not None:
            parts.append(f"found {_short(self.found)}")
        if self.expected is not None:
            parts.append(f"expected {_short(self.expected)}")
        return f"{'; '.join(parts)}. Next: {self.advice}. [{self.code}]"

    def __reduce__(self) -> tuple[object, ...]:
        return (
            _rebuild,
            (
                type(self),
                self.message,
                self.sequence,
                self.topic,
                self.field,
                repr(self.found) if self.found is not None else None,
                repr(self.expected) if self.expected is not None else None,
                self.advice,
            ),
        )


def _rebuild(
    kind: type[GaplessError],
    message: str,
    sequence: str | None,
    topic: str | None,
    field: str | None,
    found: object,
    expected: object,
    advice: str,
) -> GaplessError:
    """Make an error again in another process; evidence travels as text so that any value can."""
    return kind(
        message, sequence=sequence, topic=topic, field=field, found=found, expected=expected, next_step=advice
    )


def _short(value: object, limit: int = 120) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
