"""The answer to a query on its way from a server: pages of JSON, the runs of rows as packed integers.

Names travel at once. Topics and spans come with them when the query asks about rows, whose reading has
found them already; else when they are first wanted, in one more request.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gapless.catalog.answer import AnswerItem, AnswerTopic, QueryAnswer
from gapless.catalog.runs import Runs
from gapless.client.remote import reading
from gapless.model.expression import And, Expression, to_json, walk

if TYPE_CHECKING:
    from gapless.client.remote.connection import Connection

LONG_S = 3600.0  # a question that reads rows, or a whole store
_ITEMS = 1_000
_RUNS = 32_768


def ask_query(
    connection: Connection, expression: Expression, order: str | None, limit: int | None, cursor: str | None
) -> QueryAnswer:
    """Return the server's answer to a query."""
    everything = expression == And(())  # which has no JSON of its own
    question = {
        "expression": None if everything else to_json(expression),
        "order": order,
        "limit": limit,
        "cursor": cursor,
    }

    def load_topics(items: Sequence[AnswerItem]) -> None:
        found = _asked(connection, {**question, "topics": True})
        topics = {item.name: item.topics for item in found.items}
        for item in items:
            item._topics = topics.get(item.name, ())

    about_rows = any(p.target not in ("sequence", "topic") for p in walk(expression))
    return _asked(connection, {**question, "topics": about_rows}, load_topics)


def _asked(
    connection: Connection,
    question: Mapping[str, Any],
    load_topics: Callable[[Sequence[AnswerItem]], None] | None = None,
) -> QueryAnswer:
    answer = QueryAnswer(load_topics or _nothing)
    for page in connection.actions(reading.QUERY, question, timeout_s=LONG_S):
        answer.warnings += page["warnings"]
        answer.next_cursor = page["next_cursor"]
        answer._items += [_item(told, answer) for told in page["items"]]
    return answer


def _nothing(items: Sequence[AnswerItem]) -> None:
    """Load nothing: what was asked for with its topics has them."""
    del items


def _item(told: Mapping[str, Any], answer: QueryAnswer) -> AnswerItem:
    item = AnswerItem(told["id"], told["name"], told["component"], told["state"], answer)
    if told["topics"] is not None:
        item._topics = tuple(
            AnswerTopic(item.name, name, tag, None if runs is None else _unpacked(runs))
            for name, tag, runs in told["topics"]
        )
    return item


def answer_pages(answer: QueryAnswer, *, topics: bool) -> Iterator[dict[str, Any]]:
    """Yield an answer as the pages that :func:`ask_query` reads; one page at least."""
    page: list[dict[str, Any]] = []
    runs = 0
    head = {"warnings": answer.warnings, "next_cursor": answer.next_cursor}
    for item in answer.items:
        told, count = _told(item, topics=topics)
        if page and (len(page) == _ITEMS or runs + count > _RUNS):
            yield {**head, "items": page}
            head["warnings"], page, runs = [], [], 0
        page.append(told)
        runs += count
    yield {**head, "items": page}


def _told(item: AnswerItem, *, topics: bool) -> tuple[dict[str, Any], int]:
    """Return an item as JSON, and how many runs it has."""
    told: dict[str, Any] = {
        "id": item.id, "name": item.name, "component": item.component, "state": item.state, "topics": None,
    }  # fmt: skip
    count = 0
    if topics:
        told["topics"] = [[t.name, t.ontology_tag, _packed(t._runs)] for t in item.topics]
        count = sum(len(t._runs) for t in item.topics if t._runs is not None)
    return told, count


def _packed(runs: Runs | None) -> str | None:
    return None if runs is None else base64.b64encode(runs.table.astype("<i8").tobytes()).decode()


def _unpacked(text: str) -> Runs:
    flat = np.frombuffer(base64.b64decode(text), "<i8").astype(np.int64)
    return Runs(flat.reshape(4, -1))
