"""Reading runs from a Tiled server: the documents of each, as the server gives them."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from gapless.bluesky.tiled_sink.server import connected, http_url, is_unanswered, silent, without_secrets
from gapless.errors import ImportRefused, MissingExtra

_NOT_ACCEPTABLE = 406
_CONNECT_S = 10.0


def check_reachable(url: str) -> None:
    """Raise DeliveryFailed when nothing listens at a server's address; the Tiled client would ask for minutes."""
    parts = urlsplit(http_url(url))
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    try:
        socket.create_connection((parts.hostname or "", port), timeout=_CONNECT_S).close()
    except OSError as error:
        raise silent(url, error) from error


def server_documents(url: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the documents of the run at a URL, or of every run in the container there, run after run.

    Raises MissingExtra without the Tiled client, DeliveryFailed when the server does not answer, and
    ImportRefused when it has no exporter of documents.
    """
    try:
        import bluesky_tiled_plugins  # noqa: F401 - it tells the client what a run is
    except ImportError as error:
        raise MissingExtra(
            "reading from a Tiled server needs the Tiled client", next_step="pip install 'gapless[bluesky]'"
        ) from error
    check_reachable(url)
    try:
        for run in _runs(connected(http_url(url))):
            for name, doc in run.documents():
                yield str(name), doc
    except BaseException as error:
        ours = _as_ours(error, url)
        if ours is error:
            raise
        raise ours from error


def _as_ours(error: BaseException, url: str) -> BaseException:
    """Return what a server's silence or refusal means, and any other error as it is."""
    if is_unanswered(error):
        return silent(url, error)
    if getattr(getattr(error, "response", None), "status_code", None) == _NOT_ACCEPTABLE:
        return ImportRefused(
            "the Tiled server does not give runs as documents",
            found=without_secrets(url),
            next_step="give its configuration the exporter of bluesky-tiled-plugins: media_types: BlueskyRun: "
            "application/json-seq: bluesky_tiled_plugins.exporters:json_seq_exporter",
        )
    return error


def _runs(node: Any) -> Iterator[Any]:
    """Yield the runs in a node, itself or those below; other nodes are passed over."""
    if hasattr(node, "documents"):
        yield node
    elif hasattr(node, "values"):
        for child in node.values():
            yield from _runs(child)
