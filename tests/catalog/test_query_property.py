"""Random stores and random queries: the catalog answers as a full scan of every row does."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.catalog.oracle import matches
from tests.catalog.random_store import random_query, random_store

from gapless.catalog import Catalog
from gapless.errors import QueryRefused


@pytest.mark.parametrize("seed", range(6))
def test_answers_equal_a_full_scan(store: Path, seed: int) -> None:
    """Sequences, topics and spans of random queries are exactly those that a naive evaluator finds."""
    rng = random.Random(seed)
    recorded = random_store(rng, store, 10)
    catalog = Catalog(store)
    asked = 0
    while asked < 150:
        query = random_query(rng)
        expected = {r.name: spans for r in recorded if (spans := matches(r, query)) is not None}
        try:
            answer = catalog.query(query)
        except QueryRefused:  # more alternatives than a query may have
            continue
        asked += 1
        assert set(answer.names) == set(expected), repr(query)
        for item in answer:
            found = {topic.name: topic.spans for topic in item.topics if topic.spans}
            assert found == {t: s for t, s in expected[item.name].items() if s}, repr(query)


def test_answers_survive_a_reindex(store: Path) -> None:
    """After deleting catalog.db and a reindex, 200 random queries answer as before."""
    rng = random.Random(99)
    random_store(rng, store, 12)
    queries = [random_query(rng, 1) for _ in range(200)]
    catalog = Catalog(store)
    before = [[(i.name, [(t.name, t.spans) for t in i.topics]) for i in catalog.query(q)] for q in queries]
    catalog.close()
    (store / "catalog.db").unlink()
    again = Catalog(store)
    again.reindex()
    assert [
        [(i.name, [(t.name, t.spans) for t in i.topics]) for i in again.query(q)] for q in queries
    ] == before
