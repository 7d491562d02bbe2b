"""A session: the group of its episodes, their numbers, their tasks, and where they are reported."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from gapless.errors import NameTaken, NotFound, UsageError
from gapless.model.names import check_sequence_name
from gapless.model.outcome import Outcome
from gapless.observe.approval import EpisodeReports, SessionRequest
from gapless.observe.episode import Ended, Episode
from gapless.observe.options import Options, seed_of
from gapless.observe.plan import Plan

if TYPE_CHECKING:
    from gapless.client.client import Client

_LOG = logging.getLogger("gapless.observe")
_FORMAT = 1  # of the metadata that every episode has under "episode"


@dataclass
class Session:
    """One session from its start to its end. ``reports``: None until approved, or without a hub."""

    name: str
    client: Client
    plan: Plan
    options: Options
    robot_type: str | None
    metadata: dict[str, Any]
    tasks: dict[int, str] = field(default_factory=dict)
    task: int = -1
    begun: int = 0  # episodes that count: begun and not discarded
    ended: int = 0
    reports: EpisodeReports | None = None
    used: bool = False  # an episode has begun
    report_error: Exception | None = None  # what the code that reports raised last
    _next: int = 0
    _told: set[str] = field(default_factory=set)  # sequences that were counted and reported

    def __post_init__(self) -> None:
        check_sequence_name(self.name)
        check_sequence_name(f"{self.name}/episode-000000")
        _check_own(self.metadata)
        self._look_back()

    def _look_back(self) -> None:
        """Find the next free number, and refuse recorders that changed within a version."""
        self._next = next_number(self.client, self.name)
        there = _numbered(self.name, self.client.list_sequences())
        unseen = {(topic, known["version"]) for topic, known in self.plan.schemas.items()}
        for number in sorted(there, reverse=True):  # one look is enough where nothing is new
            if not unseen:
                return
            told = self.client.sequence_handler(there[number]).metadata.get("episode")
            schemas = told.get("schemas", {}) if isinstance(told, dict) else {}
            self.plan.check_against(schemas, there[number])
            unseen -= {(topic, known["version"]) for topic, known in schemas.items()}

    def request(self) -> SessionRequest:
        """Return what is to be approved."""
        return SessionRequest(
            self.name,
            tuple(text for _, text in sorted(self.tasks.items())),
            self.options.total_episodes,
            str(self.options.mode),
            rate_text(self.options.data_hz),
            rate_text(self.options.video_hz),
            tuple(r.name for r in self.plan.recorders),
            self.metadata,
        )

    @property
    def complete(self) -> bool:
        """Whether as many episodes were begun as the session may have."""
        total = self.options.total_episodes
        return total is not None and self.begun >= total

    def next_episode(self, seed: int | None, metadata: Mapping[str, Any] | None) -> Episode:
        """Return the next episode, not open yet."""
        _check_own(metadata or {})
        seed = seed_of(seed)
        while True:
            index, self._next = self._next, self._next + 1
            name = f"{self.name}/episode-{index:06d}"
            if self.client.was_discarded(name):
                continue
            try:
                episode = self._episode(name, index, seed, metadata)
                break
            except NameTaken:  # another process records into this session
                self._next = max(self._next, next_number(self.client, self.name))
        self.used = True
        return episode

    def _episode(
        self, name: str, index: int, seed: int | None, metadata: Mapping[str, Any] | None
    ) -> Episode:
        words: dict[str, Any] = {
            **self.metadata,
            **(metadata or {}),
            "episode": {
                "format": _FORMAT,
                "session": self.name,
                "index": index,
                "seed": seed,
                "mode": str(self.options.mode),
                "deterministic": self.options.deterministic,
                "data_hz": rate_text(self.options.data_hz),
                "video_hz": rate_text(self.options.video_hz),
                "robot_type": self.robot_type,
                "schemas": self.plan.schemas,
            },
        }
        return Episode(self.client, self.plan, self.options, name, words, self.name)

    # -- reports -------------------------------------------------------------------------------

    def tell(self, ended: Ended) -> None:
        """Count an episode that has ended, and report it."""
        if ended.sequence in self._told:  # a Ctrl-C came before it could be forgotten
            return
        self.ended += ended.outcome == Outcome.COMPLETED
        self._told.add(ended.sequence)
        if self.reports is not None:
            self._report(self.reports.submit, ended.execution_metadata())

    def stop_reports(self, reason: str) -> None:
        """Report the end of the session, if it was approved by somebody who wants reports."""
        if self.reports is not None:
            words = {"session": self.name, "episodes": self.ended, "reason": reason}
            self._report(self.reports.stop, words)

    def _report(self, report: Callable[[Mapping[str, Any]], None], words: Mapping[str, Any]) -> None:
        """Report, whatever the code that reports does: a recording never fails for a hub."""
        try:
            report(words)
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
            self.report_error = error
            _LOG.error("an episode could not be reported: %s: %s", type(error).__name__, error)

    # -- tasks ---------------------------------------------------------------------------------

    def register(self, index: int, text: str) -> None:
        """Give a task its number; the same twice is one, another text under a known number is refused."""
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < 2**31:
            raise UsageError("a task has a number", field="index", found=repr(index), expected="0, 1, …")
        if not isinstance(text, str) or not text.strip():
            raise UsageError("a task is described in words", field="text", found=repr(text))
        if self.tasks.get(index, text) != text:
            raise UsageError("the number has another task", found=text, expected=self.tasks[index])
        self.tasks[index] = text

    def set_task(self, index: int) -> None:
        """Make the task that of the rows to come; -1: none."""
        if index != -1 and index not in self.tasks:
            known = ", ".join(f"{i}: {text}" for i, text in sorted(self.tasks.items()))
            raise NotFound(
                "there is no task of that number", found=index, expected=known or "register_task() first"
            )
        self.task = index


def next_number(client: Client, session: str) -> int:
    """Return the number of a session's next episode: those of discarded ones are never used again."""
    gone = _numbered(session, (str(t["name"]) for t in client.list_discarded()))
    return max(_numbered(session, client.list_sequences()).keys() | gone.keys(), default=-1) + 1


def _numbered(session: str, names: Iterable[str]) -> dict[int, str]:
    """Return the names of a session's episodes by their numbers."""
    prefix = f"{session}/episode-"
    found = (re.fullmatch(re.escape(prefix) + "([0-9]+)", name) for name in names)
    return {int(match[1]): match[0] for match in found if match}


def _check_own(metadata: Mapping[str, Any]) -> None:
    if "episode" in metadata:
        raise UsageError("the key is the observer's own", field="metadata", found="episode")


def rate_text(rate: Fraction) -> str:
    """Return a rate as the metadata and a hub have it: "30", "30000/1001"."""
    return str(rate)


def tasks_of(texts: Iterable[str]) -> dict[int, str]:
    """Return tasks numbered in their order."""
    return dict(enumerate(texts))
