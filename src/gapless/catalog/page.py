"""A page of a table of sequences: chosen, put in order and counted for one caller, most of it by SQL.

Without a query one statement answers, whatever the store's size, and one more while something is being
recorded: what is live comes first. A query in the language of docs/query.md costs what it costs elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from gapless.catalog.bundle_facts import owner_alive
from gapless.catalog.catalog import COLUMNS
from gapless.catalog.listing_filter import any_of, contains, mentions
from gapless.catalog.metadata_index import Clause
from gapless.catalog.plan import Order
from gapless.catalog.query import Query, read_cursor, write_cursor
from gapless.errors import QueryRefused
from gapless.model.expression import And, Expression, to_json
from gapless.store.journal import read_topics
from gapless.store.layout import Bundle

if TYPE_CHECKING:
    from gapless.catalog.answer import AnswerItem
    from gapless.catalog.catalog import Catalog, SequenceRow
    from gapless.catalog.confirm import MakeBuilder
    from gapless.catalog.sqlite import Row

LIVE_FIRST: Final = "live"
MOST_WORDS: Final = 16
_PATIENCE_S = 10.0
_LIVE, _REST = 0, 1
_EVERYTHING = And(())
_LABELS = "(SELECT count(*) FROM annotation a WHERE a.sequence_id=s.id) AS labels_"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sequences a table is to show. ``groups`` None: those of every group, else of these only.

    ``state``: open, pending, sealed or live (open, and its owner is at work); ``group`` "": without a group.
    ``words``: each stands somewhere in name, group, metadata, topic names or labels, in any case.
    """

    groups: frozenset[str] | None = None
    state: str | None = None
    group: str | None = None
    outcome: str | None = None
    words: tuple[str, ...] = ()
    expression: Expression | None = None

    def __post_init__(self) -> None:
        if len(self.words) > MOST_WORDS:
            raise QueryRefused("too many words to look for", found=len(self.words), expected=MOST_WORDS)


@dataclass(frozen=True, slots=True)
class Entry:
    """A sequence of a page: its row, the number of its labels, and what a query found in it, if one was asked."""

    row: SequenceRow
    labels: int
    found: AnswerItem | None = None


