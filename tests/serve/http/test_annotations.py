"""Labels over HTTP: put on a span, found by a query, taken back; only with the right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import gapless

from .conftest import Begin, Site
from .sample_store import BASE_NS, ROWS, SPIKE_NS, STEP_NS

LABELS = "/sequences/walk/annotations"
LAST_NS = BASE_NS + (ROWS - 1) * STEP_NS
LABEL = {"start_ns": str(BASE_NS), "end_ns": SPIKE_NS, "label": "fast"}


def names(site: Site, query: str) -> list[str]:
    """Return the sequences that a query finds."""
    rows = site.api("/sequences", params={"query": query}).json()["sequences"]
    return [row["name"] for row in rows]


def test_a_label_is_kept_exactly_and_found(filled: Site, root: Path) -> None:
    """With the times as they were sent, text or number, and by every other reader of the store."""
    words = {"kind": "gait", "author": "Bo", "confidence": 0.25}
    answer = filled.api(LABELS, "POST", json={**LABEL, **words})
    assert answer.status_code == 201
    made = answer.json()
    assert made.pop("warnings") == []
    expected = {"start_ns": str(BASE_NS), "end_ns": str(SPIKE_NS), "label": "fast", **words}
    assert {key: made[key] for key in expected} == expected
    assert made in filled.api(LABELS).json()["annotations"]
    assert names(filled, 'annotation == "fast"') == ["walk"]
    with gapless.connect(root) as client:
        [note] = [n for n in client.sequence_handler("walk").annotations() if n.name == "fast"]
    assert (note.start_ns, note.end_ns, note.id) == (BASE_NS, SPIKE_NS, made["id"])
    assert filled.api("/sequences/walk").json()["labels"] == 2


def test_a_label_is_taken_back(filled: Site) -> None:
    """Once; the second time there is none of that id."""
    made = filled.api(LABELS, "POST", json=LABEL).json()
    assert made["kind"] == "label"
    path = f"{LABELS}/{made['id']}"
    assert filled.api(path, "DELETE").json() == {"id": made["id"]}
    assert filled.api(path, "DELETE").status_code == 404
    assert [note["label"] for note in filled.api(LABELS).json()["annotations"]] == ["bump"]
    assert names(filled, 'annotation == "fast"') == []


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "warnings"),
    [
        (BASE_NS, LAST_NS, []),
        (BASE_NS - 5_000_000_000, BASE_NS, ["the span begins 5 s before the first row"]),
        (LAST_NS, LAST_NS + 1_500_000_000, ["the span ends 1.5 s after the last row"]),
        (BASE_NS - 1, LAST_NS + 2, [
            "the span begins 1e-09 s before the first row and ends 2e-09 s after the last row",
        ]),
        (0, 999, ["the span is outside the rows"]),
        (LAST_NS + 1, LAST_NS + 1, ["the span is outside the rows"]),
    ],
)  # fmt: skip
def test_a_span_that_leaves_the_rows_is_taken_and_told(
    filled: Site, start_ns: int, end_ns: int, warnings: list[str]
) -> None:
    """A person may have meant it, or mistyped."""
    answer = filled.api(LABELS, "POST", json={"start_ns": start_ns, "end_ns": end_ns, "label": "x"})
    assert (answer.status_code, answer.json()["warnings"]) == (201, warnings)
    assert len(filled.api(LABELS).json()["annotations"]) == 2


def test_a_sequence_that_grows_may_reach_a_label_yet(begin: Begin, root: Path) -> None:
    """Only what it can never reach is told; a sequence without rows tells nothing."""
    site = begin(root)
    path = "/sequences/oven/annotations"
    with gapless.connect(root) as client, client.sequence_create("oven") as sequence:
        topic = sequence.topic_create("t", schema=pa.schema([("v", pa.float64())]))

        def warnings(start_ns: int) -> list[str]:
            body = {"start_ns": start_ns, "end_ns": BASE_NS + 10**12, "label": "x"}
            found: list[str] = site.api(path, "POST", json=body).json()["warnings"]
            return found

        assert warnings(BASE_NS - 10**9) == []
        topic.push_row(BASE_NS, 1.0)
        sequence.flush()
        assert warnings(BASE_NS) == []
        assert warnings(BASE_NS - 10**9) == ["the span begins 1 s before the first row"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"label": ""}, 422),
        ({"label": None}, 422),
        ({"start_ns": 1.5}, 422),
        ({"start_ns": True}, 422),
        ({"start_ns": "1_000"}, 422),
        ({"start_ns": " 1"}, 422),
        ({"start_ns": 2**63}, 422),
        ({"confidence": 2}, 422),
        ({"colour": "red"}, 422),
        ({"start_ns": SPIKE_NS + 1}, 400),
        ({"label": "\ud800"}, 422),
    ],
)
def test_what_is_no_label_is_refused(still: Site, change: dict[str, Any], code: int) -> None:
    """And nothing is written."""
    body = json.dumps({**LABEL, **change})
    answer = still.api(LABELS, "POST", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == code, answer.text
    assert [note["label"] for note in still.api(LABELS).json()["annotations"]] == ["bump"]


def test_labels_need_the_right_to_write(filled: Site) -> None:
    """And every act has a row in the audit."""
    read, write = filled.key("read"), filled.key("write", "lab")
    assert filled.api(LABELS, "POST", key=read, json=LABEL).json()["error"] == "RightMissing"
    [known] = filled.api(LABELS, key=read).json()["annotations"]
    assert filled.api(f"{LABELS}/{known['id']}", "DELETE", key=read).status_code == 403
    assert filled.api(LABELS, "POST", key=write, json=LABEL).status_code == 201
    assert filled.api(f"{LABELS}/{known['id']}", "DELETE", key=write).status_code == 200
    acts = [(what, outcome) for key_id, _, what, outcome in filled.audit() if key_id is not None]
    assert acts == [("label walk", "done"), ("unlabel walk", "done")]
