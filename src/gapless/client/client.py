"""A client: one store, its catalog and the ontology types in use."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

from gapless.errors import (
    CatalogBusy,
    GaplessError,
    NameTaken,
    SequenceOwned,
    SequenceSealed,
    StateError,
    StorageFailed,
    UsageError,
)
from gapless.model.metadata import check_metadata
from gapless.model.names import check_sequence_name, fold, name_of
from gapless.model.ontology.registry import OntologyRegistry
from gapless.model.outcome import OnErrorPolicy, Outcome, State, choice
from gapless.store.deadline import within
from gapless.store.durability import Durability
from gapless.store.folder import FolderStore
from gapless.store.layout import Bundle
from gapless.store.platform import PLATFORM, Platform

if TYPE_CHECKING:
    from gapless.catalog.annotations import Annotation
    from gapless.catalog.answer import QueryAnswer
    from gapless.catalog.catalog import Catalog
    from gapless.client.sequence_handler import SequenceHandler
    from gapless.client.sequence_writer import SequenceWriter


_PLAIN, _TLS = "grpc://", "grpc+tls://"
_ADDRESS = re.compile(r"[A-Za-z0-9.-]+:[0-9]{1,5}")  # host:port, as other programs name a server


def connect(
    url: str | os.PathLike[str] = "./gapless-data",
    *,
    flush_bytes: int = 1 << 20,
    flush_rows: int | None = None,
    flush_ms: int = 250,
    max_unsynced_bytes: int = 64 << 20,
    deadline_s: float = 30.0,
    max_encoders: int | None = None,
    platform: Platform = PLATFORM,
    api_key: str | None = None,
    tls_roots: str | os.PathLike[str] | None = None,
    spool: str | os.PathLike[str] | None = None,
    max_connections: int = 8,
    cache: str | os.PathLike[str] | None = None,
) -> Client:
    """Return a client of the store at ``url``: a folder, made if it is not there, or a server.

    A sync of what was pushed starts after ``flush_ms``, ``flush_bytes`` or ``flush_rows``, whichever is
    first; producers meet their topic's policy at ``max_unsynced_bytes`` (on a server: of each topic); no wait
    is longer than ``deadline_s``; of its media topics at most ``max_encoders`` encode at one time.

    ``grpc://host:6726`` or ``grpc+tls://host:6726`` is a server. Only there: ``api_key`` (else the variable
    GAPLESS_API_KEY), ``tls_roots`` (a PEM file of certificates to trust, else GAPLESS_TLS_ROOTS), ``spool`` (a
    local folder that takes over while the server is away), ``max_connections``, and ``cache`` (a folder for
    downloads). Nothing is asked of the server before the first call. Raises UsageError for any other URL scheme.
    """
    durability = _checked_durability(
        flush_bytes, flush_rows, flush_ms, max_unsynced_bytes, deadline_s, max_encoders
    )
    text = os.fspath(url) if isinstance(url, str | os.PathLike) else ""
    if is_server(text):
        from gapless.client.remote.connection import Endpoint
        from gapless.client.remote.remote_client import RemoteClient

        key = api_key or os.environ.get("GAPLESS_API_KEY") or None
        if tls_roots is None and text.lower().startswith(_TLS):
            tls_roots = os.environ.get("GAPLESS_TLS_ROOTS") or None
        roots = None if tls_roots is None else _read_roots(Path(tls_roots))
        return RemoteClient(
            Endpoint.of(text, key=key, tls_roots=roots),
            durability=durability,
            spool=None if spool is None else Path(spool).expanduser(),
            max_connections=max_connections,
            max_encoders=max_encoders,
            cache=None if cache is None else Path(cache).expanduser(),
        )
    for name, value in (("api_key", api_key), ("tls_roots", tls_roots), ("spool", spool), ("cache", cache)):
        if value is not None:
            raise UsageError(f"{name} is for a server", found=url, expected="grpc://host:6726")
    return Client(local_path(url), durability=durability, max_encoders=max_encoders, platform=platform)


def _checked_durability(
    flush_bytes: int,
    flush_rows: int | None,
    flush_ms: int,
    max_unsynced_bytes: int,
    deadline_s: float,
    max_encoders: int | None,
) -> Durability:
    for name, value in (
        ("flush_bytes", flush_bytes),
        ("flush_ms", flush_ms),
        ("flush_rows", flush_rows or 1),
        ("max_unsynced_bytes", max_unsynced_bytes),
        ("deadline_s", deadline_s),
        ("max_encoders", max_encoders or 1),
    ):
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise UsageError("a limit must be a number above 0", found=f"{name}={value!r}", expected="> 0")
    return Durability(
        flush_ms=flush_ms,
        flush_bytes=flush_bytes,
        flush_rows=flush_rows,
        max_unsynced_bytes=max_unsynced_bytes,
        deadline_s=deadline_s,
    )


def _read_roots(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise UsageError("the certificates to trust cannot be read", found=str(error)) from error


def is_server(url: str) -> bool:
    """Tell whether a store's URL means a server."""
    return url.lower().startswith((_PLAIN, _TLS))


