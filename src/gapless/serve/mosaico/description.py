"""What the SDK is told of a sequence and its topics before it reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import flight

from gapless.client.remote import protocol
from gapless.client.sequence_handler import SequenceHandler
from gapless.errors import NotFound
from gapless.serve.mosaico.locator import BASE
from gapless.serve.mosaico.opened import opened_ns, sealed_ns
from gapless.serve.mosaico.request import Request
from gapless.serve.mosaico.row_shape import leaving
from gapless.store.bundle_state import Folder
from gapless.store.layout import Bundle
from gapless.store.reader import TopicReader

LOCATOR = "resource_locator"
START = "timestamp_ns_start"
END = "timestamp_ns_end"


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open time window ``[start_ns, end_ns)``; None leaves a side open."""

    start_ns: int | None = None
    end_ns: int | None = None

    @classmethod
    def of(cls, command: Mapping[str, Any]) -> Window:
        """Return the window of a command or ticket; ``pyarrow.ArrowInvalid`` for one that holds nothing."""
        request = Request("a time window", command)
        window = cls(request.whole(START), request.whole(END))
        if window.start_ns is not None and window.end_ns is not None and window.start_ns >= window.end_ns:
            raise pa.ArrowInvalid(f"a time window ends after it starts: {window.start_ns} to {window.end_ns}")
        return window

    def __bool__(self) -> bool:
        return self.start_ns is not None or self.end_ns is not None

    def holds(self, start_ns: int, end_ns: int) -> bool:
        """Tell whether a span, both bounds included, lies in the window."""
        return (self.start_ns is None or start_ns >= self.start_ns) and (
            self.end_ns is None or end_ns < self.end_ns
        )

    def to_json(self) -> dict[str, int]:
        """Return the sides that are not open."""
        sides = {START: self.start_ns, END: self.end_ns}
        return {key: value for key, value in sides.items() if value is not None}


def describe(
    handler: SequenceHandler,
    topic: str | None,
    window: Window,
    descriptor: flight.FlightDescriptor,
    gone: Callable[[], bool],
) -> flight.FlightInfo:
    """Return the flight of a sequence, one endpoint for each topic, or of one topic; NotFound without it.

    Raises ``pyarrow.ArrowCancelled`` instead of counting on in a window once ``gone()`` is true.
    """
    if topic is not None and topic not in handler.topics:
        raise NotFound("there is no such topic", sequence=handler.name, topic=topic)
    names = handler.topics if topic is None else [topic]
    folders = _homes(handler)
    endpoints = [_endpoint(handler, folders[name], name, window, gone) for name in names]
    return flight.FlightInfo(
        pa.schema([]), descriptor, endpoints, app_metadata=protocol.encode(_sequence(handler))
    )


def _homes(handler: SequenceHandler) -> dict[str, Folder]:
    """Return for each topic the folder that had it first."""
    found: dict[str, Folder] = {}
    for folder in handler.reader.folders:
        for name in folder.topic_names():
            found.setdefault(name, folder)
    return found


def _sequence(handler: SequenceHandler) -> dict[str, Any]:
    return {
        LOCATOR: handler.name,
        "created_at_ns": opened_ns(handler.reader.base),
        "user_metadata": handler.metadata,
        "sessions": list(_sessions(handler)),
    }


def _sessions(handler: SequenceHandler) -> Iterator[dict[str, Any]]:
    """Yield base and layers; a layer that is not sealed has no topics yet for a reader."""
    homes = _homes(handler)
    for folder in handler.reader.folders:
        own = [name for name in handler.topics if homes[name] is folder]
        yield _session(handler, folder, own)
    sealed = {folder.path for folder in handler.reader.folders}
    for path in Bundle(handler.path).layer_paths():
        if path not in sealed and Bundle(path).journal.is_dir():
            yield _session(handler, Folder(path, None, None), [])


def _session(handler: SequenceHandler, folder: Folder, topics: list[str]) -> dict[str, Any]:
    base = folder is handler.reader.base
    told: dict[str, Any] = {
        "locator": f"{handler.name}:{BASE if base else folder.path.name}",
        "created_at_ns": opened_ns(folder),
        "locked": folder.manifest is not None,
        "topics": [f"{handler.name}/{topic}" for topic in topics],
    }
    ended_ns = sealed_ns(folder)
    return told if ended_ns is None else told | {"completed_at_ns": ended_ns}


def _endpoint(
    handler: SequenceHandler, folder: Folder, topic: str, window: Window, gone: Callable[[], bool]
) -> flight.FlightEndpoint:
    reader = handler.reader.topic(topic)
    shape = leaving(reader)
    locator = f"{handler.name}/{topic}"
    parts = reader.parts()
    told: dict[str, Any] = {
        LOCATOR: locator,
        "created_at_ns": opened_ns(folder),
        "locked": folder.manifest is not None,
        "ontology_tag": shape.tag,
        "serialization_format": shape.layout,
        "user_metadata": reader.metadata,
        "data_info": {
            "interval": _interval(reader.start_ns, reader.end_ns),
            "total_row_count": reader.rows,
            "total_bytes": sum(part.size_bytes for part in parts),
            "total_chunks_count": len(parts),
        },
        "time_window_info": _in_window(reader, window, gone) if window else None,
    }
    ended_ns = sealed_ns(folder)
    told |= {} if ended_ns is None else {"completed_at_ns": ended_ns}
    ticket = protocol.encode({LOCATOR: locator, **window.to_json()})
    return flight.FlightEndpoint(ticket, [], None, protocol.encode(told))


def _interval(start_ns: int | None, end_ns: int | None) -> dict[str, int] | None:
    return None if start_ns is None or end_ns is None else {"start_ns": start_ns, "end_ns": end_ns}


def _in_window(reader: TopicReader, window: Window, gone: Callable[[], bool]) -> dict[str, Any]:
    """Return how many rows lie in a window, and their first and last time, exactly.

    What a manifest tells is enough where the whole topic lies inside; else the times are read.
    """
    rows, first_ns, last_ns = reader.rows, reader.start_ns, reader.end_ns
    if first_ns is None or last_ns is None or not window.holds(first_ns, last_ns):
        rows, first_ns, last_ns = _counted(reader, window, gone)
    return {"interval": _interval(first_ns, last_ns), "row_count": rows}


def _counted(
    reader: TopicReader, window: Window, gone: Callable[[], bool]
) -> tuple[int, int | None, int | None]:
    rows, first_ns, last_ns = 0, None, None
    for batch in reader.scan([], window.start_ns, window.end_ns):
        if gone():
            raise pa.ArrowCancelled("nobody waits for the description any more")
        times = batch.column(0)
        first_ns = times[0].as_py() if first_ns is None else first_ns
        last_ns = times[-1].as_py()
        rows += batch.num_rows
    return rows, first_ns, last_ns
