"""One folder of a sequence, base or layer: its manifest checked against its digest, or its journal's view."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from gapless.errors import FormatUnknown, IntegrityError, NotFound
from gapless.model.ledger import Ledger
from gapless.model.metadata import canonical_json
from gapless.model.names import name_of
from gapless.store.declaration import SEQ
from gapless.store.journal import read_checked
from gapless.store.layout import FORMAT, Bundle
from gapless.store.live_rows import JournalRows, SortedRows, open_journal, snapshot
from gapless.store.part_reader import Part
from gapless.store.platform import PLATFORM


@dataclass(frozen=True)
class Declared:
    """A topic as its manifest or journal declares it; the schema has no ``_seq``."""

    name: str
    schema: pa.Schema
    ontology: dict[str, Any]
    metadata: dict[str, Any]
    clock: str

    def check_same_rows(self, other: Declared) -> None:
        """Raise IntegrityError unless the rows of a layer's topic can follow those of the base."""
        if not self.schema.equals(other.schema):
            raise IntegrityError(
                "a layer's topic has another schema than the base's",
                topic=self.name,
                found=str(other.schema),
                expected=str(self.schema),
                next_step="name the layers to read, one at a time, when the sequence is opened",
            )


@dataclass(frozen=True)
class Folder:
    """The files of one recording act: a sealed one has a manifest, an unsealed one a journal."""

    path: Path
    manifest: dict[str, Any] | None
    journal: JournalRows | None
    _declared: dict[str, Declared] = field(default_factory=dict)
    _parts: dict[str, Part] = field(default_factory=dict)  # keeps the footers that were verified

    @property
    def state(self) -> str:
        """``open``, ``pending`` or ``sealed``."""
        if self.manifest is not None:
            return "sealed"
        pending = Bundle(self.path).pending.exists()
        return "pending" if pending and not self.owner_alive else "open"

    @property
    def owner_alive(self) -> bool:
        """True while a live process holds the journal."""
        return self.manifest is None and PLATFORM.is_locked(Bundle(self.path).lock)

    @property
    def awaited_until_ns(self) -> int | None:
        """Until when a program of another machine may come back to it; None where nobody is waited for."""
        if self.state != "open" or self.owner_alive:
            return None
        from gapless.store.adopt import awaited_until_ns  # what only few readers need

        until_ns = awaited_until_ns(Bundle(self.path))
        return until_ns if until_ns is not None and PLATFORM.wall_ns() < until_ns else None

    @property
    def layer_name(self) -> str:
        """The name of a layer: its folder's without the number."""
        component = self.path.name.partition("-")[2]
        return name_of(component) or component

    @cached_property
    def description(self) -> Mapping[str, Any]:
        """Name, group and metadata."""
        if self.manifest is not None:
            content: dict[str, Any] = self.manifest["content"]
            return content
        return self.journal.sequence if self.journal is not None else {}

    @property
    def pending(self) -> dict[str, Any]:
        """What a failed recording left for its later seal: the error as a notification; {} otherwise."""
        return read_checked(Bundle(self.path).pending) or {}

    def topic_names(self) -> list[str]:
        """Return the topics of the folder, reserved ones included, in order of creation where it is known."""
        if self.manifest is not None:
            health = ["_health"] if self.manifest["record"].get("health") else []
            return [*self.manifest["content"]["topics"], *health]
        return list(self.journal.topics) if self.journal is not None else []

    def declaration(self, topic: str) -> Declared:
        """Return what a topic of this folder was declared as."""
        if topic not in self._declared:
            self._declared[topic] = self._declare(topic)
        return self._declared[topic]

    def _declare(self, topic: str) -> Declared:
        if self.manifest is None:
            assert self.journal is not None
            live = self.journal.topics[topic]
            return Declared(topic, live.schema, dict(live.ontology), dict(live.metadata), "unknown")
        entry = self._entry(topic)
        try:
            schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(entry["schema"], validate=True)))
        except (pa.ArrowException, OSError, binascii.Error) as error:
            raise IntegrityError(
                f"a schema in the manifest cannot be read: {self.path}", topic=topic
            ) from error
        if SEQ in schema.names:
            schema = schema.remove(schema.get_field_index(SEQ))
        return Declared(
            topic,
            schema,
            dict(entry.get("ontology") or {}),
            dict(entry.get("metadata") or {}),
            entry.get("clock", "unknown"),
        )

    def sources(self, topic: str, names: list[str]) -> list[Part | SortedRows]:
        """Return what holds the rows of a topic: parts in their order, then the rest of the journal.

        ``names`` are the columns that the rest of the journal is wanted with. Raises FileNotFoundError
        when the journal is gone because the sequence was sealed or discarded meanwhile.
        """
        if topic not in self.topic_names():
            return []
        if self.manifest is not None:
            return [self._part(part, topic) for part in self._entry(topic)["parts"]]
        assert self.journal is not None
        parts, rows = snapshot(self.journal, topic, names)
        if (self.path / "manifest.json").exists():  # the journal may already have lost its segments
            raise FileNotFoundError(self.path / "journal")
        return [*(self._part(part, topic) for part in parts), *rows]

    def _part(self, entry: dict[str, Any], topic: str) -> Part:
        path = entry["path"]
        if path not in self._parts:
            self._parts[path] = Part.of(self.path, entry, topic)
        return self._parts[path]

    def ledger(self, topic: str | None = None) -> Mapping[str, int]:
        """Return the ledger of a topic, or of the whole folder."""
        if self.manifest is not None:
            content = self.manifest["content"]
            known: Mapping[str, int] = content["ledger"] if topic is None else {}
            if topic is not None and topic in self.topic_names():
                known = self._entry(topic).get("ledger", {})
            return known
        assert self.journal is not None
        live = self.journal.ledger
        if topic is not None:
            return live[topic].to_json() if topic in live else {}
        users = (ledger for name, ledger in live.items() if not name.startswith("_"))
        return sum(users, start=Ledger()).to_json()

    def _entry(self, topic: str) -> dict[str, Any]:
        assert self.manifest is not None
        topics: dict[str, dict[str, Any]] = self.manifest["content"]["topics"]
        found = topics.get(topic) or self.manifest["record"]["health"]
        return dict(found)


