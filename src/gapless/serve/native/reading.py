"""The door through which gapless' own clients find, read, label and end sequences."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from gapless.client.remote import protocol, reading
from gapless.client.remote.remote_answer import answer_pages
from gapless.client.remote.remote_bundle import told_declaration
from gapless.errors import NotFound, QueryRefused
from gapless.model.expression import And, Sequence, from_json
from gapless.serve.door import Action, Door, Outgoing
from gapless.serve.native import reading_streams as streams
from gapless.serve.native.reading_question import Question
from gapless.serve.native.reading_turns import in_turns
from gapless.serve.rights import Right
from gapless.serve.visible import (
    extent,
    is_there,
    opened,
    reach,
    uid_of,
    visible_findings,
    visible_row,
    visible_rows,
    visible_tombstones,
)
from gapless.store.derived import DerivedTopic

if TYPE_CHECKING:
    from gapless.catalog.answer import QueryAnswer
    from gapless.catalog.catalog import SequenceRow
    from gapless.client.sequence_handler import SequenceHandler
    from gapless.serve.call import Call
    from gapless.serve.served import Served
    from gapless.store.bundle_state import Folder

_PAGE = 1_000
_MOST = 2**31
Answer = dict[str, Any]
Answers = Iterable[Answer]


class NativeReading(Door):
    """Answers what a client of a folder would find out by looking at it."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._streams: dict[str, Callable[[Call, Question], Outgoing]] = {
            protocol.SCAN: lambda call, question: streams.scan(
                call, _opened(served, call, question), question
            ),
            protocol.TAIL: lambda call, question: streams.tail(
                served, call, _opened(served, call, question), question
            ),
            protocol.DOWNSAMPLE: lambda call, question: streams.curve(
                call, _opened(served, call, question), question
            ),
            protocol.ARTIFACT: lambda call, question: streams.artifact(
                _opened(served, call, question), question
            ),
        }

    def actions(self) -> Mapping[str, Action]:
        """Return the actions by name."""
        answers: dict[str, Callable[[Call, Question], Answers]] = {
            reading.LIST: self._list, reading.ROWS: self._rows, reading.ROW: self._row,
            reading.QUERY: self._query, reading.DISCARDED: self._discarded, reading.EXISTS: self._exists,
            reading.DESCRIBE: self._describe, reading.LIVE: self._live, reading.FEATURES: self._features,
            reading.FEATURE: self._feature, reading.FLOOR: self._floor, reading.SEAL: self._seal,
            reading.RECOVER: self._recover, reading.REMOVE: self._discard, reading.VERIFY: self._verify,
            reading.CHECK: self._check, reading.LABEL: self._label, reading.UNLABEL: self._unlabel,
            reading.LABELS: self._labels,
        }  # fmt: skip
        return {name: _Answering(answer) for name, answer in answers.items()}

    def takes(self, command: Mapping[str, Any]) -> bool:
        """Take the tickets of streams to read."""
        return command.get(protocol.KIND) in self._streams

    def get(self, call: Call, ticket: Mapping[str, Any]) -> Outgoing:
        """Return the stream that a ticket asks for."""
        return self._streams[ticket[protocol.KIND]](call, Question(ticket))

    # -- finding -------------------------------------------------------------------------------

    def _list(self, call: Call, _: Question) -> Answers:
        """List the names of all sequences, oldest first."""
        call.require(Right.READ)
        rows = visible_rows(self._served, call)
        return ({"names": names} for names in _pages([row.name for row in rows]))

    def _rows(self, call: Call, question: Question) -> Answers:
        """Tell what the catalog knows of each sequence."""
        call.require(Right.READ)
        limited = question.maybe_whole("limit") is not None
        rows = visible_rows(
            self._served,
            call,
            state=question.maybe_text("state"),
            group=question.maybe_text("group"),
            outcome=question.maybe_text("outcome"),
            limit=question.count("limit", _MOST, missing=1) if limited else None,
            order=question.maybe_text("order"),
        )
        awaited = question.flag("awaited")
        return ({"rows": [_told(row, awaited=awaited) for row in page]} for page in _pages(rows))

    def _row(self, call: Call, question: Question) -> Answers:
        """Tell what the catalog knows of the sequence that a reference means."""
        call.require(Right.READ)
        row = visible_row(self._served, call, question.text("ref"))
        return [_told(row, awaited=question.flag("awaited"))]

    def _query(self, call: Call, question: Question) -> Answers:
        """Answer a query."""
        call.require(Right.READ)
        order, cursor = question.maybe_text("order"), question.maybe_text("cursor")
        limit, groups = question.maybe_whole("limit"), call.access.groups
        topics, told = question.flag("topics"), question.document.get("expression")
        with _no_query():
            expression = And(()) if told is None else from_json(told)
            if groups is not None:
                expression = expression & Sequence.Q.group.in_(*sorted(groups))
        limit = None if limit is None else min(limit, 2**31)
        turns = in_turns(
            self._served.client,
            expression,
            call.cancelled,
            runs=True,
            order=order,
            limit=limit,
            cursor=cursor,
        )
        return _answered(turns, topics=topics, warn=groups is None)

    def _discarded(self, call: Call, _: Question) -> Answers:
        """List the tombstones of discarded sequences."""
        call.require(Right.READ)
        return ({"discarded": page} for page in _pages(visible_tombstones(self._served, call)))

    def _exists(self, call: Call, question: Question) -> Answers:
        """Tell whether a name is taken, and whether it was ever discarded."""
        call.require(Right.READ)
        name, client = question.text("name"), self._served.client
        if call.access.groups is None:
            return [{"exists": client.sequence_exists(name), "discarded": client.was_discarded(name)}]
        stones = {stone["name"] for stone in visible_tombstones(self._served, call)}
        return [{"exists": is_there(self._served, call, name), "discarded": name in stones}]

    # -- one sequence --------------------------------------------------------------------------

    def _describe(self, call: Call, question: Question) -> Answers:
        """Tell all that is known of a sequence but its rows."""
        handler = _opened(self._served, call, question)
        return [
            {
                "uid": uid_of(handler),
                "folders": [_told_folder(folder) for folder in handler.reader.folders],
                "unsealed_layers": handler.unsealed_layers,
            }
        ]

    def _live(self, call: Call, question: Question) -> Answers:
        """Tell what changes of a sequence that is not sealed."""
        handler = _opened(self._served, call, question)
        base, name = handler.reader.base, question.maybe_text("topic")
        told: Answer = {"state": base.state, "owner_alive": base.owner_alive, "pending": base.pending}
        if name is None:
            told["awaited_until_ns"] = base.awaited_until_ns
            return [{**told, "ledger": dict(handler.ledger)}]
        topic = handler.topic(name)
        rows, start_ns, end_ns = extent(topic.reader)
        return [{**told, "rows": rows, "start_ns": start_ns, "end_ns": end_ns, "ledger": topic.ledger}]

    def _features(self, call: Call, question: Question) -> Answers:
        """List the topics that feature runs have for a sequence."""
        return [{"topics": _opened(self._served, call, question).features}]

    def _feature(self, call: Call, question: Question) -> Answers:
        """Describe a topic that a feature run has for a sequence."""
        reader, topic = _opened(self._served, call, question).reader, question.text("topic")
        for holder in reader.holders(topic):
            if isinstance(holder, DerivedTopic):
                origin = {"feature": holder.feature, "run_id": holder.run_id, "record": dict(holder.record)}
                return [{**origin, **told_declaration(holder.declaration(topic))}]
        raise NotFound("there is no such topic of a feature run", sequence=reader.name, topic=topic)

    def _floor(self, call: Call, question: Question) -> Answers:
        """Tell the greatest timestamp of a topic at or before a time."""
        topic = _opened(self._served, call, question).topic(question.text("topic"))
        time_ns = question.whole("time_ns")
        found = None if time_ns < -(2**63) else topic.reader.floor_ns(min(time_ns, 2**63 - 1))
        return [{"floor_ns": found}]

    def _verify(self, call: Call, question: Question) -> Answers:
        """Compare a sequence's files with its manifest."""
        name = self._reached(call, question, Right.READ)
        found = self._served.client.verify(name, deep=question.flag("deep"))
        return [{"findings": [finding.to_json() for finding in visible_findings(self._served, found)]}]

    def _check(self, call: Call, question: Question) -> Answers:
        """Report the quality of a sequence's data."""
        name = self._reached(call, question, Right.READ)
        return [dataclasses.asdict(self._served.client.check(name))]

    # -- labels and ends -----------------------------------------------------------------------

    def _labels(self, call: Call, question: Question) -> Answers:
        """List the labels on a sequence."""
        notes = _opened(self._served, call, question).annotations()
        return [{"annotations": [dataclasses.asdict(note) for note in notes]}]

    def _label(self, call: Call, question: Question) -> Answers:
        """Put a label on a time span of a sequence."""
        name, words = self._reached(call, question, Right.WRITE), question.document
        with call.audited(Right.WRITE.word, f"label {name}"):
            made = self._served.client.annotate(
                name, words.get("start_ns"), words.get("end_ns"), words.get("label"),  # type: ignore[arg-type]
                kind=words.get("kind"), author=words.get("author"),  # type: ignore[arg-type]
                confidence=question.maybe_number("confidence"),
            )  # fmt: skip
        return [dataclasses.asdict(made)]

    def _unlabel(self, call: Call, question: Question) -> Answers:
        """Take a label back."""
        name = self._reached(call, question, Right.WRITE)
        with call.audited(Right.WRITE.word, f"unlabel {name}"):
            self._served.client.remove_annotation(
                name, question.text("id"), author=question.document.get("author")
            )
        return [{}]

    def _seal(self, call: Call, question: Question) -> Answers:
        """Seal a pending sequence."""
        name = self._reached(call, question, Right.WRITE)
        with call.audited(Right.WRITE.word, f"seal {name}"):
            return [self._served.client.seal(name)]

    def _recover(self, call: Call, question: Question) -> Answers:
        """Seal what a dead owner left."""
        name = self._reached(call, question, Right.WRITE)
        with call.audited(Right.WRITE.word, f"recover {name}"):
            return [self._served.client.recover(name)]

    def _discard(self, call: Call, question: Question) -> Answers:
        """Move a sequence to the trash."""
        name = self._reached(call, question, Right.DELETE)
        with call.audited(Right.DELETE.word, f"discard {name}"):
            self._served.client.discard(name)
        return [{}]

    def _reached(self, call: Call, question: Question, right: Right) -> str:
        name = question.text("name")
        reach(self._served, call, right, name)
        return name


