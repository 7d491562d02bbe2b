"""Errors of the store as answers that Tiled's client shows with their message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse

from gapless.errors import CatalogBusy, GaplessError, MissingExtra, NotFound, QueryRefused

_REFUSED, _NOT_THERE, _FAILED, _NOT_BUILT, _BUSY = 400, 424, 500, 501, 503


@contextmanager
def told() -> Iterator[None]:
    """Raise what the store raises inside as an answer.

    400 for what nobody can answer, 424 for a file that is gone or may not be read, 501 for a reader that is
    not installed, 503 while the catalog is being built by another process, else 500.
    """
    try:
        yield
    except QueryRefused as error:
        raise HTTPException(_REFUSED, detail=str(error)) from error
    except CatalogBusy as error:
        raise HTTPException(_BUSY, detail=str(error)) from error
    except NotFound as error:
        raise HTTPException(_NOT_THERE, detail=str(error)) from error
    except MissingExtra as error:
        raise HTTPException(_NOT_BUILT, detail=str(error)) from error
    except (GaplessError, OverflowError) as error:
        raise HTTPException(_FAILED, detail=str(error)) from error


async def refuse_request(_request: Request, error: Exception) -> JSONResponse:
    """Answer 400 to a query that Tiled itself could not read."""
    return JSONResponse({"detail": f"A value of the query is no JSON: {error}"}, _REFUSED)


def too_large() -> HTTPException:
    """Return the answer to somebody who asks for more than one answer may hold."""
    return HTTPException(
        _REFUSED,
        detail="The table is larger than one answer may be: select columns, or read its partitions.",
    )
