"""What a normalizer makes of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gapless.bluesky.normalizer import RunNormalizer

Doc = dict[str, Any]
Run = list[tuple[str, Doc]]

START = ("start", {"uid": "run", "time": 1.0})
STOP = ("stop", {"uid": "end", "time": 9.0, "run_start": "run", "exit_status": "success"})


def collect(
    run: Iterable[tuple[str, Doc]], normalizer: RunNormalizer | None = None, *, pages: bool = False
) -> Run:
    """Return the documents that come out of the normalizer, a new one where none is given."""
    normalizer = normalizer or RunNormalizer()
    got: Run = []
    normalizer.subscribe(lambda name, doc: got.append((name, doc)), pages=pages)
    for name, doc in run:
        normalizer(name, doc)
    return got


def named(run: Run, name: str) -> list[Doc]:
    """Return the documents of one name."""
    return [doc for kind, doc in run if kind == name]


def descriptor(data_keys: Doc, uid: str = "d", **more: Any) -> tuple[str, Doc]:
    """Return a descriptor of the stream ``primary``."""
    doc = {"uid": uid, "time": 1.0, "run_start": "run", "name": "primary", "data_keys": data_keys}
    return "descriptor", {**doc, **more}


def event(seq_num: int, data: Doc, descriptor: str = "d", **more: Any) -> tuple[str, Doc]:
    """Return an event."""
    doc = {"uid": f"{descriptor}-e{seq_num}", "descriptor": descriptor, "seq_num": seq_num, "time": 2.0}
    return "event", {**doc, "data": data, "timestamps": dict.fromkeys(data, 2.0), **more}


def resource(uid: str = "r", **more: Any) -> tuple[str, Doc]:
    """Return a resource of TIFF files."""
    doc = {"uid": uid, "spec": "AD_TIFF", "root": "/data", "resource_path": f"{uid}/", "resource_kwargs": {}}
    return "resource", {**doc, **more}


def datum(datum_id: str, resource: str = "r", **kwargs: Any) -> tuple[str, Doc]:
    """Return a datum with these arguments."""
    return "datum", {"datum_id": datum_id, "resource": resource, "datum_kwargs": kwargs}


FLOAT: Doc = {"source": "x", "dtype": "number", "dtype_numpy": "<f8", "shape": []}
IMAGE: Doc = {
    "source": "x",
    "dtype": "array",
    "dtype_numpy": "<u2",
    "shape": [4, 5],
    "external": "FILESTORE:",
}
