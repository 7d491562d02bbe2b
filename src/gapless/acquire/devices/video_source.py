"""What FFmpeg can open as a source of pictures: a camera of this machine, a stream, a file, a test picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import av
import numpy as np
import numpy.typing as npt
from pydantic import Field

from gapless.acquire.device_config import DeviceConfig
from gapless.errors import DeviceFault

_NS = 10**9
_ENDS = ("file", "lavfi")  # whose end is the end of what there is; that of any other is a loss
_CAMERAS = ("v4l2", "video4linux2", "dshow", "avfoundation", "libdc1394", "decklink", "x11grab", "gdigrab")
_GREY = ("gray", "gray16le", "gray16be")


class SourceConfig(DeviceConfig):
    """Where pictures come from.

    ``url``, ``format`` and ``options`` are FFmpeg's: ``/dev/video0`` with v4l2, ``rtsp://…``, a path,
    ``testsrc2=size=640x480`` with lavfi. ``username`` and ``password`` are put into the URL when it is
    opened and shown nowhere. ``paced``: give pictures at the pace of their own times, for files and test
    pictures. ``live``: whether the end of the source is a loss, after which it is opened again; None: yes,
    unless it is a file or a test picture.
    """

    url: str
    format: str | None = None
    options: dict[str, str] = {}  # noqa: RUF012 - pydantic copies it
    username: str | None = None
    password: str | None = None
    paced: bool = False
    live: bool | None = None
    read_timeout_s: float = Field(default=2.0, gt=0, le=120)

    @property
    def scheme(self) -> str:
        """What kind of place the source is: lavfi, file, camera, or the URL's."""
        if self.format == "lavfi":
            return "lavfi"
        scheme = urlsplit(self.url).scheme
        if len(scheme) > 1:  # a single letter is a drive
            return scheme
        return "camera" if self.url.startswith("/dev/") or self.format in _CAMERAS else "file"

    @property
    def is_live(self) -> bool:
        """Whether the end of the source is a loss."""
        return self.scheme not in _ENDS if self.live is None else self.live

    @property
    def full_url(self) -> str:
        """The URL with the credentials; for the library only."""
        if self.username is None:
            return self.url
        parts = urlsplit(self.url)
        words = quote(self.username, safe="") + ":" + quote(self.password or "", safe="")
        return urlunsplit(parts._replace(netloc=f"{words}@{parts.netloc}"))


@dataclass(frozen=True, slots=True)
class SourcePicture:
    """One picture as it left the library.

    ``pts_ns``: its time by the source's own clock, if that tells. ``corrupt``: its bytes came damaged.
    """

    frame: Any
    pts_ns: int | None
    corrupt: bool


class VideoSource:
    """An open source of pictures."""

    def __init__(self, container: Any) -> None:
        self._container = container
        self._stream = container.streams.video[0]

    def facts(self) -> dict[str, Any]:
        """Return what the source says of itself."""
        stream = self._stream
        rate: Fraction | None = stream.average_rate
        return {
            "container": self._container.format.name,
            "codec": stream.codec_context.name,
            "width": stream.codec_context.width,
            "height": stream.codec_context.height,
            "pixels": stream.codec_context.pix_fmt,
            "rate_hz": float(rate) if rate else None,
        }

    def pictures(self) -> Iterator[SourcePicture | DeviceFault]:
        """Yield the pictures to the source's end; a fault for each packet that is no picture.

        Raises DeviceFault when the source breaks or gives nothing for too long.
        """
        try:
            for packet in self._container.demux(self._stream):
                yield from self._decoded(packet)
        except av.FFmpegError as error:
            raise _fault("the source broke", error) from error

    def _decoded(self, packet: Any) -> Iterator[SourcePicture | DeviceFault]:
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            yield _fault("a packet is no picture", error)
            return
        for frame in frames:
            known = frame.pts is not None and frame.time_base is not None
            pts_ns = int(frame.pts * frame.time_base * _NS) if known else None
            yield SourcePicture(frame, pts_ns, bool(packet.is_corrupt or frame.is_corrupt))


@contextmanager
def opened(config: SourceConfig) -> Iterator[VideoSource]:
    """Open the source for the length of a block, or raise DeviceFault."""
    try:
        container = av.open(
            config.full_url,
            format=config.format,
            options=dict(config.options),
            timeout=(config.open_timeout_s, config.read_timeout_s),
        )
    except (av.FFmpegError, ValueError) as error:
        raise _fault("the source cannot be opened", error) from error
    with container:
        if not container.streams.video:
            raise DeviceFault("the source has no pictures", found=container.format.name)
        yield VideoSource(container)


def pixels_of(frame: Any) -> npt.NDArray[Any]:
    """Return a frame's pixels: grey as ``[h, w]`` of uint8 or uint16, anything else as RGB ``[h, w, 3]``."""
    name = frame.format.name
    if name not in _GREY:
        return np.asarray(frame.to_ndarray(format="rgb24"))
    return np.asarray(frame.to_ndarray(format="gray" if name == "gray" else "gray16le"))


def _fault(message: str, error: Exception) -> DeviceFault:
    """Return a fault in FFmpeg's words without its URL, in which a password may be."""
    words = getattr(error, "strerror", None) or type(error).__name__
    return DeviceFault(message, found=str(words))


__all__ = ["SourceConfig", "SourcePicture", "VideoSource", "opened", "pixels_of"]
