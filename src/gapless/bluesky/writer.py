"""The callback for a RunEngine: every run that is announced to it becomes a sequence."""

from __future__ import annotations

import atexit
import os
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self
from urllib.parse import urlsplit

import pyarrow as pa

from gapless.bluesky.document import object_text, weighed_copy
from gapless.bluesky.hand_over import HandOver, closed
from gapless.bluesky.normalizer import RunNormalizer
from gapless.bluesky.recording import Recording, RunOptions, Sink
from gapless.bluesky.run_failure import said_by
from gapless.bluesky.run_feed import Normalizer
from gapless.bluesky.run_name import check_pattern
from gapless.bluesky.spool import FOLDER, Spool
from gapless.bluesky.store_place import StorePlace, is_server, local_store
from gapless.client.client import Client, connect
from gapless.errors import (
    ArgumentRefused,
    BackupFailed,
    DeadlinePassed,
    DeliveryFailed,
    DocumentFailed,
    DocumentRefused,
    GaplessError,
    WrongProcess,
)

if TYPE_CHECKING:
    from gapless.bluesky.run_report import RunReport

Doc = Mapping[str, Any]
_TILED: Final = ("http", "https", "tiled", "tiled+http", "tiled+https")
_ALWAYS: Final = frozenset(("start", "descriptor", "stop"))  # taken even where there is no room
_ROWS: Final = frozenset(("event", "event_page", "stream_datum", "datum"))
_LIVE: weakref.WeakSet[Recording] = weakref.WeakSet()
_WRITERS: weakref.WeakSet[Writer] = weakref.WeakSet()
_FLUSH_MS: Final = 100  # so that who follows a plan sees its events at once
_EXIT_DEADLINE_S: Final = 60.0
_EXIT_SENDING_S: Final = 15.0  # what a server did not take by then waits in the store


