"""The copy that is handed over: nothing the caller does afterwards changes it."""

from __future__ import annotations

import array
import collections
import ctypes
import datetime as dt
import enum
import json

import numpy as np
import pytest

from gapless.bluesky.document import copy_document, weighed_copy
from gapless.bluesky.lossless import encode
from gapless.errors import DocumentRefused


def test_overwriting_buffers_and_dicts_afterwards_changes_nothing() -> None:
    """Overwriting buffers and dicts afterwards changes nothing."""
    image, raw = np.arange(6.0).reshape(2, 3), bytearray(b"abc")
    boxed = np.array([[1], None], dtype=object)
    doc = {"data": {"img": image, "raw": raw, "deep": [{"a": image}], "boxed": boxed}, "filled": {}}
    copy = copy_document(doc)
    image[:] = -1
    raw[:] = b"xyz"
    boxed[0].append(2)
    doc["data"]["late"] = 1
    doc["filled"]["img"] = True
    assert np.array_equal(copy["data"]["img"], [[0, 1, 2], [3, 4, 5]])
    assert np.array_equal(copy["data"]["deep"][0]["a"], [[0, 1, 2], [3, 4, 5]])
    assert copy["data"]["raw"] == b"abc"
    assert copy["data"]["boxed"][0] == [1]
    assert set(copy["data"]) == {"img", "raw", "deep", "boxed"}
    assert copy["filled"] == {}


def test_scalars_keep_their_types() -> None:
    """Scalars keep their types."""

    class Colour(enum.Enum):
        RED = "red"

    values = {"a": np.float32(1.5), "b": True, "c": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "d": Colour.RED}
    copy = copy_document(values)
    assert {key: type(value) for key, value in copy.items()} == {k: type(v) for k, v in values.items()}
    assert copy == values


def test_a_document_that_holds_itself_is_refused() -> None:
    """A document that holds itself is refused."""
    doc: dict[str, object] = {}
    doc["self"] = [doc]
    with pytest.raises(DocumentRefused, match="nested too deep"):
        copy_document(doc)


def test_what_is_no_mapping_is_refused() -> None:
    """What is no mapping is refused."""
    with pytest.raises(DocumentRefused, match="mapping"):
        copy_document([("uid", "x")])  # type: ignore[arg-type]


def test_device_memory_of_any_kind_is_copied() -> None:
    """Rows of structured arrays, arrays of the standard library and of C, queues, masked arrays."""
    rows = np.zeros(2, dtype=[("a", "f8")])
    rows["a"] = [1, 2]
    numbers, items = array.array("d", [1.0, 2.0]), collections.deque([1, [2]])
    c_numbers = (ctypes.c_double * 2)(1, 2)
    masked = np.ma.masked_array([1.0, 2.0], [False, True])
    copy = copy_document({"row": rows[0], "array": numbers, "queue": items, "c": c_numbers, "masked": masked})
    rows["a"] = 99
    numbers[0] = c_numbers[0] = masked[0] = 99
    items[0] = 99
    items[1].append(99)  # type: ignore[attr-defined]
    assert copy["row"]["a"] == 1
    assert list(copy["array"]) == list(copy["c"]) == [1.0, 2.0]
    assert copy["queue"] == [1, [2]]
    assert copy["masked"].tolist() == [1.0, None]


def test_an_object_is_the_text_that_it_was_then() -> None:
    """What it says of itself later, or not at all, does not matter."""

    class Device:
        def __init__(self) -> None:
            self.state = "idle"

        def __repr__(self) -> str:
            if self.state == "broken":
                raise OSError("no connection")
            return f"Device({self.state})"

    device = Device()
    copy = copy_document({"a": device})
    device.state = "broken"
    assert json.loads(encode(copy)) == {
        "a": {"__gapless__": "object", "type": type(device).__qualname__, "text": "Device(idle)"}
    }
    assert "OSError" in repr(copy_document({"a": device})["a"])


def test_a_copy_knows_about_what_it_weighs() -> None:
    """Arrays, lists and texts, at every level."""
    doc = {"data": {"img": np.zeros(1000), "text": "x" * 500, "list": [1.0] * 100}, "seq_num": 1}
    _, size_bytes = weighed_copy(doc)
    assert 8_000 + 500 + 100 * 8 <= size_bytes < 20_000
    assert weighed_copy({"a": 1.0})[1] == 0
