"""The part of a client that importing and exporting needs, so that both can be used with any client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class SequenceMaker(Protocol):
    """A client that can begin a sequence (``gapless.connect``)."""

    def sequence_create(
        self, sequence_name: str, metadata: Any = None, *, group: str | None = None
    ) -> AbstractContextManager[Any]:
        """Begin a sequence and return its writer as a context manager."""
        ...


class ReadableTopic(Protocol):
    """A topic that can be read as record batches in the order of time."""

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema, ``timestamp_ns`` first."""
        ...

    def scan(
        self, columns: Sequence[str] | None = None, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a half-open window."""
        ...


class ReadableSequence(Protocol):
    """A sequence whose topics can be read (``client.sequence_handler``)."""

    @property
    def name(self) -> str:
        """The name of the sequence."""
        ...

    @property
    def topics(self) -> Iterable[str]:
        """The names of its topics."""
        ...

    def topic(self, name: str, /) -> Any:
        """Return one topic as a :class:`ReadableTopic`."""
        ...
