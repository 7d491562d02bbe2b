"""The normalizer as its users see it: documents of every kind, order, subscribers, patches, refusals."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
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
from tests.bluesky.strategies import page_of

from gapless.bluesky.document import DOCUMENT_NAMES
from gapless.bluesky.normalizer import RunNormalizer
from gapless.errors import DocumentRefused

IMAGED = descriptor({"det": FLOAT, "image": IMAGE})


def imaged(seq_num: int, datum_id: str, **more: Any) -> tuple[str, Doc]:
    """An event with a value and a reference to a datum."""
    return event(seq_num, {"det": 0.5, "image": datum_id}, **more)


def kinds(run: Run) -> list[str]:
    """The names of the documents."""
    return [name for name, _ in run]


def indices(run: Run) -> list[tuple[int, int]]:
    """The indices of the stream_datums."""
    return [(doc["indices"]["start"], doc["indices"]["stop"]) for doc in named(run, "stream_datum")]


# -- resources and datums --------------------------------------------------------------------------


def test_a_resource_and_a_datum_leave_as_stream_documents_after_their_event() -> None:
    """The arguments of the datum move to the stream_resource, which comes first."""
    got = collect([START, IMAGED, resource(), datum("r/0", point_number=0, gain=2), imaged(1, "r/0"), STOP])
    assert kinds(got) == ["start", "descriptor", "event", "stream_resource", "stream_datum", "stop"]
    assert got[2][1]["data"] == {"det": 0.5}
    assert got[3][1] == {
        "uid": "r-d-image",
        "data_key": "image",
        "mimetype": "multipart/related;type=image/tiff",
        "uri": "file://localhost/data/r/",
        "parameters": {"spec": "AD_TIFF", "gain": 2, "_resource_spec": "AD_TIFF"},
    }
    assert got[4][1] == {
        "uid": "r/0",
        "stream_resource": "r-d-image",
        "descriptor": "d",
        "indices": {"start": 0, "stop": 1},
        "seq_nums": {"start": 1, "stop": 2},
    }


def test_a_datum_may_come_after_its_event_and_a_resource_after_both() -> None:
    """References wait for what they need and leave as soon as it is there."""
    normalizer = RunNormalizer()
    got = collect([START, IMAGED, imaged(1, "r/0"), imaged(2, "r/1"), datum("r/1"), datum("r/0")], normalizer)
    assert kinds(got) == ["start", "descriptor", "event", "event"]
    assert [reference.datum_id for reference in normalizer.unresolved] == ["r/0", "r/1"]
    normalizer(*resource())
    assert kinds(got)[4:] == ["stream_resource", "stream_datum", "stream_datum"]
    assert [doc["uid"] for doc in named(got, "stream_datum")] == ["r/0", "r/1"]
    assert not normalizer.unresolved
    assert not normalizer.findings


def test_a_datum_that_never_comes_is_counted_and_the_run_still_ends() -> None:
    """One finding for each data key says how many and which is the first."""
    normalizer = RunNormalizer()
    got = collect([START, IMAGED, resource(), imaged(1, "r/0"), imaged(2, "r/1"), STOP], normalizer)
    assert kinds(got) == ["start", "descriptor", "event", "event", "stop"]
    (finding,) = normalizer.findings
    assert (finding["code"], finding["count"], finding["first"]) == ("datum-unresolved", 2, "r/0")


def test_a_datum_of_two_events_belongs_to_both() -> None:
    """Both stream_datums show the same frame; an event that is repeated adds none."""
    normalizer = RunNormalizer()
    dark = [datum("r/0", point_number=4), imaged(1, "r/0"), imaged(2, "r/0"), imaged(2, "r/0")]
    got = collect([START, IMAGED, resource(), *dark, STOP], normalizer)
    first, second = named(got, "stream_datum")
    assert first["uid"] != second["uid"]
    assert first["indices"] == second["indices"] == {"start": 4, "stop": 5}
    assert second["seq_nums"] == {"start": 2, "stop": 3}
    assert len(named(got, "stream_resource")) == 1


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ([{}, {}], [(0, 1), (1, 2)]),
        ([{"point_number": 3}, {"point_number": 5}], [(3, 4), (5, 6)]),
        ([{"frame": 1}, {"frame": 4}], [(0, 2), (2, 5)]),
        (
            [{"indices": {"start": 7, "stop": 9}, "frame": 0}, {"indices": {"start": 9, "stop": 9}}],
            [(7, 9), (9, 9)],
        ),
        ([{"point_number": "x"}, {"frame": np.int64(0)}], [(0, 1), (0, 1)]),
    ],
)
def test_the_index_of_a_datum_comes_from_its_arguments(kwargs: list[Doc], expected: list[Any]) -> None:
    """`indices` goes before `point_number`, that before `frame`, that before the seq_num."""
    datums = [datum(f"r/{place}", **words) for place, words in enumerate(kwargs)]
    got = collect([START, IMAGED, resource(), *datums, imaged(1, "r/0"), imaged(2, "r/1"), STOP])
    assert indices(got) == expected


def test_frames_count_on_when_a_new_file_begins_anew() -> None:
    """Frame numbers of a second and a third file add to what was before."""
    files = [resource("a"), resource("b"), resource("c")]
    frames = [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 0)]
    datums = [datum(f"{file}/{frame}", file, frame=frame) for file, frame in frames]
    events = [imaged(place + 1, doc["datum_id"]) for place, (_, doc) in enumerate(datums)]
    got = collect([START, IMAGED, *files, *datums, *events, STOP])
    assert indices(got) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]


def test_files_of_one_frame_count_on_too() -> None:
    """Each file has frame 0 only, and there are three frames."""
    datums = [datum(f"{file}/0", file, frame=0) for file in "abc"]
    events = [imaged(place + 1, doc["datum_id"]) for place, (_, doc) in enumerate(datums)]
    got = collect([START, IMAGED, *map(resource, "abc"), *datums, *events, STOP])
    assert indices(got) == [(0, 1), (1, 2), (2, 3)]


def test_an_index_that_is_no_number_is_a_finding() -> None:
    """It is told, and the seq_num decides."""
    normalizer = RunNormalizer()
    collect([START, IMAGED, resource(), datum("r/0", frame="last"), imaged(1, "r/0")], normalizer)
    assert [finding["code"] for finding in normalizer.findings] == ["datum-index-unreadable"]


def test_arguments_of_later_datums_are_kept_in_stream_resources_of_their_own() -> None:
    """Datums with the same arguments share a stream_resource."""
    datums = [datum(f"r/{place}", chunk=chunk) for place, chunk in enumerate((1, 2, 1))]
    events = [imaged(place + 1, f"r/{place}") for place in range(3)]
    got = collect([START, IMAGED, resource(), *datums, *events, STOP])
    chunks = {doc["uid"]: doc["parameters"]["chunk"] for doc in named(got, "stream_resource")}
    assert chunks == {"r-d-image": 1, "r-d-image-2": 2}
    assert [chunks[doc["stream_resource"]] for doc in named(got, "stream_datum")] == [1, 2, 1]


def test_one_resource_serves_several_descriptors_and_keys() -> None:
    """Each has a stream_resource of its own."""
    both = descriptor({"image": IMAGE, "mask": IMAGE}, "other")
    run = [START, IMAGED, both, resource(), *(datum(f"r/{place}") for place in range(3))]
    run += [imaged(1, "r/0"), event(1, {"image": "r/1", "mask": "r/2"}, "other"), STOP]
    uids = [doc["uid"] for doc in named(collect(run), "stream_resource")]
    assert uids == ["r-d-image", "r-other-image", "r-other-mask"]


def test_a_key_may_be_internal_in_one_stream_and_external_in_another() -> None:
    """Streams do not mix."""
    plain = descriptor({"image": FLOAT}, "plain", name="baseline")
    run = [
        START,
        IMAGED,
        plain,
        resource(),
        datum("r/0"),
        imaged(1, "r/0"),
        event(1, {"image": 2.5}, "plain"),
    ]
    got = collect(run)
    assert [doc["data"] for doc in named(got, "event")] == [{"det": 0.5}, {"image": 2.5}]
    assert len(named(got, "stream_datum")) == 1


def test_keys_that_no_descriptor_names_stay_in_the_event() -> None:
    """Whether they violate anything is judged where they are recorded."""
    got = collect([START, IMAGED, event(1, {"det": 1.0, "more": 2.0}, filled={"det": False})])
    assert named(got, "event")[0]["data"] == {"det": 1.0, "more": 2.0}


def test_a_value_in_an_external_key_stays_a_value() -> None:
    """An array is no datum_id."""
    picture = np.zeros((4, 5))
    got = collect([START, IMAGED, event(1, {"det": 1.0, "image": picture}), STOP])
    assert named(got, "event")[0]["data"]["image"] is picture


def test_bulks_are_their_single_documents() -> None:
    """Bulks and pages of events and datums give what the single documents give."""
    singles = [datum("r/0", frame=0), datum("r/1", frame=1), imaged(1, "r/0"), imaged(2, "r/1")]
    bulk = {"resource": "r", "datum_ids": ["r/0", "r/1"], "datum_kwarg_list": [{"frame": 0}, {"frame": 1}]}
    page = {"resource": "r", "datum_id": ["r/0", "r/1"], "datum_kwargs": {"frame": [0, 1]}}
    events = {"d": [imaged(1, "r/0")[1], imaged(2, "r/1")[1]]}
    head = [START, IMAGED, resource()]
    expected = collect([*head, *singles, STOP])
    assert collect([*head, ("bulk_datum", bulk), ("bulk_events", events), STOP]) == expected
    assert collect([*head, ("datum_page", page), ("event_page", page_of(events["d"])), STOP]) == expected


def test_a_stream_resource_of_old_becomes_a_modern_one() -> None:
    """It had spec, root and resource_path before version 1.20 of the event model."""
    legacy = {**resource()[1], "data_key": "image", "run_start": "run", "path_semantics": "posix"}
    (got,) = named(collect([("stream_resource", legacy)]), "stream_resource")
    assert got.keys() == {"uid", "data_key", "mimetype", "uri", "parameters"}
    assert (got["uid"], got["data_key"]) == ("r", "image")


# -- pages -----------------------------------------------------------------------------------------


def test_a_page_of_values_stays_a_page_for_who_takes_pages() -> None:
    """Columns are renamed, and others get the events in it."""
    normalizer = RunNormalizer()
    singles: list[Doc] = []
    normalizer.subscribe(lambda name, doc: singles.append(doc), "event")
    page = page_of([event(n, {"time": float(n)}, filled={"time": True})[1] for n in (1, 2)])
    got = collect([START, descriptor({"time": FLOAT}), ("event_page", page)], normalizer, pages=True)
    assert kinds(got) == ["start", "descriptor", "event_page"]
    assert got[2][1]["data"] == {"time_": [1.0, 2.0]}
    assert "filled" not in got[2][1]
    assert [doc["data"] for doc in singles] == [{"time_": 1.0}, {"time_": 2.0}]


@pytest.mark.parametrize("events", [0, 3])
def test_a_page_without_data_keys_is_its_events(events: int) -> None:
    """The uids tell how many events there are."""
    page: Doc = {"descriptor": "d", "data": {}, "timestamps": {}, "filled": {}}
    page |= {"uid": [f"e{n}" for n in range(events)], "seq_num": list(range(events)), "time": [1.0] * events}
    got = collect([START, descriptor({}), ("event_page", page)])
    assert [doc["uid"] for doc in named(got, "event")] == page["uid"]


def test_who_overrides_event_gets_the_events_of_pages_too() -> None:
    """A page would pass by the user's method."""

    class Doubling(RunNormalizer):
        def event(self, doc: Doc) -> None:
            doc["data"]["det"] *= 2
            super().event(doc)

    page = page_of([event(n, {"det": float(n)})[1] for n in (1, 2)])
    run = [START, descriptor({"det": FLOAT}), ("event_page", page), event(3, {"det": 3.0})]
    got = collect(run, Doubling(), pages=True)
    assert [doc["data"]["det"] for doc in named(got, "event")] == [2.0, 4.0, 6.0]
    assert page["data"] == {"det": [1.0, 2.0]}


