"""Feature runs, their lineage and models over HTTP, and what a key for one group sees of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import gapless

from .conftest import Begin, Site
from .derived_store import LOST, WALKS, Derived, derived, walk
from .test_core import refusal


@pytest.fixture
def store(tmp_path: Path) -> Derived:
    """Return a store whose pipeline has run: five walks of which one failed, and a model."""
    made = derived(tmp_path, training=True)
    with gapless.connect(made.root) as client:
        walk(client, LOST, 1e9)
    made.run()
    return made


@pytest.fixture
def site(begin: Begin, store: Derived) -> Site:
    """Return a server of it without keys."""
    return begin(store.root)


def told(site: Site, path: str, key: str | None = None, **params: Any) -> Any:
    """Return the JSON of an answer that went well."""
    answer = site.api(path, key=key, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def run_of(site: Site, feature: str, key: str | None = None) -> dict[str, Any]:
    """Return the one run of a feature as the list tells it."""
    [found] = [run for run in told(site, "/features/runs", key)["runs"] if run["feature"] == feature]
    return dict(found)


def place(run: dict[str, Any]) -> str:
    """Return a run as two segments of a path."""
    name = run.get("feature") or run["name"]
    return f"{quote(name, safe='')}/{quote(run['run_id'], safe='')}"


def test_the_list_counts_entries_and_their_outputs(site: Site) -> None:
    """Counts, rows and bytes are sums over the entries; a run with a failed entry says so."""
    doubled = run_of(site, "double")
    assert (doubled["ok"], doubled["empty"], doubled["failed"]) == (4, 0, 1)
    assert (doubled["rows"], doubled["state"]) == (160, "failed")
    assert doubled["topic"] == f"features/double@{doubled['run_id']}"
    assert doubled["bytes"] > 0
    ends = run_of(site, "last__from__double")
    assert (ends["ok"], ends["rows"]) == (4, 4)
    assert int(ends["recorded_ns"]) > int(doubled["recorded_ns"])


def test_pages_of_the_list_meet(site: Site) -> None:
    """Each run comes once, whatever the size of a page, and the newest first."""
    whole = told(site, "/features/runs")
    assert whole["total"] == len(whole["runs"]) == 2
    assert whole["next_cursor"] is None
    first = told(site, "/features/runs", limit=1)
    second = told(site, "/features/runs", limit=1, cursor=first["next_cursor"])
    assert [*first["runs"], *second["runs"]] == whole["runs"]
    assert second["next_cursor"] is None
    starts = [run["started_at"] for run in whole["runs"]]
    assert starts == sorted(starts, reverse=True)
    assert [run["feature"] for run in told(site, "/features/runs", text="LAST")["runs"]] == [
        "last__from__double"
    ]
    assert told(site, "/features/runs", text="%") == {"runs": [], "next_cursor": None, "total": 0}


def test_a_page_of_the_list_takes_three_statements(site: Site) -> None:
    """However many runs and entries there are."""
    catalog = site.server.served.client.catalog
    told(site, "/features/runs")
    for limit in (1, 100):
        before = catalog.statements
        told(site, "/features/runs", limit=limit)
        looking = catalog.statements
        site.server.served.client._look()
        assert looking - before - (catalog.statements - looking) == 3


def test_one_run_tells_what_it_was_made_with(site: Site) -> None:
    """Columns, parameters, code, the runs it read and the failures with their traceback."""
    run = told(site, f"/features/runs/{place(run_of(site, 'last__from__double'))}")
    assert run["upstream"] == [["double", run_of(site, "double")["run_id"]]]
    assert {"name": "value", "type": "double"} in run["fields"]
    assert run["failures"] == []
    doubled = told(site, f"/features/runs/{place(run_of(site, 'double'))}")
    [failure] = doubled["failures"]
    assert (failure["sequence"], failure["message"]) == (LOST, "too far away")
    assert 'raise RuntimeError("too far away")' in failure["traceback"]
    assert len(doubled["code"]) == 64


def test_entries_come_by_page_and_by_status(site: Site) -> None:
    """Each entry once, in the order of group and sequence; the failed one with its error."""
    path = f"/features/runs/{place(run_of(site, 'double'))}/entries"
    names: list[str] = []
    cursor = None
    for _ in range(3):
        page = told(site, path, limit=2, **({} if cursor is None else {"cursor": cursor}))
        names += [entry["sequence"] for entry in page["entries"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert names == sorted([*WALKS, LOST])
    [failed] = told(site, path, status="failed")["entries"]
    assert (failed["sequence"], failed["error_type"], failed["error"]) == (
        LOST,
        "RuntimeError",
        "too far away",
    )
    assert {entry["rows"] for entry in told(site, path, status="ok")["entries"]} == {40}


def test_lineage_leads_from_the_sequences_to_the_model(site: Site) -> None:
    """Around the first run: the run that reads it, the model that learned from it, and all recordings."""
    doubled = run_of(site, "double")
    graph = told(site, f"/features/lineage/{place(doubled)}")
    names = {node["id"]: node["name"] for node in graph["nodes"]}
    assert sorted(names.values()) == ["double", "last__from__double", "one-vs-rest"]
    assert {(names[a], names[b]) for a, b in graph["edges"]} == {
        ("double", "last__from__double"),
        ("double", "one-vs-rest"),
    }
    assert [node["name"] for node in graph["nodes"] if node["is_focus"]] == ["double"]
    assert [source["sequence"] for source in graph["sequences"]] == sorted([*WALKS, LOST])
    assert all(source["content_digest"] for source in graph["sequences"])
    few = told(site, f"/features/lineage/{place(doubled)}", sequences=2)
    assert (len(few["sequences"]), few["sequences_total"]) == (2, 5)
    [model] = told(site, "/features/models")["models"]
    above = told(site, f"/features/lineage/{place(model)}", kind="model")
    assert [node["name"] for node in above["nodes"]] == ["one-vs-rest", "double"]
    assert [node["status"] for node in above["nodes"]] == ["finished", None]


def test_a_model_tells_what_it_measured(site: Site) -> None:
    """Metrics, sides of the split, what it read and the training that told of it."""
    [model] = told(site, "/features/models")["models"]
    assert (model["name"], model["status"], model["labels"]) == ("one-vs-rest", "finished", ["distance"])
    detail = told(site, f"/features/models/{place(model)}")
    assert sorted([*detail["train"], *detail["test"]]) == sorted(WALKS)
    assert detail["inputs"] == [["double", run_of(site, "double")["run_id"]]]
    assert "far" in str(detail["metrics"])
    [job] = detail["jobs"]
    assert told(site, f"/jobs/{quote(job, safe='')}")["state"] == "finished"


def test_a_key_for_a_group_sees_its_own_entries_only(site: Site) -> None:
    """Counts, entries, failures, lineage and sides of the other group are not there."""
    key, stranger = site.key("read", "day-0"), site.key("read", "nowhere")
    doubled = run_of(site, "double", key)
    assert (doubled["ok"], doubled["failed"], doubled["rows"]) == (2, 0, 80)
    detail = told(site, f"/features/runs/{place(doubled)}", key)
    assert detail["failures"] == []
    entries = told(site, f"/features/runs/{place(doubled)}/entries", key)["entries"]
    assert [entry["sequence"] for entry in entries] == ["day-0/walk-0", "day-0/walk-1"]
    graph = told(site, f"/features/lineage/{place(doubled)}", key)
    assert [source["sequence"] for source in graph["sequences"]] == ["day-0/walk-0", "day-0/walk-1"]
    [model] = told(site, "/features/models", key)["models"]
    assert model["sequences"] == 2
    model_detail = told(site, f"/features/models/{place(model)}", key)
    assert "day-1" not in str(model_detail["train"] + model_detail["test"] + model_detail["left_out"])
    assert model_detail["notes"] is None
    assert told(site, "/features/runs", stranger) == {"runs": [], "next_cursor": None, "total": 0}
    assert told(site, "/features/models", stranger) == {"models": []}
    refusal(site.api(f"/features/runs/{place(doubled)}", key=stranger), 404, "NotFound")
    refusal(site.api(f"/features/runs/{place(doubled)}/entries", key=stranger), 404, "NotFound")
    refusal(site.api(f"/features/lineage/{place(doubled)}", key=stranger), 404, "NotFound")
    refusal(site.api(f"/features/models/{place(model)}", key=stranger), 404, "NotFound")


def test_entries_of_a_group_stay_its_own_when_the_name_is_used_again(site: Site, store: Derived) -> None:
    """Who may write can make a name that another group's entries have; they stay out of sight."""
    with gapless.connect(store.root) as client:
        client.discard(LOST)
        with client.sequence_create(LOST, group="mine") as sequence:
            sequence.log("tracks", {"x": 1.0})
    key = site.key("read", "mine")
    assert told(site, "/features/runs", key) == {"runs": [], "next_cursor": None, "total": 0}
    everybody = site.key("read")
    doubled = run_of(site, "double", everybody)
    assert [
        line["sequence"] for line in told(site, f"/features/runs/{place(doubled)}", everybody)["failures"]
    ] == [LOST]
    refusal(site.api(f"/features/runs/{place(doubled)}", key=key), 404, "NotFound")


@pytest.mark.parametrize("what", ["runs", "models", "lineage"])
def test_what_is_not_there_is_not_found(site: Site, what: str) -> None:
    """An unknown run, a foreign name, and names that would leave the store."""
    for path in (
        "double/1.0-000000000000",
        "nobody/1",
        "..%2F..%2Fetc/passwd",
        "double/..%2F..%2F..%2Fstate.db",
    ):
        answer = site.api(f"/features/{what}/{path}")
        assert answer.status_code in (400, 404), (path, answer.text)
        assert answer.json()["error"] in ("NotFound", "NameRefused")


def test_a_cursor_of_nobody_is_refused(site: Site) -> None:
    """Not a server's fault: the words say which parameter."""
    for cursor in ("x", "W10", "bm90IGpzb24", "WzEsMiwzXQ", "é"):
        told_of = refusal(site.api("/features/runs", params={"cursor": cursor}), 422, "QuestionRefused")
        assert told_of["field"] == "cursor"
