"""The findings of `gapless doctor`: code -> meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FINDINGS: Final[dict[str, str]] = {
    "D001": "A required library is missing or cannot be imported; install gapless again.",
    "D002": "The folder of the store cannot be written.",
    "D003": "A sync takes longer than the durability window of 250 ms: rows become durable late.",
    "D004": "The store is in memory: it is gone after a restart, whatever was synced.",
    "D005": "The store is on a network file system: locks and syncs depend on the server.",
    "D006": "Less than 1 GiB of disk space is free.",
    "D007": "Less than 300 MB of memory is available.",
    "D008": "The wall clock moved against the monotonic clock while the doctor watched.",
    "D009": "A sequence is open and its recorder is gone; `gapless recover NAME` seals it.",
    "D010": "The store was written in a format that this release does not know.",
    "D011": "The store's folder is not there yet; the first recording makes it.",
    "D012": "The file system refuses locks: two recorders could not be told apart.",
}


@dataclass(frozen=True)
class DoctorFinding:
    """One thing the doctor found: `error` fails the examination, `warning` and `info` do not."""

    code: str
    severity: str
    message: str
