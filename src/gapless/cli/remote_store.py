"""A store on a server, as the verbs that work on a folder too see it."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Self

from gapless.catalog.bundle_facts import CLIENT_AWAY
from gapless.cli import description
from gapless.client.client import connect
from gapless.client.remote.remote_client import RemoteClient
from gapless.errors import NotFound
from gapless.model.names import name_of
from gapless.store.derived import DerivedTopic, is_feature_topic
from gapless.store.reserved import RESERVED_SCHEMAS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from gapless.catalog.answer import QueryAnswer
    from gapless.catalog.catalog import SequenceRow
    from gapless.client.remote.remote_sequence import RemoteSequence
    from gapless.model.expression import Expression
    from gapless.store.quality import Report
    from gapless.store.verify import Finding


class RemoteStore:
    """The store of a server; the API key is that of $GAPLESS_API_KEY."""

    exists = True
    trash = "the server's trash"

    def __init__(self, url: str) -> None:
        client = connect(url)
        assert isinstance(client, RemoteClient)
        self._client = client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def shown(self) -> str:
        """The place, as a person names it."""
        return self._client.url

    def rows(self, **wanted: Any) -> list[SequenceRow]:
        """Return what the server's catalog knows of each sequence."""
        return self._client.sequence_rows(**wanted)

    def row(self, ref: str) -> SequenceRow:
        """Return the sequence that a reference means; raises NotFound."""
        return self._client.sequence_row(ref)

    def query(self, expression: Expression, limit: int | None = None) -> QueryAnswer:
        """Return the sequences that match."""
        return self._client.query(expression, limit=limit)

    def discarded(self) -> list[dict[str, Any]]:
        """Return the tombstones, oldest first."""
        return self._client.list_discarded()

    def describe(self, row: SequenceRow) -> dict[str, Any]:
        """Return what `gapless show` tells of a sequence; there is no path."""
        handler = self.handler(row)
        notes = [dataclasses.asdict(note) for note in handler.annotations()]
        reader = handler.reader
        if reader.manifest is None:
            return description.unsealed(reader, reader.base.pending, notes, size_bytes=None, path=None)
        layers = [(None, folder.manifest) for folder in reader.folders[1:] if folder.manifest is not None]
        return description.sealed(reader.manifest, layers, _waiting(row), notes, path=None)

    def awaited_until_ns(self, row: SequenceRow) -> int | None:
        """Return until when the client of an open sequence may come back to it, None if nobody waits for one."""
        return self.handler(row).reader.base.awaited_until_ns

    def feature_topics(self, known: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the topics that feature runs made from a described sequence."""
        handler = self._client.sequence_handler(known["name"])
        keys = ("rows", "start_ns", "end_ns", "bytes")
        topics = {name: self._topic(handler, name) for name in handler.features}
        return {name: {key: topic[key] for key in keys} for name, topic in topics.items()}

    def topic_of(self, known: dict[str, Any], name: str) -> dict[str, Any]:
        """Return what is known of one topic of a described sequence; raises NotFound."""
        if name in known["topics"]:
            return dict(known["topics"][name])
        if name in RESERVED_SCHEMAS:
            return description.reserved_topic(self._client.sequence_handler(known["name"]).topic(name).reader)
        if is_feature_topic(name):
            return self._topic(self._client.sequence_handler(known["name"]), name)
        raise NotFound(
            f"there is no topic {name!r}",
            sequence=known["name"],
            next_step=f"the topics are {', '.join(known['topics']) or 'none'}",
        )

    def _topic(self, handler: RemoteSequence, name: str) -> dict[str, Any]:
        reader = handler.topic(name).reader
        holders = [holder for holder in reader.bundle.holders(name) if isinstance(holder, DerivedTopic)]
        return {**description.live_topic(reader), "bytes": sum(holder.record["bytes"] for holder in holders)}

    def rows_held(self, row: SequenceRow) -> int | None:
        """Return how many rows an unsealed sequence holds."""
        return self.handler(row).ledger["written"]

    def handler(self, row: SequenceRow) -> RemoteSequence:
        """Return the reader of a sequence."""
        return self._client.sequence_handler(row.name)

    def client(self) -> AbstractContextManager[RemoteClient]:
        """Return the client, to be used in a with-block, which leaves it open."""
        return nullcontext(self._client)

    def examine(self, row: SequenceRow, *, deep: bool) -> list[Finding]:
        """Have the server examine a sequence."""
        return self._client.verify(row.name, deep=deep)

    def check(self, row: SequenceRow) -> Report:
        """Have the server report on the quality of a sequence."""
        report: Report = self._client.check(row.name)
        return report


def _waiting(row: SequenceRow) -> list[dict[str, Any]]:
    """Return the layers that were begun and not sealed, as a description lists them."""
    found = []
    for folder, state in row.unsealed_layers:
        component = folder.partition("-")[2]
        found.append(
            {
                "name": name_of(component) or component,
                "state": state.partition(",")[0],
                "owner_alive": state == "open",
                "awaited_until_ns": None,
                "client_away": state == CLIENT_AWAY,
                "content_digest": None,
                "path": None,
            }
        )
    return found
