"""One request to the server: who asks, what they may do, and whether they are still there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote

from gapless.errors import GaplessError, NotFound, RightMissing
from gapless.serve.operations.log_lines import tell
from gapless.serve.rights import ANYWHERE, Access, Anywhere, Group, Right

if TYPE_CHECKING:
    from pyarrow import flight

    from gapless.serve.audit import Audit

_LOG = logging.getLogger("gapless.serve")


class Call:
    """One request. Every method may be used from any thread, also after the request has ended.

    ``cut(peer)`` closes the connection of a peer.
    """

    def __init__(
        self, context: flight.ServerCallContext, access: Access, audit: Audit, cut: Callable[[str], object]
    ) -> None:
        self.peer = unquote(context.peer())  # such as ipv4:127.0.0.1:53422
        self.access = access
        self._audit = audit
        self._cut = cut
        self._context: flight.ServerCallContext | None = context
        self._lock = threading.Lock()

    @property
    def key_id(self) -> str | None:
        """The public name of the key, or None for a caller who needs none."""
        return self.access.key_id

    def cancelled(self) -> bool:
        """Tell whether the client has gone, or the request has ended."""
        with self._lock:  # Arrow's context is a bare pointer: it is never asked once the request is over
            return self._context is None or bool(self._context.is_cancelled())

    def end(self) -> None:
        """Note that the request is over; the server says so."""
        with self._lock:
            self._context = None

    def cut(self) -> None:
        """Close the connection that the request came by: whoever waits for its client in a stream comes back.

        Whatever else goes on by that connection ends, too. Raises what hinders the system from looking for it.
        """
        self._cut(self.peer)

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
