"""One topic on a server as its readers see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pyarrow as pa

from gapless.client.remote import protocol
from gapless.client.remote.remote_bundle import RemoteTopicReader
from gapless.client.topic_handler import TopicHandler
from gapless.model.ontology.registry import OntologyRegistry
from gapless.store.pyramid_read import Curve


class RemoteTopic(TopicHandler):
    """Reads one topic of a sequence on a server; everything it gives is what a folder would give."""

    reader: RemoteTopicReader

    def __init__(self, reader: RemoteTopicReader, registry: OntologyRegistry) -> None:
        super().__init__(reader, registry)

    def tail(
        self, poll_s: float = 0.05, timeout_s: float | None = None, *, from_start: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows of an open sequence, written by any process, as they become durable on the server.

        The server looks every ``poll_s``. Ends as in a folder; a cut of the connection raises Unreachable,
        and a new call goes on with the rows after it.
        """
        if self.reader.derived:
            return self.scan() if from_start else iter(())
        ticket = self.reader.ticket(protocol.TAIL, poll_s=poll_s, timeout_s=timeout_s, from_start=from_start)
        stream = self.reader.bundle.connection.get(ticket)  # from here on rows are seen

        def rows() -> Iterator[pa.RecordBatch]:
            with closing(stream):
                for batch in stream:
                    if batch.num_rows:  # those without are the server's sign that it is there
                        yield pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)

        return rows()

    def downsample(
        self, field: str, points: int = 2000, start_ns: int | None = None, end_ns: int | None = None
    ) -> Curve:
        """Return a field in few points with exact extremes; the server reads, and only the points travel."""
        ticket = self.reader.ticket(
            protocol.DOWNSAMPLE, field=field, points=points,
            start_ns=_whole(start_ns), end_ns=_whole(end_ns),
        )  # fmt: skip
        with closing(self.reader.bundle.connection.get(ticket)) as stream:
            schema = stream.schema
            table = pa.Table.from_batches(list(stream), schema=schema)
        columns = {name: table.column(name).to_numpy() for name in table.column_names}
        known = schema.metadata or {}
        unit = known[b"unit"].decode() if b"unit" in known else None
        return Curve(
            self.name, field, unit, columns["start_ns"], columns["end_ns"], columns["rows"],
            columns["min"], columns["max"], columns["mean"],
        )  # fmt: skip


def _whole(time_ns: Any) -> int | None:
    return None if time_ns is None else int(time_ns)
