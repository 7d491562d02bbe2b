"""What a server tells about itself before anything else is asked."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from gapless._version import __version__
from gapless.client.remote import protocol
from gapless.serve.call import Call
from gapless.serve.door import Action, Door
from gapless.serve.served import Served


class Information(Door):
    """The action ``gapless.info``: release, store, limits, and what the caller may do."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def actions(self) -> Mapping[str, Action]:
        """Return the one action."""
        return {protocol.INFO: self._info}

    def _info(self, call: Call, _body: bytes) -> Iterable[bytes]:
        """Tell the release, the store's uid, the limits, the server's time and the caller's rights."""
        groups = call.access.groups
        return [
            protocol.encode(
                {
                    "version": __version__,
                    "store_uid": self._served.store_uid,
                    "limits": self._served.limits.told(),
                    "time_ns": time.time_ns(),
                    "key": {
                        "id": call.key_id,
                        "right": call.access.right.word,
                        "groups": None if groups is None else sorted(groups),
                    },
                }
            )
        ]
