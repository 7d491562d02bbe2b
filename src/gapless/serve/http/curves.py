"""Curves of several fields in one binary frame, at the resolution of whoever draws them."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from gapless.serve.http.asking import Asking
from gapless.serve.http.drawn_field import DrawnField, draw, find
from gapless.serve.http.frame import Frame
from gapless.serve.http.frame_answer import FRAME_ANSWER, FrameResponse, told
from gapless.serve.http.names import Name
from gapless.serve.http.nanoseconds import EndNs, StartNs, check_window
from gapless.serve.http.read_bundle import read_bundle

MOST_FIELDS: Final = 64
MOST_POINTS: Final = 10_000
router = APIRouter(tags=["curves"])


@router.get("/sequences/{name}/curves", response_class=Response, responses=FRAME_ANSWER)
def curves(
    call: Asking,
    name: Name,
    fields: Annotated[
        list[str],
        Query(
            min_length=1,
            max_length=MOST_FIELDS,
            description="TOPIC:FIELD, once for each field; a colon of TOPIC is %3A, a percent sign %25",
        ),
    ],
    start_ns: StartNs = None,
    end_ns: EndNs = None,
    points: Annotated[
        int, Query(ge=2, le=MOST_POINTS, description="how many points a field may take")
    ] = 2000,
) -> FrameResponse:
    """Draw fields of any topics: exact rows where the window has few, else exact extremes of buckets."""
    check_window(start_ns, end_ns)
    bundle = read_bundle(call, name)
    asked = [find(bundle, text, call.cancelled) for text in fields]  # a wrong name costs no reading
    drawn = [draw(reader, leaf, points, start_ns, end_ns) for reader, leaf in asked]
    return FrameResponse.of(framed(drawn, start_ns, end_ns, points))


def framed(fields: list[DrawnField], start_ns: int | None, end_ns: int | None, points: int) -> Frame:
    """Return drawn fields as one frame; its base is the first time that any of them has."""
    firsts = [field.first_ns for field in fields if field.first_ns is not None]
    frame = Frame(min(firsts, default=start_ns or 0))
    frame.header = {
        "start_ns": told(start_ns),
        "end_ns": told(end_ns),
        "points": points,
        "fields": [field.add_to(frame, number) for number, field in enumerate(fields)],
    }
    return frame
