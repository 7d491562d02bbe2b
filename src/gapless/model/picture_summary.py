"""The summary of a camera: exact histograms of each channel over pictures sampled at fixed indices."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapless.model.summary import QUANTILES, interpolated

SAMPLED_EVERY = 16


class PictureSummary:
    """What the pictures of one camera look like, from every 16th picture; memory does not grow with them.

    Pictures are uint8 or uint16, ``[height, width]`` or ``[height, width, channels]``, all alike in dtype and
    channels. Which ones count depends on their index alone, so the figures are the same in every run.
    Figures are in pixel values (0..255 or 0..65,535) and exact, up to float64.
    """

    def __init__(self) -> None:
        self.pictures = 0
        self.frozen = True  # all sampled pictures are the same
        self.counts: NDArray[np.int64] = np.zeros((0, 0), np.int64)  # [channels, values]
        self._digest: bytes | None = None

    @staticmethod
    def wants(index: int) -> bool:
        """Tell whether the picture of that 0-based index counts."""
        return index % SAMPLED_EVERY == 0

    def add(self, index: int, picture: NDArray[Any]) -> None:
        """Take the next picture, if its index is wanted."""
        if not self.wants(index):
            return
        channels = picture.reshape(picture.shape[0] * picture.shape[1], -1).T
        if not len(self.counts):
            self.counts = np.zeros((len(channels), np.iinfo(picture.dtype).max + 1), np.int64)
        self.counts += [np.bincount(channel, minlength=self.counts.shape[1]) for channel in channels]
        self._compare(hashlib.blake2b(np.ascontiguousarray(picture).data, digest_size=16).digest())
        self.pictures += 1

    def merge(self, other: PictureSummary) -> None:
        """Take what the other summary has seen; both are of cameras alike in dtype and channels."""
        if not other.pictures:
            return
        self.counts = other.counts + self.counts if self.pictures else other.counts.copy()
        assert other._digest is not None
        self._compare(other._digest)
        self.frozen = self.frozen and other.frozen
        self.pictures += other.pictures

    def figures(self) -> dict[str, Any]:
        """Return the figures of all channels: name to a list with one number for each channel.

        ``count`` is a number of pixels. Empty lists if there was no picture.
        """
        channels = [_channel_figures(counts) for counts in self.counts]
        names = ("count", "min", "max", "mean", "std", *QUANTILES)
        return {name: [channel[name] for channel in channels] for name in names}

    def _compare(self, digest: bytes) -> None:
        if self._digest is None:
            self._digest = digest
        self.frozen = self.frozen and digest == self._digest


def _channel_figures(counts: NDArray[np.int64]) -> dict[str, float | int]:
    seen = np.flatnonzero(counts)
    pairs = [(int(value), int(counts[value])) for value in seen]
    count = sum(n for _, n in pairs)
    total = sum(value * n for value, n in pairs)
    squares = count * sum(value * value * n for value, n in pairs) - total * total  # count**2 * variance
    ends = np.cumsum(counts[seen])
    return {
        "count": count,
        "min": float(seen[0]),
        "max": float(seen[-1]),
        "mean": total / count,
        "std": math.sqrt(squares / (count * count)),
        **{name: _quantile(seen, ends, count, fraction) for name, fraction in QUANTILES.items()},
    }


def _quantile(seen: NDArray[np.intp], ends: NDArray[np.int64], count: int, fraction: float) -> float:
    return interpolated(lambda rank: float(seen[np.searchsorted(ends, rank, "right")]), count, fraction)
