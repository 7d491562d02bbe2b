"""The rows of a topic, as many as are asked for, in the form that is asked for."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import islice
from typing import Annotated, Any, Final, Literal

import pyarrow as pa
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from gapless.errors import UsageError
from gapless.serve.http.asking import Asking
from gapless.serve.http.data_columns import named_columns
from gapless.serve.http.data_formats import FORMATS
from gapless.serve.http.data_page import DataPage, page_of, whole_page
from gapless.serve.http.data_rows import Window, buckets_of, rows_of
from gapless.serve.http.download import saved_as
from gapless.serve.http.names import Name, TopicName
from gapless.serve.http.nanoseconds import EndNs, StartNs, check_window
from gapless.serve.http.row_place import After, Place
from gapless.serve.visible import opened

router = APIRouter(tags=["data"])
PAGE_ROWS: Final = 100
MOST_PAGE_ROWS: Final = 10_000
MOST_POINTS: Final = 10_000
_PATH: Final = "/sequences/{name}/topics/{topic}/data"
_BYTES: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}
_CONTENT: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "a page of rows as JSON, or all of them in another format, sent while they are read",
        "content": {
            FORMATS[name].media_type.partition(";")[0]: _BYTES for name in ("arrow", "parquet", "csv")
        },
    }
}


@router.head(_PATH, response_model=DataPage, include_in_schema=False)
@router.get(_PATH, response_model=DataPage, responses=_CONTENT)
def read_data(
    request: Request,
    call: Asking,
    name: Name,
    topic: TopicName,
    format: Literal["json", "json-all", "arrow", "parquet", "csv"] = "json",  # noqa: A002 - the word of the API
    columns: Annotated[
        list[str] | None,
        Query(
            description="columns beside the time, with commas between them or one by one; else all. Also values"
            " inside of them: pose.position.x, joints[3]"
        ),
    ] = None,
    start_ns: StartNs = None,
    end_ns: EndNs = None,
    limit: Annotated[
        int | None,
        Query(ge=1, le=2**53, description=f"rows; of a JSON page {PAGE_ROWS}, at most {MOST_PAGE_ROWS}"),
    ] = None,
    after: After = None,
    points: Annotated[
        int | None,
        Query(
            ge=2,
            le=MOST_POINTS,
            description="buckets of time instead of rows: at most half as many for each numeric column",
        ),
    ] = None,
) -> Response | DataPage:
    """Read rows in ``[start_ns, end_ns)`` in order of time; of an open sequence those that are durable now.

    ``json`` comes in pages; ``json-all``, Arrow, Parquet and CSV hold all of it, whatever its size.
    An answer that breaks off is incomplete: its chunked transfer does not end.
    """
    reader = opened(call.served, call, name).reader.topic(topic)
    place = None if after is None else Place.read(after)
    page_rows = min(limit or PAGE_ROWS, MOST_PAGE_ROWS)
    is_page = format == "json"
    check_window(start_ns, end_ns)
    wanted = page_rows + 1 if is_page else limit
    window = Window(named_columns(columns, reader.schema), start_ns, end_ns, wanted, place)
    if points is not None:
        if place is not None or limit is not None:
            raise UsageError("points are of the whole span", field="points", found="limit or after",
                             next_step="leave out limit and after, or points")  # fmt: skip
        rows = buckets_of(reader, window, points, call.cancelled)
    else:
        rows = rows_of(reader, window, call.cancelled)
    if is_page:
        return page_of(rows, page_rows, place) if points is None else whole_page(rows)
    headers = saved_as(name, topic, suffix=FORMATS[format].suffix)
    encoded = begun(FORMATS[format].encode(rows.schema, rows.batches))
    if request.method == "HEAD":  # nobody takes the rows: no more is read than what tells whether they can be
        encoded.close()
    return StreamingResponse(encoded, media_type=FORMATS[format].media_type, headers=headers)


def begun(chunks: Iterator[bytes]) -> Generator[bytes, None, None]:
    """Return the same chunks, the first two made already: what hinders them is told before the answer begins."""
    return _sent(list(islice(chunks, 2)), chunks)


def _sent(first: list[bytes], rest: Iterator[bytes]) -> Generator[bytes, None, None]:
    """Yield chunks, none of which is held once it is taken; in the end, what they needed goes back to the machine."""
    try:
        while first:
            yield first.pop(0)
        yield from rest
    finally:
        pa.default_memory_pool().release_unused()
