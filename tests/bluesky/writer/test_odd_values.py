"""Values that nobody foresaw cost at most themselves: no other value, no document, no other run, no plan."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.bluesky.recording.run_documents import (
    data_key,
    descriptor_document,
    event_document,
    start_document,
    stop_document,
)
from tests.bluesky.writer.runs import Doc, Documents, feed, run_of, values

from gapless.bluesky.document_source import documents
from gapless.bluesky.guarded_run import GuardedRun
from gapless.bluesky.lossless import decode
from gapless.bluesky.stored_run import StoredRun
from gapless.bluesky.writer import Writer
from gapless.client.client import connect

#: Two fields of a table, the other way round than they lie in memory: numpy has no description of such a type.
PICKED = np.array([(1, 2.0)], dtype=[("a", "<i4"), ("b", "<f8")])[["b", "a"]]


def uid_of(run: Documents) -> str:
    """Return the uid of the run."""
    return str(run[0][1]["uid"])


def spooled(writer: Writer, uid: str) -> list[Any]:
    """Return the documents that are in a run's file of the spool, as they are there."""
    return [json.loads(line) for line in (writer.spool / f"{uid}.jsonl").read_text().splitlines()]


def run_of_values(given: Sequence[Any], **key: Any) -> Documents:
    """Return a run with an event for each of these values of the key ``v``, and x = 1, 2, … beside it."""
    start = start_document()
    descriptor = descriptor_document(start, {"v": data_key(**key), "x": data_key()})
    events = [event_document(descriptor, n, {"v": v, "x": float(n)}) for n, v in enumerate(given, 1)]
    return [
        ("start", start),
        ("descriptor", descriptor),
        *(("event", event) for event in events),
        ("stop", stop_document(start)),
    ]


class OddClass:
    """An object of which not even the class can be asked."""

    @property
    def __class__(self) -> Any:
        """Raise."""
        raise RuntimeError("no class")

    @__class__.setter
    def __class__(self, other: Any) -> None:
        """Take none."""


class OddMapping(dict[str, Any]):
    """A dict that cannot be looked through."""

    def keys(self) -> Any:
        """Raise."""
        raise RuntimeError("no keys")

    __iter__ = keys


class Unspoken(Exception):
    """An error that fails to say what it is."""

    def __str__(self) -> str:
        """Raise."""
        raise RuntimeError("no text")


def released() -> memoryview:
    """Return a buffer that is gone."""
    view = memoryview(b"abc")
    view.release()
    return view


class Pointing(ctypes.Structure):
    """What numpy cannot read of a device's memory."""

    _fields_ = (("n", ctypes.c_int), ("p", ctypes.c_void_p))


ODD: dict[str, Callable[[], object]] = {
    "pointers": ctypes.c_void_p * 2,
    "structures": Pointing * 2,
    "released": released,
    "class": OddClass,
    "mapping": partial(OddMapping, a=1),
}


@pytest.mark.parametrize("odd", list(ODD))
def test_an_object_that_misbehaves_is_kept_as_text(tmp_path: Path, odd: str) -> None:
    """The call does not raise, and its event is recorded with the object's text among what is odd."""
    run = run_of_values([1.0, [ODD[odd]()], 3.0])
    with connect(tmp_path) as client, Writer(client) as writer:
        feed(writer, run)
        writer.flush()
        assert writer.errors == []
        assert values(client, uid_of(run)) == [1.0, 2.0, 3.0]
        [cell] = StoredRun(client, uid_of(run))["primary"].violations().to_pylist()
    assert (cell["seq_num"], cell["key"], cell["kind"]) == (2, "v", "type")
    assert isinstance(decode(cell["value"])[0], str)


def test_a_document_that_misbehaves_is_in_the_spool_as_text(tmp_path: Path) -> None:
    """It is told and the plan goes on."""
    run = run_of()
    with connect(tmp_path) as client, Writer(client) as writer:
        feed(writer, run[:2])
        writer("event", OddMapping(uid="odd"))
        feed(writer, run[2:])
        writer.flush()
        assert ["could not be copied" in str(error) for error in writer.errors] == [True]
        assert values(client, uid_of(run)) == [1.0, 2.0, 3.0]
        [line] = spooled(writer, "unrouted")
    assert (line["name"], list(line["doc"])) == ("event", ["repr"])


def test_some_columns_of_a_table_are_kept_as_they_are(tmp_path: Path) -> None:
    """Neither their own run nor another one in the same group loses anything by them."""
    run, other = run_of_values([1.0, PICKED, 3.0]), run_of()
    with connect(tmp_path) as client, Writer(client, group_s=0.2) as writer:
        feed(writer, [run[0], run[1], other[0], other[1]])
        feed(writer, [*run[2:], *other[2:]])
        writer.flush()
        assert writer.errors == []
        assert values(client, uid_of(other)) == values(client, uid_of(run)) == [1.0, 2.0, 3.0]
        kept = [
            doc["data"]["v"]
            for name, doc in documents(client.sequence_handler(uid_of(run)))
            if name == "event"
        ]
    assert np.array_equal(kept[1], PICKED)


