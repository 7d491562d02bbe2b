"""The video of a topic, with byte ranges, so that a browser jumps in it."""

from __future__ import annotations

import threading
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from starlette.requests import HTTPConnection
from starlette.responses import FileResponse

from gapless.serve.http.asking import Asking
from gapless.serve.http.names import Name, TopicName
from gapless.serve.http.picture_index import index_of
from gapless.serve.http.read_bundle import read_bundle
from gapless.serve.http.video_cache import VideoCache
from gapless.serve.http.video_file import MEDIA_TYPE, video_of
from gapless.serve.native.reading_watched import WatchedReader

_PATH: Final = "/sequences/{name}/topics/{topic}/video"
_FILE: Final = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
_VIDEO: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "the whole file", "content": _FILE},
    206: {"description": "the byte range that was asked for", "content": _FILE},
    416: {"description": "the byte range lies behind the end"},
}
_MAKING: Final = threading.Lock()
router = APIRouter(tags=["pictures"])


def _cache(connection: HTTPConnection) -> VideoCache:
    """Return the app's cache, made with the first video."""
    state = connection.app.state
    with _MAKING:
        if not hasattr(state, "videos"):
            state.videos = VideoCache()
        cache: VideoCache = state.videos
    return cache


Videos = Annotated[VideoCache, Depends(_cache)]


@router.head(_PATH, response_class=FileResponse, include_in_schema=False)
@router.get(_PATH, response_class=FileResponse, responses=_VIDEO)
def video(call: Asking, name: Name, topic: TopicName, videos: Videos) -> FileResponse:
    """Return the pictures of a topic as one MP4 file."""
    reader = WatchedReader(read_bundle(call, name).topic(topic), call.cancelled)
    path, tag = video_of(reader, index_of(reader), videos)
    return FileResponse(path, media_type=MEDIA_TYPE, headers={"ETag": f'"{tag}"'})
