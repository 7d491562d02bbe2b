"""Finding and reading on a server, with the methods and the answers of a folder's client."""

from __future__ import annotations

import operator
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.catalog.annotations import Annotation
from gapless.client.remote import reading
from gapless.client.remote.remote_answer import LONG_S, ask_query
from gapless.client.remote.remote_bundle import RemoteBundle, refused
from gapless.client.remote.remote_sequence import RemoteSequence
from gapless.errors import UsageError
from gapless.model.outcome import OnErrorPolicy

if TYPE_CHECKING:
    from gapless.catalog.answer import QueryAnswer
    from gapless.catalog.catalog import Catalog, SequenceRow
    from gapless.client.remote.connection import Connection
    from gapless.client.sequence_writer import SequenceWriter
    from gapless.model.ontology.registry import OntologyRegistry


class RemoteFinding:
    """The half of a server's client that finds, reads and labels."""

    registry: OntologyRegistry

    def __init__(self, connection: Connection, cache: Path | None = None) -> None:
        self._asking = connection
        self._cache = cache
        self._own_cache: tempfile.TemporaryDirectory[str] | None = None
        self.catalog_error: Exception | None = None  # both are a matter of the server
        self.unrecovered: dict[str, Exception] = {}

    def close_reading(self) -> None:
        """Delete the downloads that no folder was named for."""
        if self._own_cache is not None:
            self._own_cache.cleanup()
            self._own_cache = None

    @property
    def path(self) -> Path:
        """Refused: the files are the server's."""
        raise refused("folder")

    @property
    def catalog(self) -> Catalog:
        """Refused: the catalog is the server's; :meth:`query` and :meth:`sequence_rows` ask it."""
        raise refused("catalog")

    def sequence_resume(
        self, sequence_name: str, *, on_error: OnErrorPolicy = OnErrorPolicy.Delete
    ) -> SequenceWriter:
        """Refused: a writer of a server goes on by itself after a cut; what a dead one left is recovered."""
        del on_error
        raise UsageError(
            "what a dead writer left on a server is not taken up by another one",
            sequence=sequence_name,
            next_step="recover() seals it, and sequence_update() adds a layer",
        )

    # -- finding and reading -------------------------------------------------------------------

    def list_sequences(self) -> list[str]:
        """Return the names of all sequences, oldest first; open and pending ones included."""
        return [name for page in self._asking.actions(reading.LIST) for name in page["names"]]

    def list_discarded(self) -> list[dict[str, Any]]:
        """Return the tombstones of discarded sequences, oldest first."""
        return [stone for page in self._asking.actions(reading.DISCARDED) for stone in page["discarded"]]

    def was_discarded(self, sequence_name: str) -> bool:
        """Tell whether a sequence of exactly this name was ever discarded."""
        return bool(self._asking.action(reading.EXISTS, {"name": sequence_name})["discarded"])

    def sequence_exists(self, sequence_name: str) -> bool:
        """Tell whether there is a sequence of that name in any state but discarded."""
        return bool(self._asking.action(reading.EXISTS, {"name": sequence_name})["exists"])

    def sequence_handler(self, sequence_name: str, *, layers: list[str] | None = None) -> RemoteSequence:
        """Return the reader of a sequence, sealed or not; NotFound if there is none.

        ``layers=None`` reads base and layers as one, ``[]`` the base alone. One request; each read of a topic
        is one more.
        """
        reader = RemoteBundle(self._asking, sequence_name, layers)
        return RemoteSequence(reader, self.registry, self._downloads)

    def query(
        self, *expressions: Any, order: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> QueryAnswer:
        """Return the sequences, topics and time spans for which all expressions hold."""
        from gapless.model.query_builders import as_expression, joined

        expression = joined(tuple(as_expression(query) for query in expressions))
        return ask_query(self._asking, expression, order, limit, cursor)

    def sequence_rows(
        self,
        state: str | None = None,
        group: str | None = None,
        outcome: str | None = None,
        limit: int | None = None,
        order: str = "created",
    ) -> list[SequenceRow]:
        """Return what the server's catalog knows of each sequence, in order; see ``Catalog.sequences``."""
        wanted = {"state": state, "group": group, "outcome": outcome, "limit": limit, "order": order}
        question = {**wanted, "awaited": True}
        return [_row(told) for page in self._asking.actions(reading.ROWS, question) for told in page["rows"]]

    def sequence_row(self, ref: str) -> SequenceRow:
        """Return the sequence of a name, a unique beginning of one, ``@last`` or ``@last-1``."""
        return _row(self._asking.action(reading.ROW, {"ref": ref, "awaited": True}))

    def _downloads(self) -> Path:
        """Return the folder that downloads go to."""
        if self._cache is not None:
            return self._cache
        if self._own_cache is None:
            self._own_cache = tempfile.TemporaryDirectory(prefix="gapless-")
        return Path(self._own_cache.name)

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
        """Label a time span of a sequence, durably on the server; return the label."""
        words = {"start_ns": start_ns, "end_ns": end_ns, "label": name, "kind": kind, "author": author,
                 "confidence": confidence}  # fmt: skip
        label = {word: _sendable(value) for word, value in words.items()}
        return Annotation(**self._asking.action(reading.LABEL, {"name": sequence_name, **label}))

    def remove_annotation(self, sequence_name: str, annotation_id: str, *, author: str | None = None) -> None:
        """Take a label back; the file keeps both facts."""
        self._asking.action(reading.UNLABEL, {"name": sequence_name, "id": annotation_id, "author": author})

    def recover(self, sequence_name: str) -> dict[str, Any]:
        """Seal what a dead owner left of a sequence and of its layers; return the manifest of the base."""
        return self._asking.action(reading.RECOVER, {"name": sequence_name}, timeout_s=LONG_S)

    def seal(self, sequence_name: str) -> dict[str, Any]:
        """Seal a pending sequence and its pending layers as failed, keeping all they hold."""
        return self._asking.action(reading.SEAL, {"name": sequence_name}, timeout_s=LONG_S)

    def discard(self, sequence_name: str) -> None:
        """Move a sequence to the server's trash, and leave a tombstone for ever."""
        self._asking.action(reading.REMOVE, {"name": sequence_name})

    def verify(self, sequence_name: str, *, deep: bool = False) -> list[Any]:
        """Return what is wrong with a sequence's files; the server reads them."""
        from gapless.store.verify import Finding

        told = self._asking.action(reading.VERIFY, {"name": sequence_name, "deep": deep}, timeout_s=LONG_S)
        return [
            Finding(**{**finding, "rows": None if finding["rows"] is None else tuple(finding["rows"])})
            for finding in told["findings"]
        ]

    def check(self, sequence_name: str) -> Any:
        """Return the quality report of a sequence; the server reads its rows."""
        from gapless.store.quality import QualityFinding, Report, TopicQuality

        told = self._asking.action(reading.CHECK, {"name": sequence_name}, timeout_s=LONG_S)
        return Report(
            {name: TopicQuality(**figures) for name, figures in told["topics"].items()},
            [(at, by) for at, by in told["clock_steps"]],
            [QualityFinding(**finding) for finding in told["findings"]],
            told["verdict"],
        )


def _sendable(value: Any) -> Any:
    """Return a value as JSON has it, whole numbers of any kind as int; what JSON has not as its text."""
    if value is None or isinstance(value, bool | str | int | float):
        return value
    try:
        return operator.index(value)
    except TypeError:
        return repr(value)


def _row(told: dict[str, Any]) -> SequenceRow:
    from gapless.catalog.catalog import SequenceRow

    layers = tuple((folder, state) for folder, state in told["unsealed_layers"])
    return SequenceRow(**{**told, "path": Path(told["component"]), "unsealed_layers": layers})
