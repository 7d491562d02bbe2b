"""The sequences that are open on this server: opened once, found by uid, let go of when their client is gone."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from gapless.client.layer_topics import LayerTopics
from gapless.client.local_recording import LocalRecording
from gapless.client.remote import protocol
from gapless.errors import (
    GaplessError,
    NameTaken,
    NotFound,
    RightMissing,
    ServerClosing,
    StateError,
    UsageError,
)
from gapless.model.metadata import check_metadata
from gapless.model.names import fold
from gapless.serve.native.writing_sequence import BaseTopics, IncomingSequence, gone
from gapless.serve.native.writing_store import Act, Found, find, group_of
from gapless.serve.native.writing_turn import BUSY_S, END_S, await_turn
from gapless.serve.native.writing_upload import clear_uploads
from gapless.serve.operations.log_lines import tell
from gapless.serve.operations.recording_figures import recording_figures
from gapless.serve.rights import Right
from gapless.store.durability import Durability
from gapless.store.layout import Bundle
from gapless.store.recover import recover

if TYPE_CHECKING:
    from gapless.serve.call import Call
    from gapless.serve.native.reading_question import Question
    from gapless.serve.served import Served

_BEGUN_WITH: Final = "key_id"  # of a journal's header: which key an act belongs to; None: to anyone's
_UID: Final = re.compile(r"[0-9A-Za-z_-]{8,64}")
_WINDOWS_MS: Final = (1, 60_000)
_FLUSH_BYTES: Final = 8 << 20  # several batches to a sync: the network brings more at one time than a device
_UNSYNCED_BYTES: Final = 32 << 20  # of each sequence: there are many
_RELEASING_THREADS: Final = 8
_LOOKS: Final = 4  # for abandoned sequences, within a lease


class WriterTable:
    """The open sequences of one server. Every method may be called from any thread."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._client = served.client
        self._changed = threading.Condition()
        self._open: dict[str, IncomingSequence] = {}
        self._busy: set[tuple[str, str]] = set()  # names, and uids, that are being opened or ended
        self._stopped = threading.Event()
        self._reaper = threading.Thread(target=self._reap, name="gapless-leases", daemon=True)
        self._reaper.start()
        served.metrics.watch(self._figures, door="native")

    # -- opening -------------------------------------------------------------------------------

    def open(self, call: Call, words: Question) -> dict[str, Any]:
        """Begin a sequence or layer, or take it up again; return its state and what is here of it.

        Raises NameTaken for a name of another uid, SequenceOwned while another server writes it, LimitReached
        (also where another call works on the name for too long), ServerClosing, and whatever making a sequence
        raises.
        """
        call.require(Right.WRITE)
        act = act_of(words)
        with self._alone(call, act, BUSY_S):
            opened = self._opened(call, act, words)
            if isinstance(opened, Found):
                return answer(opened)
            with opened.turn(call, BUSY_S):
                return opened.describe()

    def _opened(self, call: Call, act: Act, words: Question) -> IncomingSequence | Found:
        sequence = self._present(call, act, BUSY_S)
        if sequence is not None:
            self._check_reach(call, act, sequence)
            sequence.touch()
            return sequence
        found = find(self._client, act)
        return self._begin(call, act, words) if found is None else self._take_up(call, act, found)

    def sequence(self, call: Call, words: Question) -> IncomingSequence:
        """Return an open sequence. Raises ServingFailed when it is not open here: its client opens it again."""
        call.require(Right.WRITE)
        act = act_of(words)
        sequence = self._present(call, act, BUSY_S)
        if sequence is None:
            raise gone(act.name)
        self._check_reach(call, act, sequence)
        sequence.touch()
        return sequence

    def ending(self, call: Call, words: Question) -> IncomingSequence | Found:
        """Return a sequence to end: open here, adopted now, or what became of it already. NotFound if nothing did."""
        call.require(Right.WRITE)
        act = act_of(words)
        with self._alone(call, act, END_S):
            sequence = self._present(call, act, END_S)
            if sequence is not None:
                self._check_reach(call, act, sequence)
                sequence.touch()
                return sequence
            found = find(self._client, act)
            if found is None:
                raise NotFound("there is no such recording", sequence=act.name, found=act.uid)
            return self._take_up(call, act, found)

    def _take_up(self, call: Call, act: Act, found: Found) -> IncomingSequence | Found:
        """Adopt an act that was left open, seal one that was ended; of any other return what became of it.

        Raises NotFound and RightMissing for an act of another group or key, NameTaken for one that was not
        begun by this door: whoever records on the server's machine ends it there.
        """
        call.reach(Right.WRITE, act.name, found.group)
        if found.state not in ("open", "ended"):
            return found
        assert found.bundle is not None
        assert found.header is not None
        if _BEGUN_WITH not in found.header:
            raise NameTaken("a sequence of that name exists", sequence=act.name)
        _check_owner(call, found.header, found.group)
        if found.state == "open":
            return self._resume(act, found.bundle, found.header, found.group)
        with call.audited("write", f"seal {act.sequence}"):
            manifest = recover(found.bundle.path, self._client._store.platform)
        self._client._sealed(found.bundle)
        return Found("sealed", found.group, found.bundle, manifest=manifest)

    @contextmanager
    def _alone(self, call: Call, act: Act, patience_s: float) -> Iterator[None]:
        """Let one call at a time open or end sequences of a name, or of a uid: the table has one of each.

        LimitReached where that takes too long.
        """
        keys = {("name", fold(act.sequence)), ("uid", act.uid)}
        await_turn(lambda wait_s: self._reserve(keys, wait_s), call.cancelled, patience_s, act.sequence)
        try:
            yield
        finally:
            with self._changed:
                self._busy -= keys
                self._changed.notify_all()

    def _reserve(self, keys: set[tuple[str, str]], wait_s: float) -> bool:
        """Take all keys or none, so that no two calls wait for each other."""
        with self._changed:
            free = self._changed.wait_for(lambda: self._busy.isdisjoint(keys), wait_s)
            if free:
                self._busy |= keys
            return free

    def _present(self, call: Call, act: Act, patience_s: float) -> IncomingSequence | None:
        """Return an open sequence that still takes something; one that broke is let go of, to be adopted.

        Raises LimitReached where a call that ends the sequence takes too long.
        """
        with self._changed:
            sequence = self._open.get(act.uid)
        if sequence is None or not (sequence.is_over or sequence.is_broken):
            return sequence
        with sequence.turn(call, patience_s):
            self.forget(sequence)
        return None

    def forget(self, sequence: IncomingSequence) -> None:
        """Give up what is over or broken."""
        self._strike(sequence)
        sequence.let_go()

    def _strike(self, sequence: IncomingSequence) -> None:
        """Take a sequence off the table, but not the one that has taken it up meanwhile."""
        with self._changed:
            if self._open.get(sequence.uid) is sequence:
                del self._open[sequence.uid]
                self._served.places.free(1)
        self._served.metrics.set("gapless_open_writers", len(self._open))

    def _check_reach(self, call: Call, act: Act, sequence: IncomingSequence) -> None:
        call.reach(Right.WRITE, act.name, sequence.group)
        _check_owner(call, sequence.recording.header, sequence.group)
        if sequence.name != act.name:
            raise NameTaken(protocol.UID_ELSEWHERE, sequence=act.name, found=sequence.name)

    def _begin(self, call: Call, act: Act, words: Question) -> IncomingSequence:
        if act.layer_of is None:
            group = words.maybe_text("group")
            call.require(Right.WRITE, group)
        else:
            group = group_of(self._client, act)
            call.reach(Right.WRITE, act.layer_of, group)
        self._check_begins()
        metadata = check_metadata(words.document.get("metadata"), sequence=act.name)
        bundle: Bundle | None = None
        base: dict[str, str] | None = None
        topics: BaseTopics = {}
        if act.layer_of is not None:
            base, topics = self._base(act.layer_of)
        header = self._client._header(act.name, None if base else group, metadata, base)
        header |= {"uid": act.uid, "remote": True, _BEGUN_WITH: call.key_id}
        header["spooled"] = words.document.get("spooled") is True
        header["producer"] |= _producer(words.document.get("producer"))
        header["durability"]["window_ms"] = _window_ms(words)
        with call.audited("write", f"create {act.sequence}"), self._served.places.one():
            if act.layer_of is not None:
                bundle = self._client._store.reserve_layer(self._client._store.bundle(act.layer_of), act.name)
            durability = self._durability(header)
            recording = LocalRecording.begin(self._client, act.name, bundle, header, durability)
            return self._add(recording, topics, {}, group)

    def _check_begins(self) -> None:
        if self._served.draining.is_set() or self._stopped.is_set():
            raise ServerClosing("the server is going down")
        self._served.places.check()  # before there is a row of the audit about it

    def _base(self, name: str) -> tuple[dict[str, str], BaseTopics]:
        """Return how a layer names its base, and the base's topics."""
        bundle = self._client._store.bundle(name)
        if not bundle.manifest.exists():
            raise StateError("only a sealed sequence takes a layer", sequence=name, next_step="seal it first")
        digest = self._client._store.base_digest(bundle)
        known = self._client.sequence_handler(name).reader.topics
        topics = {fold(topic): (topic, reader.schema) for topic, reader in known.items()}
        return {"name": name, "content_digest": digest}, topics

    def _resume(
        self, act: Act, bundle: Bundle, header: dict[str, Any], group: str | None
    ) -> IncomingSequence:
        """Adopt what this server, or another one, left open."""
        self._check_begins()
        topics: BaseTopics = {} if act.layer_of is None else self._base(act.layer_of)[1]
        with self._served.places.one():
            recording = LocalRecording.resume(self._client, bundle, self._durability(header))
            assert recording.sealer is not None
            return self._add(recording, topics, recording.sealer.sealer.artifacts, group)

    def _durability(self, header: dict[str, Any]) -> Durability:
        known = self._client._durability
        return replace(
            known,
            flush_ms=header["durability"]["window_ms"],
            flush_bytes=max(known.flush_bytes, _FLUSH_BYTES),
            max_unsynced_bytes=min(known.max_unsynced_bytes, _UNSYNCED_BYTES),
        )

    def _add(
        self, recording: LocalRecording, topics: BaseTopics, artifacts: dict[str, Any], group: str | None
    ) -> IncomingSequence:
        if recording.header["base"] is not None:
            topics = LayerTopics(recording.path.parent.parent, recording.path, topics)
        try:
            clear_uploads(recording.bundle, {str(entry.get("path")) for entry in artifacts.values()})
            sequence = IncomingSequence(recording, topics, artifacts, group, self._served.metrics)
        except BaseException:
            recording.let_go()
            raise
        with self._changed:
            self._open[sequence.uid] = sequence
        self._served.metrics.set("gapless_open_writers", len(self._open))
        return sequence

    def _figures(self) -> Mapping[str, float]:
        with self._changed:
            known = list(self._open.values())
        return recording_figures(sequence.recording for sequence in known)

    # -- letting go ----------------------------------------------------------------------------

    def _reap(self) -> None:
        """Let go of sequences whose client has not been there for a lease."""
        lease_s = self._served.limits.lease_s
        while not self._stopped.wait(min(1.0, lease_s / _LOOKS)):
            with self._changed:
                known = list(self._open.values())
            for sequence in known:
                if sequence.idle_s > lease_s and not sequence.is_over:
                    text = f"the client of {sequence.name} has gone: it can be taken up again"
                    tell(self._served.log, logging.WARNING, "abandoned", text, name=sequence.name)
                    self._release(sequence, None)

    def _release(self, sequence: IncomingSequence, timeout_s: float | None) -> None:
        try:
            sequence.let_go(timeout_s)
        except (GaplessError, OSError) as error:
            self._served.log.error("sequence %r could not be let go of: %s", sequence.name, error)
        self._strike(sequence)

    def stop(self, deadline_s: float) -> None:
        """Let go of every sequence: what was taken is durable, and each can be taken up again."""
        self._stopped.set()
        with self._changed:
            known = list(self._open.values())
        with ThreadPoolExecutor(_RELEASING_THREADS, "gapless-release") as pool:
            list(pool.map(lambda sequence: self._release(sequence, deadline_s), known))
        self._reaper.join(deadline_s)


