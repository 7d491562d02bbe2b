"""Runs to a real Tiled server, through the local store: nothing is sent that is not durable here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gapless.bluesky.tiled_sink.sink import TiledSink
    from gapless.client.client import Client


def open_sink(url: str, client: Client, **options: Any) -> TiledSink:
    """Return the sink that sends the runs recorded in ``client``'s store to the Tiled server at ``url``.

    The server need not run yet. ``options``: those of :class:`~gapless.bluesky.tiled_sink.sink.TiledSink`.
    Raises UsageError for what is no such URL and MissingExtra without the Tiled client.
    """
    from gapless.bluesky.tiled_sink.server import Server, check_installed

    server = Server.of_url(url)
    check_installed()
    from gapless.bluesky.tiled_sink.sink import TiledSink  # it loads the client's libraries

    return TiledSink(server, client, **options)
