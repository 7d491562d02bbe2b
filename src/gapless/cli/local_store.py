"""A store in a folder, as the verbs that also work on a server see it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gapless.cli import description, options

if TYPE_CHECKING:
    from gapless.catalog.answer import QueryAnswer
    from gapless.catalog.catalog import Catalog, SequenceRow
    from gapless.client.client import Client
    from gapless.client.sequence_handler import SequenceHandler
    from gapless.model.expression import Expression
    from gapless.store.quality import Report
    from gapless.store.verify import Finding


class LocalStore:
    """The store in a folder, which may hold none yet. Only what is asked for is imported."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._opened: Catalog | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened.close()

    @property
    def shown(self) -> str:
        """The place, as a person names it."""
        return str(self.root)

    @property
    def trash(self) -> str:
        """Where a discarded sequence stays for a day."""
        return str(self.root / "trash")

    @property
    def exists(self) -> bool:
        """Whether there is a store."""
        return options.is_store(self.root)

    @property
    def _catalog(self) -> Catalog:
        if self._opened is None:
            self._opened = options.open_catalog(self.root)
        return self._opened

    def rows(self, **wanted: Any) -> list[SequenceRow]:
        """Return what the catalog knows of each sequence; see ``Catalog.sequences``."""
        return self._catalog.sequences(**wanted)

    def row(self, ref: str) -> SequenceRow:
        """Return the sequence that a reference means; raises NotFound."""
        return self._catalog.sequence(ref)

    def query(self, expression: Expression, limit: int | None = None) -> QueryAnswer:
        """Return the sequences that match."""
        return self._catalog.query(expression, limit=limit)

    def discarded(self) -> list[dict[str, Any]]:
        """Return the tombstones, oldest first."""
        return self._catalog.discarded()

    def describe(self, row: SequenceRow) -> dict[str, Any]:
        """Return what `gapless show` tells of a sequence."""
        return description.describe(row.path)

    def awaited_until_ns(self, row: SequenceRow) -> int | None:
        """Return until when the client of an open sequence may come back to it, None if nobody waits for one."""
        from gapless.store.bundle_state import Folder

        return Folder(row.path, None, None).awaited_until_ns

    def feature_topics(self, known: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the topics that feature runs made from a described sequence."""
        return description.feature_topics(known)

    def topic_of(self, known: dict[str, Any], name: str) -> dict[str, Any]:
        """Return what is known of one topic of a described sequence; raises NotFound."""
        return description.topic_of(known, name)

    def rows_held(self, row: SequenceRow) -> int | None:
        """Return how many rows an unsealed sequence holds, None if nobody knows."""
        from gapless.client.tombstone import tombstone_of
        from gapless.store.layout import Bundle

        kept = tombstone_of(row.name, Bundle(row.path))
        return None if kept["ledger"] is None else sum(kept["rows"].values())

    def handler(self, row: SequenceRow) -> SequenceHandler:
        """Return the reader of a sequence."""
        from gapless.client.sequence_handler import SequenceHandler
        from gapless.model.ontology.registry import OntologyRegistry

        return SequenceHandler(row.path, OntologyRegistry())

    def client(self) -> Client:
        """Return a client, to be used in a with-block."""
        return options.connect(self.root)

    def examine(self, row: SequenceRow, *, deep: bool) -> list[Finding]:
        """Examine a sequence, and the files that it only points to if it is sound itself."""
        from gapless.bluesky.stored_run import check_external
        from gapless.store.reader import open_bundle
        from gapless.store.verify import verify

        found = verify(row.path, deep=deep)
        if any(finding.severity == "error" for finding in found):
            return found
        return [*found, *check_external(open_bundle(row.path), deep=deep)]

    def check(self, row: SequenceRow) -> Report:
        """Return the quality report of a sequence."""
        from gapless.store.quality import check

        return check(row.path)
