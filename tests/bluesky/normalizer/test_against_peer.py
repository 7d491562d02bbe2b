"""The published normalizer and ours make the same of the same documents, except where it is listed here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import ValidationError  # type: ignore[import-untyped]
from tests.bluesky.normalizer.collected import (
    FLOAT,
    IMAGE,
    START,
    STOP,
    Doc,
    Run,
    collect,
    datum,
    descriptor,
    event,
    named,
    resource,
)
from tests.bluesky.normalizer.peer import (
    PEER_MIMETYPES,
    comparable,
    example,
    example_names,
    of_both,
    of_peer,
)
from tests.bluesky.strategies import legacy_runs, modern_runs

from gapless.bluesky.mimetypes import OPAQUE, SpecTable

pytestmark = pytest.mark.filterwarnings("ignore:The document type 'bulk_:UserWarning")

THOROUGH = settings(max_examples=60, deadline=None)
IMAGED = descriptor({"det": FLOAT, "image": IMAGE})


def imaged(seq_num: int, datum_id: str, **more: Any) -> tuple[str, Doc]:
    """An event with a value and a reference."""
    return event(seq_num, {"det": 0.5, "image": datum_id}, **more)


@pytest.mark.parametrize("name", example_names())
def test_the_examples_of_bluesky_come_out_equal(name: str) -> None:
    """The runs that Bluesky's own tests use."""
    ours, theirs = of_both(_without_run_start(example(name)))
    assert ours == theirs
    assert len(ours) > 3


def _without_run_start(run: Run) -> Run:
    """Take ``run_start`` off stream_resources, which only ours keeps."""
    return [
        (name, {k: v for k, v in doc.items() if k != "run_start"} if name == "stream_resource" else doc)
        for name, doc in run
    ]


@THOROUGH
@given(modern_runs())
def test_modern_runs_come_out_equal(run: Run) -> None:
    """Composed runs of the current event model."""
    ours, theirs = of_both(_without_run_start(run))
    assert ours == theirs


@THOROUGH
@given(legacy_runs(agreed=True))
def test_legacy_runs_come_out_equal(run: Run) -> None:
    """Composed runs of old, with resources, datums and their ways to count."""
    ours, theirs = of_both(run)
    assert ours == theirs


def test_runs_that_interleave_streams_and_files_come_out_equal() -> None:
    """Two streams, two files, one data key."""
    other = descriptor({"image": IMAGE}, "o", name="other")
    run: Run = [START, IMAGED, resource("a"), resource("b"), other]
    for place in range(4):
        run += [datum(f"a/{place}", "a", frame=place), datum(f"b/{place}", "b", point_number=place)]
    for place in range(4):
        run.append(event(place + 1, {"image": f"b/{place}"}, "o", filled={"image": False}))
        run.append(imaged(place + 1, f"a/{place}", filled={}))
    ours, theirs = of_both([*run, STOP])
    assert ours == theirs


def test_bulks_come_out_equal() -> None:
    """Theirs warns that they are deprecated and takes them all the same."""
    events = [imaged(1, "r/0")[1], imaged(2, "r/1")[1]]
    bulk = {"resource": "r", "datum_ids": ["r/0", "r/1"], "datum_kwarg_list": [{"frame": 0}, {"frame": 1}]}
    ours, theirs = of_both(_legacy([resource(), ("bulk_datum", bulk), ("bulk_events", {"d": events})]))
    assert ours == theirs
    assert len(named(ours, "stream_datum")) == 2


def test_every_spec_that_the_peer_knows_has_its_mimetype() -> None:
    """The same one."""
    table = SpecTable()
    assert {spec: table.mimetype(spec) for spec in PEER_MIMETYPES} == dict(PEER_MIMETYPES)


def test_every_spec_of_older_handlers_is_known() -> None:
    """Those of the handlers that were published for reading old runs."""
    older = (
        "AD_SPE AD_TIFF AD_HDF5 AD_HDF5_SWMR AD_HDF5_TS AD_HDF5_SWMR_TS AD_CBF AD_EIGER AD_EIGER2 XSP3 DAT"
    )
    older += " MAPS_PLANE MAPS_SPECTRUM SINGLE_TIFF npy npy_series npy_FRAMEWISE ADHDF5_SWMR IMM hdf5 JPEG ZARR CSV"
    table = SpecTable()
    assert [spec for spec in older.split() if table.mimetype(spec) is None] == []


