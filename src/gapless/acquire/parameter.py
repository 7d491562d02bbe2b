"""What a command of a device takes, as a form shows it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a command, whose value is a JSON value.

    ``type``: float, int, bool or str, anything else for any value. ``choices``: values that are known to be
    taken, not always all of them.
    """

    name: str
    type: str | None = None
    required: bool = True
    default: Any = None
    choices: tuple[str, ...] = ()

    @classmethod
    def of(cls, known: inspect.Parameter) -> Self:
        """Return what a handler's signature says."""
        kind, is_required = known.annotation, known.default is known.empty
        words = None if kind is known.empty else kind if isinstance(kind, str) else kind.__name__
        return cls(known.name, words, is_required, None if is_required else known.default)

    def to_json(self) -> dict[str, Any]:
        """Return the parameter as JSON values; ``choices`` only where there are any."""
        told = {"name": self.name, "type": self.type, "required": self.required, "default": self.default}
        return told | ({"choices": list(self.choices)} if self.choices else {})


__all__ = ["Parameter"]