def open_folder(path: Path) -> Folder:
    """Return the folder in its present state; NotFound if it holds no recording."""
    manifest = load_manifest(path)
    if manifest is not None:
        return Folder(path, manifest, None)
    view: JournalRows | None = None
    problem: FileNotFoundError | IntegrityError | None = None
    try:
        view = open_journal(Bundle(path).journal)
    except (FileNotFoundError, IntegrityError) as error:
        problem = error
    # A seal deletes the journal after its manifest is there: without one the view just taken is whole.
    manifest = load_manifest(path)
    if manifest is not None:
        return Folder(path, manifest, None)
    if not Bundle(path).journal.is_dir():
        raise NotFound("there is no sequence in this folder", found=str(path))
    if problem is not None:
        raise problem
    return Folder(path, None, view)


def load_manifest(path: Path) -> dict[str, Any] | None:
    """Return the manifest of a sealed folder, None if it is not sealed.

    Raises FormatUnknown for another format, IntegrityError if the content is not what its digest says.
    """
    file = Bundle(path).manifest
    try:
        manifest = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise IntegrityError(f"the manifest cannot be read: {file}", found=str(error)) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else manifest
        raise FormatUnknown(f"the manifest has another format: {file}", found=found, expected=FORMAT)
    try:
        for part in ("content", "record"):
            _check_digest(file, manifest, part)
    except KeyError as error:
        raise IntegrityError(f"the manifest lacks {error}: {file}") from error
    return manifest


def _check_digest(file: Path, manifest: dict[str, Any], part: str) -> None:
    found = f"sha256:{hashlib.sha256(canonical_json(manifest[part])).hexdigest()}"
    if found != manifest[f"{part}_digest"]:
        raise IntegrityError(
            f"the {part} of the manifest is not what was sealed: {file}",
            found=found,
            expected=manifest[f"{part}_digest"],
        )


def find_layers(base: Folder, wanted: list[str] | None) -> list[Folder]:
    """Return the sealed layers of a base in order, all or those named; NotFound for an unknown name."""
    paths = [] if wanted == [] else Bundle(base.path).layer_paths()
    manifests = [(path, load_manifest(path)) for path in paths]
    found = [Folder(path, manifest, None) for path, manifest in manifests if manifest is not None]
    if wanted is not None:
        for name in wanted:
            if not any(_is_called(folder, name) for folder in found):
                raise NotFound("the sequence has no sealed layer of that name", found=name,
                               expected=f"one of {', '.join(f.layer_name for f in found)}",
                               next_step="`gapless show NAME` lists the layers")  # fmt: skip
        found = [f for f in found if any(_is_called(f, name) for name in wanted)]
    for folder in found:
        _check_base(base, folder)
    return found


def _is_called(folder: Folder, name: str) -> bool:
    return name in (folder.layer_name, folder.path.name)


def _check_base(base: Folder, layer: Folder) -> None:
    assert layer.manifest is not None
    named = (layer.manifest["content"].get("base") or {}).get("content_digest")
    expected = base.manifest["content_digest"] if base.manifest else None
    if named != expected:
        raise IntegrityError(f"a layer belongs to another base: {layer.path}", found=named, expected=expected)
