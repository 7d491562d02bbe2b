"""Documents that come late mean the same as if they had come in time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.bluesky.recording.run_documents import (
    BEGIN_S,
    data_key,
    descriptor_document,
    event_document,
    new_uid,
    start_document,
    stop_document,
)
from tests.bluesky.writer.runs import Documents, feed, run_of

from gapless.bluesky import StoredRun, documents
from gapless.bluesky.delivery import deliver
from gapless.bluesky.normalizer import RunNormalizer
from gapless.bluesky.run_writer import RunWriter
from gapless.bluesky.spool import Spool
from gapless.bluesky.tiled.event_rows import EventRows
from gapless.bluesky.writer import Writer
from gapless.client.client import Client, connect

Doc = dict[str, Any]


def write_backup(path: Path, found: Iterable[tuple[str, Any]]) -> Path:
    """Write a file as the public writer of JSON lines does."""
    path.write_text("".join(json.dumps({"name": name, "doc": doc}) + "\n" for name, doc in found))
    return path


def legacy_run(arguments: Callable[[int], Doc], events: int = 4, spec: str = "AD_HDF5") -> Documents:
    """Return a run of old whose events name a datum each."""
    start = start_document()
    image = data_key("array", (2, 2), external="FILESTORE:")
    descriptor = descriptor_document(start, {"img": image, "x": data_key()})
    resource = {
        "uid": new_uid(), "spec": spec, "root": "/data", "resource_path": "a.h5", "resource_kwargs": {},
        "path_semantics": "posix", "run_start": start["uid"],
    }  # fmt: skip
    found: Documents = [("start", start), ("descriptor", descriptor), ("resource", resource)]
    for number in range(events):
        datum_id = f"{resource['uid']}/{number}"
        datum = {"datum_id": datum_id, "resource": resource["uid"], "datum_kwargs": arguments(number)}
        found.append(("datum", datum))
        values = {"img": datum_id, "x": float(number)}
        found.append(("event", event_document(descriptor, number + 1, values, filled={"img": False})))
    return [*found, ("stop", stop_document(start))]


def stored(client: Client, name: str) -> StoredRun:
    """Return the run."""
    return StoredRun(client, name)


def meaning(run: StoredRun) -> dict[tuple[str, str], Any]:
    """Return what a run says, without regard to the order of what lies in different layers."""
    return {(name, str(doc["uid"])): doc for name, doc in documents(run)}


@pytest.mark.parametrize(
    "arguments",
    [
        lambda n: {"point_number": n},
        lambda n: {"frame": n},
        lambda n: {"frame": n % 2},
        lambda n: {"index": n},
    ],
    ids=["point_number", "frame", "frame-anew", "lasting"],
)
def test_wherever_a_legacy_run_ended_delivering_makes_it_whole(
    tmp_path: Path, arguments: Callable[[int], Doc]
) -> None:
    """A datum without its event and an event without its frame are completed, and nothing comes twice."""
    found = legacy_run(arguments, events=3)
    path = write_backup(tmp_path / "b.jsonl", found)
    uid = str(found[0][1]["uid"])
    with connect(tmp_path / "unbroken") as client:
        deliver(path, client, move=False)
        expected = meaning(stored(client, uid))
        assert sum(name == "stream_datum" for name, _ in expected) == 3
    for count in range(1, len(found)):
        with connect(tmp_path / str(count)) as client:
            deliver(write_backup(tmp_path / "half.jsonl", found[:count]), client)
            assert deliver(path, client, move=False).exit_code == 0
            assert meaning(stored(client, uid)) == expected
            (again,) = deliver(path, client, move=False).runs
            assert (again.result, again.documents) == ("complete", 0)


@pytest.mark.parametrize("count", range(5, 10))
def test_late_legacy_documents_alone_go_on_where_the_run_ended(tmp_path: Path, count: int) -> None:
    """Their frames, parameters and counters are those of an unbroken run."""
    found = legacy_run(lambda n: {"index": n // 2, "frame": n % 2}, events=4, spec="NPY_SEQ")
    uid = str(found[0][1]["uid"])
    for name, begin in (("unbroken", len(found)), ("late", count)):
        with Writer(tmp_path / name) as writer:
            feed(writer, [*found[:begin], found[-1]] if begin < len(found) else found)
            writer.flush()
            feed(writer, found[begin:-1])
        assert writer.errors == []
    with connect(tmp_path / "unbroken") as unbroken, connect(tmp_path / "late") as late:
        assert meaning(stored(late, uid)) == meaning(stored(unbroken, uid))


def test_a_late_event_may_show_a_datum_again(tmp_path: Path) -> None:
    """It gets frames of its own, the same ones."""
    found = legacy_run(lambda n: {"point_number": n}, events=2)
    descriptor, datum = found[1][1], found[3][1]
    values = {"img": datum["datum_id"], "x": 9.0}
    late = event_document(descriptor, 3, values, filled={"img": False})
    with Writer(tmp_path) as writer:
        feed(writer, found)
        writer.flush()
        writer("event", late)
    with connect(tmp_path) as client:
        stream = stored(client, found[0][1]["uid"])["primary"]
        rows = [row for batch in stream.external_rows.by_arrival() for row in batch.to_pylist()]
        assert [(row["seq_start"], row["index_start"]) for row in rows] == [(1, 0), (2, 1), (3, 0)]


def test_a_recorded_uid_never_stands_for_other_arguments(tmp_path: Path) -> None:
    """Not even when the frames that named it were lost."""
    found = legacy_run(lambda n: {"index": n}, events=2)
    uid, early = str(found[0][1]["uid"]), [*found[:3], *found[5:7], found[-1]]
    with Writer(tmp_path) as writer:
        feed(writer, early)
        writer.flush()
        feed(writer, found[3:5])
    with connect(tmp_path) as client:
        run = stored(client, uid)
        shown = {
            doc["seq_nums"]["start"]: run.stream_resources[doc["stream_resource"]]["parameters"]["index"]
            for name, doc in documents(run)
            if name == "stream_datum"
        }
        assert shown == {1: 0, 2: 1}


# -- descriptors ----------------------------------------------------------------------------------


def gained(descriptor: Doc, gain: int, time: float) -> Doc:
    """Return a descriptor of another configuration."""
    keys = {"gain": data_key()}
    configuration = {"det": {"data": {"gain": gain}, "timestamps": {"gain": time}, "data_keys": keys}}
    return {**descriptor, "uid": new_uid(), "time": time, "configuration": configuration}


@pytest.mark.parametrize("times", [(10.0, 20.0, 30.0), (50.0, 40.0, 30.0)])
def test_every_event_keeps_its_descriptor_over_several_layers(
    tmp_path: Path, times: tuple[float, float, float]
) -> None:
    """Whatever the times of the descriptors are and whenever each came."""
    start = start_document()
    base = descriptor_document(start, {"x": data_key()})
    first, second, third = (gained(base, n, BEGIN_S + time) for n, time in enumerate(times, 1))
    events = {
        number: event_document(descriptor, number, {"x": float(number)})
        for number, descriptor in ((1, first), (2, second), (3, second), (5, third), (6, third))
    }
    with Writer(tmp_path) as writer:
        feed(writer, [("start", start), ("descriptor", first), ("event", events[1]), ("descriptor", third)])
        feed(writer, [("event", events[5]), ("stop", stop_document(start))])
        writer.flush()
        feed(writer, [("descriptor", second), ("event", events[2])])
        writer.flush()
        feed(writer, [("event", events[3]), ("event", events[6])])
    assert writer.errors == []
    with connect(tmp_path) as client:
        run = stored(client, start["uid"])
        gains = [run["primary"].configuration(n)["det"]["data"]["gain"] for n in (1, 2, 3, 5, 6)]
        assert gains == [1, 2, 2, 3, 3]
        told = {doc["uid"]: doc["descriptor"] for name, doc in documents(run) if name == "event"}
        assert told == {event["uid"]: event["descriptor"] for event in events.values()}


def test_late_events_are_normalised_as_those_before(tmp_path: Path) -> None:
    """A renamed key is renamed, by every layer, whatever kept its descriptor."""
    start = start_document()
    first = descriptor_document(start, {"time": data_key(), "x": data_key()})
    second = {**first, "uid": new_uid()}
    events = [
        event_document(descriptor, n, {"time": n + 0.5, "x": float(n)})
        for n, descriptor in ((1, first), (2, first), (3, second), (4, second))
    ]
    with Writer(tmp_path) as writer:
        feed(writer, [("start", start), ("descriptor", first), ("event", events[0])])
        writer("stop", stop_document(start))
        writer.flush()
        feed(writer, [("event", events[1]), ("descriptor", second), ("event", events[2])])
        writer.flush()
        writer("event", events[3])
    assert writer.errors == []
    with connect(tmp_path) as client:
        stream = stored(client, start["uid"])["primary"]
        assert stream.read(["time_"])["time_"].to_pylist() == [1.5, 2.5, 3.5, 4.5]
        assert stream.violations().num_rows == 0


# -- normalizers of their own ---------------------------------------------------------------------


def rename(part: str) -> Callable[[Doc], Doc]:
    """Return a patch that cannot be applied twice."""

    def patch(doc: Doc) -> Doc:
        doc[part]["det"] = doc[part].pop("x")
        return doc

    return patch


PATCHES: dict[str, Callable[[Doc], Doc]] = {"descriptor": rename("data_keys"), "event": rename("data")}


def test_a_patch_is_applied_once_to_what_is_late(tmp_path: Path) -> None:
    """The recorded descriptor does not go through it again."""
    found = run_of(events=2)
    with Writer(tmp_path, patches=PATCHES) as writer:
        feed(writer, [*found[:3], found[-1]])
        writer.flush()
        writer(*found[3])
    assert writer.errors == []
    with connect(tmp_path) as client:
        assert stored(client, found[0][1]["uid"])["primary"].read(["det"])["det"].to_pylist() == [1.0, 2.0]


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_run_with_patches_waits_for_them(tmp_path: Path, dry_run: bool) -> None:
    """Without them its documents stay where they are; with them they are delivered."""
    found = run_of(events=2)
    uid = str(found[0][1]["uid"])
    with Writer(tmp_path, patches=PATCHES) as writer:
        feed(writer, [*found[:3], found[-1]])
    Spool(tmp_path / "spool").keep_all(uid, [found[0], found[3]], reason="there was no room")
    with connect(tmp_path) as client:
        assert client.sequence_handler(uid).metadata["normalizer"] == {
            "class": "gapless.bluesky.normalizer.RunNormalizer",
            "patches": ["descriptor", "event"],
            "spec_to_mimetype": {},
        }
        report = deliver(tmp_path, client, dry_run=dry_run)
        assert [finding.code for finding in report.findings] == ["B107"]
        assert [run.result for run in report.runs] == ["refused"]
        assert (tmp_path / "spool" / f"{uid}.jsonl").exists()
        report = deliver(tmp_path, client, make_normalizer=lambda: RunNormalizer(PATCHES))
        assert report.findings == []
        assert stored(client, uid)["primary"].read(["det"])["det"].to_pylist() == [1.0, 2.0]


def test_specs_of_a_recording_hold_for_what_is_delivered(tmp_path: Path) -> None:
    """They are in the metadata, so nobody has to give them again."""
    found = legacy_run(lambda n: {"point_number": n}, events=2, spec="OUR_OWN")
    late = {**found[2][1], "uid": new_uid()}
    datum = {**found[5][1], "resource": late["uid"]}
    with Writer(tmp_path, spec_to_mimetype={"OUR_OWN": "application/x-hdf5"}) as writer:
        feed(writer, [*found[:5], found[-1]])
    path = write_backup(tmp_path / "b.jsonl", [*found[:2], ("resource", late), ("datum", datum), found[6]])
    with connect(tmp_path) as client:
        assert deliver(path, client).findings == []
        resources = stored(client, found[0][1]["uid"]).stream_resources.values()
        assert [doc["mimetype"] for doc in resources] == ["application/x-hdf5"] * 2


# -- several tries of one seq_num, several stops ---------------------------------------------------


def test_the_event_that_was_taken_last_holds_whenever_it_is_delivered(tmp_path: Path) -> None:
    """An older try that comes in a layer is superseded; a newer one replaces; arrival decides within a part."""
    start, descriptor, first, *_, stop = run_of(events=1)
    tries = {
        name: event_document(descriptor[1], seq_num, {"x": x}, time=BEGIN_S + time)
        for name, seq_num, x, time in (
            ("older", 2, -2.0, 12), ("now", 2, 2.0, 20), ("stepped", 3, -3.0, 41), ("back", 3, 3.0, 40),
            ("late", 3, -33.0, 39), ("last", 1, 1.5, 60),
        )
    }  # fmt: skip
    with Writer(tmp_path) as writer:
        feed(writer, [start, descriptor, first])
        feed(writer, [("event", tries[name]) for name in ("now", "stepped", "back")])
        writer(*stop)
        writer.flush()
        feed(writer, [("event", tries[name]) for name in ("older", "late", "last")])
    with connect(tmp_path) as client:
        stream = stored(client, start[1]["uid"])["primary"]
        assert stream.read(["seq_num", "x"]).select(["seq_num", "x"]).to_pylist() == [
            {"seq_num": 1, "x": 1.5}, {"seq_num": 2, "x": 2.0}, {"seq_num": 3, "x": 3.0}
        ]  # fmt: skip
        every = stream.read(["x"], all=True)
        assert every["x"].to_pylist() == [1.0, 1.5, -2.0, 2.0, -33.0, -3.0, 3.0]
        assert every["superseded"].to_pylist() == [True, False, True, False, True, True, False]
        parts = [part.topics["primary"] for part in stored(client, start[1]["uid"]).parts]
        assert EventRows(parts, "v").read(0, ["x"])["x"].to_pylist() == [1.5, 2.0, 3.0]


def test_the_first_stop_stays_the_stop(tmp_path: Path) -> None:
    """Another one waits in the spool, and delivering it is a finding."""
    found = run_of(events=1)
    other = stop_document(found[0][1], exit_status="abort")
    with Writer(tmp_path) as writer:
        feed(writer, found)
        writer.flush()
        writer("stop", other)
        writer("stop", found[-1][1])
    assert [type(error).__name__ for error in writer.errors] == ["DocumentRefused"]
    with connect(tmp_path) as client:
        report = deliver(tmp_path, client)
        assert [finding.code for finding in report.findings] == ["B102"]
        run = stored(client, found[0][1]["uid"])
        assert (run.outcome, run.stop) == ("completed", found[-1][1])
        assert client.sequence_handler(run.name).layers == []


# -- what one run costs the others ----------------------------------------------------------------


def test_a_late_document_of_a_refused_run_costs_no_other(tmp_path: Path) -> None:
    """It is a finding; the other run is recorded with what came behind its stop."""
    bad, good = run_of(events=2), run_of(events=2)
    del bad[0][1]["time"]
    folder = tmp_path / "b"
    folder.mkdir()
    for name, found in (("a", bad), ("z", good)):
        write_backup(folder / f"{name}.jsonl", [*found[:3], found[-1], found[3]])
    with connect(tmp_path / "store") as client:
        report = deliver(folder, client)
        assert {run.uid: run.result for run in report.runs} == {
            bad[0][1]["uid"]: "refused",
            good[0][1]["uid"]: "recorded",
        }
        assert stored(client, good[0][1]["uid"])["primary"].rows == 2
    assert [path.name for path in folder.glob("*.jsonl")] == ["a.jsonl"]


def test_a_layer_that_is_being_written_costs_no_other_run(tmp_path: Path) -> None:
    """Its file stays; the other run is recorded, and delivering again completes the first."""
    found, other = run_of(events=3), run_of(events=1)
    uid, folder = str(found[0][1]["uid"]), tmp_path / "b"
    folder.mkdir()
    with connect(tmp_path / "store") as client:
        with Writer(client) as writer:
            feed(writer, [*found[:3], found[-1]])
        write_backup(folder / f"{uid}.jsonl", [found[4]])
        write_backup(folder / "z.jsonl", other)
        layer = RunWriter.of_layer(client, uid, [found[1][1]])
        report = deliver(folder, client)
        assert [finding.code for finding in report.findings] == ["B104"]
        assert stored(client, other[0][1]["uid"])["primary"].rows == 1
        assert [path.name for path in folder.glob("*.jsonl")] == [f"{uid}.jsonl"]
        layer(*found[3])
        layer.seal()
        assert deliver(folder, client).exit_code == 0
        assert stored(client, uid)["primary"].read(["x"])["x"].to_pylist() == [1.0, 2.0, 3.0]


def test_a_dry_run_counts_pages(tmp_path: Path) -> None:
    """A page has a uid for each of its events."""
    found = run_of(events=2)
    events = [doc for name, doc in found if name == "event"]
    page = {
        "descriptor": found[1][1]["uid"],
        **{key: [event[key] for event in events] for key in ("uid", "seq_num", "time")},
        **{
            part: {"x": [event[part]["x"] for event in events]} for part in ("data", "timestamps")
        },
    }  # fmt: skip
    path = write_backup(tmp_path / "b.jsonl", [*found[:2], ("event_page", page), found[-1]])
    with connect(tmp_path / "store") as client:
        deliver(path, client, move=False)
        (run,) = deliver(path, client, dry_run=True).runs
        assert (run.result, run.documents, run.repeated) == ("complete", 0, 4)
