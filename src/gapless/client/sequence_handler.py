"""One sequence as its readers see it: what it is, its topics, and its topics joined in time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from gapless.client.notification import Notification
from gapless.client.topic_handler import TopicHandler
from gapless.errors import NotFound
from gapless.model.html_table import html_table
from gapless.model.message import Message
from gapless.model.ontology.registry import OntologyRegistry
from gapless.store.align import Alignment, Policy, Rate, plan
from gapless.store.bundle_state import Folder
from gapless.store.derived import is_feature_topic
from gapless.store.layout import Bundle
from gapless.store.python_values import column_values
from gapless.store.reader import BundleReader, TopicReader, open_bundle
from gapless.store.topic_merge import Columns, MergedBatch, iter_rows, merge_topics

_MESSAGES_AT_ONCE = 4_096


class SequenceHandler:
    """Reads one sequence, sealed or not; iterating yields its topics.

    ``layers=None`` reads all sealed layers with the base, ``[]`` the base only.
    """

    def __init__(self, path: Path, registry: OntologyRegistry, *, layers: list[str] | None = None) -> None:
        self.reader: BundleReader = open_bundle(path, layers=layers)
        self._registry = registry

    def __repr__(self) -> str:
        return f"<SequenceHandler {self.name} {self.outcome or self.state} topics={len(self.topics)}>"

    def _repr_html_(self) -> str:
        """Return the topics as a plain HTML table: no scripts, every value escaped."""
        heads = ("topic", "type", "rows", "start_ns", "end_ns")
        rows = [
            (name, topic.ontology.get("tag") or "-", topic.rows, topic.start_ns, topic.end_ns)
            for name, topic in self.reader.topics.items()
        ]
        return html_table(repr(self), heads, rows)

    def reload(self) -> None:
        """Look at the sequence again: a seal, a new topic or a new layer may have come."""
        self.reader.reload()

    @property
    def path(self) -> Path:
        """The folder of the sequence."""
        return self.reader.path

    @property
    def name(self) -> str:
        """The name of the sequence."""
        return self.reader.name

    @property
    def state(self) -> str:
        """``open``, ``pending`` or ``sealed``."""
        return self.reader.state

    @property
    def owner_alive(self) -> bool:
        """True while a live process is writing it."""
        return self.reader.owner_alive

    @property
    def outcome(self) -> str | None:
        """How the recording ended, None until it is sealed."""
        return self.reader.outcome

    @property
    def group(self) -> str | None:
        """The group given at creation."""
        return self.reader.group

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata given at creation."""
        return self.reader.metadata

    @property
    def content_digest(self) -> str | None:
        """The identity of what the base holds, None until it is sealed."""
        return self.reader.manifest["content_digest"] if self.reader.manifest else None

    @property
    def topics(self) -> list[str]:
        """The names of the user's topics."""
        return list(self.reader.topics)

    @property
    def features(self) -> list[str]:
        """The names of the topics that feature runs made from the sequence, ``features/<feature>@<run id>``.

        :meth:`topic` reads them like any other. An output without times is a table, and not among them.
        """
        return self.reader.feature_topics

    @property
    def layers(self) -> list[str]:
        """The names of the layers that are read with the base."""
        return self.reader.layers

    @property
    def unsealed_layers(self) -> dict[str, str]:
        """Layer name to state, ``open`` or ``pending``, of the layers whose rows are not read yet."""
        folders = (Folder(path, None, None) for path in Bundle(self.path).layer_paths())
        begun = (f for f in folders if Bundle(f.path).journal.is_dir())
        return {f.layer_name: f.state for f in begun if not Bundle(f.path).manifest.exists()}

    @property
    def ledger(self) -> dict[str, int]:
        """Produced, written, dropped and gapped messages over all topics."""
        return self.reader.ledger

    @property
    def start_ns(self) -> int | None:
        """The smallest timestamp of all topics, None without rows."""
        return min((t.start_ns for t in self.reader.topics.values() if t.start_ns is not None), default=None)

    @property
    def end_ns(self) -> int | None:
        """The greatest timestamp of all topics, None without rows."""
        return max((t.end_ns for t in self.reader.topics.values() if t.end_ns is not None), default=None)

    @property
    def duration_ns(self) -> int | None:
        """The time from the first row to the last, None without rows."""
        start_ns, end_ns = self.start_ns, self.end_ns
        return None if start_ns is None or end_ns is None else end_ns - start_ns

    def topic(self, name: str) -> TopicHandler:
        """Return a topic, reserved ones (``_gaps``) and :attr:`features` included; NotFound if there is none."""
        return TopicHandler(self.reader.topic(name), self._registry)

    def __iter__(self) -> Iterator[TopicHandler]:
        return (self.topic(name) for name in self.topics)

    def __contains__(self, topic: object) -> bool:
        return topic in self.reader.topics or (is_feature_topic(topic) and topic in self.features)

    # -- beside the rows -----------------------------------------------------------------------

    def notifications(self) -> list[Notification]:
        """Return what the recording wants a person to know, in order of time where it is known."""
        found: list[Notification] = []
        for folder in self.reader.folders:
            listed = folder.manifest["record"] if folder.manifest else folder.pending
            found += [Notification.of(_entry(entry)) for entry in listed.get("notifications", [])]
        found += [n for n in self._notified_events() if n not in found]
        return sorted(found, key=lambda n: (n.timestamp_ns is None, n.timestamp_ns or 0))

    def _notified_events(self) -> Iterator[Notification]:
        for batch in self.reader.topic("_events").scan():
            for row in batch.to_pylist():
                if row["kind"] == "notification":
                    data = json.loads(row["data"]) if row["data"] else None
                    yield Notification.of({**row, "data": data})

    def annotations(self) -> list[Any]:
        """Return the labels and notes on the sequence, without those removed."""
        from gapless.catalog.annotations import read_annotations

        return list(read_annotations(self.path))

    @property
    def artifacts(self) -> dict[str, dict[str, Any]]:
        """Artifact name to media type, path or URI, size and digest."""
        return {name: dict(entry) for name, (_, entry) in self._artifacts().items()}

    def artifact_path(self, name: str) -> Path:
        """Return the file of an artifact; NotFound if there is none, or it lies elsewhere, or was never made."""
        folder, entry = self._artifact(name)
        return folder.path / str(entry["path"])

    def _artifact(self, name: str) -> tuple[Folder, Mapping[str, Any]]:
        known = self._artifacts()
        if name not in known:
            raise NotFound(
                f"there is no artifact {name!r}",
                sequence=self.name,
                expected=f"one of {', '.join(known)}" if known else None,
                next_step="`gapless show NAME` lists the artifacts",
            )
        folder, entry = known[name]
        if "missing" in entry:
            raise NotFound(
                f"the file of the artifact {name!r} was not there when the sequence was sealed",
                sequence=self.name,
                found=str(entry["missing"]),
            )
        if "path" not in entry:
            raise NotFound(
                f"the artifact {name!r} lies outside the store",
                sequence=self.name,
                found=entry.get("uri"),
                next_step="fetch it from its address",
            )
        return folder, entry

    def _artifacts(self) -> dict[str, tuple[Folder, Mapping[str, Any]]]:
        return {
            name: (folder, entry)
            for folder in self.reader.folders
            if folder.manifest is not None
            for name, entry in folder.manifest["content"].get("artifacts", {}).items()
        }

    # -- topics joined in time -----------------------------------------------------------------

    def merge(
        self,
        topics: Sequence[str] | None = None,
        columns: Columns = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[MergedBatch]:
        """Yield the rows of the topics in time order as columns: whose row is next, and the rows."""
        return merge_topics(self._readers(topics), columns, start_ns, end_ns)

    def rows(
        self,
        topics: Sequence[str] | None = None,
        columns: Columns = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """Return an iterator of ``(timestamp_ns, topic, *values)`` of the topics in time order."""
        return iter_rows(self._readers(topics), columns, start_ns, end_ns)

    def messages(
        self, topics: Sequence[str] | None = None, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[tuple[str, Message]]:
        """Yield ``(topic, message)`` of the topics in time order."""
        readers = self._readers(topics)
        builders = [TopicHandler(reader, self._registry).ontology_type.unflatten for reader in readers]
        for merged in merge_topics(readers, None, start_ns, end_ns, batch_rows=_MESSAGES_AT_ONCE):
            rows = [
                zip(*(column_values(column) for column in batch.columns[1:]), strict=True)
                for batch in merged.batches
            ]
            for time_ns, code in zip(merged.timestamp_ns.tolist(), merged.topic_code.tolist(), strict=True):
                yield merged.topics[code], Message(time_ns, builders[code](next(rows[code])))

    def align(
        self,
        topics: Sequence[str] | None = None,
        *,
        on: str | None = None,
        rate_hz: Rate | None = None,
        policy: Policy = "hold",
        tolerance_ns: int | None = None,
        columns: Mapping[str, Sequence[str]] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> pa.Table:
        """Return the topics on one time base as a table of ``topic:field`` columns.

        The base is the stamps of the topic ``on`` or a grid of ``rate_hz``; see docs/reading.md.
        """
        alignment = self.alignment(
            topics, on=on, rate_hz=rate_hz, policy=policy, tolerance_ns=tolerance_ns,
            columns=columns, start_ns=start_ns, end_ns=end_ns,
        )  # fmt: skip
        return pa.Table.from_batches(alignment.batches(), schema=alignment.schema)

    def alignment(
        self,
        topics: Sequence[str] | None = None,
        *,
        on: str | None = None,
        rate_hz: Rate | None = None,
        policy: Policy = "hold",
        tolerance_ns: int | None = None,
        columns: Mapping[str, Sequence[str]] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Alignment:
        """Return what :meth:`align` reads, whose ``batches()`` streams in bounded memory."""
        return plan(
            self._readers(topics), on=on, rate_hz=rate_hz, policy=policy, tolerance_ns=tolerance_ns,
            columns=columns, start_ns=start_ns, end_ns=end_ns,
        )  # fmt: skip

    def _readers(self, topics: Sequence[str] | None) -> list[TopicReader]:
        return [self.reader.topic(name) for name in (self.topics if topics is None else topics)]


def _entry(entry: Any) -> Mapping[str, Any]:
    return entry if isinstance(entry, Mapping) else {"message": str(entry)}