class Writer:
    """Records Bluesky runs: ``RE.subscribe(Writer("./data"))``.

    A call copies the document and hands it over, which takes microseconds; a thread records it. A document that
    cannot be recorded goes to the spool, ``<store>/spool/<run uid>.jsonl``, from where ``gapless bluesky deliver``
    takes it later. ``client_or_url``: a client; a store's folder or file URL; the URL of a gapless server, whose
    store the runs go to, and ``$GAPLESS_STORE``, else ``./gapless-data``, takes over while it is away; or the URL
    of a Tiled server, for which the runs are recorded there first, and delivered from there.

    ``name``: the pattern of the sequences' names, with ``{uid}`` or ``{uid8}`` in it, and ``{scan_id}``,
    ``{plan_name}``, ``{date}``, ``{time}`` or any key of the start document. ``normalizer``: a class that is made
    once for each run with ``patches`` and ``spec_to_mimetype`` and called with every document; None records
    documents as they come. ``on_error="raise"`` raises what went wrong at the next call and in :meth:`close`;
    "spool" leaves it in :attr:`errors`. Of a server it is raised that it failed twice in a row or refused a run,
    and by :meth:`close` each run that it did not take. That a document could not even be kept in the spool is
    raised always.

    About ``max_waiting_documents``, and ``max_waiting_bytes`` in arrays, lists and texts, wait for the thread;
    then a call waits, up to ``deadline_s``, and after that documents go to the spool, but for start, descriptors
    and stop. Documents are gathered for ``group_s`` before they are written together.
    """

    def __init__(
        self,
        client_or_url: Client | str | os.PathLike[str] = "./gapless-data",
        *,
        name: str = "{uid}",
        normalizer: Callable[..., Normalizer] | None = RunNormalizer,
        patches: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] | None = None,
        spec_to_mimetype: Mapping[str, str] | None = None,
        on_error: Literal["spool", "raise"] = "spool",
        max_waiting_documents: int = 100_000,
        max_waiting_bytes: int = 1 << 30,
        group_s: float = 0.02,
        deadline_s: float = 30.0,
        sink: Sink | None = None,
    ) -> None:
        if on_error not in ("spool", "raise"):
            raise ArgumentRefused("on_error is no such policy", found=repr(on_error), expected="spool, raise")
        _check_above_zero(
            max_waiting_documents=max_waiting_documents,
            max_waiting_bytes=max_waiting_bytes,
            group_s=group_s,
            deadline_s=deadline_s,
        )
        check_pattern(name)
        _load_columns()
        self._owns_client = not isinstance(client_or_url, Client)
        client, opened = _opened(client_or_url)
        self._client = client
        self._sink = sink or opened
        self._raises = on_error == "raise"
        self._deadline_s = deadline_s
        self._hand_over = HandOver(max_waiting_documents, max_waiting_bytes)
        options = RunOptions(name, normalizer_maker(normalizer, patches, spec_to_mimetype), self._sink)
        self._place = StorePlace(client)
        self._recording = Recording(
            client,
            options,
            Spool(self._place.folder / FOLDER, platform=self._place.platform),
            self._hand_over,
            group_s=group_s,
            deadline_s=deadline_s,
        )
        if self._sink is not None:
            self._sink.listen(self._recording.tell)
        self._closed = False
        self._ended = False
        self._forked = False
        _LIVE.add(self._recording)
        _WRITERS.add(self)
        weakref.finalize(self, _finish, self._recording, os.getpid()).atexit = False

    # -- the callback --------------------------------------------------------------------------

    def __call__(self, name: str, doc: Doc) -> None:
        """Take one document; it may be changed or used again when the call returns.

        Raises WriterClosed after :meth:`close` and WrongProcess in a forked child; BackupFailed, and with
        ``on_error="raise"`` any error, of documents that came before. This document is taken all the same.
        """
        if self._closed or self._forked:
            self._refuse_call()
        try:
            taken, size_bytes = weighed_copy(doc)
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
            self._recording.keep(name, {"repr": object_text(doc).text}, _as_refused(error))
        else:
            if name not in _ROWS:
                self._recording.announce(taken)
            room = self._hand_over.put(
                (name, taken), self._deadline_s, size_bytes=size_bytes, always=name in _ALWAYS
            )
            if not room:
                self._recording.keep(name, taken, self._saturated())
            elif name == "stop":
                self._hand_over.hurry()
        if self._recording.untold:
            self._tell(always=(BackupFailed,))

    def _refuse_call(self) -> None:
        if self._forked:
            raise WrongProcess("the writer belongs to the process that made it")
        raise closed()

    def _saturated(self) -> DocumentFailed:
        return DocumentFailed(
            "the recording did not keep up within the deadline",
            found=f"{len(self._hand_over)} documents wait",
            expected=f"room within {self._deadline_s:g} s",
        )

    def _tell(self, always: tuple[type[BaseException], ...]) -> None:
        """Raise the first error that nobody heard of, if errors are to be raised; the others stay to be told."""
        untold = list(self._recording.untold)
        wanted = [error for error in untold if self._raises or isinstance(error, always)]
        self._recording.heard(wanted[:1] or untold)
        if wanted:
            raise wanted[0]

    # -- the end -------------------------------------------------------------------------------

    def flush(self, timeout_s: float | None = None) -> None:
        """Return when everything handed over before is durable, in its sequence or in the spool.

        Runs that have stopped are sealed then. Raises DeadlinePassed, and what a call would raise.
        """
        if self._forked:
            self._refuse_call()
        limit_s = self._deadline_s if timeout_s is None else timeout_s
        give_up = time.monotonic() + limit_s
        if not self._closed:
            if not self._recording.flush(limit_s):
                raise DeadlinePassed("documents were not durable in time", expected=f"{limit_s:g} s")
            if self._sink is not None:
                self._sink.flush(max(0.0, give_up - time.monotonic()))
        self._tell(always=(BackupFailed,))

    def close(self, timeout_s: float | None = None) -> None:
        """Record what was handed over and seal every run; one without its stop is sealed as interrupted.

        Raises DeadlinePassed, after which it may be called again, and the first error that was not told yet:
        BackupFailed always, others with ``on_error="raise"``, and then also that a server did not take a run; the
        runs are sealed in the store before. Of runs that wait and are not what it raises it warns. A second call
        does nothing.
        """
        if self._forked or self._ended:
            return
        limit_s = self._deadline_s if timeout_s is None else timeout_s
        give_up = time.monotonic() + limit_s
        self._closed = True
        self._recording.finish()
        if not self._recording.join(limit_s):
            raise DeadlinePassed("the runs were not sealed in time", expected=f"{limit_s:g} s")
        if self._sink is not None:
            self._sink.close(max(0.0, give_up - time.monotonic()))
        _LIVE.discard(self._recording)
        self._place.await_delivery(max(0.0, give_up - time.monotonic()))
        if self._raises:
            for left in self._place.undelivered():
                self._recording.tell(left)
        self._place.take_over_telling()
        self._ended = True
        try:
            if self._owns_client:
                self._client.close()
        except Warning:  # where warnings are errors: the client has ended, and told what only it tells
            self._tell_at_the_end()
            raise
        self._tell_at_the_end()

    def _tell_at_the_end(self) -> None:
        """Raise the first error that nobody heard of; warn of what else waits for a server."""
        try:
            self._tell(always=(BackupFailed,))
        except GaplessError as error:
            others = any(isinstance(other, DeliveryFailed) for other in self._recording.untold)
            if others or not self._raises:
                self._warn_beside(error)
            raise
        if not self._raises:
            self._warn()

    def _warn_beside(self, error: GaplessError) -> None:
        """Warn of the runs that wait; where warnings are errors ``error``, which is raised, tells of them."""
        try:
            self._warn()
        except Warning as warning:
            error.add_note(str(warning))

    def _warn(self) -> None:
        """Warn of the runs that wait for a server."""
        self._place.warn()
        if self._sink is not None:
            self._sink.warn()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Warning as warning:  # where warnings are errors, none hides what ended the block
            if error is None:
                raise
            error.add_note(str(warning))

    # -- what became of it ---------------------------------------------------------------------

    @property
    def has_ended(self) -> bool:
        """Whether :meth:`close` has sealed every run and let go of the store."""
        return self._ended

    @property
    def reports(self) -> dict[str, RunReport]:
        """The counts of the last 1,000 runs that were sealed, by the run's uid."""
        return dict(self._recording.reports)

    def _hand_on_at_exit(self, timeout_s: float) -> list[GaplessError]:
        """Let the server behind the store have what was recorded; return what no warning tells of.

        That is what not even the spool took, and that nobody can read what waits there.
        """
        if self._forked or self._ended:
            return []
        self._place.await_delivery(timeout_s)
        if self._sink is not None:
            self._sink.close(timeout_s)
        self._warn()
        unreadable = [] if self._place.unreadable is None else [self._place.unreadable]
        return [*(error for error in self._recording.untold if isinstance(error, BackupFailed)), *unreadable]

    @property
    def errors(self) -> list[GaplessError]:
        """The last 1,000 errors of recording and of delivery, oldest first, each with the uid of its run.

        The documents of the former are in the spool; the latter may be mended by now, since what a server does
        not take is offered again. What was no error of ours is the cause of one.
        """
        return list(self._recording.errors)

    @property
    def spool(self) -> Path:
        """The folder of documents that could not be recorded; it is made with the first."""
        return self._recording.spool.folder

    @property
    def waiting(self) -> int:
        """How many documents wait for the recording thread."""
        return len(self._hand_over)

    @property
    def blocked(self) -> int:
        """How many calls found no room and had to wait."""
        return self._hand_over.blocked

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._recording.router.open_runs)} runs open"
        return f"gapless.bluesky.Writer({self._place.shown!r}: {state}, {self.waiting} documents wait)"


