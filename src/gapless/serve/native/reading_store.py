"""What a caller sees of the store that is served: nothing of groups that are not theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gapless.errors import IntegrityError, NotFound, UsageError
from gapless.model.names import to_component
from gapless.serve.rights import Right

if TYPE_CHECKING:
    from gapless.catalog.catalog import Catalog, SequenceRow
    from gapless.client.sequence_handler import SequenceHandler
    from gapless.serve.call import Call
    from gapless.serve.native.reading_question import Question
    from gapless.serve.served import Served
    from gapless.store.reader import TopicReader

_MOST = 2**31
_DIGITS = 10  # more sequences than a store holds
_SHOWN = 100  # characters of what was asked for


def reach(served: Served, call: Call, right: Right, name: str) -> None:
    """Raise RightMissing, or NotFound for a sequence that there is not, or not for this caller."""
    call.require(right)
    if call.access.groups is None:
        if not (served.root / "sequences" / to_component(name)).is_dir():
            raise _nothing(name)
        return
    group: str | None = None
    try:
        group = served.client.sequence_handler(name, layers=[]).group
    except NotFound as error:
        raise _nothing(name) from error
    except IntegrityError as error:  # nobody can tell whose it is
        raise _nothing(name) from error
    call.reach(right, name, group)


def is_there(served: Served, call: Call, name: str) -> bool:
    """Tell whether there is a sequence of exactly that name for this caller."""
    try:
        reach(served, call, Right.READ, name)
    except NotFound:
        return False
    return True


def opened(served: Served, call: Call, question: Question, right: Right = Right.READ) -> SequenceHandler:
    """Return the reader of the sequence that a question is about.

    Raises NotFound where the name belongs to another recording than the one that the question means.
    """
    name = question.text("name")
    reach(served, call, right, name)
    handler = served.client.sequence_handler(name, layers=question.texts("layers"))
    wanted = question.maybe_text("uid")
    if wanted is not None and wanted != uid_of(handler):
        raise NotFound(
            "the sequence that was opened is gone; another one has its name",
            sequence=name,
            next_step="open it again with sequence_handler()",
        )
    return handler


def extent(reader: TopicReader) -> tuple[int, int | None, int | None]:
    """Return rows, first and last timestamp of a topic, all of one look at it."""
    sources = reader._sources([])
    starts = [source.start_ns for source in sources if source.start_ns is not None]
    ends = [source.end_ns for source in sources if source.end_ns is not None]
    return sum(source.rows for source in sources), min(starts, default=None), max(ends, default=None)


def uid_of(handler: SequenceHandler) -> str | None:
    """Return the uid of the recording that made the base of a sequence."""
    manifest = handler.reader.manifest
    known = handler.reader.base.description if manifest is None else manifest["record"]
    uid: str | None = known.get("uid")
    return uid


def visible_rows(served: Served, call: Call, question: Question) -> list[SequenceRow]:
    """Return the catalog's rows that a question asks for, those of other groups left out."""
    limit = None if question.maybe_whole("limit") is None else question.count("limit", _MOST, missing=1)
    rows = looked_at(served).sequences(
        question.maybe_text("state"),
        question.maybe_text("group"),
        question.maybe_text("outcome"),
        limit if call.access.groups is None else None,
        question.maybe_text("order") or "created",
    )
    return [row for row in rows if call.sees(row.group)][:limit]


def visible_row(served: Served, call: Call, ref: str) -> SequenceRow:
    """Return the row that a reference means among those that the caller sees."""
    catalog = looked_at(served)
    if call.access.groups is None:
        try:
            return catalog.sequence(ref)
        except (OverflowError, ValueError) as error:  # @last- and a number beyond what a database counts
            raise NotFound("the store does not hold that many sequences", sequence=ref[:_SHOWN]) from error
    rows = [row for row in catalog.sequences(order="-created") if call.sees(row.group)]
    if ref.startswith("@"):
        word, _, back = ref.partition("-")
        known = word == "@last" and (back or "0").isdecimal() and len(back) < _DIGITS
        place = int(back or 0) if known else len(rows)
        found = rows[place : place + 1]
    else:
        found = [row for row in rows if row.name == ref] or [
            r for r in rows if ref and r.name.startswith(ref)
        ]
    if not found:
        raise NotFound("there is no such sequence", sequence=ref)
    if len(found) > 1:
        names = ", ".join(sorted(row.name for row in found)[:5])
        raise UsageError("several sequences begin like this", sequence=ref, found=names,
                         next_step="write more of the name")  # fmt: skip
    return found[0]


def visible_tombstones(served: Served, call: Call) -> list[dict[str, Any]]:
    """Return the tombstones that the caller sees, oldest first."""
    return [stone for stone in served.client.list_discarded() if call.sees(stone.get("group"))]


def looked_at(served: Served) -> Catalog:
    """Return the catalog, as up to date as the client of a folder has it."""
    served.client._look()
    return served.client.catalog


def _nothing(name: str) -> NotFound:
    return NotFound("there is no sequence of that name", sequence=name)
