"""What every route of one server shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gapless.serve.http.hosts import Hosts
from gapless.serve.http.running import RunningCalls
from gapless.serve.http.sessions import Sessions
from gapless.serve.rights import Access
from gapless.serve.served import Served
from gapless.serve.traffic import Traffic


@dataclass(frozen=True, slots=True)
class Site:
    """The store that is served, who may come in, and what the operator named beside it.

    ``access`` gets a key, None: none, and ``resume`` the id of a key that was shown before; both return what its
    bearer may do or raise KeyRefused. ``pipelines``: files of pipelines; ``hub``: the ledger of an approval hub,
    None: there is none here. ``app.state.site`` holds the one of an app.
    """

    served: Served
    access: Callable[[str | None], Access]
    resume: Callable[[str | None], Access]
    asks_for_keys: Callable[[], bool]
    traffic: Traffic
    hosts: Hosts
    sessions: Sessions
    running: RunningCalls
    pipelines: tuple[Path, ...] = ()
    hub: Path | None = None