@pytest.mark.parametrize("step", ["events", "_offered_rows"])
def test_what_one_run_raises_costs_no_other_its_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """An error that nobody foresaw: it is told, its run's events are kept, and the others are recorded."""
    broken, other = run_of(), run_of()
    work = getattr(GuardedRun, step)

    def raising(run: GuardedRun, *arguments: Any) -> Any:
        if run.uid == uid_of(broken):
            raise RuntimeError("nobody foresaw it")
        return work(run, *arguments)

    monkeypatch.setattr(GuardedRun, step, raising)
    with connect(tmp_path) as client, Writer(client, group_s=0.2) as writer:
        feed(writer, [broken[0], broken[1], other[0], other[1]])
        feed(writer, [*broken[2:], *other[2:]])
        writer.flush()
        assert values(client, uid_of(other)) == [1.0, 2.0, 3.0]
        assert client.sequence_handler(uid_of(other)).outcome == "completed"
        assert any("nobody foresaw it" in str(error) for error in writer.errors)
        kept = [line["doc"]["uid"] for line in spooled(writer, uid_of(broken)) if line["name"] == "event"]
    assert kept == [doc["uid"] for name, doc in broken if name == "event"]


def test_an_error_without_words_costs_its_document_only(tmp_path: Path) -> None:
    """A patch raises what cannot be told: the class is, and the document is in the spool."""

    def patch(doc: Doc) -> Doc:
        if doc["seq_num"] == 2:
            raise Unspoken
        return doc

    run = run_of()
    with connect(tmp_path) as client, Writer(client, patches={"event": patch}) as writer:
        feed(writer, run)
        writer.flush()
        assert values(client, uid_of(run)) == [1.0, 3.0]
        assert ["Unspoken" in str(error) for error in writer.errors] == [True]
        reasons = {line["reason"] for line in spooled(writer, uid_of(run)) if line["name"] == "event"}
    assert reasons == {"Unspoken"}


@pytest.mark.parametrize(
    ("key", "value", "cell"),
    [
        ({"dtype_numpy": ">f8", "shape": (3,)}, np.array([1, 2, 3], ">f8"), [1.0, 2.0, 3.0]),
        ({"dtype_numpy": ">f8", "shape": (3,)}, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        ({"dtype_numpy": ">i2", "shape": (2,)}, np.array([1, -2], ">i2"), [1, -2]),
        ({"dtype_numpy": "f8,(2", "shape": (2,)}, [1.0, 2.0], [1.0, 2.0]),
        ({"dtype_numpy": "<f8", "shape": ("n",)}, [1.0, 2.0], [1.0, 2.0]),
        ({"dtype_numpy": "<f8", "shape": ("n", 2)}, [[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 4.0]]),
    ],
)
def test_arrays_of_odd_declarations_are_recorded(
    tmp_path: Path, key: dict[str, Any], value: Any, cell: Any
) -> None:
    """Bytes in the other order, a type that is none, a length that is a name."""
    run = run_of_values([value], dtype="array", **key)
    with connect(tmp_path) as client, Writer(client) as writer:
        feed(writer, run)
        writer.flush()
        assert writer.errors == []
        events = [doc for name, doc in documents(client.sequence_handler(uid_of(run))) if name == "event"]
        assert StoredRun(client, uid_of(run))["primary"].violations().num_rows == 0
    assert [event["data"]["v"] for event in events] == [cell]


def test_numbers_of_more_than_64_bits_are_kept_whole(tmp_path: Path) -> None:
    """Arrow has no such type: the array is text, from which it comes back."""
    long = np.arange(3, dtype=np.longdouble) / 3
    run = run_of_values([long], dtype="array", shape=(3,), dtype_numpy=long.dtype.str)
    with connect(tmp_path) as client, Writer(client) as writer:
        feed(writer, run)
        writer.flush()
        assert writer.errors == []
        [event] = [doc for name, doc in documents(client.sequence_handler(uid_of(run))) if name == "event"]
    found = event["data"]["v"]
    assert (np.asarray(found) == long).all()


def test_a_shape_that_is_a_number_costs_no_stream(tmp_path: Path) -> None:
    """It tells of no axis, so the values have one."""
    run = run_of_values([[1.0, 2.0]], dtype="array")
    run[1][1]["data_keys"]["v"]["shape"] = 2
    with connect(tmp_path) as client, Writer(client) as writer:
        feed(writer, run)
        writer.flush()
        assert writer.errors == []
        assert values(client, uid_of(run), "v") == [[1.0, 2.0]]


def test_an_integer_that_its_declared_type_cannot_hold_is_a_violation(tmp_path: Path) -> None:
    """In a group of plain numbers as beside others; the column has 64 bits, and the raw value is kept."""
    given = [1, -5, 255, np.int64(256), 2**70]
    run = run_of_values(given, dtype="integer", dtype_numpy="|u1")
    with connect(tmp_path) as client, Writer(client) as writer:
        feed(writer, run)
        writer.flush()
        assert values(client, uid_of(run), "v") == [1, None, 255, None, None]
        cells = StoredRun(client, uid_of(run))["primary"].violations().to_pylist()
        events = [doc for name, doc in documents(client.sequence_handler(uid_of(run))) if name == "event"]
    assert {(cell["kind"], cell["expected"]) for cell in cells} == {("range", "an integer from 0 to 255")}
    assert [event["data"]["v"] for event in events] == given
