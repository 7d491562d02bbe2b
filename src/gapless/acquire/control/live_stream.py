"""One subscriber's stream: the latest value of each channel a few times a second, events and gaps all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from gapless.acquire.emission import ChannelSample, DeviceEvent, FrameReceipt, GapReport, Reading, SampleBlock
from gapless.acquire.event_log import Entry
from gapless.flow.bridge import ThreadBridge

FEED_ITEMS = 4096


class LiveStream:
    """Thins a feed. :meth:`collect` is called some fifty times a second and never waits.

    Looking instead of being woken keeps what a watcher costs the run the same at any rate. A watcher who
    is slow loses the oldest of its feed, and ``dropped`` in its messages counts that.
    """

    def __init__(self, feed: ThreadBridge[Any], channels: Sequence[str] | None, rate_hz: float) -> None:
        self._feed = feed
        self._globs = channels
        self._period_s = 1 / rate_hz
        self._wanted: dict[str, bool] = {}
        self._samples: dict[str, dict[str, Any]] = {}
        self._frames: dict[str, dict[str, Any]] = {}
        self._sent_s = 0.0
        self.ended = False

    def collect(self) -> Iterator[dict[str, Any]]:
        """Yield the messages that are due now; the last one says ``end``."""
        closed = self._feed.closed  # asked first: what was put before it is taken below
        while items := self._feed.take_nowait(FEED_ITEMS):
            for item in items:
                yield from self._take(item)
        due = time.monotonic() - self._sent_s >= self._period_s
        if (self._samples or self._frames) and (due or closed):
            self._sent_s = time.monotonic()
            yield self._values()
        if closed:
            self.ended = True
            yield {"stream": "end"}

    def close(self) -> None:
        """Take no more from the run."""
        self._feed.close()

    def _take(self, item: Any) -> Iterator[dict[str, Any]]:
        if isinstance(item, Reading):
            for sample in item.samples:
                self._keep(sample)
        elif isinstance(item, ChannelSample | SampleBlock):
            self._keep(item)
        elif isinstance(item, FrameReceipt):
            self._frames[item.camera] = {"frame_idx": item.frame_idx, "timestamp_ns": item.timestamp_ns}
        elif isinstance(item, Entry):
            yield {"stream": "event", **item.to_json()}
        elif isinstance(item, DeviceEvent):
            yield {"stream": "event", "source": item.device, **msgspec.structs.asdict(item)}
        elif isinstance(item, GapReport):
            yield {"stream": "gap", **msgspec.structs.asdict(item)}

    def _keep(self, sample: ChannelSample | SampleBlock) -> None:
        wanted = self._wanted.get(sample.channel)
        if wanted is None:
            wanted = self._globs is None or any(fnmatchcase(sample.channel, glob) for glob in self._globs)
            self._wanted[sample.channel] = wanted
        if wanted:
            self._samples[sample.channel] = _latest(sample)

    def _values(self) -> dict[str, Any]:
        message = {"stream": "samples", "samples": self._samples, "dropped": self._feed.metrics().dropped}
        if self._frames:
            message["frames"] = self._frames
        self._samples, self._frames = {}, {}
        return message


def _latest(sample: ChannelSample | SampleBlock) -> dict[str, Any]:
    """Return the last value of a sample or block, as JSON values."""
    if isinstance(sample, ChannelSample):
        value, stamp_ns, status, spread = (
            sample.value,
            sample.timestamp_ns,
            sample.status,
            sample.uncertainty,
        )
    else:
        value, stamp_ns = sample.values[-1].item(), int(sample.timestamps_ns[-1])
        status = 0 if sample.status is None else int(sample.status[-1])
        spread = None if sample.uncertainty is None else float(sample.uncertainty[-1])
    return {
        "value": value,
        "unit": sample.unit,
        "status": int(status),
        "timestamp_ns": stamp_ns,
        "uncertainty": spread,
    }
