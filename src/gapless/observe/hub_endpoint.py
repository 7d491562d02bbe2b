"""Where a hub is and who asks: its address, the token, and how long one request may last."""

from __future__ import annotations

import ipaddress
import logging
import os
import threading
import time
from urllib.parse import quote

from gapless.errors import NotAuthenticated, UsageError
from gapless.observe.hub.token import stated_expiry_s
from gapless.observe.hub_request import Answer, Patience, hub_address, send

_LOG = logging.getLogger("gapless.observe")
_TASKS = "/api/luckyengine/tasks"
_LATEST_S = 253_402_300_799  # the end of the year 9999


class HubEndpoint:
    """Sends requests to one hub. ``token``: else ``$GAPLESS_HUB_TOKEN``; it is in no message and no log.

    Each request raises HubFailed without a whole answer, also once ``called_off`` is set, and NotAuthenticated
    before anything is sent.
    """

    def __init__(self, url: str, token: str | None, timeout_s: float) -> None:
        self._address = hub_address(url)
        self.url = self._address.geturl()
        self.called_off = threading.Event()
        self.timeout_s = timeout_s
        self._token = os.environ.get("GAPLESS_HUB_TOKEN", "") if token is None else token
        if not self._token.isascii() or any(c.isspace() or not c.isprintable() for c in self._token):
            raise UsageError("a token is one word of ASCII characters", field="token")
        if self._token and self._address.scheme == "http" and not is_local(str(self._address.hostname)):
            _LOG.warning("the token travels unencrypted to %s; use https://", self.url)

    def check_token(self) -> None:
        """Raise NotAuthenticated without a token, or with one that says that it has ended."""
        if not self._token:
            raise NotAuthenticated("the hub wants a token and there is none", found=self.url)
        expiry_s = stated_expiry_s(self._token)
        if expiry_s is not None and expiry_s <= time.time():
            moment = time.gmtime(max(0.0, min(expiry_s, _LATEST_S)))
            raise NotAuthenticated(
                "the token has ended", found=time.strftime("%Y-%m-%d %H:%M:%S UTC", moment)
            )

    def create(self, body: str) -> Answer:
        """Ask for a task."""
        return self._call("POST", "", body)

    def look(self, task_id: str) -> Answer:
        """Ask how far a task is."""
        return self._call("GET", f"/{quote(task_id, safe='')}")

    def report(self, task_id: str, action: str, body: str, key: str) -> Answer:
        """Send one report; ``key``: by which the hub knows it again."""
        return self._call("POST", f"/{quote(task_id, safe='')}/{action}", body, {"Idempotency-Key": key})

    def _call(
        self, method: str, path: str, body: str | None = None, words: dict[str, str] | None = None
    ) -> Answer:
        self.check_token()
        return send(
            self._address,
            method,
            f"{_TASKS}{path}",
            headers={"Authorization": f"Bearer {self._token}", "Accept": "application/json", **(words or {})},
            body=body,
            patience=Patience(self.timeout_s, self.called_off),
            secret=self._token,
        )


def is_local(host: str) -> bool:
    """Return whether a host is this machine and nothing else."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
