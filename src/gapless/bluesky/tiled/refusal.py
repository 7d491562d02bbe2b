"""Errors of the store as answers that Tiled's client shows with their message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException

from gapless.errors import GaplessError, MissingExtra, NotFound

_TOO_MUCH, _NOT_THERE, _FAILED, _NOT_BUILT = 400, 424, 500, 501


@contextmanager
def told() -> Iterator[None]:
    """Raise what the store raises inside as an answer: 424 for a file that is gone, else 500."""
    try:
        yield
    except NotFound as error:
        raise HTTPException(_NOT_THERE, detail=str(error)) from error
    except MissingExtra as error:
        raise HTTPException(_NOT_BUILT, detail=str(error)) from error
    except (GaplessError, OverflowError) as error:
        raise HTTPException(_FAILED, detail=str(error)) from error


def too_large() -> HTTPException:
    """Return the answer to somebody who asks for more than one answer may hold."""
    return HTTPException(
        _TOO_MUCH,
        detail="The table is larger than one answer may be: select columns, or read its partitions.",
    )
