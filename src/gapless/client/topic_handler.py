"""One topic as its readers see it: a table, a stream of messages, or a live tail."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gapless.client.plot import Plot, gaps_of
from gapless.client.table import TableView
from gapless.client.tail import tail
from gapless.errors import NotFound, UsageError
from gapless.errors.extra import need
from gapless.model.message import Message
from gapless.model.ontology.registry import OntologyRegistry
from gapless.model.ontology.variant import item_paths
from gapless.store.pyramid import numeric_fields
from gapless.store.pyramid_read import Curve, downsample
from gapless.store.python_values import column_values
from gapless.store.reader import BATCH_ROWS, TopicReader

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow.compute as pc

    from gapless.client.figure import CurveFigure
    from gapless.store.media.remux import VideoFile

_MESSAGES_AT_ONCE = 4_096  # Python values of so few rows stay in the processor's cache


class TopicHandler(TableView):
    """Reads one topic of a sequence; iterating yields its messages in time order."""

    def __init__(self, reader: TopicReader, registry: OntologyRegistry) -> None:
        self.reader = reader
        self._registry = registry

    def __repr__(self) -> str:
        tag = f" {self.ontology_tag}" if self.ontology_tag else ""
        return f"<TopicHandler {self.sequence_name}:{self.name}{tag} rows={self.rows}>"

    @property
    def name(self) -> str:
        """The name of the topic."""
        return self.reader.name

    @property
    def sequence_name(self) -> str:
        """The name of its sequence."""
        return self.reader.bundle.name

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema: ``timestamp_ns`` first; fields carry unit and description."""
        return self.reader.schema

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata given at creation."""
        return dict(self.reader.metadata)

    @property
    def ontology_tag(self) -> str | None:
        """The tag of its ontology type, None for a topic made from a schema."""
        tag: str | None = self.reader.ontology.get("tag")
        return tag

    @property
    def ontology_type(self) -> Any:
        """The class its messages read back as; a generic row type if the writing class is not known here."""
        names = [name for name in self.schema.names if name != "timestamp_ns"]
        known = self.reader.ontology
        items = item_paths(self.schema)
        return self._registry.reader(known.get("tag"), known.get("fingerprint"), names, items)

    @property
    def clock(self) -> str:
        """Who stamped the rows: ``gapless``, ``producer`` or ``mixed``; ``unknown`` until sealed.

        ``derived`` for the output of a feature, whose times come from its inputs.
        """
        return self.reader.clock

    @property
    def rows(self) -> int:
        """Number of rows; of an open sequence, those durable now."""
        return self.reader.rows

    @property
    def start_ns(self) -> int | None:
        """The smallest timestamp, None without rows."""
        return self.reader.start_ns

    @property
    def end_ns(self) -> int | None:
        """The greatest timestamp, None without rows."""
        return self.reader.end_ns

    @property
    def ledger(self) -> dict[str, int]:
        """Produced, written, dropped and gapped messages."""
        return self.reader.ledger

    def scan(
        self,
        columns: Sequence[str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
        *,
        with_seq: bool = False,
        filter: pc.Expression | None = None,  # noqa: A002 - the word of pyarrow's own readers
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows in ``[start_ns, end_ns)`` in time order, in bounded memory."""
        return self.reader.scan(
            columns, start_ns, end_ns, with_seq=with_seq, filter=filter, batch_rows=batch_rows
        )

    def messages(self, start_ns: int | None = None, end_ns: int | None = None) -> Iterator[Message]:
        """Yield the rows in ``[start_ns, end_ns)`` as messages of the type that wrote them."""
        unflatten = self.ontology_type.unflatten
        for batch in self.scan(start_ns=start_ns, end_ns=end_ns, batch_rows=_MESSAGES_AT_ONCE):
            times, *columns = (column_values(column) for column in batch.columns)
            for time_ns, values in zip(times, zip(*columns, strict=True), strict=True):
                yield Message(time_ns, unflatten(values))

    def __iter__(self) -> Iterator[Message]:
        return self.messages()

    def tail(
        self, poll_s: float = 0.05, timeout_s: float | None = None, *, from_start: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows of an open sequence, written by any process, as they become durable.

        Begins with the rows after this call, or with all of them; each row comes once, in order of
        arrival but for those that were sealed before they were seen. Ends when the sequence is sealed or
        discarded, when its owner is gone, or after ``timeout_s`` without a new row. The output of a
        feature gets no more rows, so it ends at once.
        """
        if self.reader.derived:
            return self.scan() if from_start else iter(())
        return tail(
            self.reader.bundle.path, self.name, poll_s=poll_s, timeout_s=timeout_s, from_start=from_start
        )

    def frames(
        self, start_ns: int | None = None, end_ns: int | None = None, *, skip_undecodable: bool = False
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield time and pixels of each picture of a media topic, in the order they were pushed.

        Colour comes as RGB ``[h, w, 3]``, grey as ``[h, w]``; png and ffv1 exactly as pushed. A window begins to decode
        at the keyframe before it. A picture that builds upon a lost one raises IntegrityError, or is left out.
        """
        from gapless.client.media_reader import frames

        return frames(self.reader, start_ns, end_ns, skip_undecodable=skip_undecodable)

    def write_video(
        self,
        path: str | os.PathLike[str],
        start_ns: int | None = None,
        end_ns: int | None = None,
        *,
        skip_undecodable: bool = False,
    ) -> VideoFile:
        """Write video as a file without encoding again, MP4 or (ffv1) Matroska; it is complete or absent.

        It begins at the keyframe at or before ``start_ns``. Raises NameTaken if the file exists.
        """
        from gapless.client.media_reader import write_video

        return write_video(self.reader, path, start_ns, end_ns, skip_undecodable=skip_undecodable)

    def write_images(
        self, folder: str | os.PathLike[str], start_ns: int | None = None, end_ns: int | None = None
    ) -> list[Path]:
        """Write a media="png" topic as one file for each picture, named by number and time."""
        from gapless.client.media_reader import write_images

        return write_images(self.reader, folder, start_ns, end_ns)

    def downsample(
        self, field: str, points: int = 2000, start_ns: int | None = None, end_ns: int | None = None
    ) -> Curve:
        """Return a field in few points with exact extremes, without reading its rows where it can."""
        return downsample(self.reader, field, points, start_ns, end_ns)

    def plot(
        self,
        field: str | None = None,
        points: int = 2000,
        start_ns: int | None = None,
        end_ns: int | None = None,
        *,
        fields: Sequence[str] | None = None,
    ) -> CurveFigure:
        """Return a Bokeh figure of a field or of several ``fields``, of the first number if none is named.

        In a notebook it shows itself as a drawing; ``bokeh.io.show`` makes it one to zoom in. Raises MissingExtra
        without Bokeh, which ``pip install 'gapless[serve]'`` brings; :meth:`sketch` needs nothing.
        """
        if field is not None and fields is not None:
            raise UsageError("field and fields exclude each other", found=[field, list(fields)])
        if fields is not None and not fields:
            raise UsageError("no field to draw", topic=self.name, next_step="name one, or leave fields out")
        need("bokeh", extra="serve")
        from gapless.client.figure import draw

        names = [self._named(field)] if fields is None else dict.fromkeys(fields)
        return draw([self.downsample(name, points, start_ns, end_ns) for name in names], gaps_of(self.reader))

    def sketch(
        self,
        field: str | None = None,
        points: int = 2000,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Plot:
        """Return a field, the first number if none is named, as SVG: no script, and nothing to install."""
        return Plot(self.downsample(self._named(field), points, start_ns, end_ns), gaps_of(self.reader))

    def _named(self, field: str | None) -> str:
        """Return the field, or the first number where none is named."""
        if field is not None:
            return field
        numbers = numeric_fields(self.schema)
        if not numbers:
            raise NotFound(
                "the topic has no number to draw", topic=self.name, next_step="read it with scan()"
            )
        return numbers[0]
