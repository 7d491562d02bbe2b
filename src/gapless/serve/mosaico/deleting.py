"""Deleting sequences and sessions: into the trash, with a tombstone, by those who may."""

from __future__ import annotations

from gapless.client.client import Client
from gapless.client.tombstone import tombstone_of
from gapless.errors import NotFound, SequenceOwned, StateError
from gapless.serve.call import Call
from gapless.serve.mosaico.locator import BASE
from gapless.serve.mosaico.session import Session
from gapless.serve.mosaico.sessions import Sessions
from gapless.serve.rights import Right
from gapless.store.layout import Bundle


class Deleting:
    """Takes away what a caller may take away.

    A session that was never committed may be given up by the key that opened it; all else needs the right
    to delete. What is gone already counts as deleted: the SDK asks twice after an error.
    """

    def __init__(self, client: Client, sessions: Sessions) -> None:
        self._client = client
        self._sessions = sessions

    def sequence(self, call: Call, name: str) -> None:
        """Delete a sequence with all its layers."""
        if self._is_gone(call, name):
            return
        open_sessions = self._sessions.of(name)
        base = next((session for session in open_sessions if session.is_base), None)
        self._require(call, name, base)
        with call.audited("delete", name):
            if base is not None:
                self._sessions.discard(base, "deleted by its client")
                return
            self._refuse_layers_of_others(name, {session.identifier for session in open_sessions})
            for session in open_sessions:
                self._sessions.discard(session, "deleted with its sequence")
            self._client.discard(name)

    def _refuse_layers_of_others(self, name: str, ours: set[str]) -> None:
        """Raise SequenceOwned, while nothing has been taken away, where another client records a layer."""
        store = self._client._store
        for path in store.bundle(name).layer_paths():
            if path.name not in ours and store.owner_alive(Bundle(path)):
                raise SequenceOwned("a live process is writing it", sequence=name, found=f"layer {path.name}")

    def session(self, call: Call, name: str, identifier: str) -> None:
        """Delete one session; StateError for a base that layers build upon."""
        if self._is_gone(call, name):
            return
        found = next((s for s in self._sessions.of(name) if s.identifier == identifier), None)
        group = self._require(call, name, found)
        with call.audited("delete", f"{name}:{identifier}"):
            if found is not None:
                self._sessions.discard(found, "deleted by its client")
            elif identifier == BASE:
                self._base(name)
            else:
                self._layer(name, identifier, group)

    def _base(self, name: str) -> None:
        if self._client._store.bundle(name).layer_paths():
            raise StateError(
                "later sessions build upon the first one",
                sequence=name,
                next_step="delete the sequence, or the later sessions first",
            )
        self._client.discard(name)

    def _layer(self, name: str, identifier: str, group: str | None) -> None:
        base = self._client._store.bundle(name)
        layer = next((path for path in base.layer_paths() if path.name == identifier), None)
        if layer is None:
            raise NotFound("the sequence has no such session", sequence=name, found=identifier)
        words = tombstone_of(name, Bundle(layer)) | {"layer": identifier, "group": group}
        self._client._store.discard_unsealed(Bundle(layer), words)
        if base.manifest.exists():
            self._client._sealed(base)

    def _is_gone(self, call: Call, name: str) -> bool:
        call.require(Right.WRITE)
        if not self._client.was_discarded(name) or self._client.sequence_exists(name):
            return False
        stones = self._client.list_discarded()
        return any(call.sees(stone.get("group")) for stone in stones if stone["name"] == name)

    def _require(self, call: Call, name: str, session: Session | None) -> str | None:
        """Return the group of a sequence whose session, or anything of which, the caller may delete."""
        own = session is not None and session.key_id == call.key_id
        return self._sessions.reach(call, Right.WRITE if own else Right.DELETE, name)