def _check_owner(call: Call, header: dict[str, Any], group: str | None) -> None:
    """Raise RightMissing unless the act was begun with this key, or without any: a uid alone is no secret."""
    owner = header.get(_BEGUN_WITH)
    if owner is not None and owner != call.key_id and not call.may(Right.MANAGE, group):
        raise RightMissing(
            "the recording was begun with another key",
            sequence=header["name"],
            next_step="use the key that it was begun with; where that is gone, one that may manage: "
            "`gapless keys make --right manage` on the server makes one",
        )


def act_of(words: Question) -> Act:
    """Return which recording act a request is about; UsageError for a uid that is none."""
    uid = words.text("uid")
    if not _UID.fullmatch(uid):
        raise UsageError("a uid is made of letters and digits", field="uid", found=uid[:80])
    return Act(words.text("name"), uid, words.maybe_text("layer_of"))


def answer(found: Found) -> dict[str, Any]:
    """Return what a client is told of a sequence that is over."""
    if found.manifest is None:
        return {"state": found.state, "topics": {}, "notes": 0}
    topics = {
        name: {"next_seq": entry["ledger"]["written"] + entry["ledger"]["dropped"], "declaration": None}
        for name, entry in found.manifest["content"]["topics"].items()
    }
    return {"state": found.state, "topics": topics, "notes": 0} | sealed(found.manifest)


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return what a client is told of a manifest."""
    outcome, digest = manifest["record"]["outcome"], manifest["content_digest"]
    return {"outcome": outcome, "content_digest": digest, "manifest": manifest}


def _window_ms(words: Question) -> int:
    found = words.maybe_whole("window_ms")
    least, most = _WINDOWS_MS
    if found is not None and not least <= found <= most:
        raise UsageError(
            "a window is out of bounds", field="window_ms", found=found, expected=f"{least} to {most}"
        )
    return 250 if found is None else found


def _producer(document: object) -> dict[str, Any]:
    """Return where the client says it runs; what cannot be read of it is left out."""
    if not isinstance(document, dict):
        return {}
    known = {key: document.get(key) for key in ("host", "pid", "version", "recorded_as")}
    return {key: value for key, value in known.items() if isinstance(value, str | int)}