@dataclass(slots=True)
class Page:
    """Some sequences in order. ``total`` of all pages is None where counting would mean reading rows."""

    entries: list[Entry] = field(default_factory=list)
    next_cursor: str | None = None
    total: int | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A part of the order: the sequences for which the condition holds. ``number`` is its name in cursors."""

    number: int
    condition: Clause
    order: Order


def read_page(
    catalog: Catalog,
    wanted: Wanted,
    *,
    order: str = LIVE_FIRST,
    limit: int = 100,
    cursor: str | None = None,
    builder: MakeBuilder | None = None,
) -> Page:
    """Return at most ``limit`` sequences that are wanted, after the ``next_cursor`` of the page before.

    ``order``: ``live`` (live ones first, then the newest first) or what :meth:`Order.of` takes. A sequence
    that ends between two pages in the order ``live`` comes again at its place among the others. ``builder``
    as for :meth:`Catalog.query`. Raises QueryRefused for what means nothing or takes too long.
    """
    reading = _Reading(catalog, wanted, order, builder)
    return reading.page(limit, cursor)


class _Reading:
    """One page being made."""

    def __init__(self, catalog: Catalog, wanted: Wanted, order: str, builder: MakeBuilder | None) -> None:
        self._catalog = catalog
        self._builder = builder
        self._query = wanted.expression
        self._is_limited = wanted.groups is not None  # warnings name metadata and fields of the whole store
        unsealed = catalog.look().unsealed
        self._live = [name for name in unsealed if _is_live(catalog, name)]
        topics = {name: _declared(catalog, name) for name in unsealed} if wanted.words else {}
        self._wanted = list(_conditions(wanted, self._live, topics))
        self._stretches = self._order_of(order)
        self._mark = _fingerprint(wanted, order)

    def page(self, limit: int, cursor: str | None) -> Page:
        """Return the page after a cursor."""
        first, inner = self._read_cursor(cursor)
        page = Page()
        for stretch in self._stretches:
            if stretch.number < first:
                continue
            left = limit - len(page.entries)
            if left == 0:
                page.next_cursor = self._write_cursor(stretch.number, None)
                break
            after = inner if stretch.number == first else None
            read = self._listed if self._query is None else self._found
            self._append(page, stretch, read(stretch, left, after))
            if page.next_cursor is not None:
                break
        if self._query is not None:
            page.total = self._count(page, first=cursor is None)
        return page

    def _append(self, page: Page, stretch: _Stretch, more: Page) -> None:
        page.entries += more.entries
        page.total = more.total
        page.warnings = [] if page.entries or self._is_limited else more.warnings
        if more.next_cursor is not None:
            page.next_cursor = self._write_cursor(stretch.number, more.next_cursor)

    def _order_of(self, order: str) -> list[_Stretch]:
        if order != LIVE_FIRST:
            return [_Stretch(_REST, Clause("1"), Order.of(order))]
        newest = Order.of("-created")
        if not self._live:
            return [_Stretch(_REST, Clause("1"), newest)]
        live = _one_of("s.component", self._live)
        others = Clause(f"NOT ({live.sql})", live.parameters)
        return [_Stretch(_LIVE, live, newest), _Stretch(_REST, others, newest)]

    # -- without a query -----------------------------------------------------------------------

    def _listed(self, stretch: _Stretch, limit: int, cursor: str | None) -> Page:
        """Return the sequences of a stretch and the total of all, by one statement."""
        wanted = _all_of(self._wanted)
        after = stretch.order.after(read_cursor(cursor, stretch.order, _EVERYTHING))
        where = _all_of([*self._wanted, stretch.condition, *after])
        order = stretch.order
        rows = self._catalog.database.rows(
            f"SELECT t.total, p.* FROM (SELECT count(*) AS total FROM sequence s WHERE {wanted.sql}) t"
            f" LEFT JOIN (SELECT s.id, s.name AS name_, s.component, s.state, {order.column} AS key_,"
            f" {_LABELS}, {COLUMNS} FROM sequence s WHERE {where.sql} ORDER BY {order.sql} LIMIT ?) p ON 1"
            f" ORDER BY {_by_key(order)}",
            (*wanted.parameters, *where.parameters, limit + 1),
            patience_s=_PATIENCE_S,
        )
        found = [row[1:] for row in rows if row[1] is not None]
        page = Page([self._entry(row) for row in found[:limit]], total=int(rows[0][0]))
        if len(found) > limit:
            page.next_cursor = write_cursor(found[limit - 1], order, _EVERYTHING)
        return page

    # -- with one ------------------------------------------------------------------------------

    def _found(self, stretch: _Stretch, limit: int, cursor: str | None) -> Page:
        """Return the sequences of a stretch that a query finds."""
        text = f"{'-' if stretch.order.descending else ''}{stretch.order.key}"
        answer = self._asked([*self._wanted, stretch.condition]).answer(text, limit, cursor)
        known = {entry.row.name: entry for entry in self._rows_of([item.component for item in answer])}
        entries = [replace(known[item.name], found=item) for item in answer if item.name in known]
        return Page(entries, answer.next_cursor, None, list(answer.warnings))

    def _asked(self, among: Sequence[Clause]) -> Query:
        assert self._query is not None
        catalog = self._catalog
        return Query(catalog.database, catalog.sequences_path, self._query, self._builder, among)

    def _rows_of(self, components: Sequence[str]) -> Iterator[Entry]:
        named = _one_of("s.component", components)
        rows = self._catalog.database.rows(
            f"SELECT s.id, s.name, s.component, s.state, 0, {_LABELS}, {COLUMNS} FROM sequence s"
            f" WHERE {named.sql}",
            named.parameters,
        )
        return map(self._entry, rows)

    def _count(self, page: Page, *, first: bool) -> int | None:
        if first and page.next_cursor is None:
            return len(page.entries)
        return self._asked(self._wanted).count()

    # -- rows and cursors ----------------------------------------------------------------------

    def _entry(self, row: Row) -> Entry:
        """Return the entry of a row of id, name, component, state, key, labels and :data:`COLUMNS`."""
        return Entry(self._catalog.row_of(row[6:]), int(row[5]))

    def _write_cursor(self, place: int, inner: str | None) -> str:
        text = json.dumps([place, self._mark, inner])
        return base64.urlsafe_b64encode(text.encode()).decode()

    def _read_cursor(self, cursor: str | None) -> tuple[int, str | None]:
        """Return the number of the stretch that a page begins in, and the cursor in it."""
        if cursor is None:
            return _LIVE, None
        try:
            place, mark, inner = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        except (ValueError, TypeError, RecursionError) as error:
            raise QueryRefused("this is not a cursor of a page", found=cursor) from error
        if place not in (_LIVE, _REST) or not isinstance(inner, str | None):
            raise QueryRefused("this is not a cursor of a page", found=cursor)
        if mark != self._mark:
            raise QueryRefused(
                "the cursor belongs to another search or order", next_step="start again without it"
            )
        return int(place), inner


def _conditions(wanted: Wanted, live: Sequence[str], topics: Mapping[str, Sequence[str]]) -> Iterator[Clause]:
    """Yield what SQL is to hold of a sequence; ``topics`` are those of unsealed ones by component."""
    if wanted.groups is not None:
        yield _one_of("s.grp", sorted(wanted.groups))
    if wanted.state == "live":
        yield _one_of("s.component", live)
    elif wanted.state is not None:
        yield Clause("s.state=?", (wanted.state,))
    if wanted.group is not None:
        yield Clause("coalesce(s.grp, '')=?", (wanted.group,))
    if wanted.outcome is not None:
        yield Clause("s.outcome=?", (wanted.outcome,))
    for word in wanted.words:
        folded = word.casefold()
        named = [place for place, names in topics.items() if any(folded in n.casefold() for n in names)]
        yield any_of([mentions(word), *_beside(word), _one_of("s.component", named)])


def _declared(catalog: Catalog, component: str) -> list[str]:
    """Return the names of the topics of an unsealed sequence, which the catalog does not hold."""
    known = read_topics(Bundle(catalog.sequences_path / component))
    return [name for name in (str(topic["name"]) for topic in known) if not name.startswith("_")]


def _beside(word: str) -> Iterator[Clause]:
    """Yield that a topic of a sealed sequence or a label has the word in its name."""
    for table, name in (("topic", "x.name"), ("annotation", "x.name")):
        held = contains(name, word)
        own = " AND NOT x.reserved" if table == "topic" else ""
        yield Clause(
            f"EXISTS (SELECT 1 FROM {table} x WHERE x.sequence_id=s.id{own} AND {held.sql})", held.parameters
        )


def _one_of(column: str, texts: Sequence[str]) -> Clause:
    return Clause(f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(list(texts)),))


def _all_of(conditions: Sequence[Clause]) -> Clause:
    sql = " AND ".join(f"({condition.sql})" for condition in conditions) or "1"
    return Clause(sql, tuple(p for condition in conditions for p in condition.parameters))


def _by_key(order: Order) -> str:
    way = " DESC" if order.descending else ""
    return f"p.key_{way}, p.name_{way}"


def _is_live(catalog: Catalog, component: str) -> bool:
    path = catalog.sequences_path / component
    return owner_alive(path) and not (path / "manifest.json").exists()


def _fingerprint(wanted: Wanted, order: str) -> str:
    """Return what tells a search from others, without the caller's groups: those may change between pages."""
    asked = [wanted.state, wanted.group, wanted.outcome, wanted.words, order]
    query = None if wanted.expression is None else to_json(wanted.expression)
    text = json.dumps([*asked, query], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
