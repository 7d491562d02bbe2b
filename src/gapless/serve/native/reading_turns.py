"""An answer to a query, made in turns: what a server holds of it is what one turn has found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from gapless.model.expression import Expression, walk
from gapless.model.normal_form import normal_form
from gapless.serve.native.reading_runs import AnyRun, BoundedRuns

if TYPE_CHECKING:
    from gapless.catalog.answer import QueryAnswer
    from gapless.client.client import Client

_AT_ONCE: Final = 1_000  # sequences; the catalog confirms about that many together


def in_turns(
    client: Client,
    expression: Expression,
    gone: Callable[[], bool],
    *,
    runs: bool,
    order: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Iterator[QueryAnswer]:
    """Yield the answer to a query about rows in pieces of some sequences, to any other query in one piece.

    The pieces follow one another in order; there is at least one, and the ``next_cursor`` of the last is
    that of the whole. Without ``runs``, one run of each topic stands for all. Raises QueryRefused as
    :meth:`Client.query`, LimitReached for more runs than a server holds, and ``pyarrow.ArrowCancelled``
    instead of looking into more rows once ``gone()`` is true.
    """
    at_once = _AT_ONCE if _finds_runs(expression) else None
    while True:
        if gone():
            raise pa.ArrowCancelled("nobody waits for the answer any more")
        wanted = min((bound for bound in (limit, at_once) if bound is not None), default=None)
        builder = BoundedRuns(gone) if runs else partial(AnyRun, gone)
        client._look()
        answer = client.catalog.query(expression, order=order, limit=wanted, cursor=cursor, builder=builder)
        limit = None if limit is None else limit - len(answer)
        cursor = answer.next_cursor
        yield answer
        del answer  # before the next one is made
        if cursor is None or limit == 0:
            return


def _finds_runs(expression: Expression) -> bool:
    """Tell whether runs of rows are found, in a query whose turns together cost what the whole would.

    What an answer is to be without is found anew in each turn.
    """
    about_rows = any(predicate.target not in ("sequence", "topic") for predicate in walk(expression))
    return about_rows and not any(alternative.exclusions for alternative in normal_form(expression))
