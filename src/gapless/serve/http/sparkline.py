"""One small curve of a sequence, for a line in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from gapless.errors import UsageError
from gapless.serve.http.asking import Asking
from gapless.serve.http.curves import framed
from gapless.serve.http.drawn_field import DrawnField
from gapless.serve.http.frame_answer import FRAME_ANSWER, FrameResponse
from gapless.serve.http.names import Name
from gapless.serve.http.read_bundle import read_bundle
from gapless.serve.http.recent_curves import RecentCurves
from gapless.serve.native.reading_watched import WatchedReader
from gapless.store.leaf import Leaf
from gapless.store.pyramid import numeric_fields
from gapless.store.pyramid_read import downsample

if TYPE_CHECKING:
    from gapless.store.reader import BundleReader, TopicReader

POINTS: Final = 60
_RECENT: Final = RecentCurves()
router = APIRouter(tags=["curves"])


@router.get("/sequences/{name}/sparkline", response_class=Response, responses=FRAME_ANSWER)
def sparkline(
    call: Asking,
    name: Name,
    topic: Annotated[str | None, Query(description="missing: the first topic with a number")] = None,
    field: Annotated[str | None, Query(description="missing: the first number of the topic")] = None,
) -> FrameResponse:
    """Draw one field in at most 60 points: always buckets, as a row of a table has no room for more.

    No field at all where the sequence has no number yet.
    """
    bundle = read_bundle(call, name)
    chosen = _chosen(bundle, topic, field)
    if chosen is None:
        return FrameResponse.of(framed([], None, None, POINTS))
    reader = WatchedReader(bundle.topic(chosen[0]), call.cancelled)
    return FrameResponse.of(framed([_drawn(reader, chosen[1])], None, None, POINTS))


def _drawn(reader: TopicReader, field: str) -> DrawnField:
    """Return the curve; that of an open sequence, which has no pyramid, may be some seconds old."""
    leaf = Leaf.of(reader.schema, field, reader.name)

    def draw() -> DrawnField:
        return DrawnField(reader.name, leaf, downsample(reader, field, POINTS))

    bundle = reader.bundle
    if bundle.manifest is not None:
        return draw()
    return _RECENT.get((str(bundle.path), bundle.base.description.get("uid"), reader.name, field), draw)


def _chosen(bundle: BundleReader, topic: str | None, field: str | None) -> tuple[str, str] | None:
    """Return the topic and field to draw; if none is named, the first number with rows."""
    if topic is None and field is not None:
        raise UsageError("a field is asked for without its topic", sequence=bundle.name, field=field)
    names = [topic] if topic is not None else list(bundle.topics)
    for name in names:
        reader = bundle.topic(name)
        if field is not None:
            return name, field
        numbers = numeric_fields(reader.schema)
        if numbers and reader.rows:
            return name, numbers[0]
    return None
