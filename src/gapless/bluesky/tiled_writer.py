"""The writer for a Tiled server under the names that Bluesky's own writer has."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from gapless.bluesky.normalizer import RunNormalizer
from gapless.bluesky.writer import Writer
from gapless.client.client import connect

if TYPE_CHECKING:
    from gapless.bluesky.run_feed import Normalizer
    from gapless.bluesky.tiled_sink.delivered import Delivered
    from gapless.errors import GaplessError

Patch = Callable[[dict[str, Any]], dict[str, Any]]


class TiledWriter:
    """Writes Bluesky runs into Tiled: ``RE.subscribe(TiledWriter.from_uri("http://localhost:8000"))``.

    Each document is durable in the store ``backup_directory`` before it is sent, and the run leaves that store
    when the server has confirmed its stop document and nothing of it is only here; so a call takes microseconds
    and a dead server costs nothing. Without ``backup_directory`` the store is ``$GAPLESS_STORE``, else
    ``./gapless-data``.

    A run stays in the store, and :attr:`delivered` and the ``notes`` on the server say why, where the server does
    not hold: values that are not as their descriptor declares; the absence of a value in an array of integers,
    booleans or text; external data that cannot be registered; what start, descriptors and stop hold that JSON does
    not (NaN, infinity, integers beyond 64 bits, bytes, dates); what a later descriptor of a stream declares anew;
    documents that were rewritten, as resource and datum are. It leaves although the server lacks the uids of
    events, resources and datums, ``object_keys``, which follow from the data keys, and the difference between NaN
    and no value in an array of floats.

    ``client``: a container of a Tiled server. ``normalizer``, ``patches``, ``spec_to_mimetype``: as for
    :class:`~gapless.bluesky.writer.Writer`. ``batch_size``: rows of one request at most; rows are sent each
    250 ms however few they are. ``max_array_size``: arrays with more elements become arrays of their own, -1
    none, 0 all. ``validate``: read every node back after the stop; what differs is in :attr:`delivered`.
    ``max_waiting``: documents of one run that wait in memory for the server at most; then it is sent from the store.
    ``keep_local`` leaves delivered runs in the store. Call :meth:`close` at the end: it waits for the server.
    """

    def __init__(
        self,
        client: Any,
        *,
        normalizer: Callable[..., Normalizer] | None = RunNormalizer,
        patches: Mapping[str, Patch] | None = None,
        spec_to_mimetype: Mapping[str, str] | None = None,
        backup_directory: str | os.PathLike[str] | None = None,
        batch_size: int = 10_000,
        max_array_size: int = 16,
        validate: bool = False,
        keep_local: bool = False,
        max_waiting: int = 100_000,
        name: str = "{uid}",
        on_error: Literal["spool", "raise"] = "spool",
    ) -> None:
        from gapless.bluesky.tiled_sink.server import Server, check_installed

        check_installed()
        from gapless.bluesky.tiled_sink.sink import TiledSink  # it loads the client's libraries

        server = client if isinstance(client, Server) else Server.of_client(client)
        self._store = connect(backup_directory or os.environ.get("GAPLESS_STORE") or "./gapless-data")
        self._sink = TiledSink(
            server,
            self._store,
            batch_rows=max(1, batch_size),
            max_array_size=max_array_size,
            validate=validate,
            keep_local=keep_local,
            max_waiting=max_waiting,
        )
        self._writer = Writer(
            self._store,
            name=name,
            normalizer=normalizer,
            patches=patches,
            spec_to_mimetype=spec_to_mimetype,
            on_error=on_error,
            sink=self._sink,
        )

    @classmethod
    def from_uri(cls, uri: str, *, api_key: str | None = None, **options: Any) -> Self:
        """Return the writer for the server at a URI, which need not run yet; ``options`` as for the class."""
        from gapless.bluesky.tiled_sink.server import Server, check_installed

        check_installed()
        words = {} if api_key is None else {"api_key": api_key}
        return cls(Server.of_url(uri, **words), **options)

    @classmethod
    def from_profile(cls, profile: str, **options: Any) -> Self:
        """Return the writer for the server of a profile of Tiled's; ``options`` as for the class."""
        from gapless.bluesky.tiled_sink.server import Server

        return cls(Server.of_profile(profile), **options)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take one document; it may be changed or used again when the call returns."""
        self._writer(name, doc)

    def flush(self, timeout_s: float | None = None) -> None:
        """Return when what came is durable here and, as far as the server answers in time, there."""
        self._writer.flush(timeout_s)

    def close(self, timeout_s: float | None = None) -> None:
        """Seal and deliver what came; what cannot be delivered in time stays in the store and in the spool.

        Raises DeadlinePassed, after which it may be called again, BackupFailed, and with ``on_error="raise"`` what
        went wrong, DeliveryFailed included.
        """
        try:
            self._writer.close(timeout_s)
        finally:
            if self._writer.has_ended:
                self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Warning as warning:  # where warnings are errors, none hides what ended the block
            if error is None:
                raise
            error.add_note(str(warning))

    @property
    def errors(self) -> list[GaplessError]:
        """What went wrong here or on the way to the server, as :attr:`gapless.bluesky.Writer.errors`."""
        return self._writer.errors

    @property
    def delivered(self) -> dict[str, Delivered]:
        """The last 1,000 runs that the server has confirmed, by the run's uid."""
        return dict(self._sink.delivered)

    @property
    def spool(self) -> Path:
        """The folder of documents that could neither be recorded nor delivered."""
        return self._writer.spool

    def __repr__(self) -> str:
        return f"gapless.bluesky.TiledWriter({self._sink.url!r}, backup_directory={str(self._store.path)!r})"
