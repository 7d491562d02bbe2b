"""Rows as objects of the SDK; runs where mosaicolabs 0.7.0 is installed and nothing else.

``fields.py types`` prints tag to fingerprint and format of every type that the SDK has.
``fields.py push HOST PORT FOLDER`` pushes the rows of each FOLDER/TAG.arrow as objects of the tag's class into
the topic TAG of the sequence ``theirs``. ``fields.py read HOST PORT SEQUENCE FOLDER`` reads every topic as
objects and writes them as FOLDER/TAG.arrow.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path

import mosaicolabs.models  # type: ignore[import-not-found]
import pyarrow as pa
from mosaicolabs import Message, MosaicoClient
from mosaicolabs.models.core.serializable import _SCHEMA_REGISTRY  # type: ignore[import-not-found]

for module in pkgutil.walk_packages(mosaicolabs.models.__path__, "mosaicolabs.models."):
    importlib.import_module(module.name)
for name in ("battery_state", "frame_transform"):
    importlib.import_module(f"mosaicolabs.bridges.ros.data_ontology.{name}")


def types() -> None:
    """Print every type."""
    found = {
        tag: [kind.__schema_fingerprint__, kind.__serialization_format__.value]
        for tag, kind in _SCHEMA_REGISTRY.items()
        if tag != "Unmodeled"
    }
    print(json.dumps(found))


def push(client: MosaicoClient, folder: Path) -> None:
    """Push rows as objects of their class."""
    with client.sequence_create("theirs", {}) as sequence:
        for path in sorted(folder.glob("*.arrow")):
            kind = _SCHEMA_REGISTRY[path.stem]
            topic = sequence.topic_create(path.stem, {}, kind)
            assert topic is not None, path.stem
            for row in pa.ipc.open_file(path).read_all().to_pylist():
                topic.push(Message._decode(kind, **row))


def read(client: MosaicoClient, sequence: str, folder: Path) -> None:
    """Write what is read as objects; each is one of the class that the SDK has for the tag."""
    for topic in client.sequence_handler(sequence).topics:
        handler = client.topic_handler(sequence, topic)
        kind = _SCHEMA_REGISTRY[handler.ontology_tag]
        messages = list(handler.get_data_streamer())
        assert {type(message.data) for message in messages} == {kind}, topic
        schema = Message._get_schema(kind)
        table = pa.Table.from_pylist([message._encode() for message in messages], schema)
        with pa.ipc.new_file(folder / f"{topic.strip('/')}.arrow", schema) as file:
            file.write(table)


if __name__ == "__main__":
    if sys.argv[1] == "types":
        types()
    else:
        with MosaicoClient.connect(sys.argv[2], int(sys.argv[3])) as connected:
            if sys.argv[1] == "push":
                push(connected, Path(sys.argv[4]))
            else:
                read(connected, sys.argv[4], Path(sys.argv[5]))
