"""What a callback that may be left out was last run for: kept in ``state.db``."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from types import CodeType

from gapless.catalog.state_database import StateDatabase, look
from gapless.features.canonical import canonical_text
from gapless.features.step import CallbackStep

_TABLE = (
    "CREATE TABLE IF NOT EXISTS callback_run (step TEXT PRIMARY KEY, digest TEXT NOT NULL,"
    " finished_ns INTEGER NOT NULL) STRICT"
)


def _code(fn: object) -> str:
    """Return what a function does, as its compiled code; "" for a callable without any."""
    code = getattr(fn, "__code__", None)
    if not isinstance(code, CodeType):
        return ""
    constants = [_code_text(item) for item in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


def _code_text(constant: object) -> str:
    if isinstance(constant, CodeType):
        return f"{constant.co_code.hex()} {constant.co_names} {[_code_text(item) for item in constant.co_consts]}"
    return repr(sorted(constant, key=repr)) if isinstance(constant, frozenset) else repr(constant)


def _described(fn: object) -> dict[str, object]:
    """Return what a callable does: its name and code, its defaults and the arguments that it was given, if any.

    What it encloses is left out: that may be what the callback writes to.
    """
    given: list[object] = []
    while isinstance(fn, partial):
        given += [*fn.args, *sorted(fn.keywords.items())]
        fn = fn.func
    named: object = fn if hasattr(fn, "__qualname__") else type(fn)
    method = fn if hasattr(fn, "__code__") else vars(type(fn)).get("__call__", fn)
    function = getattr(fn, "__func__", method)
    given += [*(getattr(function, "__defaults__", None) or ())]
    given += sorted((getattr(function, "__kwdefaults__", None) or {}).items())
    found: dict[str, object] = {
        "fn": f"{getattr(named, '__module__', '')}:{getattr(named, '__qualname__', '')}",
        "code": _code(function),
    }
    return {**found, "given": [_value_text(value) for value in given]} if given else found


def _value_text(value: object) -> str:
    """Return a value that stays what it is; of one that the callback itself may change only its kind."""
    if isinstance(value, tuple):
        return f"({','.join(map(_value_text, value))})"
    if value is None or isinstance(value, str | bytes | int | float | PurePath):
        return repr(value)
    return f"{type(value).__module__}:{type(value).__qualname__}"


@dataclass(frozen=True)
class CallbackStamp:
    """A callback, and the digest of the outputs that it depends on as they are now."""

    root: Path
    step: CallbackStep
    digest: str

    @classmethod
    def of(cls, root: Path, step: CallbackStep, contents: Mapping[str, str]) -> CallbackStamp:
        """Return the stamp for the contents of the steps that a callback depends on."""
        if not step.cacheable:
            return cls(root, step, "")  # it runs every time, whatever it is
        text = canonical_text({**_described(step.fn), "contents": dict(contents)})
        return cls(root, step, hashlib.sha256(text.encode()).hexdigest())

    def valid(self) -> bool:
        """Tell whether the callback ran for exactly this, and the files that it declares are there."""
        return self.step.cacheable and not self.why()

    def why(self) -> str:
        """Return why the callback is to run."""
        if not self.step.cacheable:
            return "runs every time"
        missing = [str(path) for path in self.step.outputs if not Path(path).exists()]
        if missing:
            return f"{missing[0]} is missing"
        known = self._known()
        if known is None:
            return "not run yet"
        return "" if known == self.digest else "what it depends on changed"

    def _known(self) -> str | None:
        rows = look(self.root, "SELECT digest FROM callback_run WHERE step=?", (self.step.name,))
        return str(rows[0][0]) if rows else None

    def keep(self) -> None:
        """Make it durable that the callback ran for this."""
        with StateDatabase(self.root) as database:
            database.ensure(_TABLE)
            with database.transaction():
                database.rows(
                    "INSERT OR REPLACE INTO callback_run VALUES (?,?,?)",
                    (self.step.name, self.digest, time.time_ns()),
                )
