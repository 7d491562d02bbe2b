"""The copy that is handed over: nothing the caller does afterwards changes it."""

from __future__ import annotations

import datetime as dt
import enum

import numpy as np
import pytest

from gapless.bluesky.document import copy_document
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
