"""Searching, sorting, counting and paging a store: by SQL, whatever the number of sequences."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException
from tests.bluesky.tiled.sample import QUIET, RunSample, record_flight
from tiled.client import from_context
from tiled.client.context import Context
from tiled.queries import (
    Comparison,
    Contains,
    Eq,
    FullText,
    In,
    Key,
    KeyPresent,
    KeysFilter,
    Like,
    NotEq,
    NotIn,
    QueryValueError,
    Regex,
    SpecsQuery,
    StructureFamilyQuery,
)

from gapless.bluesky.tiled import application
from gapless.bluesky.tiled.store_tree import StoreTree
from gapless.client.client import Client, connect

pytestmark = pytest.mark.filterwarnings(QUIET)
RUNS: list[dict[str, Any]] = [
    {"scan_id": 1, "plan_name": "count", "sample": {"name": "Quartz", "T": 4.5}, "tags": ["a", "b"]},
    {"scan_id": 2, "plan_name": "scan", "sample": {"name": "quartz glass", "T": 77}, "tags": ["b"]},
    {"scan_id": 3, "plan_name": "grid_scan", "sample": {"name": "ÉTALON", "T": 300.0}, "dark": True},
    {"scan_id": 4, "plan_name": "Count", "sample": {"name": "100%_pure"}, "operator": None, "big": 2**70},
]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Tiled's client of a store with four runs and a flight, all sealed but the last run."""
    folder: Path = tmp_path_factory.mktemp("search") / "store"
    with connect(folder) as client:
        record_flight(client)
        samples = [RunSample(client, name="{scan_id}", **words) for words in RUNS]
        for sample in samples[:3]:
            sample.describe()
            sample.stop()
        samples[3].writer.flush()
        with Context.from_app(application(folder, api_key="secret")) as context:
            yield from_context(context)
        samples[3].stop()


@pytest.fixture
def tree(catalog: Any) -> StoreTree:
    """The tree behind the client: not every query fits into an address."""
    served: StoreTree = catalog.context.http_client.app.state.root_tree
    return served


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Eq("scan_id", 2), [2]),
        (Eq("start.plan_name", "count"), [1]),
        (Eq("sample.T", 4.5), [1]),
        (Eq("dark", value=True), [3]),
        (Eq("scan_id", value=True), []),
        (Eq("tags", ["a", "b"]), [1]),
        (Eq("big", str(2**70)), [4]),
        (Eq("stop.exit_status", "success"), [1, 2, 3]),
        (NotEq("plan_name", "count"), [2, 3, 4]),
        (NotEq("dark", value=False), [3]),
        (In("scan_id", [1, 3, 9]), [1, 3]),
        (In("scan_id", []), []),
        (NotIn("scan_id", [1, 3]), [2, 4]),
        (NotIn("dark", [False]), [3]),
        (NotIn("scan_id", []), [None, 1, 2, 3, 4]),
        (Contains("tags", "b"), [1, 2]),
        (Comparison("gt", "sample.T", 4.5), [2, 3]),
        (Comparison("ge", "sample.T", 4.5), [1, 2, 3]),
        (Comparison("lt", "plan_name", "count"), [4]),
        (Key("scan_id") <= 2, [1, 2]),
        (Like("plan_name", "%scan"), [2, 3]),
        (Like("plan_name", "c_unt"), [1, 4]),
        (Regex("plan_name", "^[cg]"), [1, 3]),
        (Regex("plan_name", "^C", case_sensitive=False), [1, 4]),
        (FullText("QUARTZ"), [1, 2]),
        (FullText("quartz Glass"), [2]),
        (FullText("artz"), [1, 2]),
        (FullText("étalon"), [3]),
        (FullText("100%_"), [4]),
        (FullText("zeppelin"), [None]),
        (FullText("flight-1"), [None]),
        (FullText("no such word"), []),
        (KeyPresent("sample.T"), [1, 2, 3]),
        (KeyPresent("operator"), []),
        (KeyPresent("start.scan_id", exists=False), [None]),
        (Eq("vehicle.id", "Zeppelin"), [None]),
        (KeysFilter(["flight-1", "3", "nobody"]), [None, 3]),
        (SpecsQuery(["BlueskyRun"], []), [1, 2, 3, 4]),
        (SpecsQuery([], ["BlueskyRun"]), [None]),
        (SpecsQuery(["BlueskyRun"], ["GaplessSequence"]), [1, 2, 3, 4]),
        (SpecsQuery(["xarray_dataset"], []), []),
        (StructureFamilyQuery("container"), [None, 1, 2, 3, 4]),
        (StructureFamilyQuery("table"), []),
    ],
    ids=str,
)
def test_each_query_finds_what_it_means(catalog: Any, query: Any, expected: list[int | None]) -> None:
    """Keys, values and pages agree for every kind of query that Tiled has."""
    found = catalog.search(query)
    assert [item.metadata.get("start", {}).get("scan_id") for item in found.values()] == expected
    assert len(found) == len(expected)


def test_queries_add_up(catalog: Any) -> None:
    """A search in a search narrows it."""
    found = catalog.search(FullText("quartz")).search(Key("scan_id") > 1).search(Contains("tags", "b"))
    assert [item.start["scan_id"] for item in found.values()] == [2]


