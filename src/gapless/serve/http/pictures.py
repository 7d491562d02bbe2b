"""The pictures of a topic: when there are any, and each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Query
from starlette.responses import Response

from gapless.serve.http.asking import Asking
from gapless.serve.http.exact_times import add_exact_times
from gapless.serve.http.frame import Frame
from gapless.serve.http.frame_answer import FRAME_ANSWER, FrameResponse, told
from gapless.serve.http.names import Name, TopicName
from gapless.serve.http.nanoseconds import AskedNanoseconds, EndNs, StartNs, check_window
from gapless.serve.http.picture_index import index_of
from gapless.serve.http.read_bundle import read_bundle
from gapless.serve.http.shown_picture import Mode, View, number_at, show
from gapless.serve.http.video_file import has_video
from gapless.serve.native.reading_watched import WatchedReader

if TYPE_CHECKING:
    from gapless.serve.http.picture_index import PictureIndex

MOST_FRAMES: Final = 100_000
_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}
_PICTURE: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "the picture: PNG without loss, JPEG for video, or the file that was recorded",
        "content": {f"image/{kind}": _BYTES for kind in ("png", "jpeg", "gif", "webp")},
        "headers": {
            "X-Gapless-Time-Ns": {"schema": {"type": "string"}, "description": "its time"},
            "X-Gapless-Frame": {
                "schema": {"type": "string"},
                "description": "its number in time order, from 0",
            },
        },
    }
}
router = APIRouter(tags=["pictures"])


@router.get("/sequences/{name}/topics/{topic}/frames", response_class=Response, responses=FRAME_ANSWER)
def frames(
    call: Asking,
    name: Name,
    topic: TopicName,
    start_ns: StartNs = None,
    end_ns: EndNs = None,
    limit: Annotated[int, Query(ge=1, le=MOST_FRAMES, description="of pictures in one answer")] = 10_000,
) -> FrameResponse:
    """Tell when there are pictures, and at which second of the topic's video each is shown."""
    check_window(start_ns, end_ns)
    reader = WatchedReader(read_bundle(call, name).topic(topic), call.cancelled)
    index = index_of(reader)
    times = index.times_ns
    low = 0 if start_ns is None else int(np.searchsorted(times, np.int64(start_ns)))
    high = len(index) if end_ns is None else max(low, int(np.searchsorted(times, np.int64(end_ns))))
    cut = min(high, low + limit)
    if cut < high:  # pictures of one time stay together, so that the next question begins behind them
        cut = int(np.searchsorted(times, times[cut - 1], "right"))
    frame = Frame(
        int(times[low]) if low < high else start_ns or 0,
        encoding=index.encoding,
        pixels=index.pixels,
        total=high - low,
        next_ns=told(int(times[cut])) if cut < high else None,
        video=has_video(reader, index),
    )
    _add(frame, index, slice(low, cut))
    return FrameResponse.of(frame)


def _add(frame: Frame, index: PictureIndex, part: slice) -> None:
    add_exact_times(frame, "time", index.times_ns[part])
    frame.add("number", np.arange(len(index), dtype=np.uint32)[part])
    frame.add("keyframe", index.keyframe[part].astype(np.uint8))
    frame.add("width", index.width[part].astype(np.int32), unit="px")
    frame.add("height", index.height[part].astype(np.int32), unit="px")
    if frame.header["video"]:
        frame.add("pts_s", index.shown_s[part], unit="s")


@router.get("/sequences/{name}/topics/{topic}/picture", response_class=Response, responses=_PICTURE)
def picture(
    call: Asking,
    name: Name,
    topic: TopicName,
    time_ns: Annotated[AskedNanoseconds, Query(description="when, in ns since 1970")],
    mode: Annotated[
        Mode, Query(description="the picture at, at or before, or closest to the time")
    ] = "before",
    view: Annotated[View, Query(description="8bit spreads grey values from black to white")] = "stored",
) -> Response:
    """Return the picture at a time."""
    reader = WatchedReader(read_bundle(call, name).topic(topic), call.cancelled)
    index = index_of(reader)
    number = number_at(reader, index, time_ns, mode)
    found = show(reader, index, number, view)
    headers = {"X-Gapless-Time-Ns": str(index.times_ns[number]), "X-Gapless-Frame": str(number)}
    if (
        index.pixels is not None and index.pixels.isascii() and index.pixels.isprintable()
    ):  # a row may say anything
        headers["X-Gapless-Pixels"] = index.pixels
    if found.low is not None and found.high is not None:
        headers |= {"X-Gapless-Low": str(found.low), "X-Gapless-High": str(found.high)}
    return Response(found.data, media_type=found.media_type, headers=headers)
