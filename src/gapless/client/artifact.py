"""Files that belong to a sequence: copied into the bundle, written there by others, or named by URI."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gapless.errors import NameTaken, NotFound
from gapless.model.names import fold, to_component
from gapless.store.frame import Kind
from gapless.store.growing import copy_file, growing_entry
from gapless.store.writer import BundleWriter


class Artifacts:
    """The artifacts of one sequence that is being recorded. The caller holds the sequence's lock."""

    def __init__(self, known: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> None:
        self._taken = {fold(name) for name in known}  # folded: files that do not exist yet, and addresses

    def add(
        self, writer: BundleWriter, path_or_uri: str | os.PathLike[str], name: str | None, media_type: str
    ) -> str:
        """Copy a file in, or note an address; return the artifact's name, durable."""
        text = os.fspath(path_or_uri)
        if "://" in text and not text.startswith("file://"):
            name = name or text.rsplit("/", 1)[-1] or text
            self._refuse_taken(writer, name)
            entry: dict[str, Any] = {"media_type": media_type, "uri": text, "bytes": None, "sha256": None}
        else:
            source = Path(text.removeprefix("file://"))
            if not source.is_file():
                raise NotFound(
                    "there is no such file to add", sequence=writer.header["name"], found=str(source)
                )
            name = name or source.name
            target = self._free(writer, name)
            digest, size = copy_file(source, target, writer.platform)
            path = target.relative_to(writer.bundle.path).as_posix()
            entry = {"media_type": media_type, "path": path, "bytes": size, "sha256": digest}
        writer.note(Kind.ARTIFACT, {"name": name, **entry})
        self._taken.add(fold(name))
        return name

    def grow(self, writer: BundleWriter, name: str, media_type: str) -> Path:
        """Note a file that somebody else writes from now on, durably, and return where it belongs."""
        target = self._free(writer, name)
        path = target.relative_to(writer.bundle.path).as_posix()
        writer.note(Kind.ARTIFACT, {"name": name, **growing_entry(media_type, path)})
        self._taken.add(fold(name))
        return target

    def _free(self, writer: BundleWriter, name: str) -> Path:
        """Return the path of a new artifact in its folder, or raise NameTaken."""
        bundle = writer.bundle
        target = bundle.artifacts / to_component(name)
        self._refuse_taken(writer, name)
        if not bundle.artifacts.exists():
            bundle.artifacts.mkdir()
            writer.platform.sync_directory(bundle.path)
        if target.exists():
            raise taken(writer, name)
        return target

    def _refuse_taken(self, writer: BundleWriter, name: str) -> None:
        if fold(name) in self._taken:
            raise taken(writer, name)


def taken(writer: BundleWriter, name: str) -> NameTaken:
    """Return the error for a name that one of the sequence's artifacts has."""
    return NameTaken("the sequence has an artifact of that name", sequence=writer.header["name"], found=name)
