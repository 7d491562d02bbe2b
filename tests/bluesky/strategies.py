"""Runs as lists of ``(name, document)``: modern ones, legacy ones, and values that are seen at beamlines.

``modern_runs()`` needs no normalising; ``legacy_runs()`` mixes every older way to say the same, with
``agreed=True`` only those in which the published normalizer and ours do the same.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from hypothesis import strategies as st

Doc = dict[str, Any]
Run = list[tuple[str, Doc]]

START_TIME = 1745500521.5
KEYS = ("det", "motor", "motor_setpoint", "stats-1", "α")
SPECS = ("AD_HDF5", "AD_TIFF", "XSP3", "AD_HDF5_SWMR_STREAM", "NPY_SEQ", "ad_hdf5")


def odd_values() -> st.SearchStrategy[Any]:
    """Values that devices really put into events: null, NaN, large integers, numpy scalars and arrays."""
    return st.sampled_from(
        (
            None,
            math.nan,
            math.inf,
            -0.0,
            2**63,
            -(2**70),
            True,
            "",
            "naïve ☃",
            b"\x00\xff",
            [],
            [[1, 2], [3]],
            {"nested": {"deep": [None, math.nan]}},
            np.float32(0.1),
            np.int64(7),
            np.bool_(1),
            np.arange(6.0).reshape(2, 3),
            np.array(["a", "bc"]),
        )
    )


def json_values() -> st.SearchStrategy[Any]:
    """Values that JSON has, nested a little."""
    scalars: st.SearchStrategy[Any] = (
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
    )
    scalars |= st.text(max_size=5)
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words(), inner, max_size=3)
    )


def metadata() -> st.SearchStrategy[Doc]:
    """Extra keys of a start document."""
    return st.dictionaries(_words().map("user_{}".format), json_values(), max_size=3)


def _words() -> st.SearchStrategy[str]:
    return st.text("abcxyz_", min_size=1, max_size=6)


_VALUES: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "number": ("<f8", st.floats(allow_nan=False, allow_infinity=False)),
    "integer": ("<i8", st.integers(-(2**63), 2**63 - 1)),
    "boolean": ("|b1", st.booleans()),
    "string": ("<U0", st.text(max_size=4)),
    "array": ("<f8", st.lists(st.floats(allow_nan=False), min_size=3, max_size=3)),
}


def start_of(draw: Callable[..., Any], uid: str) -> Doc:
    """A start document of that uid."""
    return {"uid": uid, "time": START_TIME, "scan_id": 1, "plan_name": "count", **draw(metadata())}


def stop_of(uid: str) -> Doc:
    """The stop document of a run that succeeded."""
    return {
        "uid": f"{uid}-stop",
        "time": START_TIME + 100,
        "run_start": uid,
        "exit_status": "success",
        "reason": "",
    }


def data_key(dtype: str) -> Doc:
    """A modern data key of a JSON type."""
    shape = [3] if dtype == "array" else []
    return {"source": "SIM:x", "dtype": dtype, "dtype_numpy": _VALUES[dtype][0], "shape": shape}


@st.composite
def modern_runs(draw: st.DrawFn, max_streams: int = 2, max_events: int = 4, *, odd: bool = False) -> Run:
    """A run of the current event model: internal data, pages, stream_resources, changes of configuration.

    With ``odd`` any value may be one of :func:`odd_values`.
    """
    uid = draw(st.uuids()).hex
    run: Run = [("start", start_of(draw, uid))]
    for number in range(draw(st.integers(1, max_streams))):
        run += draw(_modern_streams(uid, f"stream{number}", max_events, odd))
    return [*run, ("stop", stop_of(uid))]


@st.composite
def _modern_streams(draw: st.DrawFn, uid: str, stream: str, max_events: int, odd: bool) -> Run:
    dtypes = draw(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(sorted(_VALUES)), max_size=4))
    data_keys = {key: data_key(dtype) for key, dtype in dtypes.items()}
    external = draw(st.booleans())
    if external:
        data_keys["image"] = {**data_key("array"), "shape": [1, 4, 5], "external": "STREAM:"}
    for spec in data_keys.values():
        spec["object_name"] = "device"
    run: Run = []
    seq_num = 1
    for generation in range(draw(st.integers(1, 2))):
        descriptor = _descriptor(uid, stream, generation, data_keys)
        run.append(("descriptor", descriptor))
        events = [
            _event(draw, descriptor["uid"], seq_num + place, dtypes, odd=odd)
            for place in range(draw(st.integers(0, max_events)))
        ]
        if external:
            run += _frames(uid, descriptor["uid"], seq_num, len(events))
        paged: bool = draw(st.booleans())
        run += _as_page(events) if events and paged else _as_singles(events)
        seq_num += len(events)
    return run


def _descriptor(uid: str, stream: str, generation: int, data_keys: Doc) -> Doc:
    configuration = {
        "data": {"gain": generation},
        "timestamps": {"gain": START_TIME},
        "data_keys": {"gain": {"source": "SIM:gain", "dtype": "integer", "dtype_numpy": "<i8", "shape": []}},
    }
    return {
        "uid": f"{uid}-{stream}-{generation}",
        "time": START_TIME + generation,
        "run_start": uid,
        "name": stream,
        "data_keys": data_keys,
        "object_keys": {"device": list(data_keys)},
        "hints": {"device": {"fields": list(data_keys)}},
        "configuration": {"device": configuration},
    }


def _event(
    draw: Callable[..., Any], descriptor: str, seq_num: int, dtypes: dict[str, str], *, odd: bool = False
) -> Doc:
    data = {
        key: draw(_VALUES[dtype][1] | odd_values() if odd else _VALUES[dtype][1])
        for key, dtype in dtypes.items()
    }
    return {
        "uid": f"{descriptor}-event-{seq_num}",
        "descriptor": descriptor,
        "seq_num": seq_num,
        "time": START_TIME + seq_num,
        "data": data,
        "timestamps": dict.fromkeys(data, START_TIME + seq_num),
    }


def _frames(uid: str, descriptor: str, seq_num: int, frames: int) -> Run:
    resource = {
        "uid": f"{descriptor}-image",
        "run_start": uid,
        "data_key": "image",
        "mimetype": "application/x-hdf5",
        "uri": "file://localhost/data/images.h5",
        "parameters": {"dataset": "/entry/data/data", "chunk_shape": [1, 4, 5]},
    }
    datum = {
        "uid": f"{descriptor}-image/0",
        "stream_resource": resource["uid"],
        "descriptor": descriptor,
        "indices": {"start": 0, "stop": frames},
        "seq_nums": {"start": seq_num, "stop": seq_num + frames},
    }
    return [("stream_resource", resource), ("stream_datum", datum)] if frames else []


def _as_page(events: list[Doc]) -> Run:
    return [("event_page", page_of(events))]


def page_of(events: list[Doc]) -> Doc:
    """The event_page that holds these events of one descriptor, all with the same keys."""
    page: Doc = {"descriptor": events[0]["descriptor"]}
    for key in ("uid", "seq_num", "time"):
        page[key] = [event[key] for event in events]
    for part in ("data", "timestamps", "filled"):
        if part in events[0]:
            page[part] = {key: [event[part][key] for event in events] for key in events[0][part]}
    return page


@st.composite
def legacy_runs(draw: st.DrawFn, max_streams: int = 2, max_events: int = 4, *, agreed: bool = False) -> Run:
    """A run with resources, datums, bulks and fields of old; datums may come late or never.

    With ``agreed`` every datum comes before its event, resources have known specs and all arguments of a
    resource's datums agree.
    """
    uid = draw(st.uuids()).hex
    run: Run = [("start", start_of(draw, uid))]
    for number in range(draw(st.integers(1, max_streams))):
        run += draw(_legacy_streams(uid, f"stream{number}", max_events, agreed))
    return [*run, ("stop", stop_of(uid))]


@st.composite
def _legacy_streams(draw: st.DrawFn, uid: str, stream: str, max_events: int, agreed: bool) -> Run:
    names = [f"{stream}_{key}" for key in KEYS] + ["time", "seq_num"]
    dtypes = draw(st.dictionaries(st.sampled_from(names), st.sampled_from(sorted(_VALUES)), max_size=4))
    data_keys = {key: draw(_legacy_data_keys(dtype)) for key, dtype in dtypes.items()}
    image = f"{stream}_image"
    with_image = draw(st.booleans())
    if with_image:
        marks = ("FILESTORE:",) if agreed else ("FILESTORE:", "", None)
        data_keys[image] = {**data_key("array"), "external": draw(st.sampled_from(marks))}
    descriptor = _legacy_descriptor(draw, uid, stream, data_keys)
    events = [
        _event(draw, descriptor["uid"], seq_num, dtypes)
        for seq_num in range(1, 1 + draw(st.integers(0, max_events)))
    ]
    run: Run = [("descriptor", descriptor)]
    if with_image:
        return run + draw(_imaged_events(uid, image, events, agreed))
    filled: Doc = draw(st.sampled_from(({}, {"filled": {}}, {"filled": dict.fromkeys(dtypes, True)})))
    for event in events:
        event |= copy.deepcopy(filled)
    in_bulk: bool = draw(st.booleans())
    if events and in_bulk:
        return [*run, ("bulk_events", {descriptor["uid"]: events})]
    return run + _as_singles(events)


def _as_singles(events: list[Doc]) -> Run:
    return [("event", event) for event in events]


@st.composite
def _legacy_data_keys(draw: st.DrawFn, dtype: str) -> Doc:
    key: Doc = {"source": "PV:x", "dtype": dtype, "shape": draw(st.sampled_from(([], [3], None)))}
    key |= draw(
        st.sampled_from(
            (
                {},
                {"dtype_str": _VALUES[dtype][0]},
                {"dtype_descr": [["x", "<f8"], ["y", "<i4"]]},
                {"dtype_numpy": _VALUES[dtype][0], "dtype_str": "<f4"},
            )
        )
    )
    return key


def _legacy_descriptor(draw: Callable[..., Any], uid: str, stream: str, data_keys: Doc) -> Doc:
    descriptor: Doc = {
        "uid": f"{uid}-{stream}",
        "time": START_TIME,
        "run_start": uid,
        "name": stream,
        "data_keys": data_keys,
    }
    if draw(st.booleans()):
        descriptor["object_keys"] = {"device": list(data_keys)}
    if draw(st.booleans()):
        gain = draw(_legacy_data_keys("integer"))
        descriptor["configuration"] = {
            "device": {"data": {"gain": 1}, "timestamps": {"gain": 1.0}, "data_keys": {"gain": gain}}
        }
    return descriptor


@st.composite
def _imaged_events(draw: st.DrawFn, uid: str, image: str, events: list[Doc], agreed: bool) -> Run:
    """The events, each with a datum of one of two files; the datums in one of the ways of old."""
    files = [_resource(draw, f"{uid}-{image}-file{number}", agreed) for number in range(2)]
    way = draw(st.sampled_from(("frame", "point_number", "indices", "none")))
    second_from = draw(st.integers(1, 5)) if not agreed or way != "frame" else draw(st.integers(2, 5))
    datums: list[Doc] = []
    for place, event in enumerate(events):
        resource = files[place >= second_from]["uid"]
        datum_id = f"{resource}/{place}"
        frame = place - second_from if place >= second_from else place
        datums.append(
            {"datum_id": datum_id, "resource": resource, "datum_kwargs": _datum_kwargs(way, place, frame)}
        )
        if not agreed and draw(st.booleans()):
            datums[-1]["datum_kwargs"]["chunk"] = draw(st.integers(0, 2))
        event["data"][image] = datum_id
        event["timestamps"][image] = event["time"]
        event["filled"] = draw(st.sampled_from(({}, {image: False})))
    run: Run = [("resource", resource) for resource in files]
    order = "before" if agreed else draw(st.sampled_from(("before", "paged", "after", "never", "bulk")))
    return run + list(_ordered(order, datums, events))


def _datum_kwargs(way: str, place: int, frame: int) -> Doc:
    kwargs: dict[str, Doc] = {
        "frame": {"frame": frame},
        "point_number": {"point_number": place},
        "indices": {"indices": {"start": 2 * place, "stop": 2 * place + 2}},
        "none": {},
    }
    return kwargs[way]


def _ordered(order: str, datums: list[Doc], events: list[Doc]) -> Iterator[tuple[str, Doc]]:
    if order == "paged":
        yield from (("datum_page", page) for page in _datum_pages(datums))
    if order == "bulk":
        for datum in datums:
            one = {"datum_ids": [datum["datum_id"]], "resource": datum["resource"]}
            yield "bulk_datum", {**one, "datum_kwarg_list": [datum["datum_kwargs"]]}
    for datum, event in zip(datums, events, strict=True):
        if order == "before":
            yield "datum", datum
        yield "event", event
    if order == "after":
        yield from (("datum", datum) for datum in datums)


def _datum_pages(datums: list[Doc]) -> Iterator[Doc]:
    for datum in datums:
        columns = {key: [value] for key, value in datum["datum_kwargs"].items()}
        yield {"datum_id": [datum["datum_id"]], "resource": datum["resource"], "datum_kwargs": columns}


def _resource(draw: Callable[..., Any], uid: str, agreed: bool) -> Doc:
    specs = SPECS if agreed else (*SPECS, "NEVER_HEARD_OF")
    kwargs = draw(
        st.sampled_from(
            (
                {},
                {"path": "/entry/x"},
                {"dataset": "/entry/y", "frame_per_point": 2},
                {"template": "%s%s_%06d.tiff", "filename": "img"},
            )
        )
    )
    return {
        "uid": uid,
        "spec": draw(st.sampled_from(specs)),
        "root": draw(st.sampled_from(("/data", "/data/", ""))),
        "resource_path": draw(st.sampled_from(("a/b.h5", "/a/b.h5", "/folder/"))) if agreed else "/a b/#1.h5",
        "resource_kwargs": dict(kwargs),
        "path_semantics": "posix",
    }


def runs() -> st.SearchStrategy[Run]:
    """Any run."""
    return modern_runs() | legacy_runs()
