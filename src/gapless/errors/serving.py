"""What the door of a network says no to, and a door that cannot be reached."""

from __future__ import annotations

from gapless.errors.error import GaplessError


class ServingFailed(GaplessError):
    """A server refused the call or could not be asked; nothing happened there."""

    code = "E970"
    next_step = "look at the server's messages"


class KeyRefused(ServingFailed):
    """The server wants an API key, and there is none or it does not count (any longer)."""

    code = "E971"
    exit_code = 5
    next_step = "set GAPLESS_API_KEY or give api_key=; `gapless keys make` on the server makes one"


class RightMissing(ServingFailed):
    """The key does not allow this, or not in this group."""

    code = "E972"
    exit_code = 5
    next_step = "ask for a key with that right; `gapless keys ls` on the server lists what each may do"


class LimitReached(ServingFailed):
    """The server does all it is allowed to do at one time, or the request is larger than it takes."""

    code = "E973"
    exit_code = 5
    next_step = "try again when others have ended, or raise the limit where the server is started"


class ServerClosing(ServingFailed):
    """The server is going down and takes nothing new; what it accepted is durable."""

    code = "E974"
    exit_code = 5
    next_step = "try again when it is back"


class Unreachable(ServingFailed):
    """The server does not answer, or the connection to it was cut."""

    code = "E975"
    exit_code = 5
    next_step = "look whether `gapless serve` runs there, and at host, port and TLS"


class ServerFault(ServingFailed):
    """The server met an error nobody expected; its log tells all about it."""

    code = "E976"
    next_step = "look for the reference in the server's log, and report it"


class CsrfRefused(ServingFailed):
    """A browser asks for a change without the token that only pages of its session know."""

    code = "E977"
    exit_code = 5
    next_step = (
        "load the page again; a program sends its key as `Authorization: Bearer KEY` and needs no token"
    )


class OriginRefused(ServingFailed):
    """The page that asks was not sent by this server."""

    code = "E978"
    exit_code = 5
    next_step = "open the page at this server; behind a proxy, start it with `--http-host NAME`"


class HostRefused(ServingFailed):
    """The server is asked for by a name that is not its own."""

    code = "E979"
    exit_code = 5
    next_step = "ask by one of its own names, or start the server with `--http-host NAME`"


class QuestionRefused(ServingFailed):
    """A request to the HTTP API has parameters or a body that mean nothing there."""

    code = "E980"
    exit_code = 2
    next_step = "compare it with /api/v1/openapi.json"


class RequestTooLarge(LimitReached):
    """The body of a request is larger than the server takes."""

    code = "E981"
    next_step = "send less at one time"
