"""Watching a run through its control socket; without one, or when it is gone, there is just nothing to tell."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from gapless.errors import ControlFailed, NotFound

if TYPE_CHECKING:
    from gapless.acquire.control.client import ControlClient
    from gapless.store.layout import Bundle


class RunWatch:
    """A watcher of the run that records a bundle, if one does and can be asked."""

    def __init__(self, bundle: Bundle | None) -> None:
        self._client = None if bundle is None else self._connect(bundle)

    def _connect(self, bundle: Bundle) -> ControlClient | None:
        from gapless.acquire.control.client import ControlClient

        try:
            client = ControlClient.connect(bundle)
        except (ControlFailed, NotFound):
            return None
        try:
            client.subscribe(channels=[])
        except ControlFailed:
            client.close()
            return None
        return client

    def status(self) -> dict[str, Any] | None:
        """Return the run's status, None when there is no run to ask."""
        if self._client is None:
            return None
        try:
            return self._client.status()
        except ControlFailed:
            self.close()
            return None

    def events(self, length_s: float) -> Iterator[dict[str, Any]]:
        """Let this time pass and yield the events that come meanwhile."""
        end_s = time.monotonic() + length_s
        if self._client is not None:
            try:
                for message in self._client.updates(length_s):
                    if message["stream"] == "event":
                        yield message
            except ControlFailed:
                self.close()
        time.sleep(max(0.0, end_s - time.monotonic()))

    def close(self) -> None:
        """Leave the run."""
        if self._client is not None:
            self._client.close()
        self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
