"""What a subscription makes of a message's payload: a number, a text, bytes, or fields out of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal, Self

import aiomqtt
from pydantic import Field, field_validator, model_validator

from gapless.acquire.adapter import DeviceField
from gapless.acquire.device_config import Strict
from gapless.acquire.devices.typed_value import ScalarType, typed
from gapless.acquire.emission import ABSENT
from gapless.errors import ValueRefused

PayloadKind = Literal["number", "json", "text", "bytes"]
_DTYPES = {"number": "float64", "text": "string", "bytes": "binary"}


class PayloadField(Strict):
    """One column that a subscription fills.

    ``path``: where the value lies in a JSON payload, names and indices with dots between (``data.0.t``);
    None: under the field's name; "": the payload itself. ``dtype``: the type of a value out of JSON.
    """

    name: str = Field(min_length=1)
    path: str | None = None
    dtype: ScalarType | None = None
    unit: str | None = None
    description: str = ""

    def column(self, payload: PayloadKind) -> DeviceField:
        """Return the field's column."""
        dtype = _DTYPES.get(payload, self.dtype or "float64")
        return DeviceField(self.name, dtype, self.unit, self.description)

    def take(self, document: Any) -> Any:
        """Return the field's value in a JSON document, ABSENT where it has none; raise ValueRefused."""
        found = document
        for part in (self.path or self.name).split(".") if self.path != "" else ():
            if isinstance(found, dict) and part in found:
                found = found[part]
            elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
                found = found[int(part)]
            else:
                return ABSENT
        return None if found is None else typed(found, self.dtype or "float64")


class Subscription(Strict):
    """One topic filter and the fields that its messages fill.

    ``payload`` number, text and bytes fill one field; json fills as many as there are.
    """

    filter: str
    payload: PayloadKind = "number"
    qos: Literal[0, 1, 2] = 1
    fields: tuple[PayloadField, ...] = Field(min_length=1)

    @field_validator("filter")
    @classmethod
    def _is_a_filter(cls, text: str) -> str:
        aiomqtt.Wildcard(text)  # raises ValueError with words for a person
        return text

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.payload != "json":
            if len(self.fields) > 1:
                raise ValueError(f"a {self.payload} fills one field, here are {len(self.fields)}")
            if self.fields[0].path is not None or self.fields[0].dtype is not None:
                raise ValueError(f"path and dtype are for payload json, not {self.payload}")
        return self

    def decode(self, payload: bytes) -> dict[str, Any]:
        """Return the value of each field that the payload has; raise ValueRefused for what it is not."""
        try:
            if self.payload == "json":
                document = json.loads(payload)
                return {field.name: field.take(document) for field in self.fields}
            return {self.fields[0].name: _PLAIN[self.payload](payload)}
        except (ValueError, RecursionError) as error:
            raise ValueRefused(
                f"the payload is no {self.payload}", found=payload[:80], expected=str(error)
            ) from error


_PLAIN: dict[str, Callable[[bytes], Any]] = {
    "number": lambda payload: float(payload.decode("ascii")),
    "text": lambda payload: payload.decode("utf-8"),
    "bytes": bytes,
}

__all__ = ["PayloadField", "Subscription"]
