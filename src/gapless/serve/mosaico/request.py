"""The JSON of a request, read member by member: what is missing or of another kind is a bad argument."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from gapless.client.remote import protocol
from gapless.errors import UsageError

_INT64: Final = range(-(2**63), 2**63)


class Request:
    """One JSON object and the name of what asked with it."""

    def __init__(self, name: str, document: Mapping[str, Any]) -> None:
        self._name = name
        self.document = document

    @classmethod
    def of(cls, name: str, body: bytes) -> Request:
        """Return the request of an action's body."""
        try:
            return cls(name, protocol.decode(body))
        except UsageError as error:
            raise pa.ArrowInvalid(f"{name}: {error}") from error

    def text(self, key: str) -> str:
        """Return a text that is not empty."""
        value = self.document.get(key)
        if not isinstance(value, str) or not value:
            raise self.bad(key, value, "text")
        return value

    def members(self, key: str) -> dict[str, Any]:
        """Return an object; where it is missing or null, an empty one."""
        value = self.document.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.bad(key, value, "an object")
        return value

    def objects(self, key: str) -> list[Request]:
        """Return the objects of a list as requests."""
        value = self.document.get(key)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.bad(key, value, "a list of objects")
        return [Request(self._name, item) for item in value]

    def whole(self, key: str, default: int | None = None) -> int | None:
        """Return an integer of 64 bits, or the default where it is missing or null."""
        value = self.document.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value not in _INT64:
            raise self.bad(key, value, "an integer of 64 bits")
        return value

    def nanoseconds(self, key: str, default: int = 0) -> int:
        """Return a duration; it is not negative."""
        value = self.whole(key, default)
        if value is None or value < 0:
            raise self.bad(key, value, "nanoseconds from 0")
        return value

    def bad(self, key: str, found: object, expected: str) -> pa.ArrowInvalid:
        """Return the error about a member."""
        return pa.ArrowInvalid(f"{self._name}: {key!r} is {json.dumps(found)[:80]}, expected {expected}")


def envelope(action: str, response: Mapping[str, Any]) -> bytes:
    """Return a response as the bytes that the SDK expects."""
    return protocol.encode({"action": action, "response": response})