@pytest.mark.parametrize(
    "query",
    [
        Regex("plan_name", "("),
        Regex("start.plan_name", "(?=a)"),
        Regex("start.plan_name", "a" * 2000),
        Eq("plan_name", "\ud800"),
        Eq("tags", ["\ud800", float("nan")]),
        Eq("", "a"),
        In("scan_id", list(range(10_001))),
        In("scan_id", [[1]]),
        NotIn("scan_id", [None]),
        Comparison("lt", "scan_id", "\ud800"),
        Like("start.plan_name", "%a" * 30_000),
        FullText(" ".join(f"w{n}" for n in range(101))),
        FullText("\ud800"),
        KeyPresent("\ud800"),
    ],
    ids=range(14),
)
def test_a_query_that_cannot_be_answered_is_refused(tree: StoreTree, query: Any) -> None:
    """The answer is 400, with words; too much for one query is refused as well as what means nothing."""
    with pytest.raises((HTTPException, QueryValueError)) as refused:
        len(tree.search(query))
    if isinstance(refused.value, HTTPException):
        assert refused.value.status_code == 400


def test_refused_queries_are_400_for_the_client(catalog: Any) -> None:
    """The real client gets the status, also for what Tiled's own reading of a query trips over."""
    for query in (Regex("plan_name", "("), Eq("plan_name", "\ud800"), In("scan_id", [None])):
        with pytest.raises(Exception, match="400"):
            list(catalog.search(query))
    http = catalog.context.http_client
    bad = {"filter[like][condition][key]": "start.plan_name", "filter[like][condition][pattern]": "%a"}
    assert http.get(f"{catalog.context.api_uri}search/", params=bad).status_code == 400
    assert http.get(f"{catalog.context.api_uri}search/?page[offset]={10**21}").status_code == 400
    assert len(catalog) == 5


def test_as_many_values_as_a_user_has(catalog: Any, tree: StoreTree) -> None:
    """A thousand numbers or texts at once are an everyday question."""
    assert len(catalog.search(In("scan_id", list(range(2, 1000))))) == 3
    assert len(tree.search(NotIn("start.scan_id", list(range(2, 10_002))))) == 1
    assert len(catalog.search(In("plan_name", [f"plan{n}" for n in range(900)] + ["count"]))) == 1


def test_sorted_by_a_metadata_path_both_ways(catalog: Any) -> None:
    """What has no value comes first, and last the other way round."""

    def scans(*sorting: tuple[str, int]) -> list[Any]:
        return [item.metadata.get("start", {}).get("scan_id") for item in catalog.sort(*sorting).values()]

    assert scans(("start.sample.T", 1)) == [None, 4, 1, 2, 3]
    assert scans(("start.sample.T", -1)) == [3, 2, 1, None, 4]
    assert scans(("start.plan_name", 1)) == [None, 4, 1, 3, 2]
    assert scans(("time_created", -1)) == [4, 3, 2, 1, None]
    assert scans(("id", 1)) == [1, 2, 3, 4, None]
    assert catalog.sort(("start.sample.T", 1)).values().last().start["scan_id"] == 3


def test_slices_of_the_list_from_both_ends(catalog: Any) -> None:
    """Slices and negative places are pages of the server, not of a whole list."""
    keys = list(catalog)
    assert keys[0] == "flight-1"
    assert catalog.keys()[1:3] == keys[1:3]
    assert catalog.keys().last() == keys[-1]
    assert catalog.keys().tail(2) == keys[-2:]
    assert catalog.values()[-2].start["scan_id"] == 3


def test_distinct_values_with_counts(catalog: Any) -> None:
    """Values, structure families and specs are counted within a search."""
    found = catalog.search(SpecsQuery(["BlueskyRun"], [])).distinct(
        "start.tags", "start.plan_name", structure_families=True, specs=True, counts=True
    )
    tags = {entry["value"]: entry["count"] for entry in found["metadata"]["start.tags"]}
    assert tags == {"a": 1, "b": 2}
    plans = {entry["value"]: entry["count"] for entry in found["metadata"]["start.plan_name"]}
    assert plans == {"count": 1, "scan": 1, "grid_scan": 1, "Count": 1}
    assert found["structure_families"] == [{"value": "container", "count": 4}]
    assert [entry["count"] for entry in found["specs"]] == [4]


def test_a_page_costs_the_same_in_a_store_of_any_size(
    store: Client, serve: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many statements and fetched rows for a page of 30 sequences as of 6."""
    fetched: list[int] = []
    database = type(store.catalog.database)
    plain = database.rows

    def counted(self: Any, *args: Any, **words: Any) -> list[Any]:
        found = plain(self, *args, **words)
        fetched.append(len(found))
        return found

    def cost(catalog: Any) -> tuple[int, int]:
        fetched.clear()
        assert len(catalog.search(Key("scan_id") >= 0).keys()[2:5]) == 3
        assert len(catalog.values()[1:4]) == 3
        return len(fetched), sum(fetched)

    def record(numbers: range) -> None:
        for number in numbers:
            sample = RunSample(store, scan_id=number)
            sample.describe()
            sample.stop()
        settled_s = 1e9 + numbers.stop  # a folder that changed a moment ago is read again at each request
        for folder in ("sequences", "discarded"):
            os.utime(store.path / folder, (settled_s, settled_s))
        store.catalog.reconcile()

    record(range(6))
    catalog = serve()
    monkeypatch.setattr(database, "rows", counted)
    cost(catalog)
    small = cost(catalog)
    record(range(6, 30))
    cost(catalog)
    assert cost(catalog) == small
