"""What a caller sees of the store that is served: nothing of groups that are not theirs.

Every door asks here, so that a sequence of a foreign group is for all of them as if it did not exist.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.errors import IntegrityError, NotFound, UsageError
from gapless.model.names import to_component
from gapless.serve.rights import Right

if TYPE_CHECKING:
    from gapless.catalog.catalog import Catalog, SequenceRow
    from gapless.client.sequence_handler import SequenceHandler
    from gapless.serve.caller import Caller
    from gapless.serve.served import Served
    from gapless.store.reader import TopicReader
    from gapless.store.verify import Finding

_FOLDERS = "(?:sequences|features|models|spool|trash|discarded)/"  # of a store
_DIGITS = 10  # more sequences than a store holds
_SHOWN = 100  # characters of what was asked for


def reach(served: Served, caller: Caller, right: Right, name: str) -> None:
    """Raise RightMissing, or NotFound for a sequence that there is not, or not for this caller."""
    caller.require(right)
    if caller.access.groups is None:
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
    caller.reach(right, name, group)


def is_there(served: Served, caller: Caller, name: str) -> bool:
    """Tell whether there is a sequence of exactly that name for this caller."""
    try:
        reach(served, caller, Right.READ, name)
    except NotFound:
        return False
    return True


def opened(
    served: Served,
    caller: Caller,
    name: str,
    *,
    layers: Sequence[str] | None = None,
    uid: str | None = None,
    right: Right = Right.READ,
) -> SequenceHandler:
    """Return the reader of a sequence; ``layers`` as in :meth:`Client.sequence_handler`.

    Raises NotFound where the name belongs to another recording than the one of ``uid``.
    """
    reach(served, caller, right, name)
    handler = served.client.sequence_handler(name, layers=None if layers is None else list(layers))
    if uid is not None and uid != uid_of(handler):
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


def visible_rows(
    served: Served,
    caller: Caller,
    *,
    state: str | None = None,
    group: str | None = None,
    outcome: str | None = None,
    limit: int | None = None,
    order: str | None = None,
) -> list[SequenceRow]:
    """Return the catalog's rows with these properties, those of other groups left out; see Catalog.sequences."""
    return looked_at(served).sequences(
        state, group, outcome, limit, order or "created", groups=caller.access.groups
    )


def visible_row(served: Served, caller: Caller, ref: str) -> SequenceRow:
    """Return the row that a reference means among those that the caller sees."""
    catalog = looked_at(served)
    if caller.access.groups is None:
        try:
            return catalog.sequence(ref)
        except (OverflowError, ValueError) as error:  # @last- and a number beyond what a database counts
            raise NotFound("the store does not hold that many sequences", sequence=ref[:_SHOWN]) from error
    rows = catalog.sequences(order="-created", groups=caller.access.groups)
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


def visible_tombstones(served: Served, caller: Caller) -> list[dict[str, Any]]:
    """Return the tombstones that the caller sees, oldest first."""
    return [stone for stone in served.client.list_discarded() if caller.sees(stone.get("group"))]


def visible_findings(served: Served, found: Sequence[Finding]) -> list[Finding]:
    """Return findings with the paths in their words as they are below the store's folder."""
    return [replace(finding, message=below(served.root, finding.message)) for finding in found]


def below(root: Path, text: str) -> str:
    """Return a text with the paths of a store's files as they are below its folder; nothing else is changed."""
    before = re.escape(str(root).rstrip(os.sep) + os.sep)
    return re.sub(rf"(?<![^\s'\"`(\[=:,]){before}(?={_FOLDERS})", "", text)


def looked_at(served: Served) -> Catalog:
    """Return the catalog, as up to date as the client of a folder has it."""
    served.client._look()
    return served.client.catalog


def _nothing(name: str) -> NotFound:
    return NotFound("there is no sequence of that name", sequence=name)
