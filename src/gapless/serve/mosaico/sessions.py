"""The sessions that clients of this door are writing, and which of them nobody writes any more."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from gapless.client.local_recording import LocalRecording
from gapless.errors import (
    GaplessError,
    NameTaken,
    NotFound,
    SequenceOwned,
    ServerClosing,
    StateError,
)
from gapless.model.names import fold
from gapless.serve.call import Call
from gapless.serve.mosaico.locator import BASE
from gapless.serve.mosaico.session import Session, SessionTopic
from gapless.serve.operations.log_lines import tell
from gapless.serve.operations.recording_figures import recording_figures
from gapless.serve.rights import Right
from gapless.serve.served import Served
from gapless.store.bundle_state import open_folder
from gapless.store.layout import Bundle

_LOOK_S: Final = 1.0
_LAYER: Final = "session"


class Sessions:
    """Opens, finds and ends sessions. A lease ends those whose client has gone."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._client = served.client
        self._lock = threading.RLock()
        self._open: dict[str, Session] = {}
        self._over = threading.Event()
        self._watch: threading.Thread | None = None
        served.metrics.watch(self._figures, door="mosaico")

    # -- beginning -----------------------------------------------------------------------------

    def create_sequence(self, call: Call, name: str, metadata: Mapping[str, Any]) -> None:
        """Begin a new sequence; its first session goes to who asks for one next. Raises NameTaken.

        The caller's group is that of its key; a key for several groups cannot say which.
        """
        group = _group_of(call)
        call.require(Right.WRITE, group)
        header = self._client._header(name, group, dict(metadata), None)
        self._client._recover_once()
        with self._room():
            other = self._client._store.taken_by(name)
            if other is not None:
                raise NameTaken("a sequence of that name exists", sequence=name, found=other)
            self._begin(call, name, BASE, group, None, header)

    def create(self, call: Call, name: str) -> Session:
        """Return the first session of a sequence that was just created, or a new one of a sealed sequence.

        The first is for the key that created the sequence, and for whoever may manage; StateError for others.
        """
        group = self.reach(call, Right.WRITE, name)
        with self._lock:
            for session in self.of(name):
                if session.is_base:
                    theirs = session.key_id != call.key_id and not call.may(Right.MANAGE, group)
                    if session.claimed or theirs:
                        raise StateError("the first session of the sequence is still open", sequence=name)
                    session.claimed = True
                    return session
        with self._room():
            return self._layer(call, name, group)

    def _layer(self, call: Call, name: str, group: str | None) -> Session:
        store = self._client._store
        base = store.bundle(name)
        if not base.manifest.exists() and store.owner_alive(base):
            raise SequenceOwned("another process is writing the sequence", sequence=name)
        bundle = store.reserve_layer(base, _LAYER)
        words = {"name": name, "content_digest": store.base_digest(base)}
        header = self._client._header(_LAYER, None, {}, words)
        session = self._begin(call, name, bundle.path.name, group, bundle, header)
        session.claimed = True
        return session

    def _begin(
        self,
        call: Call,
        name: str,
        identifier: str,
        group: str | None,
        bundle: Bundle | None,
        header: dict[str, Any],
    ) -> Session:
        header["remote"] = True  # its client may come back: other writers do not seal it at once
        recording = LocalRecording.begin(
            self._client, str(header["name"]), bundle, header, self._client._durability
        )
        session = Session(name, identifier, group, call.key_id, recording)
        with self._lock:
            over = self._over.is_set()
            if not over:
                self._open[session.uuid] = session
                self._start_watching()
        if over:  # everything else was let go of while this one was begun
            self._let_go(session)
            raise ServerClosing("the server is going down")
        return session

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Keep a place for a session that is begun inside, where nobody else has to wait for the disk."""
        if self._over.is_set() or self._served.draining.is_set():
            raise ServerClosing("the server is going down")
        with self._served.places.one():
            yield

    def add_topic(
        self, session: Session, name: str, tag: str, layout: str, metadata: Mapping[str, Any]
    ) -> SessionTopic:
        """Note a new topic of a session; NameTaken where any session of the sequence has one of that name."""
        with self._lock:
            others = [other for other in self.of(session.sequence) if other is not session]
            sealed = [] if session.is_base else self._client.sequence_handler(session.sequence).topics
            if any(other.has_topic(name) for other in others) or fold(name) in map(fold, sealed):
                raise NameTaken(
                    "the sequence has a topic of that name", sequence=session.sequence, topic=name
                )
            return session.add_topic(name, tag, layout, metadata)

    # -- finding -------------------------------------------------------------------------------

    def find(self, session_uuid: str) -> Session:
        """Return an open session by the uuid that its client was given; NotFound for any other."""
        with self._lock:
            session = self._open.get(session_uuid)
        if session is None:
            raise NotFound("there is no open session of that uuid", found=session_uuid[:80])
        return session

    def find_topic(self, topic_uuid: str) -> tuple[Session, SessionTopic]:
        """Return an open session and the topic of it that has the uuid; NotFound for any other."""
        with self._lock:
            for session in self._open.values():
                topic = session.topic(topic_uuid)
                if topic is not None:
                    return session, topic
        raise NotFound("there is no open topic of that uuid", found=topic_uuid[:80])

    def of(self, name: str) -> list[Session]:
        """Return the open sessions of a sequence."""
        with self._lock:
            return [session for session in self._open.values() if session.sequence == name]

    def reach(self, call: Call, right: Right, name: str) -> str | None:
        """Return the group of a sequence that the caller may reach; RightMissing, NotFound.

        One that is not there is no different from one of a foreign group.
        """
        call.require(right)
        try:
            description = open_folder(self._client._store.bundle(name).path).description
        except (NotFound, FileNotFoundError):
            raise NotFound("there is no sequence of that name", sequence=name) from None
        group: str | None = description.get("group")
        call.reach(right, name, group)
        return group

    def _figures(self) -> Mapping[str, float]:
        with self._lock:
            sessions = list(self._open.values())
        return {"gapless_open_sessions": len(sessions)} | recording_figures(s.recording for s in sessions)

    # -- ending --------------------------------------------------------------------------------

    def finalize(self, session: Session) -> None:
        """Commit a session; while a stream of it is open, StateError, and it stays open."""
        try:
            session.finalize()
        finally:
            self._forget_ended()

    def discard(self, session: Session, reason: str) -> None:
        """Move a session to the trash."""
        try:
            session.discard(reason)
        finally:
            self._forget_ended()

    def stop(self) -> None:
        """Let go of every session; none is committed."""
        self._over.set()
        with self._lock:
            sessions = list(self._open.values())
        for session in sessions:
            self._let_go(session)
        if self._watch is not None:
            self._watch.join(timeout=5.0)

    def _forget_ended(self) -> None:
        with self._lock:
            left = {uid: session for uid, session in self._open.items() if not session.ended}
            self._served.places.free(len(self._open) - len(left))
            self._open = left

    def _let_go(self, session: Session, idle_s: float = 0.0) -> None:
        try:
            session.let_go(idle_s)
        except (GaplessError, OSError) as error:
            self._served.log.error("session %s could not be let go of: %s", session.locator, error)
        self._forget_ended()

    def _start_watching(self) -> None:
        if self._watch is None:
            self._watch = threading.Thread(target=self._look, name="gapless mosaico lease", daemon=True)
            self._watch.start()

    def _look(self) -> None:
        """Let go of sessions without a stream or a call for as long as their lease lasts."""
        limits = self._served.limits
        while not self._over.wait(min(_LOOK_S, limits.lease_s / 4, limits.session_lease_s / 4)):
            with self._lock:
                known = list(self._open.values())
            for session in known:
                lease_s = limits.lease_s if session.is_cut else limits.session_lease_s
                if session.idle_s() <= lease_s:
                    continue
                text = f"the client of session {session.locator} has gone"
                tell(self._served.log, logging.WARNING, "abandoned", text, name=session.sequence)
                self._let_go(session, lease_s)


def _group_of(call: Call) -> str | None:
    groups = call.access.groups
    return next(iter(groups)) if groups is not None and len(groups) == 1 else None
