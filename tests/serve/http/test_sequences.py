"""The table of sequences and the description of one: what is told, to whom, in which order, at what cost."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.catalog.bundle_files import TopicSpec, write_bundle
from tests.serve.native.client_away import leave_open

import gapless
from gapless.catalog import Catalog
from gapless.catalog.page import Wanted, read_page
from gapless.errors import QueryRefused

from .conftest import DEADLINE_S, Begin, Site
from .sample_store import BASE_NS, METADATA, ROWS, STEP_NS

VALUE = pa.schema([pa.field("v", pa.float64())])


@pytest.fixture
def live(root: Path) -> Iterator[gapless.TopicWriter]:
    """Record a sequence ``now`` in the group lab until the test ends: three durable rows so far."""
    with gapless.connect(root) as client, client.sequence_create("now", group="lab") as sequence:
        topic = sequence.topic_create("t", schema=VALUE)
        for number in range(3):
            topic.push_row(BASE_NS + number, float(number))
        sequence.flush()
        yield topic


def names(site: Site, **asked: Any) -> list[str]:
    """Return the names of the first page."""
    answer = site.api("/sequences", key=asked.pop("key", None), params=asked)
    assert answer.status_code == 200, answer.text
    return [row["name"] for row in answer.json()["sequences"]]


def test_a_row_tells_what_one_looks_at_before_opening(still: Site) -> None:
    """Times are texts, figures are numbers, and the badge says what is wrong."""
    page = still.api("/sequences").json()
    assert (page["total"], page["next_cursor"], page["warnings"]) == (4, None, [])
    rows = {row["name"]: row for row in page["sequences"]}
    walk = rows["walk"]
    assert walk["start_ns"] == str(BASE_NS)
    assert walk["end_ns"] == str(BASE_NS + (ROWS - 1) * STEP_NS)
    assert walk["duration_ns"] == str((ROWS - 1) * STEP_NS)
    assert (walk["rows"], walk["topics"], walk["labels"]) == (ROWS + 4, 3, 1)
    assert (walk["state"], walk["outcome"], walk["live"], walk["group"]) == (
        "sealed",
        "completed",
        False,
        "lab",
    )
    assert walk["health"] == {"level": "warn", "words": "complete; 2 missing"}
    assert rows["a/b"]["health"] == {"level": "ok", "words": "complete"}
    assert rows["broken"]["health"]["level"] == "warn"
    assert "gapless seal broken" in rows["broken"]["health"]["words"]
    assert (rows["broken"]["rows"], rows["broken"]["topics"]) == (1, 1)
    assert rows["plain"]["group"] is None
    assert walk["spans"] is None


def test_what_is_live_comes_first_with_what_is_durable(filled: Site, live: gapless.TopicWriter) -> None:
    """Also under filters, until it is sealed; a sorted table is sorted by its column alone."""
    first = filled.api("/sequences").json()["sequences"][0]
    assert (first["name"], first["live"], first["rows"], first["health"]["level"]) == ("now", True, 3, "live")
    live.push_row(BASE_NS + 3, 3.0)
    live.flush()
    assert filled.api("/sequences").json()["sequences"][0]["rows"] == 4
    assert names(filled, state="live") == ["now"]
    assert names(filled, state="open") == ["now"]
    assert names(filled, order="name") == ["a/b", "broken", "now", "plain", "walk"]


def test_it_is_live_only_while_its_owner_is(begin: Begin, root: Path) -> None:
    """A sealed sequence takes its place among the others; pages that follow one another hold all of them."""
    for number in range(3):
        write_bundle(root, f"old{number}", opened_ns=10**18 + number)
    site = begin(root)
    with gapless.connect(root) as client:
        with client.sequence_create("now"):
            page = site.api("/sequences", params={"limit": 2}).json()
            assert [row["name"] for row in page["sequences"]] == ["now", "old2"]
            assert page["total"] == 4
        rest = site.api("/sequences", params={"limit": 2, "cursor": page["next_cursor"]}).json()
        assert [row["name"] for row in rest["sequences"]] == ["old1", "old0"]
        assert rest["next_cursor"] is None
        row = site.api("/sequences").json()["sequences"][0]
        assert (row["name"], row["live"], row["state"]) == ("now", False, "sealed")


@pytest.mark.parametrize("order", ["live", "-name", "group", "-labels", "outcome", "-duration", "bytes", "-topics",
                                   "start", "-end", "state", "sealed", "rows", "created"])  # fmt: skip
def test_pages_in_any_order_hold_each_sequence_once(still: Site, order: str) -> None:
    """One by one, as all together."""
    whole = names(still, order=order)
    found: list[str] = []
    cursor: str | None = None
    while True:
        asked = {"order": order, "limit": 1} | ({} if cursor is None else {"cursor": cursor})
        page = still.api("/sequences", params=asked).json()
        assert page["total"] == 4
        found += [row["name"] for row in page["sequences"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == whole
    assert sorted(found) == ["a/b", "broken", "plain", "walk"]


def test_filters_narrow_down(still: Site) -> None:
    """State, outcome and group; the empty group is that of sequences without one."""
    assert names(still, state="pending") == ["broken"]
    assert sorted(names(still, outcome="completed")) == ["a/b", "plain", "walk"]
    assert sorted(names(still, group="lab")) == ["broken", "walk"]
    assert sorted(names(still, group="")) == ["plain"]
    assert names(still, group="nobody") == []


@pytest.mark.parametrize(
    ("asked", "code"),
    [({"limit": 0}, 422), ({"limit": 1001}, 422), ({"order": "weather"}, 422), ({"state": "asleep"}, 422),
     ({"cursor": "MA=="}, 400), ({"cursor": "x"}, 400), ({"cursor": "W10="}, 400), ({"sort": "name"}, 422)],
)  # fmt: skip
def test_a_page_that_means_nothing_is_refused(still: Site, asked: dict[str, Any], code: int) -> None:
    """By name, before anything is read."""
    answer = still.api("/sequences", params=asked)
    assert answer.status_code == code
    assert answer.json()["next"]


def test_a_cursor_belongs_to_its_search(still: Site) -> None:
    """Another order or other words begin again."""
    cursor = still.api("/sequences", params={"limit": 1}).json()["next_cursor"]
    for other in ({"order": "name"}, {"text": "walk"}, {"query": "rows > 1"}):
        answer = still.api("/sequences", params={"cursor": cursor, **other})
        assert answer.status_code == 400
        assert "another" in answer.json()["message"]


def test_a_key_for_groups_sees_these_only(filled: Site) -> None:
    """In the table, the total, the description and every route below it; in no other group is anything."""
    key = filled.key("manage", "barn")
    page = filled.api("/sequences", key=key).json()
    assert ([row["name"] for row in page["sequences"]], page["total"]) == (["a/b"], 1)
    assert names(filled, key=key, text="walk") == []
    assert names(filled, key=key, group="lab") == []
    assert filled.api("/sequences/a%2Fb", key=key).status_code == 200
    below = ("", "/ledger", "/gaps", "/events", "/notifications", "/annotations", "/check", "/verify", "/artifacts",
             "/provenance", "/topics/mixed", "/topics/mixed/data", "/artifacts/notes.html")  # fmt: skip
    for path in below:
        answer = filled.api(f"/sequences/walk{path}", key=key)
        assert (answer.status_code, answer.json()["error"]) == (404, "NotFound"), path
    label = {"start_ns": 1, "end_ns": 2, "label": "x"}
    assert filled.api("/sequences/walk/annotations", "POST", key=key, json=label).status_code == 404
    assert filled.api("/sequences/walk", "DELETE", key=key).status_code == 404
    assert filled.api("/sequences/broken/seal", "POST", key=key).status_code == 404
    assert filled.api("/sequences/broken/recover", "POST", key=key).status_code == 404


@pytest.mark.slow
def test_one_statement_makes_a_page_of_ten_thousand(tmp_path: Path) -> None:
    """With every filter, for a key of groups, in any order; two while something is live."""
    store = _many(tmp_path, 10_000)
    with Catalog(store) as catalog:
        catalog.reconcile()
        wanted = Wanted(frozenset({"even"}), "sealed", None, "completed", ("run",))
        assert _statements(catalog, Wanted()) == (1, 10_000)
        assert _statements(catalog, wanted, order="-rows") == (1, 5_000)
        with gapless.connect(store) as client, client.sequence_create("now"):
            catalog.reconcile(quick=True)
            count, total = _statements(catalog, Wanted(), order="live")
            assert (count, total) == (2, 10_001)


def _statements(catalog: Catalog, wanted: Wanted, order: str = "live") -> tuple[int, int | None]:
    """Return how many statements a page takes when the look at the folders takes none, and its total."""
    end_s = time.monotonic() + DEADLINE_S
    while not catalog.look().holds():  # a store that changed a moment ago may change unseen
        assert time.monotonic() < end_s
        time.sleep(0.1)
    before = catalog.statements
    page = read_page(catalog, wanted, order=order)
    assert len(page.entries) == 100
    return catalog.statements - before, page.total


def _many(store: Path, count: int) -> Path:
    """Write sealed sequences, each a copy of the first under another name, and return their store."""
    spec = TopicSpec({"v": pa.float64()}, [[{"timestamp_ns": 5, "v": 1.0}]])
    first = write_bundle(store, "run-00000", {"t": spec}, group="even")
    manifest = json.loads((first / "manifest.json").read_bytes())
    for number in range(1, count):
        manifest["content"] |= {"name": f"run-{number:05d}", "group": ("even", "odd")[number % 2]}
        bundle = store / "sequences" / f"run-{number:05d}"
        bundle.mkdir()
        (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return store


def test_too_many_words_are_refused() -> None:
    """A search has a bounded number of conditions."""
    with pytest.raises(QueryRefused):
        Wanted(words=tuple(f"w{n}" for n in range(17)))


# -- one sequence ----------------------------------------------------------------------------------


def test_a_description_tells_all_but_the_rows(still: Site) -> None:
    """Metadata, ledger, layers, topics with fields, units and shapes."""
    told = still.api("/sequences/walk").json()
    assert told["metadata"] == METADATA
    assert (told["state"], told["outcome"], told["live"], told["cause"]) == (
        "sealed",
        "completed",
        False,
        None,
    )
    assert told["ledger"] == {"produced": ROWS + 6, "written": ROWS + 4, "dropped": 0, "gapped": 2}
    assert [(layer["name"], layer["state"]) for layer in told["layers"]] == [("later", "sealed")]
    assert (told["artifacts"], told["labels"], told["rows"]) == (1, 1, ROWS + 4)
    topics = {topic["name"]: topic for topic in told["topics"]}
    assert set(topics) == {"sensors/imu", "mixed", "late"}
    assert topics["sensors/imu"]["ontology_tag"] == "IMU"
    assert topics["sensors/imu"]["metadata"] == {"side": "left"}
    fields = {field["name"]: field for field in topics["mixed"]["fields"]}
    assert fields["speed"] == {
        "name": "speed", "type": "double", "unit": "m/s", "description": "over ground", "shape": None,
        "uncertainty": None, "numeric": True,
    }  # fmt: skip
    assert (fields["pair"]["shape"], fields["pair"]["numeric"]) == ([2], False)
    assert topics["mixed"]["inner"] == [
        {
            "name": "pair[*]",
            "column": "pair",
            "type": "float",
            "unit": None,
            "description": None,
            "lengths": [2],
        }
    ]
    assert topics["mixed"]["start_ns"] == str(BASE_NS)
    assert still.api("/sequences/walk/topics/mixed").json() == topics["mixed"]
    assert still.api("/sequences/walk/topics/_events").json()["rows"] == 2


def test_lengths_of_time_are_as_long_as_the_description_says(begin: Begin, root: Path) -> None:
    """From the first time there is to the last, which is more than 64 bits count from zero."""
    with gapless.connect(root) as client, client.sequence_create("ever") as sequence:
        topic = sequence.topic_create("t", schema=VALUE)
        for time_ns in (1 - 2**63, 2**63 - 1):
            topic.push_row(time_ns, 0.5)
    site = begin(root)
    schemas = site.api("/openapi.json").json()["components"]["schemas"]
    told = {
        "Sequence": site.api("/sequences/ever").json(),
        "Row": site.api("/sequences").json()["sequences"][0],
    }
    for schema, values in told.items():
        patterns = {
            name: kind["pattern"]
            for name, about in schemas[schema]["properties"].items()
            for kind in about.get("anyOf", [about])
            if "pattern" in kind
        }
        assert values["duration_ns"] == str(2**64 - 2)
        assert {"start_ns", "end_ns", "duration_ns"} <= patterns.keys()
        for name, pattern in patterns.items():
            assert values[name] is None or re.fullmatch(pattern, values[name]), name


def test_a_client_that_is_away_is_awaited_and_not_called_gone(begin: Begin, root: Path) -> None:
    """The table, the description and its layers say so, and until when."""
    with gapless.connect(root) as client, client.sequence_create("base") as sequence:
        sequence.log("t", 1.0)
    leave_open(root, "night")
    leave_open(root, "late", "base")
    site = begin(root)
    rows = {row["name"]: row for row in site.api("/sequences").json()["sequences"]}
    assert rows["night"]["status"] == "open, client away"
    assert rows["night"]["health"] == {"level": "warn", "words": "its client is away and may come back"}
    told = site.api("/sequences/night").json()
    assert (told["status"], told["live"]) == ("open, client away", False)
    assert int(told["awaited_until_ns"]) > time.time_ns()
    base = site.api("/sequences/base").json()
    [layer] = base["layers"]
    assert (base["status"], base["awaited_until_ns"]) == ("sealed, layer open, client away", None)
    assert int(layer["awaited_until_ns"]) > time.time_ns()


def test_a_description_reads_no_data(filled: Site, root: Path) -> None:
    """Parts that are gone are not missed by it, but by whoever reads rows."""
    for path in (root / "sequences" / "walk").rglob("*.parquet"):
        path.unlink()
    assert filled.api("/sequences/walk").json()["rows"] == ROWS + 4
    assert filled.api("/sequences").json()["total"] == 4
    assert filled.api("/sequences/walk/topics/mixed").json()["rows"] == 3
    answer = filled.api("/sequences/walk/topics/mixed/data")
    assert (answer.status_code, answer.json()["error"]) == (500, "IntegrityError")


def test_what_is_being_recorded_is_described_as_it_is_now(filled: Site, live: gapless.TopicWriter) -> None:
    """With its durable rows, and again with more of them."""
    told = filled.api("/sequences/now").json()
    assert (told["live"], told["state"], told["rows"], told["bytes"]) == (True, "open", 3, None)
    assert told["topics"][0]["end_ns"] == str(BASE_NS + 2)
    live.push_row(BASE_NS + 10, 1.0)
    live.flush()
    assert filled.api("/sequences/now").json()["topics"][0]["end_ns"] == str(BASE_NS + 10)
    for path in ("/ledger", "/gaps", "/events", "/notifications", "/annotations", "/artifacts", "/provenance",
                 "/check", "/verify", "/topics/t", "/topics/t/data"):  # fmt: skip
        assert filled.api(f"/sequences/now{path}").status_code == 200, path
    rows = filled.api("/sequences/now/topics/t/data").json()["rows"]
    assert [row[1] for row in rows] == [0.0, 1.0, 2.0, 1.0]


def test_losses_events_and_notifications_are_listed(still: Site) -> None:
    """In order of time and page by page."""
    ledger = still.api("/sequences/walk/ledger").json()
    assert ledger["ledger"]["gapped"] == 2
    assert {row["topic"]: row["gapped"] for row in ledger["topics"]} == {
        "sensors/imu": 0,
        "mixed": 2,
        "late": 0,
    }
    gaps = still.api("/sequences/walk/gaps").json()
    assert gaps["gaps"][0] == {
        "topic": "mixed", "start_ns": str(BASE_NS + 6), "end_ns": str(BASE_NS + 9), "first_seq": None, "count": 2,
        "cause": "device lost",
    }  # fmt: skip
    events = still.api("/sequences/walk/events", params={"limit": 1}).json()
    assert events["events"] == [
        {"timestamp_ns": str(BASE_NS + 3), "severity": "info", "kind": "note", "source": "person",
         "message": "a stone", "data": {"size": 3}}
    ]  # fmt: skip
    rest = still.api("/sequences/walk/events", params={"after": events["next"]}).json()
    assert [event["kind"] for event in rest["events"]] == ["notification"]
    assert rest["next"] is None
    told = still.api("/sequences/walk/notifications").json()["notifications"]
    assert [(note["message"], note["source"]) for note in told] == [("look at the wheel", "mixed")]
    [failed] = still.api("/sequences/broken/notifications").json()["notifications"]
    assert "the pump fell off" in failed["message"]


def test_a_person_ends_what_waits(filled: Site) -> None:
    """Seal, discard: with the right, and with a row in the audit."""
    read, write, delete = filled.key("read"), filled.key("write"), filled.key("delete")
    assert filled.api("/sequences/broken/seal", "POST", key=read).status_code == 403
    answer = filled.api("/sequences/broken/seal", "POST", key=write)
    assert answer.json()["outcome"] == "failed"
    assert answer.json()["content_digest"].startswith("sha256:")
    assert filled.api("/sequences/broken", "DELETE", key=write).status_code == 403
    assert filled.api("/sequences/broken", "DELETE", key=delete).json() == {"name": "broken"}
    assert filled.api("/sequences/broken", key=read).status_code == 404
    acts = [(verb, what, outcome) for _, verb, what, outcome in filled.audit()]
    assert ("write", "seal broken", "done") in acts
    assert ("delete", "discard broken", "done") in acts


def test_another_recording_of_the_same_name_is_counted_anew(begin: Begin, root: Path) -> None:
    """What is known of a journal ends with it."""
    site = begin(root)
    for rows in (3, 2):
        with gapless.connect(root) as client, client.sequence_create("again") as sequence:
            topic = sequence.topic_create("t", schema=VALUE)
            for number in range(rows):
                topic.push_row(BASE_NS + number, 1.0)
            sequence.flush()
            [row] = site.api("/sequences").json()["sequences"]
            assert (row["live"], row["rows"], row["topics"]) == (True, rows, 1)
            assert row["bytes"] > 0
        assert site.api("/sequences/again", "DELETE").status_code == 200
        assert names(site) == []


def test_what_is_being_written_is_neither_sealed_nor_discarded(
    filled: Site, live: gapless.TopicWriter
) -> None:
    """Its owner is at work: 409, and nothing happened."""
    assert live.name == "t"
    for path, method in (("/sequences/now", "DELETE"), ("/sequences/now/recover", "POST")):
        answer = filled.api(path, method)
        assert (answer.status_code, answer.json()["error"]) == (409, "SequenceOwned")
    assert names(filled, state="live") == ["now"]


def test_there_is_nothing_where_there_is_nothing(still: Site) -> None:
    """Sequences, topics and the beginning of a name."""
    for path in ("/sequences/wal", "/sequences/nope", "/sequences/walk/topics/nope"):
        answer = still.api(path)
        assert (answer.status_code, answer.json()["error"]) == (404, "NotFound"), path
