"""A recorded run whose stream points to files, for tests that read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bluesky.recording.run_documents import (
    BEGIN_S,
    Doc,
    descriptor_document,
    new_uid,
    start_document,
    stop_document,
)

from gapless.bluesky.run_writer import RunWriter
from gapless.bluesky.stored_run import StoredRun
from gapless.client.client import Client

Ranges = Sequence[tuple[int, int, int, int]]


def file_uri(path: Path) -> str:
    """Return the URI that documents use for a file."""
    return f"file://localhost{path.as_posix()}"


def external_key(shape: Sequence[int | None], dtype: str | None = None, **words: Any) -> Doc:
    """Return the data key of an array in files."""
    told = {} if dtype is None else {"dtype_numpy": dtype}
    return (
        {"source": "SIM:image", "dtype": "array", "shape": list(shape), "external": "STREAM:"} | told | words
    )


def resource_document(start: Doc, uri: str, mimetype: str, **parameters: Any) -> Doc:
    """Return a stream_resource of the data key ``image``."""
    return {
        "uid": new_uid(),
        "run_start": start["uid"],
        "data_key": "image",
        "mimetype": mimetype,
        "uri": uri,
        "parameters": parameters,
    }


def datum_document(descriptor: Doc, resource: Doc, indices: tuple[int, int], seqs: tuple[int, int]) -> Doc:
    """Return a stream_datum."""
    return {
        "uid": new_uid(),
        "descriptor": descriptor["uid"],
        "stream_resource": resource["uid"],
        "indices": dict(zip(("start", "stop"), indices, strict=True)),
        "seq_nums": dict(zip(("start", "stop"), seqs, strict=True)),
    }


def record_external(
    client: Client,
    key: Doc,
    resources: Sequence[tuple[str, str, Mapping[str, Any]]],
    ranges: Sequence[tuple[int, int, int, int, int]],
) -> StoredRun:
    """Record a run with one external key ``image`` and return it.

    ``resources``: URI, media type, parameters. ``ranges``: resource, indices and seq_nums of each datum.
    """
    start = start_document()
    descriptor = descriptor_document(start, {"image": key})
    run = RunWriter(client, start)
    run("descriptor", descriptor)
    made = [resource_document(start, uri, mimetype, **dict(words)) for uri, mimetype, words in resources]
    told: set[int] = set()
    for number, first, last, seq_first, seq_last in ranges:
        if number not in told:
            run("stream_resource", made[number])
            told.add(number)
        run("stream_datum", datum_document(descriptor, made[number], (first, last), (seq_first, seq_last)))
    run("stop", stop_document(start, time=BEGIN_S + 10))
    return StoredRun(client, start["uid"])
