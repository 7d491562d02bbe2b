"""A recording without a topic yet: its client says now and then that it is there, or the server lets go of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from gapless.client.remote.lane_sender import may_pass

_TIMES: Final = 3  # within the time after which a silent client is taken for gone


class Presence:
    """Calls ``say()`` from a thread of its own, ``_TIMES`` within a lease, until :meth:`end`.

    A call that failed and may succeed later is made again in its turn; ``fail`` is told of any other error.
    """

    def __init__(
        self, name: str, lease_s: float, say: Callable[[], None], fail: Callable[[BaseException], None]
    ) -> None:
        self.error: BaseException | None = None  # of the last call that failed
        self._every_s = lease_s / _TIMES
        self._say = say
        self._fail = fail
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"gapless-presence-{name}", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Say nothing more: a topic's stream does, or the recording ends."""
        self._ended.set()

    def join(self, timeout_s: float) -> None:
        """End, and return when the thread has, or the time is over."""
        self.end()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                self._say()
            except BaseException as error:  # noqa: BLE001 - the thread's boundary: kept, or the recording's failure
                self.error = error
                if self._ended.is_set() or may_pass(error):
                    continue
                self._fail(error)
                return
