"""Which runs of a store are on their way to a server that has not confirmed them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gapless.bluesky.tiled_sink.server import http_url, without_secrets

if TYPE_CHECKING:
    from gapless.client.client import Client


def waiting_runs(client: Client, url: str) -> dict[str, str]:
    """Return uid and sequence of each run that was recorded for the server and is still in the store."""
    from gapless.model.expression import Sequence

    found = client.query(Sequence.Q.user_metadata["delivery.url"].eq(without_secrets(http_url(url))))
    handlers = [client.sequence_handler(item.sequence) for item in found]
    return {str(handler.metadata["start"]["uid"]): handler.name for handler in handlers}