# -- where we differ -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deviation:
    """A run of which both make something else: why, and what must hold of ours."""

    reason: str
    run: Run
    holds: Callable[[Run], bool]


def _stream_resource(**more: Any) -> tuple[str, Doc]:
    doc = {"uid": "r", "mimetype": "text/csv", "uri": "file://localhost/a", "parameters": {}, "data_key": "x"}
    return "stream_resource", {**doc, **more}


def _legacy(run: Run) -> Run:
    return [START, IMAGED, *run, STOP]


_NAMELESS = descriptor({"det": FLOAT})
del _NAMELESS[1]["name"]

DEVIATIONS = {
    "run_start of a stream_resource": Deviation(
        "it belongs to the current event model, and what is modern stays as it is",
        [START, _stream_resource(run_start="run"), STOP],
        lambda got: got[1][1]["run_start"] == "run",
    ),
    "a path that is no URI": Deviation(
        "a space or # in a URI cannot be read back as the path; percent-encoded it can",
        _legacy([resource(resource_path="a #1/"), datum("r/0"), imaged(1, "r/0")]),
        lambda got: named(got, "stream_resource")[0]["uri"] == "file://localhost/data/a%20%231/",
    ),
    "two slashes at the root": Deviation(
        "the host is followed by one path",
        _legacy([resource(root="/", resource_path="/a/"), datum("r/0"), imaged(1, "r/0")]),
        lambda got: named(got, "stream_resource")[0]["uri"] == "file://localhost/a/",
    ),
    "a path with a drive letter": Deviation(
        "a file of a Windows detector is not below the working directory of the recorder",
        _legacy([resource(root="C:\\d", resource_path="a.tif"), datum("r/0"), imaged(1, "r/0")]),
        lambda got: named(got, "stream_resource")[0]["uri"] == "file://localhost/C:/d/a.tif",
    ),
    "a datum of two events": Deviation(
        "a reference picture that is shown again is data of both events; theirs ends the run without a stop",
        _legacy([resource(), datum("r/0"), imaged(1, "r/0"), imaged(2, "r/0")]),
        lambda got: len(named(got, "stream_datum")) == 2 and got[-1][0] == "stop",
    ),
    "a datum that never comes": Deviation(
        "the run ends as it ended, with a finding; theirs raises and never emits the stop",
        _legacy([resource(), imaged(1, "r/0")]),
        lambda got: [name for name, _ in got] == ["start", "descriptor", "event", "stop"],
    ),
    "a datum after its event": Deviation(
        "it leaves at once, so that it is recorded if the engine dies; theirs waits for the stop",
        _legacy([resource(), imaged(1, "r/0"), datum("r/0"), event(2, {"det": 1.0})]),
        lambda got: [name for name, _ in got][2:6] == ["event", "stream_resource", "stream_datum", "event"],
    ),
    "a resource that never comes": Deviation(
        "no stream_datum may name a stream_resource that does not exist",
        _legacy([datum("r/0"), imaged(1, "r/0")]),
        lambda got: not named(got, "stream_datum"),
    ),
    "arguments of later datums": Deviation(
        "they say where the frame is; theirs keeps only those of the first datum",
        _legacy([resource(), datum("r/0", x=1), datum("r/1", x=2), imaged(1, "r/0"), imaged(2, "r/1")]),
        lambda got: [doc["parameters"]["x"] for doc in named(got, "stream_resource")] == [1, 2],
    ),
    "files of one frame each": Deviation(
        "a new file that begins anew at its only frame still adds one; theirs gives it no frame at all",
        _legacy(
            [
                resource("a"),
                resource("b"),
                datum("a/0", "a", frame=0),
                datum("b/0", "b", frame=0),
                imaged(1, "a/0"),
                imaged(2, "b/0"),
            ]
        ),
        lambda got: named(got, "stream_datum")[1]["indices"] == {"start": 1, "stop": 2},
    ),
    "a key internal here and external there": Deviation(
        "streams are apart; theirs keeps one list of keys for the run and loses the value",
        [START, IMAGED, descriptor({"image": FLOAT}, "o", name="o"), event(1, {"image": 2.5}, "o"), STOP],
        lambda got: named(got, "event")[0]["data"] == {"image": 2.5},
    ),
    "keys that no descriptor names": Deviation(
        "they are recorded as violations; theirs drops them",
        [START, IMAGED, event(1, {"det": 1.0, "more": 2.0}), STOP],
        lambda got: named(got, "event")[0]["data"] == {"det": 1.0, "more": 2.0},
    ),
    "an internal key that is said not to be filled": Deviation(
        "its value is all there is of it; theirs drops it",
        [START, descriptor({"det": FLOAT}), event(1, {"det": 1.0}, filled={"det": False}), STOP],
        lambda got: named(got, "event")[0]["data"] == {"det": 1.0},
    ),
    "a value in an external key": Deviation(
        "what is no text is no datum_id but the picture itself; theirs raises and loses the event",
        [START, IMAGED, event(1, {"det": 1.0, "image": [[1, 2]]}), STOP],
        lambda got: named(got, "event")[0]["data"] == {"det": 1.0, "image": [[1, 2]]},
    ),
    "a reserved name whose new name is taken": Deviation(
        "another underscore is as good; theirs raises and loses the stream",
        [START, descriptor({"time": FLOAT, "time_": FLOAT}), STOP],
        lambda got: set(got[1][1]["data_keys"]) == {"time_", "time__"},
    ),
    "hints of a reserved name": Deviation(
        "a hint must name a key that exists",
        [START, descriptor({"time": FLOAT}, hints={"dev": {"fields": ["time"]}}), STOP],
        lambda got: got[1][1]["hints"] == {"dev": {"fields": ["time_"]}},
    ),
    "an external mark of null": Deviation(
        "it is external all the same; theirs makes it empty too and then refuses it",
        [START, descriptor({"image": {**IMAGE, "external": None}}), STOP],
        lambda got: got[1][1]["data_keys"]["image"]["external"] == "",
    ),
    "a descriptor without a name": Deviation(
        "the event model does not require one; theirs raises and loses the stream",
        [START, _NAMELESS, STOP],
        lambda got: got[1][1]["name"] == "primary",
    ),
    "object_keys of a key that is not there": Deviation(
        "nothing is named; theirs raises and loses the stream",
        [START, descriptor({"det": FLOAT}, object_keys={"dev": ["gone"]}), STOP],
        lambda got: len(named(got, "descriptor")) == 1,
    ),
    "a spec in small letters": Deviation(
        "capitals do not matter; theirs makes PIL100k_HDF5 of a resource opaque, which its table knows",
        _legacy([resource(spec="PIL100k_HDF5"), datum("r/0"), imaged(1, "r/0")]),
        lambda got: named(got, "stream_resource")[0]["mimetype"] == "application/x-hdf5",
    ),
    "specs that only older handlers knew": Deviation(
        "their format is known",
        _legacy([resource(spec="SINGLE_TIFF"), datum("r/0"), imaged(1, "r/0")]),
        lambda got: named(got, "stream_resource")[0]["mimetype"] != OPAQUE,
    ),
    "a resource without a root": Deviation(
        "older ones have whole paths; theirs raises",
        _legacy(
            [
                ("resource", {"uid": "r", "spec": "AD_TIFF", "resource_path": "/a/", "resource_kwargs": {}}),
                datum("r/0"),
                imaged(1, "r/0"),
            ]
        ),
        lambda got: named(got, "stream_resource")[0]["uri"] == "file://localhost/a/",
    ),
}


def _of_peer_or_error(run: Run) -> Any:
    """Return what the peer makes of it, or the error it raises."""
    try:
        return comparable(of_peer(run))
    except (LookupError, RuntimeError, TypeError, ValueError, ValidationError) as error:
        return error


@pytest.mark.parametrize("name", DEVIATIONS)
def test_where_we_differ_there_is_a_reason(name: str) -> None:
    """Ours is as listed, and theirs is still something else."""
    deviation = DEVIATIONS[name]
    assert deviation.reason
    ours = collect(deviation.run)
    assert deviation.holds(ours)
    assert comparable(ours) != _of_peer_or_error(deviation.run), "they do the same now: take it off the list"


def test_notes_are_told_by_the_normalizer_and_not_put_into_the_stop() -> None:
    """A stop document stays what the engine said."""
    run = [START, descriptor({"time": FLOAT}), STOP]
    assert of_peer(run)[-1][1]["_run_normalizer_notes"]
    assert collect(run)[-1] == STOP
