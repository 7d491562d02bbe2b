"""Messages that a topic refused, kept with the reason so that they can be looked at and pushed again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from gapless.errors import GaplessError


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One refused row: what was pushed, when, and why it was refused."""

    timestamp_ns: int | None
    values: dict[str, Any] | list[Any]
    reason: str
    code: str

    @classmethod
    def of(cls, timestamp_ns: Any, values: Any, error: GaplessError) -> Quarantined:
        """Return the record of a refused push."""
        # what the column of _quarantine takes
        fits = type(timestamp_ns) is int and -(2**63) < timestamp_ns < 2**63
        stamp = timestamp_ns if fits else None
        if stamp is None and timestamp_ns is not None:  # the stamp itself may be what was refused
            values = {"timestamp_ns": timestamp_ns, "values": values}
        try:
            plain = msgspec.msgpack.decode(msgspec.msgpack.encode(values, enc_hook=_plain))
        except (OverflowError, ValueError, TypeError, RecursionError):  # no bytes for it: its text is kept
            plain = [repr(values)]
        return cls(stamp, plain, str(error), error.code)

    def to_bytes(self) -> bytes:
        """Return the payload of the row's record in ``_quarantine``."""
        return msgspec.msgpack.encode({"timestamp_ns": self.timestamp_ns, "values": self.values})


def _plain(value: Any) -> Any:
    """Return a value that can be kept as bytes: arrays as lists, what is unknown as its text."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return repr(value)
