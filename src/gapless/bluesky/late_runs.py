"""Runs that have ended: what comes for them later is streamed into a layer of each."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gapless.bluesky.guarded_run import GuardedRun, Tell
from gapless.bluesky.late_documents import Addition, recorded_headers
from gapless.bluesky.run_feed import Normalizer, Refuse, RunFeed
from gapless.bluesky.sealer import Sealer
from gapless.bluesky.spool import Spool
from gapless.errors import BackupFailed

if TYPE_CHECKING:
    from gapless.client.client import Client

Doc = Mapping[str, Any]
Documents = list[tuple[str, Doc]]

IDLE_S: Final = 2.0
_REMEMBERED: Final = 1_000
_MOST_WAITING: Final = 20_000  # documents for the sealing thread; beyond, they go to the spool


@dataclass(slots=True)
class _Ended:
    """A run that has ended. ``sequence`` is None for one that is in the spool."""

    sequence: str | None
    headers: Documents


class LateRuns:
    """Takes late documents on the recording thread and writes them on the sealing thread, behind the run's seal.

    Each run's are in one layer, which is sealed when none has come for two seconds, or when asked. What cannot
    be written goes to the spool; errors are told.
    """

    def __init__(
        self,
        client: Client,
        make_normalizer: Callable[[], Normalizer | None],
        spool: Spool,
        sealer: Sealer,
        tell: Tell,
    ) -> None:
        self._client = client
        self._make_normalizer = make_normalizer
        self._spool = spool
        self._sealer = sealer
        self._tell = tell
        self._ended: OrderedDict[str, _Ended] = OrderedDict()
        self._gathered: dict[str, Documents] = {}
        self._last: dict[str, float] = {}  # when the last document of a run with a layer came
        self._layers: dict[str, GuardedRun] = {}  # of the sealing thread alone
        self._handed = self._written = 0  # documents; each counted by one thread

    @property
    def is_open(self) -> bool:
        """Whether a layer is to be sealed yet."""
        return bool(self._last)

    def ended(self, uid: str, sequence: str | None, headers: Documents) -> None:
        """Take note that a run has ended; ``headers`` give sense to what is spooled should it leave the store."""
        self._ended[uid] = _Ended(sequence, headers)
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)

    def take(self, uid: str, name: str, doc: Doc) -> None:
        """Take one document of a run that has ended."""
        self._gathered.setdefault(uid, []).append((name, doc))

    def end_group(self) -> None:
        """Hand on what was gathered."""
        gathered, self._gathered = self._gathered, {}
        for uid, documents in gathered.items():
            self._last[uid] = time.monotonic()
            if self._handed - self._written > _MOST_WAITING:
                self._keep(uid, documents, "too many late documents waited for the layer")
            else:
                self._handed += len(documents)
                self._sealer.put(partial(self._write, uid, documents))

    def end_idle(self) -> None:
        """Seal the layers of runs for which nothing came for a while."""
        idle_since = time.monotonic() - IDLE_S
        self._end([uid for uid, last in self._last.items() if last <= idle_since])

    def end_all(self) -> None:
        """Seal the layers of all runs."""
        self.end_group()
        self._end(list(self._last))

    def _end(self, uids: list[str]) -> None:
        for uid in uids:
            del self._last[uid]
            self._sealer.put(partial(self._seal, uid))

    # -- on the sealing thread -----------------------------------------------------------------

    def _write(self, uid: str, documents: Documents) -> None:
        self._written += len(documents)
        layer = self._layers.get(uid)
        if layer is None:
            ended = self._ended.get(uid)
            if ended is None or ended.sequence is None:
                self._keep(uid, documents, "the run itself is in the spool")
                return
            try:
                layer = self._layers[uid] = self._opened(uid, ended.sequence)
            except BaseException as error:  # noqa: BLE001 - of one run: its documents are kept
                self._tell(error, uid)
                self._keep(uid, documents, str(error))
                return
        for name, doc in documents:
            layer(name, doc)
        layer.end_group()

    def _opened(self, uid: str, sequence: str) -> GuardedRun:
        def open_feed(refuse: Refuse) -> RunFeed:
            return Addition(self._client, sequence, self._make_normalizer, refuse).feed

        headers = recorded_headers(self._client.sequence_handler(sequence))
        return GuardedRun(uid, open_feed, self._spool, self._tell, headers)

    def _seal(self, uid: str) -> None:
        layer = self._layers.pop(uid, None)
        if layer is not None:
            layer.seal()

    def _keep(self, uid: str, documents: Documents, reason: str) -> None:
        """Put late documents into the spool, with what gives them sense when nothing else does."""
        ended = self._ended.get(uid)
        headers = ended.headers if ended is not None else []
        try:
            self._spool.keep_all(uid, [*headers, *documents], reason=reason)
        except BackupFailed as error:
            self._tell(error, uid)
            return
        if ended is not None:
            ended.headers = []
