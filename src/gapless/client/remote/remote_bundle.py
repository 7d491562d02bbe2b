"""A sequence on a server as the readers of a folder see it: the server tells what its manifests say.

Of a sealed sequence everything but rows is known from one answer. What still changes is asked for each time
it is wanted, as a folder is looked at each time.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gapless.client.remote import protocol, reading
from gapless.client.remote.row_filter import filter_to_json
from gapless.errors import UsageError
from gapless.store.bundle_state import Declared, Folder
from gapless.store.declaration import SEQ
from gapless.store.derived import DerivedTopic, is_feature_topic
from gapless.store.live_rows import SortedRows
from gapless.store.part_reader import Part
from gapless.store.reader import BundleReader, TopicReader
from gapless.store.selection import Selection

if TYPE_CHECKING:
    from gapless.client.remote.connection import Connection


def refused(what: str, sequence: str | None = None) -> UsageError:
    """Return the error of what only a folder has."""
    return UsageError(
        f"a store on a server has no {what} here",
        sequence=sequence,
        next_step="use the methods of the client, or connect to the folder on the server's machine",
    )


class RemoteBundle(BundleReader):
    """One sequence of a server: its description and a reader for each topic."""

    def __init__(self, connection: Connection, name: str, layers: list[str] | None = None) -> None:
        self.connection = connection
        self._asked = name
        self._wanted_layers = layers
        self.reload()

    def reload(self) -> None:
        """Ask the server again: more rows, a seal or a new layer may have come since."""
        told = self.connection.action(reading.DESCRIBE, {"name": self._asked, "layers": self._wanted_layers})
        self.uid: str | None = told["uid"]
        self._folders = [RemoteFolder.of(folder, self) for folder in told["folders"]]
        self._readers = {}
        self._derived = {}

    @property
    def path(self) -> Path:  # type: ignore[override] # a folder has one, a server does not tell
        """Refused: the files are the server's."""
        raise refused("folder", self._asked)

    @property
    def name(self) -> str:
        """The name of the sequence."""
        return str(self.base.description.get("name") or self._asked)

    @property
    def feature_topics(self) -> list[str]:
        """The names of the topics that feature runs have for the sequence."""
        return list(self.ask(reading.FEATURES)["topics"])

    @property
    def unsealed_layers(self) -> dict[str, str]:
        """Layer name to state of the layers that were begun and are not sealed."""
        told = self.connection.action(reading.DESCRIBE, {"name": self._asked, "layers": []})
        return dict(told["unsealed_layers"])

    def question(self, **more: Any) -> dict[str, Any]:
        """Return what every question about this sequence says, and more."""
        layers = [folder.path.name for folder in self._folders[1:]]
        return {"name": self._asked, "uid": self.uid, "layers": layers, **more}

    def ask(self, action: str, **more: Any) -> dict[str, Any]:
        """Return the server's answer to a question about this sequence."""
        return self.connection.action(action, self.question(**more))

    def topic(self, name: str) -> TopicReader:
        """Return the reader of a topic; NotFound if there is none. A reserved topic may have no rows."""
        if name not in self._readers:
            super().topic(name)  # refuses a name that there is not
            self._readers[name] = RemoteTopicReader(self, name)
        return self._readers[name]

    def holders(self, topic: str) -> Sequence[Folder | DerivedTopic]:
        """Return what holds a topic: the base and layers that have it, or an entry of a feature run."""
        found = [folder for folder in self._folders if topic in folder.topic_names()]
        if found or not is_feature_topic(topic):
            return found
        if topic not in self._derived:
            self._derived[topic] = RemoteFeature.of(topic, self.ask(reading.FEATURE, topic=topic))
        return [self._derived[topic]]