def _opened(served: Served, call: Call, question: Question) -> SequenceHandler:
    """Return the reader of the sequence that a question is about."""
    return opened(
        served,
        call,
        question.text("name"),
        layers=question.texts("layers"),
        uid=question.maybe_text("uid"),
    )


def _answered(turns: Iterator[QueryAnswer], *, topics: bool, warn: bool) -> Iterator[Answer]:
    """Yield the pages of an answer; its warnings name metadata and fields of the whole store."""
    while True:
        with _no_query():
            answer = next(turns, None)
        if answer is None:
            return
        if not warn:
            answer.warnings = []
        yield from answer_pages(answer, topics=topics)


@contextmanager
def _no_query() -> Iterator[None]:
    """Refuse what is nested, too large or put together by hand."""
    try:
        yield
    except (RecursionError, OverflowError, TypeError) as error:
        raise QueryRefused("this is no query", found=f"{type(error).__name__}: {error}") from error


class _Answering:
    """An action whose words and answers are JSON; its description is that of the method."""

    def __init__(self, answer: Callable[[Call, Question], Answers]) -> None:
        self._answer = answer
        self.__doc__ = answer.__doc__

    def __call__(self, call: Call, body: bytes) -> Iterator[bytes]:
        answers = iter(self._answer(call, Question(protocol.decode(body))))
        first = list(islice(answers, 1))  # what an action took is counted until its answer begins
        return (protocol.encode(answer) for answer in chain(first, answers))


def _pages(items: list[Any]) -> Iterator[list[Any]]:
    return (items[start : start + _PAGE] for start in range(0, len(items), _PAGE))


def _told(row: SequenceRow, *, awaited: bool) -> Answer:
    """Return a row as it travels; a word that older clients do not know comes to who asks for it."""
    words = reading.AWAITED_ROW_FIELDS if awaited else reading.ROW_FIELDS
    return {name: getattr(row, name) for name in words}


def _told_folder(folder: Folder) -> Answer:
    told: Answer = {"folder": folder.path.name, "manifest": folder.manifest}
    if folder.manifest is None:
        told["sequence"] = dict(folder.description)
        told["topics"] = {name: told_declaration(folder.declaration(name)) for name in folder.topic_names()}
    return told
