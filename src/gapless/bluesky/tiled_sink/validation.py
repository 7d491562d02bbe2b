"""Reading a run back from the server: does each node hold what the descriptors declare?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from gapless.bluesky.tiled_sink.server import child

if TYPE_CHECKING:
    from gapless.bluesky.tiled_sink.run_delivery import RunDelivery
    from gapless.bluesky.tiled_sink.stream_node import StreamNode


def problems_of(delivery: RunDelivery) -> list[str]:
    """Return what differs between a confirmed run and what the server gives back; reads first and last frames."""
    found: list[str] = []
    for stream in delivery.streams.values():
        found += [f"stream '{stream.name}': {text}" for text in _of_stream(stream)]
    return found


def _of_stream(stream: StreamNode) -> list[str]:
    found = []
    for key in stream.array_keys:
        found += _of_array(stream, key, stream.rows)
    for key, rows in stream.external_rows().items():
        found += _of_array(stream, key, rows)
    return found


def _of_array(stream: StreamNode, key: str, rows: int) -> list[str]:
    node = child(stream.node, key)
    if node is None:
        return [f"'{key}' is not there"] if rows else []
    if not hasattr(node, "shape"):
        return []  # bytes, which have neither shape nor type
    found = [f"'{key}' has {node.shape[0]} rows, {rows} came"] if node.shape[0] != rows else []
    try:
        ends = [node[(place, *(0,) * (len(node.shape) - 1))] for place in ((0, -1) if rows else ())]
    except (httpx.HTTPError, KeyError, ValueError, IndexError) as error:
        return [*found, f"'{key}' cannot be read: {type(error).__name__}: {error}"]
    return found + [
        f"'{key}' is {end.dtype}, declared {node.dtype}" for end in ends[:1] if _differ(end, node)
    ]


def _differ(value: Any, node: Any) -> bool:
    dtype = getattr(value, "dtype", None)
    return dtype is not None and dtype != node.dtype