# -- patches, methods, subscribers -----------------------------------------------------------------


def test_a_patch_mends_a_document_before_it_is_judged() -> None:
    """A document that lacks a required key passes if the patch adds it."""

    def place(doc: Doc) -> Doc:
        doc["resource_path"] = doc.pop("path")
        return doc

    broken = {"uid": "r", "spec": "X", "path": "/a.h5"}
    normalizer = RunNormalizer(patches={"resource": place}, spec_to_mimetype={"X": "application/x-hdf5"})
    got = collect([START, IMAGED, ("resource", broken), datum("r/0"), imaged(1, "r/0")], normalizer)
    (made,) = named(got, "stream_resource")
    assert (made["uri"], made["mimetype"]) == ("file://localhost/a.h5", "application/x-hdf5")


def test_a_datum_patch_sees_the_spec_of_the_resource() -> None:
    """It is among the arguments of the datum, in capitals."""
    seen: list[Doc] = []

    def look(doc: Doc) -> Doc:
        seen.append(doc["datum_kwargs"])
        return doc

    collect([START, resource(spec="ad_tiff"), datum("r/0", frame=1)], RunNormalizer(patches={"datum": look}))
    assert seen == [{"frame": 1, "_resource_spec": "AD_TIFF"}]


def test_a_patch_that_returns_nothing_is_refused() -> None:
    """Forgetting to return the document is an easy mistake."""
    seen: list[Doc] = []
    normalizer = RunNormalizer(patches={"start": seen.append})  # type: ignore[dict-item]
    with pytest.raises(DocumentRefused, match="returned no document"):
        normalizer(*START)


