"""A recording into a bundle of this machine: the store's writer, and the ways in which it ends."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gapless.client.artifact import Artifacts
from gapless.client.ending import keep_pending
from gapless.errors import StorageFailed
from gapless.store.durability import Durability
from gapless.store.folder import FolderStore
from gapless.store.handover import HandOver
from gapless.store.layout import Bundle
from gapless.store.seal import seal
from gapless.store.writer import BundleWriter, TopicState

if TYPE_CHECKING:
    from gapless.store.adopt import Adoption


class Keeper(Protocol):
    """The client, which tells its catalog what became of a bundle."""

    _store: FolderStore

    def _sealed(self, bundle: Bundle) -> None: ...

    def _discard(self, bundle: Bundle, tombstone: dict[str, Any]) -> None: ...


class LocalRecording(BundleWriter):
    """The store's writer of one bundle that also seals, keeps or discards it."""

    def __init__(
        self,
        keeper: Keeper,
        bundle: Bundle,
        header: dict[str, Any],
        durability: Durability,
        adopted: Adoption | None = None,
    ) -> None:
        platform = keeper._store.platform
        super().__init__(bundle, header, durability=durability, platform=platform, adopted=adopted)
        self._keeper = keeper
        self._artifacts = Artifacts(adopted.sealer.artifacts if adopted is not None else {})

    @classmethod
    def begin(
        cls,
        keeper: Keeper,
        name: str,
        bundle: Bundle | None,
        header: dict[str, Any],
        durability: Durability,
    ) -> LocalRecording:
        """Reserve the name, unless a bundle was reserved before, and begin; on an error the name is free again.

        Raises for a layer NotFound and StateError where its base was or is being discarded.
        """
        reserved = keeper._store.reserve(name) if bundle is None else bundle
        kept = nullcontext() if header["base"] is None else keeper._store.base_kept(reserved)
        try:
            with kept:
                return cls(keeper, reserved, header, durability)
        except OSError as error:
            shutil.rmtree(reserved.path, ignore_errors=True)  # nothing was recorded
            raise StorageFailed(
                "the disk refused the journal of a new sequence", sequence=name, found=str(error)
            ) from error

    @classmethod
    def resume(cls, keeper: Keeper, bundle: Bundle, durability: Durability) -> LocalRecording:
        """Go on with what a dead owner left open. Raises as ``Adoption.take`` does; nothing is changed then."""
        from gapless.store.adopt import Adoption

        adoption = Adoption.take(bundle, keeper._store.platform)
        try:
            return cls(keeper, bundle, adoption.header, durability, adoption)
        except BaseException as error:
            adoption.let_go()
            if isinstance(error, OSError):
                raise StorageFailed(
                    "the disk refused to go on with a journal",
                    sequence=adoption.header["name"],
                    found=str(error),
                ) from error
            raise

    @property
    def path(self) -> Path:
        """The bundle's folder."""
        return self.bundle.path

    def hand_over_of(self, _state: TopicState) -> HandOver:
        """Return the queue of the sequence, which all topics share."""
        return self.hand_over

    def flush_topic(self, _state: TopicState, timeout_s: float | None = None) -> None:
        """Return when everything pushed before the call is durable: one sync is for all topics."""
        self.flush(timeout_s)

    def accepted_rows(self, state: TopicState) -> int:
        """Return the durable rows: they are where the sequence is."""
        return state.durable_rows

    def describe_hops(self, describe: Callable[[], str | None]) -> None:
        """Let ``describe()`` give the ``hops`` of ``_health``; called on the writer's thread."""
        self.health.describe_hops = describe

    def add_artifact(self, path_or_uri: str | os.PathLike[str], name: str | None, media_type: str) -> str:
        """Copy a file in, or note an address; return the artifact's name, durable."""
        return self._artifacts.add(self, path_or_uri, name, media_type)

    def grow_artifact(self, name: str, media_type: str) -> Path:
        """Note a file that somebody else writes from now on and return where it belongs."""
        return self._artifacts.grow(self, name, media_type)

    def seal(self) -> dict[str, Any]:
        """Seal what was closed and return the manifest; the catalog learns of it."""
        assert self.sealer is not None
        try:
            sealer = self.sealer.finish(self.segments.close(), self.durability.deadline_s)
            manifest = seal(self.bundle, self.header, sealer, self.platform)
        except OSError as error:  # every row is durable in the journal, so no policy applies
            if self.bundle.manifest.exists():
                self._keeper._sealed(self.bundle)
                raise StorageFailed(
                    "the sequence is sealed, but the disk refused to delete its journal",
                    sequence=self.header["name"],
                    found=str(error),
                    next_step="`gapless recover NAME` deletes it when the disk is well; the sequence can be read",
                ) from error
            raise StorageFailed(
                "the disk refused the seal; everything recorded is in the journal",
                sequence=self.header["name"],
                found=str(error),
            ) from error
        self._keeper._sealed(self.bundle)
        return manifest

    def keep(self, text: str, *, told: bool) -> None:
        """Mark the bundle as pending, with the error as a notification unless an event has told it."""
        keep_pending(self.bundle, self, text, told=told, deadline_s=self.durability.deadline_s)

    def discard(self, words: dict[str, Any]) -> None:
        """Move the bundle to the trash; the words stay as its tombstone."""
        self._keeper._discard(self.bundle, words)
