"""The answer to a query: sequences, their topics, and the time spans in which the rows match."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from gapless.errors.extra import need

if TYPE_CHECKING:
    from gapless.catalog.runs import Runs

Span = tuple[int, int]
_SHOWN_ITEMS = 20


class SequenceName(str):
    """The name of a sequence; ``.name`` is the same text, so ``item.sequence.name`` works too."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """The name as plain text."""
        return str(self)


@dataclass(frozen=True, slots=True)
class AnswerTopic:
    """A topic that matches. Without a condition on rows it has no spans."""

    sequence: str
    name: str
    ontology_tag: str | None
    _runs: Runs | None = field(default=None, repr=False)

    @property
    def locator(self) -> str:
        """Sequence and topic in one text."""
        return f"{self.sequence}/{self.name}"

    @property
    def spans(self) -> list[Span]:
        """First and last timestamp, both included, of each maximal run of consecutive rows that match."""
        return self._runs.spans if self._runs is not None else []

    @property
    def rows(self) -> int:
        """How many rows match."""
        return self._runs.rows if self._runs is not None else 0

    def clusterize(self, dt_ns: int) -> list[Span]:
        """Return the spans with those joined between which at most ``dt_ns`` lie."""
        return clusterize(self.spans, dt_ns)


@dataclass(slots=True)
class AnswerItem:
    """A sequence that matches."""

    id: int
    name: str
    component: str
    state: str
    _answer: QueryAnswer = field(repr=False)
    _found: tuple[AnswerTopic, ...] = ()  # topics whose rows match
    _plain: tuple[int, ...] = ()  # alternatives matched without a condition on rows
    _topics: tuple[AnswerTopic, ...] | None = None

    @property
    def sequence(self) -> SequenceName:
        """The name of the sequence."""
        return SequenceName(self.name)

    @property
    def topics(self) -> tuple[AnswerTopic, ...]:
        """The topics that match; all of them when the query has no condition on topics or rows."""
        if self._topics is None:
            self._answer._load_topics()
        return self._topics or ()

    def clusterize(self, dt_ns: int) -> dict[str, list[Span]]:
        """Return each topic's spans with near ones joined."""
        return {topic.name: topic.clusterize(dt_ns) for topic in self.topics}

    def intersect(self, dt_ns: int = 0) -> list[Span]:
        """Return the times at which every topic that has spans is at most ``dt_ns`` from one of its spans."""
        sets = [
            clusterize([(start - dt_ns, end + dt_ns) for start, end in topic.spans], 0)
            for topic in self.topics
            if topic.spans
        ]
        return intersect(sets)


class QueryAnswer(Sequence[AnswerItem]):
    """The sequences that match, in order. ``next_cursor`` continues where a limit cut the answer off."""

    def __init__(self, load_topics: Callable[[Sequence[AnswerItem]], None]) -> None:
        self._items: list[AnswerItem] = []
        self._waiting: list[tuple[Any, ...]] = []  # rows of items that nobody has looked at yet
        self.warnings: list[str] = []
        self.next_cursor: str | None = None
        self._load: Callable[[Sequence[AnswerItem]], None] = load_topics

    @property
    def items(self) -> list[AnswerItem]:
        """The sequences, as a list."""
        if self._waiting:
            rows, self._waiting = self._waiting, []
            self._items = [AnswerItem(i, n, c, s, self, _plain=(0,)) for i, n, c, s, _ in rows]
        return self._items

    def __len__(self) -> int:
        return len(self._waiting) or len(self._items)

    @overload
    def __getitem__(self, index: int) -> AnswerItem: ...

    @overload
    def __getitem__(self, index: slice) -> list[AnswerItem]: ...

    def __getitem__(self, index: int | slice) -> AnswerItem | list[AnswerItem]:
        return self.items[index]

    def __iter__(self) -> Iterator[AnswerItem]:
        return iter(self.items)

    def __repr__(self) -> str:
        names = ", ".join(item.name for item in self.items[:5])
        return f"<QueryAnswer of {len(self)}: {names}{', …' if len(self) > 5 else ''}>"

    def _repr_html_(self) -> str:
        """Return the first sequences as a plain HTML table: no scripts, every value escaped."""
        from gapless.model.html_table import html_table

        rows = [
            (item.name, item.state, ", ".join(topic.name for topic in item.topics), _spans(item))
            for item in self.items[:_SHOWN_ITEMS]
        ]
        return html_table(repr(self), ("sequence", "state", "topics", "spans"), rows)

    @property
    def names(self) -> list[str]:
        """The names of the sequences."""
        return [row[1] for row in self._waiting] or [item.name for item in self._items]

    def _load_topics(self) -> None:
        self._load([item for item in self.items if item._topics is None])

    def to_arrow(self) -> Any:
        """Return a ``pyarrow.Table`` with one row per span; a topic without spans has one row with nulls."""
        import pyarrow as pa

        nothing: list[tuple[int | None, int | None]] = [(None, None)]
        rows = [
            (item.name, topic.name, topic.ontology_tag, start, end)
            for item in self.items
            for topic in item.topics
            for start, end in topic.spans or nothing
        ]
        kinds = {"sequence": pa.string(), "topic": pa.string(), "ontology_tag": pa.string(),
                 "start_ns": pa.int64(), "end_ns": pa.int64()}  # fmt: skip
        columns = list(zip(*rows, strict=True)) or [()] * len(kinds)
        arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds.values(), strict=True)]
        return pa.table(dict(zip(kinds, arrays, strict=True)))

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame`` with one row per span; raises MissingExtra without pandas."""
        need("pandas")
        return self.to_arrow().to_pandas()


def _spans(item: AnswerItem) -> int:
    return sum(len(topic.spans) for topic in item.topics)


def clusterize(spans: Sequence[Span], dt_ns: int) -> list[Span]:
    """Return sorted spans with those joined between which at most ``dt_ns`` lie."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start - joined[-1][1] <= dt_ns:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def intersect(sets: Sequence[Sequence[Span]]) -> list[Span]:
    """Return the spans that lie in every one of several sets of sorted, disjoint spans."""
    if not sets:
        return []
    common = list(sets[0])
    for other in sets[1:]:
        found: list[Span] = []
        left = right = 0
        while left < len(common) and right < len(other):
            start = max(common[left][0], other[right][0])
            end = min(common[left][1], other[right][1])
            if start <= end:
                found.append((start, end))
            if common[left][1] < other[right][1]:
                left += 1
            else:
                right += 1
        common = found
    return common
