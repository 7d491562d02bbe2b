"""Runs made by the compose functions of event_model, each a function that returns all its documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import event_model

Document = tuple[str, dict[str, Any]]
compose_run: Any = event_model.compose_run  # typed dicts of one kind each are no documents of any kind
compose_datum_page: Any = event_model.compose_datum_page
TIME_S = 1_700_000_000.0


def key(dtype: str = "number", shape: tuple[int, ...] = (), **words: Any) -> dict[str, Any]:
    """Return a data key."""
    return {"source": "SIM:x", "dtype": dtype, "shape": list(shape), **words}


def of_every_type() -> list[Document]:
    """Every JSON type, arrays, a missing timestamp's worth of odd values, units and hints."""
    run = compose_run(metadata={"scan_id": 3, "sample": {"name": "Cu"}, "hints": {}}, time=TIME_S)
    keys = {
        "number": key(units="mm", precision=4),
        "integer": key("integer"),
        "flag": key("boolean"),
        "word": key("string"),
        "choice": key("string", choices=["in", "out"]),
        "trace": key("array", (3,)),
        "image": key("array", (2, 3), dtype_numpy="<u2", dims=["y", "x"]),
        "small": key("integer", dtype_numpy="|i1"),
    }
    primary = run.compose_descriptor(
        name="primary",
        data_keys=keys,
        configuration={
            "device": {"data": {"gain": 2}, "timestamps": {"gain": TIME_S}, "data_keys": {"gain": key()}}
        },
        hints={"device": {"fields": ["number"]}},
        object_keys={"device": list(keys)},
        time=TIME_S,
    )
    documents: list[Document] = [("start", run.start_doc), ("descriptor", primary.descriptor_doc)]
    for n in range(4):
        data = {
            "number": [0.5, float("nan"), float("inf"), 3][n],
            "integer": [0, -1, 2**62, 7][n],
            "flag": n % 2 == 0,
            "word": ["", "naïve ☃", "a\nb", "\x00"][n],
            "choice": ["in", "out"][n % 2],
            "trace": [0.0, n / 3, -1e300],
            "image": [[n, 1, 2], [3, 4, 65535]],
            "small": n - 2,
        }
        times = dict.fromkeys(data, TIME_S + n)
        documents.append(
            ("event", primary.compose_event(data=data, timestamps=times, time=TIME_S + n + 0.25))
        )
    return [*documents, ("stop", run.compose_stop(time=TIME_S + 9))]


def pages_of_two_streams() -> list[Document]:
    """Pages of two streams, one after the other and then interleaved."""
    run = compose_run(time=TIME_S)
    documents: list[Document] = [("start", run.start_doc)]
    bundles = [run.compose_descriptor(name=name, data_keys={"v": key()}, time=TIME_S) for name in ("a", "b")]
    documents += [("descriptor", bundle.descriptor_doc) for bundle in bundles]
    for page in range(4):
        for bundle in bundles if page else bundles * 2:
            times = [TIME_S + page + n / 10 for n in range(5)]
            made = bundle.compose_event_page(
                data={"v": [page + n / 7 for n in range(5)]}, timestamps={"v": times}, time=times
            )
            documents.append(("event_page", made))
    return [*documents, ("stop", run.compose_stop(time=TIME_S + 9))]


def resources(paged: bool) -> list[Document]:
    """Events that name datums of a resource, one of which comes after its event."""
    run = compose_run(time=TIME_S)
    bundle = run.compose_resource(
        spec="AD_HDF5", root="/data", resource_path="scan 1/images.h5", resource_kwargs={"frame_per_point": 1}
    )
    primary = run.compose_descriptor(
        name="primary",
        data_keys={"image": key("array", (2, 3), external="FILESTORE:"), "v": key()},
        time=TIME_S,
    )
    datums = [bundle.compose_datum(datum_kwargs={"point_number": n}) for n in range(4)]
    documents: list[Document] = [("start", run.start_doc), ("resource", bundle.resource_doc)]
    documents.append(("descriptor", primary.descriptor_doc))
    for n, datum in enumerate(datums):
        event = primary.compose_event(
            data={"image": datum["datum_id"], "v": n / 2},
            timestamps={"image": TIME_S + n, "v": TIME_S + n},
            filled={"image": False},
            time=TIME_S + n,
        )
        page = (
            compose_datum_page(
                resource=bundle.resource_doc, datum_kwargs={"point_number": [n]}, counter=iter([n])
            )
            if paged
            else None
        )
        pair: list[Document] = [("datum_page", page) if page else ("datum", datum), ("event", event)]
        documents += pair if n != 2 else pair[::-1]
    return [*documents, ("stop", run.compose_stop(time=TIME_S + 9))]


def stream_documents() -> list[Document]:
    """Frames of two files of one key, and a stream without events."""
    run = compose_run(time=TIME_S)
    frames = run.compose_descriptor(
        name="frames",
        data_keys={"image": key("array", (1, 2, 3), dtype_numpy="|u1", external="STREAM:")},
        time=TIME_S,
    )
    documents: list[Document] = [("start", run.start_doc), ("descriptor", frames.descriptor_doc)]
    for file in range(2):
        bundle = run.compose_stream_resource(
            mimetype="application/x-hdf5",
            uri=f"file://localhost/data/{file}.h5",
            data_key="image",
            parameters={"dataset": "/entry/data/data", "chunk_shape": [1, 2, 3]},
        )
        documents.append(("stream_resource", bundle.stream_resource_doc))
        for part in range(3):
            first = file * 30 + part * 10
            documents.append(
                (
                    "stream_datum",
                    bundle.compose_stream_datum(
                        indices={"start": part * 10, "stop": part * 10 + 10},
                        seq_nums={"start": first + 1, "stop": first + 11},
                        descriptor=frames.descriptor_doc,
                    ),
                )
            )
    return [*documents, ("stop", run.compose_stop(time=TIME_S + 9))]


def reconfigured() -> list[Document]:
    """Two descriptors of one stream."""
    run = compose_run(time=TIME_S)
    documents: list[Document] = [("start", run.start_doc)]
    for gain in (1, 2):
        bundle = run.compose_descriptor(
            name="primary",
            data_keys={"v": key()},
            configuration={
                "v": {"data": {"gain": gain}, "timestamps": {"gain": TIME_S}, "data_keys": {"gain": key()}}
            },
            object_keys={"v": ["v"]},
            time=TIME_S + gain,
        )
        documents.append(("descriptor", bundle.descriptor_doc))
        for n in range(3):
            event = bundle.compose_event(data={"v": n * gain}, timestamps={"v": TIME_S}, time=TIME_S + n)
            documents.append(("event", event))
    return [*documents, ("stop", run.compose_stop(exit_status="abort", reason="enough", time=TIME_S + 9))]


COMPOSED: dict[str, Callable[[], list[Document]]] = {
    "of every type": of_every_type,
    "pages of two streams": pages_of_two_streams,
    "resource and datums": lambda: resources(paged=False),
    "resource and datum pages": lambda: resources(paged=True),
    "stream documents": stream_documents,
    "reconfigured": reconfigured,
}


def valid(documents: list[Document]) -> list[Document]:
    """Return the documents after event_model's own validation."""
    for name, doc in documents:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
    return documents