def local_path(url: str | os.PathLike[str]) -> Path:
    """Return the folder that a store's URL means."""
    try:
        text = os.fspath(url)
    except TypeError as error:
        raise UsageError("a store is named by a folder or a file:// URL", found=repr(url)) from error
    if "://" not in text:
        if _ADDRESS.fullmatch(text) and not os.path.isdir(text):
            raise UsageError(
                "this looks like a server, not like a folder",
                found=text,
                expected=f"grpc://{text}",
                next_step=f"a folder of that name is ./{text}",
            )
        return Path(text).expanduser()
    parts = urlsplit(text)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise UsageError(
            "a store is named by a folder, a file: URL or a server's",
            found=text,
            expected="./data, file:///data or grpc://host:6726",
        )
    return Path(unquote(parts.path))


class Client:
    """Writes, finds and reads the sequences of one store. Use it as a context manager, or close it."""

    def __init__(
        self, root: Path, *, durability: Durability, max_encoders: int | None, platform: Platform
    ) -> None:
        self._store = FolderStore(root, platform=platform)
        self._durability = durability
        self.encoder_gate = None if max_encoders is None else threading.BoundedSemaphore(max_encoders)
        self.registry = OntologyRegistry()
        self._catalog: Catalog | None = None
        self._writing: list[SequenceWriter] = []
        self._recovered = False
        self._next_look = 0.0
        self.catalog_error: Exception | None = None  # the catalog could not be told of a seal at once
        self.unrecovered: dict[
            str, Exception
        ] = {}  # sequences without owner that could not be recovered, and why

    @property
    def path(self) -> Path:
        """The store's folder."""
        return self._store.root

    @property
    def catalog(self) -> Catalog:
        """The database that finds sequences; opened on first use."""
        if self._catalog is None:
            from gapless.catalog.catalog import Catalog

            self._catalog = Catalog(self._store.root)
        return self._catalog

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Warning as told:  # where the program takes warnings for errors; its own exception goes on
            if error is None:
                raise
            error.add_note(str(told))

    def close(self) -> None:
        """Close the catalog. Sequences being written end with their own with-blocks."""
        if self._catalog is not None:
            self._catalog.close()
            self._catalog = None

    # -- writing -------------------------------------------------------------------------------

    def sequence_create(
        self,
        sequence_name: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        group: str | None = None,
        on_error: OnErrorPolicy = OnErrorPolicy.Delete,
    ) -> SequenceWriter:
        """Return the writer of a new sequence, to be used in a with-block.

        ``metadata``: any JSON object; it can be queried. ``on_error``: what an exception that leaves the
        block does. Raises NameTaken, NameRefused, MetadataRefused. What a dead owner left open in this
        store is recovered first.
        """
        from gapless.client.local_recording import LocalRecording
        from gapless.client.sequence_writer import SequenceWriter

        name = check_sequence_name(sequence_name)
        other = self._store.taken_by(name)
        if other is not None:
            raise NameTaken("a sequence of that name exists", sequence=name, found=other)
        self._recover_once()
        header = self._header(name, group, dict(metadata or {}), None)
        return SequenceWriter(
            self,
            name,
            header,
            lambda: LocalRecording.begin(self, name, None, header, self._durability),
            on_error=choice(OnErrorPolicy, on_error, "on_error"),
            deadline_s=self._durability.deadline_s,
        )

    def sequence_resume(
        self, sequence_name: str, *, on_error: OnErrorPolicy = OnErrorPolicy.Delete
    ) -> SequenceWriter:
        """Return a writer that goes on with what a dead owner left open, to be used in a with-block.

        Its topics are there: ``get_topic_writer(name)`` pushes behind the rows that are durable, as messages,
        mappings or plain values. Raises, in the with-statement: SequenceOwned while the owner lives,
        SequenceSealed and StateError where the end is decided, IntegrityError.
        """
        from gapless.client.local_recording import LocalRecording
        from gapless.client.sequence_writer import SequenceWriter
        from gapless.store.recover import read_header

        bundle = self._store.bundle(sequence_name)
        if bundle.manifest.exists():
            raise SequenceSealed("the sequence is sealed", sequence=sequence_name)
        resumed: list[LocalRecording] = []

        def begin() -> LocalRecording:
            resumed.append(LocalRecording.resume(self, bundle, self._durability))
            return resumed[0]

        return SequenceWriter(
            self,
            sequence_name,
            read_header(bundle),
            begin,
            on_error=choice(OnErrorPolicy, on_error, "on_error"),
            deadline_s=self._durability.deadline_s,
            known=lambda: list(resumed[0].topics.values()),
        )

    def sequence_update(
        self,
        sequence_name: str,
        layer: str = "update",
        *,
        metadata: Mapping[str, Any] | None = None,
        on_error: OnErrorPolicy = OnErrorPolicy.Delete,
    ) -> SequenceWriter:
        """Return the writer of a new layer on a sealed sequence; the base never changes.

        Raises NotFound, and StateError for a sequence that is not sealed; entering the block as well, where it is
        discarded meanwhile.
        """
        from gapless.client.layer_topics import LayerTopics
        from gapless.client.local_recording import LocalRecording
        from gapless.client.sequence_writer import SequenceWriter

        base = self._store.bundle(sequence_name)
        self._recover_once()
        topics = self.sequence_handler(sequence_name).reader.topics  # before the layer has a folder
        bundle = self._store.reserve_layer(base, layer)
        digest = self._store.base_digest(base)
        known = {fold(topic): (topic, reader.schema) for topic, reader in topics.items()}
        header = self._header(
            layer, None, dict(metadata or {}), {"name": sequence_name, "content_digest": digest}
        )
        return SequenceWriter(
            self,
            layer,
            header,
            lambda: LocalRecording.begin(self, layer, bundle, header, self._durability),
            on_error=choice(OnErrorPolicy, on_error, "on_error"),
            deadline_s=self._durability.deadline_s,
            base_topics=LayerTopics(base.path, bundle.path, known),
        )

    @property
    def _platform(self) -> Platform:
        return self._store.platform

    def _header(
        self, name: str, group: str | None, metadata: dict[str, Any], base: dict[str, str] | None
    ) -> dict[str, Any]:
        from gapless.store.journal import make_header

        checked = check_metadata(metadata, sequence=name, topic=None)
        if group is not None:
            check_metadata({"group": group}, sequence=name, topic=None)
        return make_header(
            name,
            platform=self._platform,
            group=group,
            metadata=checked,
            base=base,
            window_ms=self._durability.flush_ms,
            max_unsynced_bytes=self._durability.max_unsynced_bytes,
        )

    def _recover_once(self) -> None:
        """Recover what has no owner and is awaited by nobody, once for each client that writes."""
        if self._recovered:
            return
        self._recovered = True
        from gapless.store.adopt import is_awaited
        from gapless.store.recover import recover

        for bundle in list(self._store.ownerless()):
            try:
                if is_awaited(bundle, self._store.platform):
                    continue
                recover(bundle.path, self._store.platform)
            except SequenceOwned:  # another process began to recover it a moment ago
                continue
            except (GaplessError, OSError) as error:  # one damaged journal must not forbid new recordings
                self.unrecovered[name_of(bundle.path.name) or bundle.path.name] = error
                continue
            self._sealed(bundle)

    def _opened(self, writer: SequenceWriter) -> None:
        self._writing.append(writer)

    def _closed(self, writer: SequenceWriter) -> None:
        self._writing.remove(writer)

    def _sealed(self, bundle: Bundle) -> None:
        """Tell the catalog of a sealed bundle; a layer changes its base's row."""
        import sqlite3

        top = bundle.path.parent.parent if bundle.path.parent.name == "layers" else bundle.path
        try:
            self.catalog.upsert(top)
        # whatever befalls the catalog, the sequence is sealed: the catalog learns of it at the next look
        except (CatalogBusy, StorageFailed, sqlite3.DatabaseError) as error:
            self.catalog_error, self._next_look = error, 0.0

    def _discard(self, bundle: Bundle, tombstone: dict[str, Any]) -> None:
        name = str(tombstone["name"])
        try:
            within(
                self._durability.deadline_s, "discard", name, lambda: self._store.discard(bundle, tombstone)
            )
        except OSError as error:
            raise StorageFailed(
                "the disk refused to discard; the sequence is kept", sequence=name, found=str(error)
            ) from error
        if bundle.path.parent == self._store.sequences:
            self.catalog.forget(name)

    # -- finding and reading -------------------------------------------------------------------

    def list_sequences(self) -> list[str]:
        """Return the names of all sequences, oldest first; open and pending ones included."""
        self._look()
        return [row.name for row in self.catalog.sequences()]

    def list_discarded(self) -> list[dict[str, Any]]:
        """Return the tombstones of discarded sequences, oldest first: name, metadata, ledger, reason or error.

        One whose file is damaged has what is left of it, and ``unreadable``: which file, why, and what to do.
        """
        return self._store.tombstones()

    def was_discarded(self, sequence_name: str) -> bool:
        """Tell whether a sequence of exactly this name was ever discarded."""
        return self._store.was_discarded(sequence_name)

    def sequence_handler(self, sequence_name: str, *, layers: list[str] | None = None) -> SequenceHandler:
        """Return the reader of a sequence, sealed or not; NotFound if there is none.

        ``layers=None`` reads base and layers as one, ``[]`` the base alone.
        """
        from gapless.client.sequence_handler import SequenceHandler

        return SequenceHandler(self._store.bundle(sequence_name).path, self.registry, layers=layers)

    def sequence_exists(self, sequence_name: str) -> bool:
        """Tell whether there is a sequence of that name in any state but discarded."""
        return self._store.taken_by(sequence_name) is not None

    def query(
        self, *expressions: Any, order: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> QueryAnswer:
        """Return the sequences, topics and time spans for which all expressions hold.

        ``client.query(Sequence.Q.user_metadata["vehicle.id"].eq("x") & IMU.Q.acceleration.x.gt(9.8))``.
        """
        self._look()
        return self.catalog.query(*expressions, order=order, limit=limit, cursor=cursor)

    def _look(self) -> None:
        """Bring the catalog up to date with the folder, spending at most a twentieth of the time on it.

        What this client sealed is in the catalog at once; what other processes did in a store of 10,000
        sequences may be seen a few seconds late.
        """
        now = time.monotonic()
        due = now >= self._next_look
        self.catalog.reconcile(quick=not due)
        if due:
            self._next_look = time.monotonic() + 20 * (time.monotonic() - now)

    # -- labels and ends -----------------------------------------------------------------------

    def annotate(
        self,
        sequence_name: str,
        start_ns: int,
        end_ns: int,
        name: str,
        *,
        kind: str = "label",
        author: str | None = None,
        confidence: float | None = None,
    ) -> Annotation:
        """Label a time span of a sequence, durably and outside its identity; return the label."""
        from gapless.catalog.annotations import append_annotation

        bundle = self._store.bundle(sequence_name)
        added = append_annotation(
            bundle.path, start_ns, end_ns, name, kind=kind, author=author, confidence=confidence
        )
        self.catalog.reconcile()
        return added

    def remove_annotation(self, sequence_name: str, annotation_id: str, *, author: str | None = None) -> None:
        """Take a label back; the file keeps both facts."""
        from gapless.catalog.annotations import remove_annotation

        remove_annotation(self._store.bundle(sequence_name).path, annotation_id, author=author)
        self.catalog.reconcile()

    def recover(self, sequence_name: str) -> dict[str, Any]:
        """Seal what a dead owner left of a sequence and of its layers; return the manifest of the base.

        What can be recovered is, before the first error is raised: SequenceOwned while an owner lives,
        StateError for a pending sequence. Pending layers stay as they are.
        """
        base = self._store.bundle(sequence_name)
        if self._store.state(base) is State.PENDING:
            raise StateError(
                "a pending sequence was kept on purpose",
                sequence=sequence_name,
                next_step=f"`gapless seal {sequence_name}` keeps it, `gapless discard {sequence_name}` ends it",
            )
        return self._seal_all(base, pending=False)

    def seal(self, sequence_name: str) -> dict[str, Any]:
        """Seal a pending sequence and its pending layers as failed, keeping all they hold.

        What is sealed stays as it is, and what a dead owner left is recovered.
        """
        return self._seal_all(self._store.bundle(sequence_name), pending=True)

    def _seal_all(self, base: Bundle, *, pending: bool) -> dict[str, Any]:
        """Seal the base, then its layers; one that cannot be sealed does not stop the others."""
        from gapless.store.recover import recover

        manifest: dict[str, Any] = {}
        errors: list[GaplessError | OSError] = []
        for bundle in (base, *map(Bundle, base.layer_paths())):
            kept = self._store.state(bundle) is State.PENDING
            begun = bundle.journal.exists() or bundle.manifest.exists()
            if (kept and not pending) or (bundle != base and not begun):
                continue
            try:
                sealed = recover(bundle.path, self._store.platform, outcome=Outcome.FAILED if kept else None)
            except (GaplessError, OSError) as error:
                errors.append(error)
                continue
            manifest = manifest or sealed
        self._sealed(base)
        if errors:
            raise next((error for error in errors if isinstance(error, GaplessError)), errors[0])
        return manifest

    def discard(self, sequence_name: str) -> None:
        """Move a sequence to the trash, where it stays for 24 h, and leave a tombstone for ever.

        Works for every state but open with a live owner, of the sequence or of a layer (SequenceOwned).
        """
        from gapless.client.tombstone import tombstone_of

        bundle = self._store.bundle(sequence_name)
        self._store.discard_unsealed(bundle, tombstone_of(sequence_name, bundle))
        self.catalog.forget(sequence_name)

    def verify(self, sequence_name: str, *, deep: bool = False) -> list[Any]:
        """Return what is wrong with a sequence's files; an empty list means nothing is.

        ``deep`` decodes every row and recounts the ledger.
        """
        from gapless.store.verify import verify

        return verify(self._store.bundle(sequence_name).path, deep=deep)

    def check(self, sequence_name: str) -> Any:
        """Return the quality report of a sequence: rates, jitter, gaps, duplicates, clock steps, dead columns."""
        from gapless.store.quality import check

        return check(self._store.bundle(sequence_name).path)

    def __repr__(self) -> str:
        return f"gapless.connect({str(self.path)!r})"
