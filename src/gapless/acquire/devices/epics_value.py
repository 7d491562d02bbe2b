"""What an EPICS server says of one value: the value itself and the server's time."""

from __future__ import annotations

from typing import Any

from gapless.acquire.devices.epics_config import PvField
from gapless.acquire.devices.typed_value import typed
from gapless.errors import ValueRefused

_EPICS_EPOCH_S = 631_152_000  # 1990-01-01 in seconds since 1970


def ioc_ns(response: Any) -> int:
    """Return the server's stamp in nanoseconds since 1970."""
    stamp = response.metadata.stamp
    return int(stamp.secondsSinceEpoch + _EPICS_EPOCH_S) * 10**9 + int(stamp.nanoSeconds)


def value_of(pv: PvField, response: Any) -> Any:
    """Return a response's value as the column has it; raise ValueRefused for what it is not."""
    data = response.data
    if pv.dtype == "string" and pv.length is None:
        if hasattr(data, "tobytes"):
            return data.tobytes().split(b"\0", 1)[0].decode("utf-8", "replace")
        return _text(data[0]) if len(data) else ""
    values = [typed(item, pv.dtype) for item in (map(_text, data) if pv.dtype == "string" else data.tolist())]
    if pv.length is None and len(values) == 1:
        return values[0]
    if pv.length is None or len(values) != pv.length:
        raise ValueRefused(
            f"variable {pv.name!r} has another length", found=len(values), expected=pv.length or 1
        )
    return values


def _text(item: Any) -> str:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)


__all__ = ["ioc_ns", "value_of"]
