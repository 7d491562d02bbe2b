"""Plain documents of a run, for tests that need to say exactly what comes."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

Doc = dict[str, Any]
BEGIN_S = 1_700_000_000.0


def new_uid() -> str:
    """Return a uid nobody has."""
    return str(uuid.uuid4())


def start_document(**words: Any) -> Doc:
    """Return a start document."""
    return {"uid": new_uid(), "time": BEGIN_S, "scan_id": 1, "plan_name": "count", **words}


def data_key(dtype: str = "number", shape: tuple[int, ...] = (), **words: Any) -> Doc:
    """Return a data key."""
    return {"source": "SIM:x", "dtype": dtype, "shape": list(shape), **words}


def descriptor_document(start: Doc, data_keys: Mapping[str, Doc], name: str = "primary", **words: Any) -> Doc:
    """Return a descriptor of these data keys."""
    return {
        "uid": new_uid(),
        "time": BEGIN_S,
        "run_start": start["uid"],
        "name": name,
        "data_keys": dict(data_keys),
        **words,
    }


def event_document(descriptor: Doc, seq_num: int, data: Mapping[str, Any], **words: Any) -> Doc:
    """Return an event whose values all have the event's time."""
    time = BEGIN_S + seq_num
    return {
        "uid": new_uid(),
        "descriptor": descriptor["uid"],
        "seq_num": seq_num,
        "time": time,
        "data": dict(data),
        "timestamps": dict.fromkeys(data, time),
        **words,
    }


def stop_document(start: Doc, **words: Any) -> Doc:
    """Return a stop document of a run that went well."""
    return {
        "uid": new_uid(),
        "time": BEGIN_S + 100,
        "run_start": start["uid"],
        "exit_status": "success",
        **words,
    }