def test_a_patch_or_subscription_of_no_document_is_refused() -> None:
    """A misspelt name would never be used."""
    with pytest.raises(DocumentRefused, match="descripter"):
        RunNormalizer(patches={"descripter": lambda doc: doc})
    with pytest.raises(DocumentRefused, match="evnt"):
        RunNormalizer().subscribe(lambda name, doc: None, "evnt")


def test_what_a_patch_raises_reaches_the_caller_and_nothing_is_emitted() -> None:
    """The caller keeps the document and goes on."""

    def fail(doc: Doc) -> Doc:
        raise ZeroDivisionError

    normalizer = RunNormalizer(patches={"stop": fail})
    got = collect([START], normalizer)
    with pytest.raises(ZeroDivisionError):
        normalizer(*STOP)
    assert kinds(got) == ["start"]


def test_each_subscriber_gets_the_documents_it_asked_for_until_it_leaves() -> None:
    """Leaving twice is leaving once."""
    normalizer = RunNormalizer()
    got: Run = []
    everything = normalizer.subscribe(lambda name, doc: got.append((name, doc)))
    starts: list[str] = []
    normalizer.subscribe(lambda name, doc: starts.append(name), "start")
    normalizer(*START)
    normalizer.unsubscribe(everything)
    normalizer.unsubscribe(everything)
    normalizer(*STOP)
    normalizer(*START)
    assert kinds(got) == ["start"]
    assert starts == ["start", "start"]


