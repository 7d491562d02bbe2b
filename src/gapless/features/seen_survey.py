"""A survey that found every entry done, kept so that stats alone tell whether it would find the same again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from gapless.features.survey import EntryState, Survey, labelled_sources

Input = tuple[str, int, int, int]  # path, size, time, inode
Output = tuple[str, int, int]  # path, size, time


class SeenSurvey:
    """A survey, what it was made from, and the files that it looked at as they were.

    ``made_from`` holds all that a survey depends on but files, which are looked at again by :meth:`holds`.
    """

    def __init__(self, made_from: tuple[object, ...], survey: Survey) -> None:
        self.survey = survey
        self._made_from = made_from

    @classmethod
    def of(cls, made_from: tuple[object, ...], survey: Survey) -> SeenSurvey | None:
        """Return what to keep of a survey; None if an entry of it is not done."""
        if not all(state.done and not state.code_changed for state in survey.states):
            return None
        return cls(made_from, survey)

    def holds(self, made_from: tuple[object, ...]) -> bool:
        """Tell whether a survey would find the same now."""
        return self._made_from == made_from and self._files_are_the_same()

    @cached_property
    def _inputs(self) -> list[Input]:
        found: dict[str, Input] = {}
        for state in self.survey.states:
            for path, stamp in _stamps(state):
                size, mtime_ns, inode = map(int, stamp.split(":"))
                found[path] = (path, size, mtime_ns, inode)
        return list(found.values())

    @cached_property
    def _outputs(self) -> list[Output]:
        return list(_outputs(self.survey))

    def _files_are_the_same(self) -> bool:
        stat = os.stat
        try:
            for path, size, mtime_ns, inode in self._inputs:
                status = stat(path)
                if status.st_mtime_ns != mtime_ns or status.st_size != size or status.st_ino != inode:
                    return False
            for path, size, mtime_ns in self._outputs:
                status = stat(path)
                if status.st_mtime_ns != mtime_ns or status.st_size != size:
                    return False
        except OSError:
            return False
        return True


def _stamps(state: EntryState) -> Iterator[tuple[str, str]]:
    """Yield path and stamp of every file that an entry is computed from, as they were looked at."""
    assert state.plan is not None
    for label, source in labelled_sources(state.plan):
        if source.files:
            for file, stamp in zip(source.files, state.stamps[label].split(" "), strict=True):
                yield f"{file.folder}/{file.path}", stamp


def _outputs(survey: Survey) -> Iterator[Output]:
    folder: Path = survey.folder.path
    for state in survey.states:
        if state.record is not None and state.record.file:
            yield f"{folder}/{state.record.file}", state.record.bytes, state.record.mtime_ns
