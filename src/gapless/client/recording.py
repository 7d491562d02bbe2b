"""What a sequence writer writes to: a bundle of this machine, or a server.

Rows travel through lanes, which are the same everywhere; a recording says what becomes of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from gapless.errors import GaplessError
from gapless.model.ledger import Ledger
from gapless.store.declaration import TopicDeclaration
from gapless.store.frame import Kind
from gapless.store.handover import HandOver, OverflowPolicy
from gapless.store.lane import GeneralLane, PackedLane
from gapless.store.writer import Progress, TopicState


class Recording(Protocol):
    """One sequence, or layer, while it is written. It begins when it is made and is owned until released."""

    @property
    def header(self) -> dict[str, Any]:
        """The description that ``journal.make_header`` made."""

    @property
    def failure(self) -> GaplessError | None:
        """What ended the recording before its time; every later push raises it."""

    @property
    def closed(self) -> bool:
        """Whether it takes no more rows."""

    @property
    def path(self) -> Path | None:
        """The bundle's folder, None where it is on another machine."""

    # -- rows ----------------------------------------------------------------------------------

    def now_ns(self) -> int:
        """Return the sequence's clock, which never steps."""

    def declare(
        self, declaration: TopicDeclaration, overflow: OverflowPolicy = OverflowPolicy.BLOCK
    ) -> TopicState:
        """Add a topic; its declaration is durable before any of its rows."""

    def lane(self, state: TopicState) -> PackedLane | GeneralLane:
        """Return a new lane into the topic, for one thread."""

    def hand_over_of(self, _state: TopicState, /) -> HandOver:
        """Return the bounded queue that blocks of the topic go through."""

    def flush(self, timeout_s: float | None = None) -> None:
        """Return when every row pushed before the call is durable where the sequence is."""

    def flush_topic(self, state: TopicState, timeout_s: float | None = None) -> None:
        """Return when every row pushed to the topic before the call is durable where the sequence is."""

    def accepted_rows(self, state: TopicState) -> int:
        """Return how many rows of the topic are durable where the sequence is, without waiting."""

    def note(self, kind: Kind, document: dict[str, Any], *, wait: bool = True) -> None:
        """Record a gap or an artifact; durable when the call returns, if it waits."""

    def ledger(self, state: TopicState) -> Ledger:
        """Return what became of the rows offered so far."""

    def progress(self) -> Progress:
        """Return how far the recording is behind its producers, without waiting."""

    def describe_hops(self, describe: Callable[[], str | None]) -> None:
        """Let ``describe()`` give what each row of ``_health`` keeps in ``hops``."""

    def announce(self, words: dict[str, Any]) -> None:
        """Tell other processes that look for this recorder."""

    # -- files ---------------------------------------------------------------------------------

    def add_artifact(self, path_or_uri: str | os.PathLike[str], name: str | None, media_type: str, /) -> str:
        """Copy a file in, or note an address; return the artifact's name, durable."""

    def grow_artifact(self, name: str, media_type: str, /) -> Path:
        """Note a file that somebody else writes from now on and return where it belongs."""

    # -- the end: close, then one of seal, keep and discard, then release ------------------------

    def close(self, closing: dict[str, Any], timeout_s: float | None = None) -> None:
        """Take no more rows and make the last ledger durable. Raises the failure if there was one."""

    def seal(self) -> dict[str, Any]:
        """Commit what was closed and return its manifest. Raises StorageFailed; everything stays recoverable."""

    def keep(self, text: str, *, told: bool) -> None:
        """Keep all that there is as pending. ``told``: an event says why already."""

    def discard(self, words: dict[str, Any]) -> None:
        """Move the sequence to the trash and leave these words as its tombstone."""

    def release(self) -> None:
        """Give up the ownership; whatever was not sealed, kept or discarded stays recoverable."""

    def abandon_in_child(self) -> None:
        """In a forked child: let go without touching anything, and refuse every push."""
