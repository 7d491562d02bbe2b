"""An episode or its session broke."""

from __future__ import annotations

from gapless.errors.error import GaplessError


class ObserveFailed(GaplessError):
    """An episode or its session broke; what was recorded is kept."""

    code = "E900"
    next_step = "look at observer.last_error; `gapless ls` shows what was kept"


class EpisodeFailed(ObserveFailed):
    """A source, a writer or an encoder ended the episode."""

    code = "E901"
    next_step = "mend the cause and begin the next episode"


class ApprovalRefused(ObserveFailed):
    """The recording was not approved; nothing was recorded."""

    code = "E902"
    next_step = "ask whoever approves, then start the session again"


class NotAuthenticated(ObserveFailed):
    """The hub wants a token and there is none, or it has ended."""

    code = "E903"
    exit_code = 5
    next_step = "set GAPLESS_HUB_TOKEN or give token="


class HubFailed(ObserveFailed):
    """The hub did not answer, or not as agreed."""

    code = "E904"
    exit_code = 5
    next_step = "look whether the hub runs; reports wait in the outbox until it does"
