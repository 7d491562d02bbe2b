"""Listing sequences page by page: conditions, orders, counts and values, answered by SQL alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gapless.catalog import listing_filter as sql
from gapless.catalog.bundle_facts import BundleFacts
from gapless.catalog.catalog import Catalog
from gapless.catalog.listing import Listing, SortKey
from gapless.catalog.metadata_index import Clause
from gapless.catalog.reconcile import upsert
from gapless.catalog.regex import found_in
from gapless.errors import QueryRefused

SIZE = 3000


def facts(number: int) -> BundleFacts:
    """Return what a bundle of that number would say; the creation order is the order of the numbers."""
    metadata: dict[str, Any] = {
        "number": number,
        "half": number / 2,
        "third": number % 3,
        "name": f"Sample {number}",
        "tags": ["all", f"t{number % 10}"],
        "nested": {"a.b": {"deep": True}},
    }
    if number == 5:
        metadata |= {"huge": 2**70, "huge_float": float(2**70)}
    if number % 2:
        metadata["odd"] = "Ünique"
    return BundleFacts(
        component=f"s{number:05}",
        name=f"s{number:05}",
        state="sealed",
        stamp=f"sealed;{number}",
        outcome="completed",
        group="even" if number % 2 == 0 else None,
        created_ns=number,
        metadata=metadata,
    )


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """Return a catalog of many sequences that have no files: listing must not look at them."""
    with Catalog(tmp_path_factory.mktemp("listing")) as made:
        with made.database.transaction():
            for number in range(SIZE):
                upsert(made.database, facts(number))
        yield made


@pytest.fixture
def listing(catalog: Catalog) -> Listing:
    """Return all of them."""
    return Listing(catalog.database)


def numbers(listing: Listing, offset: int = 0, limit: int | None = None) -> list[int]:
    """Return the numbers of the sequences of a page."""
    return [item.metadata["number"] for item in listing.page(offset, limit)]


def test_a_page_is_one_statement_and_its_rows(catalog: Catalog, listing: Listing) -> None:
    """However far into the list, a page costs one statement; so does a count."""
    before = catalog.statements
    assert numbers(listing, 2900, 50) == list(range(2900, 2950))
    assert numbers(listing, 2990, 50) == list(range(2990, 3000))
    assert listing.count() == SIZE
    assert catalog.statements == before + 3
    item = listing.page(4, 1)[0]
    assert (item.name, item.state, item.group, item.created_ns) == ("s00004", "sealed", "even", 4)


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        (sql.within(sql.compares("number", "eq", 7)), 1),
        (sql.within(sql.compares("half", "lt", 2.5)), 5),
        (sql.within(sql.among("number", (1, 2.0, "3", True, float("nan")))), 2),
        (sql.within(sql.among("number", range(-5000, 5000))), SIZE),
        (sql.within(sql.among("name", ["Sample 1", "Sample 2", "sample 3"])), 2),
        (sql.within(sql.among("nested.a\\.b.deep", [True])), SIZE),
        (sql.within(sql.among("nested.a\\.b.deep", [1])), 0),
        (sql.within(sql.among("huge", [2**70, -1])), 1),
        (sql.within(sql.among("huge", [float(2**70)])), 1),
        (sql.within(sql.among("huge_float", [2**70])), 1),
        (sql.within(sql.among("huge_float", [10**400, 2**70 + 1])), 0),
        (sql.within(sql.among("number", [])), 0),
        (sql.within(sql.compares("tags", "eq", "t4")), SIZE // 10),
        (sql.within(sql.compares(sql.dotted("nested.a.b.deep"), "eq", value=True)), 0),
        (sql.within(sql.compares(r"nested.a\.b.deep", "eq", value=True)), SIZE),
        (sql.within(sql.has("odd")), SIZE // 2),
        (sql.negated(sql.within(sql.has("odd"))), SIZE // 2),
        (sql.within(sql.lists("tags", ["all", "t4"])), SIZE // 10),
        (sql.within(sql.lists("tags", ["t4"])), 0),
        (sql.within(sql.like("name", "sample _")), 10),
        (sql.within(sql.one_of("name", [f"Sample {n}" for n in range(5000)])), SIZE),
        (sql.within(sql.one_of("name", [])), 0),
        (sql.within(sql.lacking(sql.has("number"), "odd")), SIZE // 2),
        (sql.within(sql.united([sql.compares("number", "eq", 1), sql.compares("number", "eq", 2)])), 2),
        (sql.mentions("SAMPLE"), SIZE),
        (sql.mentions("s0001"), 10),
        (sql.mentions("EVEN"), SIZE // 2),
        (sql.mentions("üNIQUE"), SIZE // 2),
        (sql.mentions("number"), 0),
        (sql.mentions("100%"), 0),
        (sql.mentions('"'), 0),
        (sql.named(["s00001", "nobody"]), 1),
        (sql.name_like("s0000_"), 10),
        (sql.any_of([]), 0),
        (sql.ALL & sql.NONE, 0),
    ],
)
def test_each_condition_counts(listing: Listing, condition: Clause, count: int) -> None:
    """Each condition chooses what it says, and the page agrees with the count."""
    chosen = listing.where(condition)
    assert chosen.count() == count
    assert len(chosen.page(limit=20)) == min(count, 20)


def matching(listing: Listing, pattern: str, *, ignore_case: bool = False) -> int:
    """Return how many sequences have a name in which the expression is found."""
    texts = listing.matching("name", pattern, ignore_case=ignore_case)
    return listing.where(sql.within(sql.one_of("name", texts))).count()


def test_regular_expressions(listing: Listing) -> None:
    """An expression is found anywhere in a text unless it says otherwise."""
    assert matching(listing, r"e 1\d$") == 10
    assert matching(listing, "^sample 1$", ignore_case=True) == 1
    assert matching(listing, "^sample 1$") == 0
    assert matching(listing, "") == SIZE


@pytest.mark.parametrize("pattern", ["(", "(?=a)", r"(a)\1", "a{5000}", "x" * 1001, "\ud800"])
def test_expressions_that_cannot_be_searched_are_refused(listing: Listing, pattern: str) -> None:
    """What is wrong, too long, or not to be had in linear time is refused, at a path without texts too."""
    for path in ("name", "nobody"):
        with pytest.raises(QueryRefused):
            listing.matching(path, pattern, ignore_case=False)


def test_an_expression_that_backtracks_for_ever_elsewhere_is_answered() -> None:
    """Nested repetitions cost no more than the text is long."""
    text = "a" * 90_000 + "!"
    assert found_in("^(a+)+$", [text], ignore_case=False, patience_s=60) == []
    assert found_in("^(a|aa)+!$", [text], ignore_case=False, patience_s=60) == [text]


def test_long_texts_and_lost_patience_are_refused() -> None:
    """A search that could take too long says so instead of leaving something out."""
    with pytest.raises(QueryRefused, match="too long"):
        found_in("a", ["a" * 100_001], ignore_case=False, patience_s=60)
    with pytest.raises(QueryRefused, match="took too long"):
        found_in("a", ["a"] * 10, ignore_case=False, patience_s=-1)


@pytest.mark.parametrize(
    "condition",
    [
        sql.within(sql.compares("name", "eq", "\ud800")),
        sql.within(sql.like("name", "%a" * 30_000)),
        sql.within(sql.lists("name", [float("nan")])),
        sql.within(sql.lists('"', ["a"])) & sql.any_of([sql.NONE] * 1500),
        Clause("(" + " AND ".join(["s.id>?"] * 2000) + ")", (1,) * 2000),
        Clause("json_extract('{}', ?) IS NULL", ('$."',)),
    ],
    ids=range(6),
)
def test_what_sqlite_cannot_answer_is_refused(catalog: Catalog, listing: Listing, condition: Clause) -> None:
    """The answer is an error that says so; the catalog is neither thrown away nor closed."""
    before = catalog.database.path.stat().st_ino
    with pytest.raises(QueryRefused):
        listing.where(condition).count()
    with pytest.raises(QueryRefused):
        listing.page(10**21)
    assert listing.count() == SIZE
    assert catalog.database.path.stat().st_ino == before


def test_more_values_than_can_be_asked_for_are_refused() -> None:
    """At most 10,000 values are looked for at once."""
    with pytest.raises(QueryRefused, match="10001"):
        sql.among("number", range(10_001))


def test_a_statement_without_an_end_is_given_up(catalog: Catalog, listing: Listing) -> None:
    """When the patience is over the statement ends, and the next one is answered."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(QueryRefused, match="took too long"):
        catalog.database.rows(endless, patience_s=0.0)
    assert listing.count() == SIZE


