"""A Tiled server as a target: reached through its public client, only when something is to be sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from gapless.errors import DeliveryFailed, MissingExtra, UsageError

_PROBE_S = 5.0
_SECRETS = ("api_key",)


class Server:
    """One container of a Tiled server, below which runs are written.

    ``connect`` is called on the thread that sends, when it first sends; ``url`` names the server without its
    key. Nothing here retries: what failed is raised, and :func:`is_unanswered` tells whether to try again.
    """

    def __init__(self, url: str, connect: Callable[[], Any], *, owns_client: bool = True) -> None:
        self.url = url
        self._connect, self._owns_client = connect, owns_client
        self._root: Any = None
        self.holds_lists = True  # until its tables turn out to have no type for lists and uint64

    @classmethod
    def of_client(cls, client: Any) -> Server:
        """Return the server of a client that exists."""
        return cls(without_secrets(str(client.uri)), lambda: client, owns_client=False)

    @classmethod
    def of_url(cls, url: str, **options: Any) -> Server:
        """Return the server at a URL; ``options`` go to ``tiled.client.from_uri``."""
        address = http_url(url)
        return cls(without_secrets(address), lambda: connected(address, **options))

    @classmethod
    def of_profile(cls, profile: str, **options: Any) -> Server:
        """Return the server of a profile of Tiled's; connects now, since only the server tells its address."""
        client = _tiled_client().from_profile(profile, **options)
        return cls(without_secrets(str(client.uri)), lambda: client)

    @property
    def root(self) -> Any:
        """The container, with the data sources of its nodes; connects on first use."""
        self.connect()
        return self._root

    def connect(self) -> None:
        """Connect now; raises DeliveryFailed."""
        if self._root is None:
            self._root = plain(self._connect())

    def close(self) -> None:
        """Close the connections, unless they are those of a client that was given."""
        root, self._root = self._root, None
        if root is not None and self._owns_client:
            root.context.close()

    def metadata_of(self, uid: str) -> dict[str, Any]:
        """Return a run's metadata on the server; empty where there is no such run."""
        run = child(self.root, uid)
        return {} if run is None else dict(run.metadata)

    def check_alive(self) -> None:
        """Ask the server for its name with a short deadline; raises what ``httpx`` raises for silence."""
        context = self.root.context
        context.http_client.get(context.api_uri, timeout=_PROBE_S).raise_for_status()


def connected(address: str, **options: Any) -> Any:
    """Return the Tiled client of an http address.

    Raises DeliveryFailed where nobody answers within a few seconds, for which the client itself would wait for
    minutes, and where the server wants a key that it did not get.
    """
    import httpx

    try:
        httpx.get(without_secrets(address), timeout=_PROBE_S, verify=options.get("verify", True))
    except httpx.TransportError as error:
        raise silent(address, error) from error
    try:
        return _tiled_client().from_uri(address, **options)
    except RuntimeError as error:  # what the client says when it would have to ask a person for a password
        raise DeliveryFailed(
            "the Tiled server lets nobody in without a key",
            found=f"{without_secrets(address)}: {str(error).partition('.')[0]}",
            next_step="set TILED_API_KEY, or write ?api_key=… behind the URL",
        ) from error


def silent(url: str, error: BaseException) -> DeliveryFailed:
    """Return the error of a server that does not answer."""
    return DeliveryFailed(
        "the Tiled server does not answer",
        found=f"{without_secrets(url)}: {error}",
        next_step="look whether the server runs",
    )


def http_url(url: str) -> str:
    """Return the http(s) address that ``http://``, ``https://``, ``tiled://`` or ``tiled+http(s)://`` means."""
    parts = urlsplit(url)
    scheme = {"tiled": "http"}.get(parts.scheme, parts.scheme.removeprefix("tiled+"))
    if scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(
            "this is no address of a Tiled server",
            found=without_secrets(url),
            expected="http://host:8000, tiled://host:8000 or tiled+https://host",
        )
    return urlunsplit(parts._replace(scheme=scheme))


def without_secrets(url: str) -> str:
    """Return the one form of a server's URL that may be written down: no password, no key, no API path."""
    parts = urlsplit(url)
    query = urlencode([pair for pair in parse_qsl(parts.query) if pair[0] not in _SECRETS])
    path = re.sub("^/api/v1(/metadata)?", "", parts.path).rstrip("/")
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], path=path, query=query))


def is_unanswered(error: BaseException) -> bool:
    """Tell whether the server may have done what was asked, or may do it when asked again."""
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return isinstance(error, httpx.TransportError)


def is_conflict(error: BaseException) -> bool:
    """Tell whether the server refused because the node is there already."""
    return getattr(getattr(error, "response", None), "status_code", None) == 409


def is_silent(error: BaseException) -> bool:
    """Tell whether no server answered at all."""
    import httpx

    return isinstance(error, httpx.TransportError)


def refused(error: BaseException, uid: str) -> DeliveryFailed:
    """Return what the server, or what stands before it, says, as an error of ours."""
    return DeliveryFailed(
        "the Tiled server does not take the run", sequence=uid, found=f"{type(error).__name__}: {error}"
    )


def plain(node: Any) -> Any:
    """Return a node's container without the conveniences that its specs bring."""
    from tiled.client.container import Container

    return Container(
        node.context, item=node.item, structure_clients=node.structure_clients, include_data_sources=True
    )


def child(node: Any, key: str) -> Any | None:
    """Return the child of a plain container, None where there is none."""
    try:
        return node[key]
    except KeyError:
        return None


def check_installed() -> None:
    """Raise MissingExtra unless what writing to Tiled needs is installed."""
    try:
        import bluesky_tiled_plugins.writing.consolidators  # noqa: F401
        import tiled.client  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "writing to a Tiled server needs the Tiled client", next_step="pip install 'gapless[bluesky]'"
        ) from error


def _tiled_client() -> Any:
    check_installed()
    import tiled.client

    return tiled.client
