"""What a program is told whose sequences wait on this machine when it ends."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gapless.client.remote.delivery_command import delivery_command
from gapless.errors import GaplessError, NameTaken, ServingFailed

_SHOWN: Final = 3


class SpoolWarning(UserWarning):
    """Sequences wait in a spool because their server did not take them; the text says where and what delivers them."""


def warn_of_waiting(waiting: Mapping[str, GaplessError | None], spool: Path, url: str) -> None:
    """Warn that these sequences are not on the server, and what hinders them, every time it is said.

    That nothing is lost is said only where all that hinders is known: the server, or a name that is taken there.
    """
    shown = ", ".join(sorted(waiting)[:_SHOWN]) + (", …" if len(waiting) > _SHOWN else "")
    count = f"{len(waiting)} sequence{'s' * (len(waiting) > 1)}"
    hindrances = [str(waiting[name]) for name in sorted(waiting) if waiting[name] is not None]
    is_whole = all(isinstance(error, ServingFailed | NameTaken) for error in waiting.values())
    _say(
        f"{count} ({shown}) not on the server {url}: {next(iter(hindrances), 'it was not delivered in time')}. "
        f"{'Nothing is lost; the' if is_whole else 'The'} spool {spool} keeps what waits. "
        f"When the server takes it: {delivery_command(spool, url, '--own')}"
    )


def warn_of_unreadable(spool: Path, error: Exception) -> None:
    """Warn that nobody can tell what waits."""
    _say(f"the spool {spool} cannot be read, so that nobody knows what waits there: {error}")


def _say(text: str) -> None:
    warnings.warn_explicit(text, SpoolWarning, "gapless.client", 1, module="gapless.client")