def test_the_original_is_told_while_a_changed_document_is_emitted() -> None:
    """A patch that changes nothing, and documents made of others, have no original."""
    normalizer = RunNormalizer(patches={"start": lambda doc: doc, "stop": lambda doc: {**doc, "more": 1}})
    told: list[tuple[str, Doc | None]] = []
    normalizer.subscribe(lambda name, doc: told.append((name, normalizer.changed_from())))
    legacy = descriptor({"det": {**FLOAT, "shape": None}, "image": IMAGE})
    for name, doc in [START, legacy, resource(), datum("r/0"), imaged(1, "r/0"), STOP]:
        normalizer(name, doc)
    assert [name for name, original in told if original is not None] == ["descriptor", "event", "stop"]
    assert dict(told)["descriptor"] is legacy[1]


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("start", "uid"),
        ("descriptor", "data_keys"),
        ("event", "timestamps"),
        ("event", "descriptor"),
        ("resource", "resource_path"),
        ("datum", "resource"),
        ("stream_datum", "indices"),
        ("stop", "exit_status"),
    ],
)
def test_a_document_without_what_it_must_have_is_refused_by_name(name: str, key: str) -> None:
    """The error names the key, and nothing is emitted."""
    stream_datum = {"uid": "u", "descriptor": "d", "stream_resource": "r", "indices": {}, "seq_nums": {}}
    whole = dict([START, IMAGED, event(1, {"det": 1.0}), resource(), datum("r/0"), STOP])
    whole["stream_datum"] = stream_datum
    normalizer = RunNormalizer()
    got = collect([START, IMAGED], normalizer)
    before = len(got)
    with pytest.raises(DocumentRefused) as refused:
        normalizer(name, {k: v for k, v in whole[name].items() if k != key})
    assert refused.value.field == key
    assert len(got) == before


@pytest.mark.parametrize(
    ("name", "doc"),
    [
        ("descriptor", descriptor({"det": None})[1]),
        ("descriptor", descriptor({}, object_keys={"dev": "det"})[1]),
        ("descriptor", descriptor({}, configuration={"dev": 1})[1]),
        ("event", {**event(1, {})[1], "data": [1]}),
        ("event", event(1, {}, descriptor="never")[1]),
        ("event_page", {**page_of([event(1, {"det": 1.0})[1]]), "seq_num": [1, 2]}),
        ("event_page", {**page_of([event(1, {"det": 1.0})[1]]), "time": 1.0}),
        ("bulk_events", {"d": 5}),
        ("bulk_datum", {"resource": "r", "datum_ids": ["a"], "datum_kwarg_list": []}),
        ("datum_page", {"resource": "r", "datum_id": ["a"], "datum_kwargs": {"x": [1, 2]}}),
        ("stream_resource", {"uid": "r", "mimetype": "text/csv"}),
        ("datum", {"datum_id": "a", "resource": "r", "datum_kwargs": [1]}),
        ("nonsense", {}),
        ("start", [1]),
    ],
)
def test_a_document_that_cannot_be_read_is_refused_and_the_next_one_taken(name: str, doc: Any) -> None:
    """One bad document is one document."""
    normalizer = RunNormalizer()
    got = collect([START, IMAGED, resource()], normalizer)
    with pytest.raises(DocumentRefused):
        normalizer(name, doc)
    normalizer(*event(7, {"det": 1.0}))
    assert kinds(got) == ["start", "descriptor", "event"]


