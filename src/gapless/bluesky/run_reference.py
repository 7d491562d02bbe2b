"""How a person names a run: by its sequence or by its uid, in full or by how it begins."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gapless.bluesky.store_place import remote
from gapless.errors import NotFound, UsageError
from gapless.model.expression import Sequence

if TYPE_CHECKING:
    from gapless.client.client import Client

SHORTEST_UID: Final = 6
_SHOWN: Final = 5


def run_uid(metadata: dict[str, Any]) -> str | None:
    """Return the uid of the run that a sequence's metadata tells of, None for a sequence that is no run."""
    start = metadata.get("start")
    uid = start.get("uid") if isinstance(start, dict) else None
    return uid if isinstance(uid, str) else None


def referred_run(client: Client, reference: str) -> str:
    """Return the sequence of the run that a reference means.

    ``reference``: its name, a beginning of it, ``@last`` or ``@last-1``, or at least 6 characters of its uid.
    Raises NotFound, also for a sequence that is no run, and UsageError where several begin like this.
    """
    if remote(client) is None:
        client.catalog.reconcile()
    names = _by_uid(client, reference)
    if not names or client.sequence_exists(reference):
        name = _by_name(client, reference)
    elif len(names) > 1:
        raise UsageError(
            "several runs have a uid that begins like this",
            found=f"{reference}: {', '.join(names[:_SHOWN])}",
            next_step="write more of the uid",
        )
    else:
        (name,) = names
    if run_uid(client.sequence_handler(name).metadata) is None:
        raise NotFound("the sequence was not recorded from Bluesky documents", sequence=name)
    return name


def _by_uid(client: Client, reference: str) -> list[str]:
    if len(reference) < SHORTEST_UID:
        return []
    begins = re.sub(r"[*?\[]", r"[\g<0>]", reference) + "*"
    return [item.name for item in client.query(Sequence.Q.user_metadata["start.uid"].match(begins))]


def _by_name(client: Client, reference: str) -> str:
    try:
        server = remote(client)
        if server is not None:
            return server.sequence_row(reference).name
        return client.catalog.sequence(reference).name
    except NotFound as error:
        raise NotFound(
            "there is no such run",
            sequence=reference,
            expected=f"a name, a beginning of one, @last, or {SHORTEST_UID} characters of a uid",
            next_step="`gapless ls` lists what is there; --store names another store",
        ) from error