class RemoteTopicReader(TopicReader):
    """One topic of a sequence on a server; its rows come in one stream for each scan."""

    bundle: RemoteBundle

    def parts(self) -> list[Part]:
        """Refused: the files are the server's."""
        raise refused("files", self.bundle.name)

    def floor_ns(self, time_ns: int) -> int | None:
        """Return the greatest timestamp at or before the given time, None if there is none."""
        found: int | None = self.bundle.ask(reading.FLOOR, topic=self.name, time_ns=int(time_ns))["floor_ns"]
        return found

    def ticket(self, kind: str, **more: Any) -> dict[str, Any]:
        """Return the ticket of a stream about this topic."""
        return self.bundle.question(topic=self.name, **{protocol.KIND: kind}, **more)

    def _scan(self, selection: Selection, batch_rows: int) -> Iterator[pa.RecordBatch]:
        ticket = self.ticket(
            protocol.SCAN,
            columns=[name for name in selection.output.names if name != SEQ],
            with_seq=SEQ in selection.output.names,
            start_ns=selection.start_ns,
            end_ns=selection.end_ns,
            filter=None if selection.filter is None else filter_to_json(selection.filter),
            batch_rows=int(batch_rows),
        )
        return self._rows(ticket, selection)

    def _rows(self, ticket: Mapping[str, Any], selection: Selection) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a ticket; leaving the iteration ends the stream on the server too."""
        with closing(self.bundle.connection.get(ticket)) as stream:
            for batch in stream:
                if batch.num_rows:
                    yield pa.RecordBatch.from_arrays(batch.columns, schema=selection.output)


@dataclass(frozen=True)
class RemoteFolder(Folder):
    """The base or a layer as the server told it: its manifest, or what its journal says."""

    told: Mapping[str, Any] = field(default_factory=dict)
    bundle: RemoteBundle | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any], bundle: RemoteBundle) -> RemoteFolder:
        """Return the folder of an answer."""
        return cls(Path(told["folder"]), told["manifest"], None, told=told, bundle=bundle)

    def _live(self, topic: str | None = None) -> Mapping[str, Any]:
        assert self.bundle is not None
        return self.bundle.ask(reading.LIVE, topic=topic)

    @property
    def state(self) -> str:
        """``open``, ``pending`` or ``sealed``."""
        return "sealed" if self.manifest is not None else str(self._live()["state"])

    @property
    def owner_alive(self) -> bool:
        """True while a live process holds the journal."""
        return self.manifest is None and bool(self._live()["owner_alive"])

    @property
    def awaited_until_ns(self) -> int | None:
        """Until when a program of another machine may come back to it; None where nobody is waited for."""
        found: int | None = None if self.manifest is not None else self._live().get("awaited_until_ns")
        return found

    @cached_property
    def description(self) -> Mapping[str, Any]:
        """Name, group and metadata."""
        known: Mapping[str, Any] = (
            self.told["sequence"] if self.manifest is None else self.manifest["content"]
        )
        return known

    @property
    def pending(self) -> dict[str, Any]:
        """What a failed recording left for its later seal; {} otherwise."""
        return {} if self.manifest is not None else dict(self._live()["pending"])

    def topic_names(self) -> list[str]:
        """Return the topics of the folder, reserved ones included."""
        return super().topic_names() if self.manifest is not None else list(self.told["topics"])

    def _declare(self, topic: str) -> Declared:
        if self.manifest is not None:
            return super()._declare(topic)
        return _declared(topic, self.told["topics"][topic])

    def sources(self, topic: str, names: list[str]) -> list[Part | SortedRows]:
        """Return how many rows there are and when; the rows themselves are scanned on the server."""
        if self.manifest is not None or topic not in self.topic_names():
            return super().sources(topic, names)
        live = self._live(topic)
        return [Part(self.path, live["rows"], 0, "", live["start_ns"], live["end_ns"], topic)]

    def ledger(self, topic: str | None = None) -> Mapping[str, int]:
        """Return the ledger of a topic, or of the whole folder."""
        if self.manifest is not None:
            return super().ledger(topic)
        known: Mapping[str, int] = self._live(topic)["ledger"]
        return known


@dataclass(frozen=True)
class RemoteFeature(DerivedTopic):
    """One output of a feature run on the server."""

    told: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, topic: str, told: Mapping[str, Any]) -> RemoteFeature:
        """Return the topic of an answer."""
        return cls(topic, Path(topic), told["feature"], told["run_id"], told["record"], told=told)

    def declaration(self, topic: str) -> Declared:
        """Return schema, units included, and origin."""
        return _declared(topic, self.told)


def _declared(topic: str, told: Mapping[str, Any]) -> Declared:
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(told["schema"])))
    return Declared(topic, schema, dict(told["ontology"]), dict(told["metadata"]), told["clock"])


def told_declaration(declared: Declared) -> dict[str, Any]:
    """Return a declaration as the JSON that a :class:`RemoteFolder` reads."""
    return {
        "schema": base64.b64encode(declared.schema.serialize()).decode(),
        "ontology": declared.ontology,
        "metadata": declared.metadata,
        "clock": declared.clock,
    }
