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
        (sql.within(sql.compares("number", "in", (1, 2, "3", True))), 2),
        (sql.within(sql.compares("tags", "eq", "t4")), SIZE // 10),
        (sql.within(sql.compares(sql.dotted("nested.a.b.deep"), "eq", value=True)), 0),
        (sql.within(sql.compares(r"nested.a\.b.deep", "eq", value=True)), SIZE),
        (sql.within(sql.has("odd")), SIZE // 2),
        (sql.negated(sql.within(sql.has("odd"))), SIZE // 2),
        (sql.within(sql.lists("tags", ["all", "t4"])), SIZE // 10),
        (sql.within(sql.lists("tags", ["t4"])), 0),
        (sql.within(sql.like("name", "sample _")), 10),
        (sql.within(sql.matches("name", r"e 1\d$", ignore_case=False)), 10),
        (sql.within(sql.matches("name", r"^sample 1$", ignore_case=True)), 1),
        (sql.within(sql.matches("name", r"^sample 1$", ignore_case=False)), 0),
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
