"""Annotations: what is refused before it is written, and what a bad line on disk may and may not harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.catalog.bundle_files import write_bundle

import gapless
from gapless.catalog import Catalog
from gapless.catalog.annotations import FILE, append_annotation, read_annotations
from gapless.errors import IntegrityError, UsageError

GOOD: dict[str, Any] = {
    "op": "add", "id": "1", "start_ns": 1, "end_ns": 2, "name": "x", "kind": None, "author": None,
    "confidence": None, "created_ns": 3,
}  # fmt: skip


@pytest.mark.parametrize("time_ns", [1.0, True, None, "1", 2**63, -(2**63) - 1, float("nan")])
@pytest.mark.parametrize("field", ["start_ns", "end_ns"])
def test_a_time_that_is_no_int64_is_refused(tmp_path: Path, field: str, time_ns: Any) -> None:
    """Floats, booleans and integers beyond 64 bits are refused before a byte is written."""
    times = {"start_ns": 0, "end_ns": 2**62} | {field: time_ns}
    with pytest.raises(UsageError, match=field):
        append_annotation(tmp_path, name="x", **times)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("text", ["", "\ud800", 7, b"x"])
@pytest.mark.parametrize("field", ["name", "kind", "author"])
def test_a_text_that_cannot_be_kept_is_refused(tmp_path: Path, field: str, text: Any) -> None:
    """Empty texts, half characters and other types are refused before a byte is written."""
    with pytest.raises(UsageError, match=field):
        append_annotation(tmp_path, 1, 2, **({"name": "x"} | {field: text}))
    with pytest.raises(UsageError, match="name"):
        append_annotation(tmp_path, 1, 2, None)  # type: ignore[arg-type]
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("confidence", [True, "0.5", -0.1, 1.1, float("nan")])
def test_a_confidence_that_is_none_is_refused(tmp_path: Path, confidence: Any) -> None:
    """A confidence is a number from 0 to 1."""
    with pytest.raises(UsageError, match="confidence"):
        append_annotation(tmp_path, 1, 2, "x", confidence=confidence)


def test_integers_of_numpy_are_times(tmp_path: Path) -> None:
    """Timestamps as they come from to_numpy() are kept exactly."""
    big: Any = np.int64(2**62 + 1)
    append_annotation(tmp_path, big, big, "x", confidence=np.float32(0.5))  # type: ignore[arg-type]
    (read,) = read_annotations(tmp_path)
    assert (read.start_ns, read.end_ns, read.confidence) == (2**62 + 1, 2**62 + 1, 0.5)


@pytest.mark.parametrize(
    "bad",
    [{"start_ns": 1.5}, {"end_ns": None}, {"created_ns": 2**63}, {"name": None}, {"name": "\ud800"},
     {"id": 7}, {"kind": ""}, {"author": ["a"]}, {"confidence": "high"}],
)  # fmt: skip
def test_a_bad_line_harms_its_own_sequence_only(tmp_path: Path, bad: dict[str, Any]) -> None:
    """The row of that sequence says what is wrong; listing and labelling the others go on."""
    with gapless.connect(tmp_path) as client:
        for name in ("bad", "good"):
            write_bundle(tmp_path, name)
        line = json.dumps(GOOD | bad).encode()
        (tmp_path / "sequences/bad" / FILE).write_bytes(line + b"\n")
        assert sorted(client.list_sequences()) == ["bad", "good"]
        client.annotate("good", 1, 2, "fine")
        with pytest.raises(IntegrityError, match="line 1"):
            read_annotations(tmp_path / "sequences/bad")
    with Catalog(tmp_path) as catalog:
        problems = {row.name: row.problem for row in catalog.sequences()}
        assert "line 1" in (problems["bad"] or "")
        assert problems["good"] is None
        assert [found.annotation.name for found in catalog.annotations()] == ["fine"]


def test_lines_that_are_no_annotation_are_an_integrity_error(tmp_path: Path) -> None:
    """Whatever a line holds, the error is typed."""
    for line in (b"7", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000, b'{"op":"remove"}'):
        (tmp_path / FILE).write_bytes(line + b"\n")
        with pytest.raises(IntegrityError):
            read_annotations(tmp_path)
