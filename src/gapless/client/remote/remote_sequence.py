"""One sequence on a server as its readers see it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from gapless.catalog.annotations import Annotation
from gapless.client.remote import protocol, reading
from gapless.client.remote.remote_bundle import RemoteBundle, RemoteTopicReader, refused
from gapless.client.remote.remote_topic import RemoteTopic
from gapless.client.sequence_handler import SequenceHandler
from gapless.client.topic_handler import TopicHandler
from gapless.errors import IntegrityError
from gapless.model.names import to_component
from gapless.model.ontology.registry import OntologyRegistry


class RemoteSequence(SequenceHandler):
    """Reads one sequence of a server; artifacts are downloaded when their path is wanted."""

    reader: RemoteBundle

    def __init__(
        self, reader: RemoteBundle, registry: OntologyRegistry, downloads: Callable[[], Path]
    ) -> None:
        self.reader = reader
        self._registry = registry
        self._downloads = downloads

    @property
    def path(self) -> Path:
        """Refused: the files are the server's."""
        raise refused("folder", self.name)

    @property
    def unsealed_layers(self) -> dict[str, str]:
        """Layer name to state, ``open`` or ``pending``, of the layers whose rows are not read yet."""
        return self.reader.unsealed_layers

    def topic(self, name: str) -> TopicHandler:
        """Return a topic, reserved ones and those of feature runs included; NotFound if there is none."""
        reader = self.reader.topic(name)
        assert isinstance(reader, RemoteTopicReader)
        return RemoteTopic(reader, self._registry)

    def annotations(self) -> list[Any]:
        """Return the labels and notes on the sequence, without those removed."""
        return [Annotation(**told) for told in self.reader.ask(reading.LABELS)["annotations"]]

    def artifact_path(self, name: str) -> Path:
        """Return a copy of an artifact's file, downloaded once; NotFound if there is none.

        Raises IntegrityError, with nothing left behind, if what came is not what was sealed.
        """
        folder, entry = self._artifact(name)
        target = self._downloads() / to_component(str(entry["sha256"])) / to_component(name)
        if not target.exists() or target.stat().st_size != entry["bytes"]:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._download(name, folder.path.name, entry, target)
        return target

    def _download(self, name: str, folder: str, entry: Any, target: Path) -> None:
        ticket = self.reader.question(**{protocol.KIND: protocol.ARTIFACT}, artifact=name, folder=folder)
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        digest, size = hashlib.sha256(), 0
        try:
            with closing(self.reader.connection.get(ticket)) as stream, partial.open("wb") as file:
                for batch in stream:
                    for chunk in batch.column(0):
                        data = chunk.as_py()
                        digest.update(data)
                        size += len(data)
                        file.write(data)
            if (digest.hexdigest(), size) != (entry["sha256"], entry["bytes"]):
                raise IntegrityError(
                    f"the artifact {name!r} is not what was sealed", sequence=self.name,
                    found=f"{size} bytes, {digest.hexdigest()}", expected=entry["sha256"],
                )  # fmt: skip
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
