"""What is recorded now, looked up once for all who ask within a second."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

from gapless.errors import IntegrityError
from gapless.serve.http.live_sequences import LiveSequence, live_sequences
from gapless.serve.visible import looked_at
from gapless.store.layout import Bundle

if TYPE_CHECKING:
    from gapless.serve.http.live_sequences import Sees
    from gapless.serve.served import Served
    from gapless.store.journal_view import JournalView

EVERY_S: Final = 1.0


class LiveLister:
    """Looks at the store at most once a second, whoever asks; journals are read on from where they were."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._lock = threading.Lock()
        self._looked_s: float | None = None
        self._found: list[tuple[LiveSequence, dict[str, Any]]] = []
        self._views: dict[LiveSequence, JournalView] = {}

    def seen(self, sees: Sees) -> list[dict[str, Any]]:
        """Return the sequences that are recorded now in the groups that are seen, newest first."""
        with self._lock:
            now_s = time.monotonic()
            if self._looked_s is None or now_s - self._looked_s >= EVERY_S:
                self._look()
                self._looked_s = time.monotonic()
            return [item for live, item in self._found if sees(live.group)]

    def _look(self) -> None:
        live = live_sequences(looked_at(self._served), lambda _group: True)
        self._views = {one: view for one, view in self._views.items() if one in live}
        self._found = [(one, self._item(one)) for one in live]

    def _item(self, live: LiveSequence) -> dict[str, Any]:
        figures = self._figures(live)
        told = live.episode
        return {
            "name": live.name,
            "group": live.group,
            "kind": live.kind,
            "has_control": live.control is not None,
            "started_ns": str(live.started_ns),
            **figures,
            "episode": told and {key: told.get(key) for key in ("session", "index", "seed", "mode")},
        }

    def _figures(self, live: LiveSequence) -> dict[str, int]:
        """Return durable rows, dropped rows and topics; zeros for what ends at this moment."""
        from gapless.store.journal_view import JournalView

        try:
            view = self._views.get(live)
            if view is None:
                view = self._views[live] = JournalView.open(Bundle(live.path).journal)
            else:
                view.refresh()
            ledgers = [ledger for name, ledger in view.ledger.items() if not name.startswith("_")]
        except (FileNotFoundError, IntegrityError):
            self._views.pop(live, None)
            return {"rows": 0, "dropped": 0, "topics": 0}
        return {
            "rows": sum(ledger.written for ledger in ledgers),
            "dropped": sum(ledger.dropped for ledger in ledgers),
            "topics": len(ledgers),
        }
