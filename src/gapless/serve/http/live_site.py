"""What the routes of live things share: one for each app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from fastapi import Depends
from starlette.requests import HTTPConnection

from gapless.serve.http.asking import HttpCall
from gapless.serve.http.live_feed import LiveFeeds
from gapless.serve.http.live_lister import LiveLister
from gapless.serve.http.live_sequences import LiveSequence, live_sequence
from gapless.serve.rights import Right
from gapless.serve.visible import looked_at


@dataclass(frozen=True, slots=True)
class LiveSite:
    """The feeds that browsers share, and the list of what is recorded now."""

    feeds: LiveFeeds
    lister: LiveLister

    def reached(self, call: HttpCall, right: Right, name: str) -> LiveSequence:
        """Return a sequence that is recorded now, for a caller who has the right.

        One that is watched is known without a look at the disk, which may be what the caller is about to save
        the devices from. Raises RightMissing, NotFound and StateError.
        """
        call.require(right)
        watched = self.feeds.watched(name)
        if watched is not None and call.sees(watched.group):
            return watched
        return live_sequence(looked_at(call.served), call.sees, name)


async def live_site(connection: HTTPConnection) -> LiveSite:
    """Return the one of the app that is asked, made by the first request; only on the server's loop."""
    state = connection.app.state
    if not hasattr(state, "live"):
        served = connection.app.state.site.served
        state.live = LiveSite(LiveFeeds(served.client), LiveLister(served))
    site: LiveSite = state.live
    return site


Live: TypeAlias = Annotated[LiveSite, Depends(live_site)]
