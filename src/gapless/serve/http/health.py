"""The paths for programs that watch the server, as the small server without pages has them, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gapless.serve.gate import token_of
from gapless.serve.http.threads import OwnThreads
from gapless.serve.operations.http_server import Page, Reply

_THREADS: Final = 4


def health_routes(pages: Mapping[str, Page], admit: Callable[[str | None], object]) -> list[Route]:
    """Return the routes of pages, for GET and HEAD. ``admit`` gets the key of a request and raises what refuses it.

    They have threads of their own: however many requests wait for the disk, a server that lives says so.
    """
    threads = OwnThreads(_THREADS)

    def made(page: Page, request: Request) -> Reply:
        if not page.for_all:
            admit(token_of({name: request.headers.getlist(name) for name in set(request.headers)}))
        return page.make()

    def route(path: str, page: Page) -> Route:
        async def answer(request: Request) -> Response:
            reply = await threads.run(made, page, request)
            return Response(reply.body, reply.status, {"Content-Type": reply.content_type})

        return Route(path, answer, methods=["GET", "HEAD"], include_in_schema=False)

    return [route(path, page) for path, page in pages.items()]
