"""Answers while others label, discard and record: what is found stays found, and statistics stay with their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import gapless
from gapless import Client, Field, Sequence
from gapless.catalog import content_index, query
from gapless.errors import IntegrityError

SCHEMA = pa.schema([("x", "float64")])


def record(client: Client, name: str, first: float = 0.0) -> None:
    """Record 100 rows of x in the group ``g``."""
    with client.sequence_create(name, {"site": "north"}, group="g") as seq:
        topic = seq.topic_create("t", schema=SCHEMA)
        for row in range(100):
            topic.push_row(row, first + row)


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[tuple[Client, Client]]:
    """Return two clients of a store with the sequences ``one`` and ``two``."""
    with gapless.connect(tmp_path) as first, gapless.connect(tmp_path) as second:
        for name in ("one", "two"):
            record(first, name)
        yield first, second


def once_during(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, happens: Callable[[], object]
) -> None:
    """Let something happen once, right before a function of a module returns."""
    real, left = getattr(module, name), [happens]

    def interrupted(*arguments: Any) -> Any:
        result = real(*arguments)
        while left:
            left.pop()()
        return result

    monkeypatch.setattr(module, name, interrupted)


def ranges(client: Client) -> list[Any]:
    """Return name, greatest x and whether statistics are incomplete of each topic with x."""
    return client.catalog.database.rows(
        "SELECT s.name, x.high, t.unpruned FROM topic t JOIN sequence s ON s.id=t.sequence_id"
        " LEFT JOIN topic_range x ON x.topic_id=t.id"
        " AND x.field_id=(SELECT id FROM field WHERE path='x') WHERE t.name='t' ORDER BY s.name"
    )


def catalog_reads_footers(client: Client) -> None:
    """Make the catalog anew without statistics, so that the next query reads the footers."""
    database = client.catalog.database
    database.clear()
    client.catalog.reconcile()
    assert database.rows("SELECT count(*) FROM part WHERE stats IS NULL") != [(0,)]


@pytest.mark.parametrize("layer", [False, True])
def test_a_change_while_footers_are_read_leaves_a_sequence_findable(
    clients: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch, layer: bool
) -> None:
    """A label or a layer makes new rows of a sequence whose footers were just read: their ranges are complete."""
    first, second = clients
    catalog_reads_footers(first)

    def change() -> None:
        second.annotate("two", 0, 1, "seen")
        if layer:
            with second.sequence_update("two", "more") as more:
                more.topic_create("t", schema=SCHEMA).push_row(1, 500.0)

    once_during(monkeypatch, content_index, "_read_footer", change)
    assert first.query(Field("t", "x").gt(50)).names == ["one", "two"]
    assert ranges(first) == [("one", 99.0, 0), ("two", 500.0 if layer else 99.0, 0)]
    assert first.query(Field("t", "x").gt(50)).names == ["one", "two"]


def test_footers_are_not_taken_for_those_of_another_sequence(
    clients: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded in place of a discarded one while footers are read: it has the statistics of its own rows."""
    first, second = clients
    catalog_reads_footers(first)

    def replace() -> None:
        second.discard("two")
        record(second, "three", 1000.0)

    once_during(monkeypatch, content_index, "_read_footer", replace)
    first.query(Field("t", "x").gt(50))
    assert first.query(Field("t", "x").gt(500)).names == ["three"]
    assert ranges(first) == [("one", 99.0, 0), ("three", 1099.0, 0)]


def test_a_found_sequence_that_is_labelled_keeps_its_topics(clients: tuple[Client, Client]) -> None:
    """The topics of an answer are looked up when they are asked for: labels made meanwhile change nothing."""
    client, _ = clients
    found = {}
    for item in client.query(Sequence.Q.group.eq("g")):
        client.annotate(item.name, 0, 1, "seen")
        found[item.name] = [topic.name for topic in item.topics]
    assert found == {"one": ["t"], "two": ["t"]}
    assert [item.name for item in client.query(Sequence.Q.annotation.eq("seen"))] == ["one", "two"]


def test_an_answer_keeps_its_topics_when_the_catalog_is_made_again(clients: tuple[Client, Client]) -> None:
    """Ids begin anew then; the answer finds its sequences by their folders."""
    client, other = clients
    answer = client.query(Sequence.Q.name.eq("two"))
    other.discard("one")
    client.catalog.reindex()
    assert [topic.name for topic in answer[0].topics] == ["t"]


@pytest.mark.parametrize("changed", ["one", "two"])
def test_a_label_between_plan_and_rows_loses_nothing(
    clients: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """A sequence that is labelled while a query on its rows runs is found all the same."""
    first, second = clients
    once_during(monkeypatch, query, "candidates", lambda: second.annotate(changed, 0, 1, "seen"))
    assert first.query(Field("t", "x").gt(50)).names == ["one", "two"]


def test_a_sequence_discarded_while_its_rows_are_looked_for_is_left_out(
    clients: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are found; a file that is damaged still ends the query with an error."""
    first, second = clients
    first.query(Field("t", "x").gt(50))
    once_during(monkeypatch, query, "topic_rows", lambda: second.discard("one"))
    assert first.query(Field("t", "x").gt(50)).names == ["two"]
    [part] = (first.sequence_handler("two").reader.path / "topics" / "t").glob("*.parquet")
    part.write_bytes(b"")
    with pytest.raises(IntegrityError):
        first.query(Field("t", "x").gt(50))


def test_a_label_leaves_the_rows_of_topics_as_they_are(clients: tuple[Client, Client]) -> None:
    """Only the annotations of a sequence are replaced; a recording under a name taken again has another id."""
    client, _ = clients
    database = client.catalog.database
    before = database.rows("SELECT id FROM topic ORDER BY id")
    label = client.annotate("one", 0, 1, "seen")
    assert database.rows("SELECT id FROM topic ORDER BY id") == before
    assert [found.annotation.id for found in client.catalog.annotations()] == [label.id]
    client.remove_annotation("one", label.id)
    assert client.catalog.annotations() == []
    [(old,)] = database.rows("SELECT id FROM sequence WHERE name='one'")
    client.discard("one")
    record(client, "one", 1000.0)
    assert database.rows("SELECT count(*) FROM sequence WHERE id=?", (old,)) == [(0,)]
    assert client.query(Field("t", "x").gt(500)).names == ["one"]
    assert client.query(Sequence.Q.metadata["site"].eq("north")).names == ["two", "one"]
