"""A Tiled server behind the local recording: one thread sends what is durable, whatever the server does."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from gapless.bluesky.delivery_warning import warn_of_waiting
from gapless.bluesky.run_failure import failure_of
from gapless.bluesky.tiled_sink.claim import Claim
from gapless.bluesky.tiled_sink.deliver_run import last_words
from gapless.bluesky.tiled_sink.leaving import leave
from gapless.bluesky.tiled_sink.node_options import BATCH_ROWS, MAX_ARRAY_SIZE
from gapless.bluesky.tiled_sink.only_here import only_here, only_in_spool
from gapless.bluesky.tiled_sink.run_sink import Progress, RunSink
from gapless.bluesky.tiled_sink.server import Server, is_silent, is_unanswered
from gapless.bluesky.tiled_sink.target import Target
from gapless.errors import DeliveryFailed, GaplessError

if TYPE_CHECKING:
    from gapless.bluesky.recording import Hear
    from gapless.bluesky.run_writer import RunWriter
    from gapless.bluesky.tiled_sink.delivered import Delivered
    from gapless.client.client import Client

Doc = Mapping[str, Any]
_PERIOD_S: Final = 0.25
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_PAUSE_AT_THE_END_S: Final = 1.0
_LATE_PAUSE_S: Final = 5.0  # until a layer that is being written is looked at again
_LASTS: Final = 2  # failures in a row; one lost answer is no outage
_REMEMBERED: Final = 1_000  # runs and errors


class TiledSink:
    """Sends runs to a Tiled server after the local store has them durably.

    Each run is recorded in the store first and leaves it when the server has confirmed its stop document and
    nothing of it is only here; ``keep_local`` leaves it there. A server that is slow, dead or gone for an hour
    costs the recording nothing: runs are sent as they come, and when it failed or too much waits, from their
    sequences, which another process does too that opens the same store for the same server. A delivered run
    stays ``release_after_s`` longer, for late documents, or until :meth:`close`. What could not be
    delivered by :meth:`close` stays in the store, and its documents are in the spool beside it with the reason.
    """

    def __init__(
        self,
        server: Server,
        client: Client,
        *,
        batch_rows: int = BATCH_ROWS,
        max_array_size: int = MAX_ARRAY_SIZE,
        max_waiting: int = 100_000,
        keep_local: bool = False,
        validate: bool = False,
        period_s: float = _PERIOD_S,
        release_after_s: float = 300.0,
    ) -> None:
        from gapless.client.client import connect

        self._client = connect(client.path)  # its own: this one lives on another thread, and longer
        self._target = Target(self._client, server, batch_rows, max_array_size, max_waiting, validate)
        self._keep_local, self._period_s, self._release_after_s = keep_local, period_s, release_after_s
        self._claim = Claim(client.path)
        self._runs: OrderedDict[str, RunSink] = OrderedDict()  # by sequence name
        self._lock = threading.Lock()
        self._change = threading.Condition(self._lock)
        self.delivered: OrderedDict[str, Delivered] = OrderedDict()  # the last 1,000 runs, by uid
        self.undelivered: list[DeliveryFailed] = []  # the runs that close() left behind
        self._hear: Hear | None = None
        self._unheard: list[Callable[[Hear], None]] = []  # what is told when somebody listens
        self._silent_until_s = 0.0
        self._has_looked = self._closing = self._ended = False
        self._thread = threading.Thread(target=self._work, name="gapless-bluesky-tiled", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The server's address, without its key."""
        return self._target.server.url

    # -- the recording thread ------------------------------------------------------------------

    def metadata(self, start: Doc) -> dict[str, Any]:  # noqa: ARG002 - another sink may look at it
        """Return what a sequence's metadata says of where it goes."""
        return {"delivery": {"target": "tiled", "url": self.url, "sink": self._claim.id}}

    def open(self, start: Doc, run: RunWriter) -> RunSink:
        """Return what takes the documents of one run that ``run`` records."""
        name = run.sequence.name
        sink = RunSink(self._target, name, start, run.sequence)
        with self._lock:
            self._runs[name] = sink
        return sink

    def sealed(self, sequence: str) -> None:
        """Take note that a run's sequence is sealed."""
        with self._lock:
            run = self._runs.get(sequence)
        if run is not None:
            run.sealed()

    def listen(self, hear: Hear) -> None:
        """Tell every error from now on, and those before, to ``hear``."""
        with self._lock:
            unheard, self._unheard, self._hear = self._unheard, [], hear
        for tell in unheard:
            tell(hear)

    def _tell(self, error: BaseException, run: str | None = None, *, retried: bool = False) -> None:
        """Tell an error as a failed delivery that names the run."""
        failure = failure_of(error, run, kind=DeliveryFailed)
        with self._lock:
            hear = self._hear
            if hear is None:
                self._unheard.append(lambda hear: hear(failure, run, retried=retried))
                del self._unheard[:-_REMEMBERED]
        if hear is not None:
            hear(failure, run, retried=retried)

    def flush(self, timeout_s: float) -> None:
        """Return when the server has every row that came, or does not answer, or at ``timeout_s``."""
        self._target.hurry()
        with self._change:
            self._change.wait_for(
                lambda: self._silent_until_s or all(run.is_idle for run in self._runs.values()),
                timeout=timeout_s,
            )

    def close(self, timeout_s: float) -> None:
        """Deliver what can be delivered in time; spool the documents of the runs that could not be.

        What failed is told, BackupFailed where the spool refused.
        """
        with self._change:
            if self._ended:
                return
            self._closing = True
            for run in self._runs.values():
                if not run.is_sealed:
                    run.refuse("its sequence could not be sealed")
            self._target.hurry()
            self._change.wait_for(self._has_nothing_left, timeout=timeout_s)
            left = [run for run in self._runs.values() if run.progress in _UNDELIVERED]
            self._ended = True
        self._target.hurry()
        self._thread.join(min(timeout_s, 1.0))  # it may wait for a dead server, and is a daemon
        for run in left:
            try:
                self._leave_behind(run)
            except (GaplessError, OSError) as error:  # of one that is gone or damaged; the others go on
                self._tell(error, run.uid)

    @property
    def _later(self) -> str:
        return f"gapless bluesky deliver {self._client.path} --to {self.url}"

    def warn(self) -> None:
        """Tell the person at the RunEngine, who looks at no list of errors, of the runs that were left behind."""
        if not self.undelivered:
            return
        found = str(self.undelivered[0].found)
        warn_of_waiting(len(self.undelivered), f"Tiled server {self.url}", found, self._later)

    def _has_nothing_left(self) -> bool:
        return self._has_looked and all(
            run.progress in (Progress.RELEASED, Progress.REFUSED) for run in self._runs.values()
        )

    def _leave_behind(self, run: RunSink) -> None:
        """Keep the documents of an undelivered run in the spool, from where they can be delivered."""
        from gapless.bluesky.document_source import documents
        from gapless.bluesky.spool import FOLDER, Spool

        reason = run.reason or "the server did not confirm the run in time"
        error = DeliveryFailed(
            "a run is not on the Tiled server",
            sequence=run.sequence_name,
            found=reason,
            next_step=f"when it answers: {self._later}",
        )
        self.undelivered.append(error)
        self._tell(error, run.uid)
        spool = Spool(self._client.path / FOLDER)
        try:
            if not spool.path(run.uid).exists():
                spool.keep_all(
                    run.uid, documents(self._client.sequence_handler(run.sequence_name)), reason=reason
                )
        finally:
            spool.close()

    # -- the sending thread --------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._find_left()
            self._has_looked = True
            while not self._ended:
                self._target.wake.wait(self._period_s)
                self._target.wake.clear()
                self._turn()
        except BaseException as error:  # noqa: BLE001 - the thread's end: told to whoever looks
            self._tell(error)
        finally:
            self._claim.release()
            self._target.server.close()
            self._client.close()

    def _find_left(self) -> None:
        """Take up the runs that a dead process recorded for this server and never saw confirmed."""
        from gapless.model.expression import Sequence

        if not self._claim.take_left_behind():
            return
        for item in self._client.query(Sequence.Q.user_metadata["delivery.url"].eq(self.url)):
            try:
                self._take_up(item.sequence)
            except (GaplessError, OSError) as error:  # of one damaged sequence; the others go on
                self._tell(error, item.sequence)

    def _take_up(self, name: str) -> None:
        handler = self._client.sequence_handler(name)
        if handler.state == "open" and not handler.owner_alive:
            self._client.recover(name)
            handler.reload()
        delivery, start = (handler.metadata.get(key, {}) for key in ("delivery", "start"))
        if handler.state != "sealed" or not start or not self._claim.is_free(delivery.get("sink")):
            return
        with self._lock:
            self._runs.setdefault(name, RunSink(self._target, name, start, None))

    def _turn(self) -> None:
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            now_s = time.monotonic()
            if self._ended:
                break
            if now_s < max(run.retry_at_s, self._silent_until_s):
                continue
            self._step(run)
        with self._change:
            self._change.notify_all()

    def _step(self, run: RunSink) -> None:
        try:
            if self._silent_until_s:
                self._target.server.check_alive()
                self._silent_until_s = 0.0
            run.step()
            run.failures = 0
            if run.progress is Progress.CONFIRMED:
                self._release(run)
        except BaseException as error:  # noqa: BLE001 - of one run: it is told, and tried again or given up
            self._failed(run, error)

    def _failed(self, run: RunSink, error: BaseException) -> None:
        """Decide when to try again: soon, when the server answers again, or never."""
        cause = error.__cause__ if isinstance(error, DeliveryFailed) and error.__cause__ else error
        is_retried = is_silent(cause) or is_unanswered(cause)
        reason = f"{type(error).__name__}: {error}"
        run.failures += 1
        if not is_retried and run.progress is not Progress.LIVE:
            run.refuse(reason)
            self._tell(error, run.uid)
            return
        if reason != run.reason or run.failures == _LASTS:
            self._tell(error, run.uid, retried=run.failures != _LASTS)
        if not is_retried:
            run.send_later(reason)
            return
        run.reason = reason
        longest_s = _PAUSE_AT_THE_END_S if self._closing else _LONGEST_PAUSE_S
        run.retry_at_s = time.monotonic() + min(longest_s, _FIRST_PAUSE_S * 2 ** min(run.failures - 1, 16))
        if is_silent(cause):
            self._silent_until_s = run.retry_at_s

    def _release(self, run: RunSink) -> None:
        """Let a confirmed run leave the store, late documents delivered too, unless something is only here."""
        old = time.monotonic() - run.sealed_at_s >= self._release_after_s
        if not run.is_sealed or not (old or self._closing) or self._ended:
            return
        handler = self._client.sequence_handler(run.sequence_name)
        if handler.layers and run.layers != len(handler.layers):
            run.delivered = self._target.deliver(run.sequence_name)
            run.layers = len(handler.layers)
        assert run.delivered is not None
        delivered = run.delivered.also([*only_here(handler), *only_in_spool(self._client.path, handler)])
        if self._keep_local or not delivered.is_whole:
            if not run.layers:
                run.say(last_words(handler), delivered.findings)
        elif not leave(self._client, handler) and not self._closing:
            run.retry_at_s = time.monotonic() + _LATE_PAUSE_S  # what came now goes to the server first
            return
        self._remember(delivered)
        run.progress = Progress.RELEASED
        with self._change:
            self._runs.pop(run.sequence_name, None)

    def _remember(self, delivered: Delivered) -> None:
        self.delivered[delivered.uid] = delivered
        while len(self.delivered) > _REMEMBERED:
            self.delivered.popitem(last=False)


_UNDELIVERED: Final = (Progress.LIVE, Progress.AFTER_SEAL, Progress.REFUSED)