def normalizer_maker(
    normalizer: Callable[..., Normalizer] | None,
    patches: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] | None = None,
    spec_to_mimetype: Mapping[str, str] | None = None,
) -> Callable[[], Normalizer | None]:
    """Return what makes the normalizer of one run."""
    if normalizer is None:
        return lambda: None
    options = {"patches": patches, "spec_to_mimetype": spec_to_mimetype}
    given = {key: dict(value) for key, value in options.items() if value is not None}
    return lambda: normalizer(**given)


def _opened(client_or_url: Client | str | os.PathLike[str]) -> tuple[Client, Sink | None]:
    """Return the client of the store, and the sink behind it when the URL names a Tiled server."""
    if isinstance(client_or_url, Client):
        return client_or_url, None
    url = os.fspath(client_or_url)
    if is_server(url):
        return connect(url, flush_ms=_FLUSH_MS, spool=local_store()), None
    if urlsplit(url).scheme not in _TILED:
        return connect(url, flush_ms=_FLUSH_MS), None
    from gapless.bluesky.tiled_sink import open_sink

    client = connect(local_store(), flush_ms=_FLUSH_MS)
    return client, open_sink(url, client)


def _as_refused(error: Exception) -> DocumentRefused:
    """Return why a document could not be copied; classes of what is in it may raise anything."""
    if isinstance(error, DocumentRefused):
        return error
    refused = DocumentRefused("the document could not be copied", found=said_by(error))
    refused.__cause__ = error
    return refused


def _load_columns() -> None:
    """Let pyarrow look for pandas now: it does so with the first list, and cannot while the process ends."""
    pa.array([0])


def _check_above_zero(**limits: float) -> None:
    for name, value in limits.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise ArgumentRefused("a limit is a number above 0", field=name, found=repr(value))


def _finish(recording: Recording, owner: int) -> None:
    """Let a recording end that nobody holds any more, in the process that began it."""
    if os.getpid() == owner:
        recording.finish(speaks_last=True)


@atexit.register
def _drain_at_exit() -> None:
    """Record and seal what writers that were never closed still hold, and say what they could not."""
    recordings = list(_LIVE)
    for recording in recordings:
        recording.finish(speaks_last=True)
    give_up = time.monotonic() + _EXIT_DEADLINE_S
    for recording in recordings:
        if not recording.join(max(0.0, give_up - time.monotonic())) and sys.stderr is not None:
            print(f"gapless: runs were not sealed within {_EXIT_DEADLINE_S:g} s", file=sys.stderr)
    for writer in list(_WRITERS):
        for lost in writer._hand_on_at_exit(_EXIT_SENDING_S):
            if sys.stderr is not None:
                print(f"gapless: {lost}", file=sys.stderr)


def _after_fork_in_child() -> None:
    _LIVE.clear()
    for writer in list(_WRITERS):
        writer._forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