@pytest.mark.parametrize(
    ("key", "value"), [("time", "noon"), ("seq_num", 1.5), ("seq_num", True), ("uid", 3)]
)
def test_validation_refuses_scalars_of_another_kind(key: str, value: Any) -> None:
    """numpy integers are integers, True is no number."""
    normalizer = RunNormalizer()
    collect([START, IMAGED], normalizer)
    normalizer("event", event(1, {"det": 1.0})[1] | {"seq_num": np.int64(1)}, validate=True)
    with pytest.raises(DocumentRefused) as refused:
        normalizer("event", event(1, {"det": 1.0})[1] | {key: value}, validate=True)
    assert refused.value.field == key


def test_every_document_name_has_a_method() -> None:
    """All twelve can be overridden."""
    assert all(callable(getattr(RunNormalizer, name)) for name in DOCUMENT_NAMES)


def test_nothing_heavy_is_imported() -> None:
    """Documents are plain dicts; none of the packages that make them is needed."""
    code = (
        "import sys, gapless.bluesky.normalizer, gapless.bluesky.legacy_rules;"
        "heavy = {'bluesky', 'event_model', 'tiled', 'jsonschema', 'pandas', 'h5py', 'pydantic'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_a_datum_that_every_event_shows_is_remembered_however_many_others_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of those that were resolved, the ones that are referred to again stay; the others are let go."""
    monkeypatch.setattr("gapless.bluesky.legacy_datum._SHOWN", 10)
    normalizer = RunNormalizer()
    got: Run = []
    normalizer.subscribe(lambda name, doc: got.append((name, doc)))
    for name, doc in (START, IMAGED, resource(), datum("r/dark"), imaged(1, "r/dark")):
        normalizer(name, doc)
    for number in range(2, 102):
        normalizer(*datum(f"r/{number}", point_number=number))
        normalizer(*imaged(number, f"r/{number}"))
        normalizer(*imaged(number + 1000, "r/dark", uid=f"dark-{number}"))
    assert len(named(got, "stream_datum")) == 201
    assert len(normalizer._join._shown) == 10
    assert normalizer._join._datums == {}
    normalizer(*imaged(3000, "r/2", uid="again"))
    assert [reference.datum_id for reference in normalizer.unresolved] == ["r/2"]


def test_references_of_long_before_wait_for_their_datums() -> None:
    """References that were not resolved when their run ended are resolved by another normalizer."""
    first, second = RunNormalizer(), RunNormalizer()
    for name, doc in (START, IMAGED, imaged(1, "r/0")):
        first(name, doc)
    (reference,) = first.unresolved
    assert reference.event == imaged(1, "r/0")[1]["uid"]
    got: Run = []
    second.subscribe(lambda name, doc: got.append((name, doc)))
    for name, doc in (START, IMAGED, resource()):
        second(name, doc)
    second.resume(first.unresolved)
    second(*datum("r/0", point_number=4))
    assert indices(got) == [(4, 5)]
    assert second.unresolved == []


def test_plain_events_are_what_single_events_leave_as() -> None:
    """The fast way gives the same documents, and steps aside for any event that is not as it must be."""
    normalizer = RunNormalizer()
    got: Run = []
    normalizer.subscribe(lambda name, doc: got.append((name, doc)))
    plain = descriptor({"det": FLOAT})
    events = [event(number, {"det": 0.5}, filled={})[1] for number in range(1, 4)]
    assert normalizer.plain_events(events) is None
    for name, doc in (START, plain):
        normalizer(name, doc)
    assert normalizer.plain_events([*events, {**events[0], "data": None}]) is None
    fast = normalizer.plain_events(events)
    for doc in events:
        normalizer("event", doc)
    assert fast == named(got, "event")
    assert all("filled" in doc for doc in events)
    patched = RunNormalizer(patches={"event": lambda doc: doc})
    for name, doc in (START, plain):
        patched(name, doc)
    assert patched.plain_events(events) is None
