"""What is being recorded at this moment, as far as a caller sees it: runs, episodes and other recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from gapless.acquire.control.client import control_path
from gapless.catalog.bundle_facts import owner_alive
from gapless.errors import NotFound, StateError, UsageError
from gapless.store.layout import Bundle

if TYPE_CHECKING:
    from gapless.catalog.catalog import Catalog, SequenceRow

Kind = Literal["run", "episode", "recording"]
Sees = Callable[[str | None], bool]


@dataclass(frozen=True, slots=True)
class LiveSequence:
    """One sequence that a live process records. ``control``: the socket of its run, None for one without.

    ``episode``: what the observer says of it; None for what is no episode.
    """

    name: str
    group: str | None
    kind: Kind
    path: Path
    control: Path | None
    started_ns: int
    episode: dict[str, Any] | None = field(default=None, compare=False)

    @property
    def is_recorded(self) -> bool:
        """Whether a live process still holds it; asks the file system."""
        return owner_alive(self.path)


def live_sequences(catalog: Catalog, sees: Sees) -> list[LiveSequence]:
    """Return what is recorded now of the groups that are seen, newest first; one statement."""
    rows = catalog.sequences(state="open", order="-created")
    found = (_live(row) for row in rows if row.owner_alive and sees(row.group))
    return [one for one in found if one is not None]


def live_sequence(catalog: Catalog, sees: Sees, name: str) -> LiveSequence:
    """Return the sequence of exactly that name.

    Raises NotFound where there is none or where it is not the caller's to see, StateError for one that is
    not being recorded now.
    """
    row = _exactly(catalog, name)
    if row is None or not sees(row.group):
        raise NotFound("there is no sequence of that name", sequence=name)
    live = _live(row) if row.state == "open" and row.owner_alive else None
    if live is None:
        raise StateError(
            "the sequence is not being recorded now",
            sequence=name,
            found=row.status if row.outcome is None else f"{row.status}, {row.outcome}",
            next_step="open the sequence itself; what is recorded now is listed under Live",
        )
    return live


def _exactly(catalog: Catalog, name: str) -> SequenceRow | None:
    """Return the row of a name; None where the catalog knows it only as the beginning of others."""
    try:
        row = catalog.sequence(name)
    except (NotFound, UsageError):
        return None
    return row if row.name == name else None


def is_episode(told: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether metadata says what an observer says: anybody may have a key ``episode``."""
    return (
        isinstance(told, dict)
        and type(told.get("index")) is int
        and all(told.get(name) is None or isinstance(told[name], str) for name in ("session", "mode"))
        and (told.get("seed") is None or type(told["seed"]) is int)
    )


def _live(row: SequenceRow) -> LiveSequence | None:
    """Return what records a row's sequence, None when it ended meanwhile."""
    try:
        control = control_path(Bundle(row.path))
    except NotFound:
        return None
    told = row.metadata.get("episode")
    episode = told if is_episode(told) else None
    kind: Kind = "run" if control is not None else "recording" if episode is None else "episode"
    return LiveSequence(row.name, row.group, kind, row.path, control, row.created_ns, episode)
