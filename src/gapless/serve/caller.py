"""Who asks a server, what they may do, and the audit rows about what they did."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gapless.errors import GaplessError, NotFound, RightMissing
from gapless.serve.operations.log_lines import tell
from gapless.serve.rights import ANYWHERE, Access, Anywhere, Group, Right

if TYPE_CHECKING:
    from gapless.serve.audit import Audit

_LOG = logging.getLogger("gapless.serve")


class Caller(ABC):
    """One who asks, by whichever door. Every method may be used from any thread.

    ``peer`` says where the request came from, for log and audit rows.
    """

    def __init__(self, access: Access, audit: Audit, peer: str) -> None:
        self.access = access
        self.peer = peer
        self._audit = audit

    @property
    def key_id(self) -> str | None:
        """The public name of the key, or None for a caller who needs none."""
        return self.access.key_id

    @abstractmethod
    def cancelled(self) -> bool:
        """Tell whether the client has gone, or the request has ended; each door knows how."""

    def may(self, right: Right, group: Group = ANYWHERE) -> bool:
        """Tell whether the caller has the right, in that group if one is given."""
        return self.access.may(right, group)

    def sees(self, group: str | None) -> bool:
        """Tell whether sequences of that group exist for the caller; None is the group of those without one."""
        return self.access.sees(group)

    def require(self, right: Right, group: Group = ANYWHERE) -> None:
        """Raise RightMissing unless the caller has the right, in that group if one is given."""
        if self.access.may(right, group):
            return
        has = f"the key {self.key_id} may {self.access.right.word}"
        if isinstance(group, Anywhere) or self.access.right < right:
            raise RightMissing("the key does not allow this", found=has, expected=right.word)
        raise RightMissing(
            "the key does not allow this group",
            found=f"group {group!r}" if group is not None else "no group",
            expected=f"one of {', '.join(sorted(self.access.groups or ()))}",
            next_step="give a group that the key is for, or ask for a key of that group",
        )

    def reach(self, right: Right, sequence: str, group: str | None) -> None:
        """Raise RightMissing without the right, and NotFound when the sequence's group is not the caller's.

        A sequence of a foreign group is no different from one that does not exist.
        """
        self.require(right)
        if not self.sees(group):
            raise NotFound("there is no sequence of that name", sequence=sequence)

    @contextmanager
    def audited(self, verb: str, what: str) -> Iterator[None]:
        """Keep a row about an act that changes the store: durable before it begins, with its outcome after.

        The outcome is ``done``, the code of the error it ends with, or ``begun`` when the server died in it.
        Raises what state.db raises: an act that cannot be noted does not happen.
        """
        row = self._audit.begin(self.key_id, self.peer, verb, what)
        outcome = "failed"
        try:
            yield
            outcome = "done"
        except GaplessError as error:
            outcome = error.code
            raise
        finally:
            self._audit.end(row, outcome)
            words = {"verb": verb, "what": what, "outcome": outcome, "key": self.key_id, "peer": self.peer}
            tell(_LOG, logging.INFO, "act", f"{verb}: {what}: {outcome}", **words)

    def audit(self, verb: str, what: str) -> None:
        """Keep a row, durably, about an act that has been done."""
        self._audit.add(self.key_id, self.peer, verb, what)