def test_orders_by_metadata_and_properties(listing: Listing) -> None:
    """What has no value is first, or last when descending; equal ones are in order of creation."""
    by_third = listing.ordered([SortKey("third", is_metadata=True)])
    assert numbers(by_third, 0, 3) == [0, 3, 6]
    turned = listing.ordered([SortKey("third", is_metadata=True, descending=True)], descending=True)
    assert numbers(turned) == numbers(by_third)[::-1]
    odd_last = listing.ordered([SortKey("odd", is_metadata=True)])
    assert numbers(odd_last, 0, 2) == [0, 2]
    assert numbers(listing.ordered([SortKey("name", is_metadata=False, descending=True)]), 0, 2) == [
        2999,
        2998,
    ]


def test_values_with_their_counts(listing: Listing) -> None:
    """Lists count each of their elements; the answer is one row per value."""
    chosen = listing.where(sql.within(sql.compares("number", "lt", 30)))
    assert dict(chosen.values("third")) == {0: 10, 1: 10, 2: 10}
    assert dict(chosen.values("tags"))["t3"] == 3
    assert chosen.values(r"nested.a\.b.deep") == [(True, 30)]
    assert chosen.values("nobody") == []


def test_selective_conditions_begin_at_the_index(catalog: Catalog, listing: Listing) -> None:
    """The plan of a selective query searches the index of values and scans no table of sequences."""
    chosen = listing.where(sql.within(sql.compares("number", "eq", 7)))
    plan = catalog.database.rows(
        f"EXPLAIN QUERY PLAN SELECT count(*) FROM sequence s WHERE {chosen._where.sql}",
        chosen._where.parameters,
    )
    words = [row[-1] for row in plan]
    assert any("metadata_value USING PRIMARY KEY" in word for word in words)
    assert not any(word.startswith("SCAN s") for word in words)


def test_a_folder_is_not_looked_at(catalog: Catalog, listing: Listing) -> None:
    """The sequences of this catalog have no files at all."""
    assert not list(Path(catalog.root).glob("sequences/*"))
    assert listing.topics(listing.page(0, 2)) == {1: [], 2: []}
