"""The answer that is a binary frame."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from gapless.serve.http.frame import MEDIA_TYPE, Frame

#: For a route whose response class is plain Response: of another, refusals would be described as frames, too.
FRAME_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "a binary frame: a JSON header and little-endian typed arrays",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


class FrameResponse(Response):
    """An answer that is a binary frame."""

    media_type = MEDIA_TYPE

    @classmethod
    def of(cls, frame: Frame) -> FrameResponse:
        """Return the answer with a frame."""
        return cls(frame.to_bytes())


def told(time_ns: int | None) -> str | None:
    """Return a time as headers and JSON tell it: text, as JSON numbers end at 2**53."""
    return None if time_ns is None else str(time_ns)
