"""What a media topic stores: one row per picture, with the encoder's bytes and what a reader needs."""

from __future__ import annotations

from enum import StrEnum

from gapless.model.ontology.declaration import Ontology, field
from gapless.model.ontology.leaf import Int32, LargeBytes

TAG = "EncodedImage"


class Media(StrEnum):
    """How a topic's pictures are encoded."""

    PNG = "png"
    MP4 = "mp4"
    FFV1 = "ffv1"


class EncodedImage(Ontology, tag=TAG):
    """One picture as an encoder made it. The bytes of a keyframe can be decoded alone."""

    data: LargeBytes = field(
        description="a PNG file, one H.264 access unit in Annex B form, or one FFV1 frame"
    )
    encoding: str = field(description="png, h264 or ffv1")
    keyframe: bool = field(description="true if no earlier picture is needed; SPS and PPS are in its bytes")
    width: Int32 = field(unit="px")
    height: Int32 = field(unit="px")
    pixels: str = field(description="what was pushed: rgb8, bgr8, mono8 or mono16")
    stream: str = field(description="the encoder: empty for the sequence itself, else its layer's name")
    packet: int = field(description="number of the picture in its stream, without holes")
