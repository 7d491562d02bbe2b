"""The episodes of a dataset in their order: one entry of JSON values each, and what follows from all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gapless.exchange.lerobot.export_shape import CHUNK_FILES
from gapless.exchange.lerobot.export_stats import summary_of
from gapless.model.picture_summary import PictureSummary

IDENTITY = ("sequence", "content_digest", "layers")  # what an episode is recognised by


class Entries:
    """The entries of an exported dataset, and those that are added to them.

    ``kept``: how many there were before; ``rows``: of all; ``tasks``: texts in the order in which episodes have
    them first; ``next_piece``: the number of the next pair of files; ``pictures``: of each camera of those added.
    """

    def __init__(self, before: Sequence[dict[str, Any]]) -> None:
        self.listed: list[dict[str, Any]] = []
        self.rows = 0
        self.tasks: dict[str, int] = {}
        self.next_piece = 0
        self.pictures: dict[str, PictureSummary] = {}
        self.extend(before)
        self.kept = len(before)

    def __len__(self) -> int:
        return len(self.listed)

    @property
    def added(self) -> list[dict[str, Any]]:
        """The entries that were not there before."""
        return self.listed[self.kept :]

    @property
    def sequences(self) -> set[str]:
        """The names of the sequences."""
        return {entry["sequence"] for entry in self.listed}

    def number_tasks(self, texts: Iterable[str]) -> list[int]:
        """Return the numbers of tasks; those that no episode has had yet get the next ones."""
        return [self.tasks.setdefault(text, len(self.tasks)) for text in texts]

    def extend(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Add the next episodes; counts of pixels are summed up and not kept for each."""
        for entry in entries:
            self.rows += entry["rows"]
            self.number_tasks(entry["tasks"])
            chunk, file = entry["file"]
            self.next_piece = chunk * CHUNK_FILES + file + 1
            self._count(entry.get("counts", {}))
            self.listed.append({key: value for key, value in entry.items() if key != "counts"})

    def _count(self, counts: Mapping[str, Any]) -> None:
        for key, channels in counts.items():
            if key in self.pictures:
                self.pictures[key].counts += summary_of(channels).counts
            else:
                self.pictures[key] = summary_of(channels)
