"""A folder of bundles: reserving names, finding what is there, discarding without losing the trace.

Any number of processes may use one folder. The directory is the truth; nothing here needs a database.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gapless.errors import (
    FormatUnknown,
    IntegrityError,
    NameTaken,
    NotFound,
    SequenceOwned,
    StateError,
    UsageError,
)
from gapless.model.metadata import canonical_json
from gapless.model.names import check_sequence_name, fold, from_component, name_of, to_component
from gapless.model.outcome import State
from gapless.store.journal import read_json
from gapless.store.layout import FORMAT, MAKING, Bundle
from gapless.store.platform import PLATFORM, Platform
from gapless.store.tombstone import TOMBSTONE, Tombstone, read_tombstones

TRASH_HOURS = 24
_FOLDS_OTHERWISE = re.compile("^%|%[89A-Fa-f]")  # kept names of devices, and what is beyond ASCII


class FolderStore:
    """The store at ``root``; opening it makes the folder if ``create`` is true."""

    def __init__(self, root: Path, *, create: bool = True, platform: Platform = PLATFORM) -> None:
        self.root = root = root.absolute()  # wherever the program goes; and no tool takes it for a URL
        self.platform = platform
        self.sequences = root / "sequences"
        self.trash = root / "trash"
        self.discarded = root / "discarded"
        if not (root / "gapless.json").exists():
            if not create:
                raise NotFound(
                    "there is no store here",
                    found=str(root),
                    next_step="`gapless demo` or `gapless record host` makes one, or name one with --store",
                )
            self._create()
        self.uid = self._read_identity()["uid"]

    def _create(self) -> None:
        try:
            for folder in (self.root, self.sequences, self.trash, self.discarded):
                folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise UsageError(
                "a store is a folder", found=f"{self.root} is a file", next_step="name another place"
            ) from error
        uid = secrets.token_hex(16)
        made = self.root / f"gapless-{uid}.json"
        self.platform.write_atomically(made, canonical_json({"format": FORMAT, "uid": uid}))
        with contextlib.suppress(
            FileExistsError
        ):  # another process made the store a moment ago: its uid counts
            self.platform.link(made, self.root / "gapless.json")
        self.platform.remove(made)
        self.platform.sync_directory(self.root)

    def _read_identity(self) -> dict[str, Any]:
        """Return what gapless.json says. Raises IntegrityError where it says nothing, FormatUnknown, OSError."""
        path = self.root / "gapless.json"
        try:
            identity: dict[str, Any] = json.loads(path.read_bytes())
            known, _ = identity["format"], identity["uid"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise IntegrityError(
                "gapless.json does not say which store this is",
                found=f"{path}: {error!r}",
                expected='{"format": …, "uid": …}',
                next_step="put the file back from a backup of the store",
            ) from error
        if known != FORMAT:
            raise FormatUnknown("the store has an unknown format", found=known, expected=FORMAT)
        return identity

    # -- names ---------------------------------------------------------------------------------

    def reserve(self, name: str) -> Bundle:
        """Make the empty folder of a new sequence; the mkdir decides between processes."""
        name = check_sequence_name(name)
        self.sequences.mkdir(exist_ok=True)
        other = self.taken_by(name)
        if other is not None:
            raise NameTaken("a sequence of that name exists", sequence=name, found=other)
        path = self.sequences / to_component(name)
        try:
            path.mkdir()
        except FileExistsError as error:
            raise NameTaken("a sequence of that name exists", sequence=name) from error
        return Bundle(path)

    def taken_by(self, name: str) -> str | None:
        """Return the name that stands in the way of a new one: the same, or the same but for case."""
        wanted = fold(name)
        coded = to_component(name).lower() if name.isascii() else None
        for component in os.listdir(self.sequences) if self.sequences.is_dir() else []:
            # decoding 10,000 names would cost more than the recording: only what folds otherwise needs it
            if coded is not None and component.lower() != coded and not _FOLDS_OTHERWISE.search(component):
                continue
            known = name_of(component)
            if known is not None and fold(known) == wanted:
                return known
        return None

    def names(self) -> list[str]:
        """Return the names of all sequences, open ones included; folders of other programs are none."""
        if not self.sequences.is_dir():
            return []
        known = (name_of(p.name) for p in self.sequences.iterdir() if p.is_dir())
        return sorted(name for name in known if name is not None)

    def bundle(self, name: str) -> Bundle:
        """Return the bundle of a sequence, or raise NotFound."""
        path = self.sequences / to_component(name)
        if not path.is_dir():
            raise NotFound("there is no sequence of that name", sequence=name, found=str(self.root))
        return Bundle(path)

    def state(self, bundle: Bundle) -> State:
        """Return the state that the folder shows."""
        if bundle.manifest.exists():
            return State.SEALED
        return State.PENDING if bundle.pending.exists() else State.OPEN

    def owner_alive(self, bundle: Bundle) -> bool:
        """Tell whether a live process holds the bundle."""
        return self.platform.is_locked(bundle.lock)

    def ownerless(self) -> Iterator[Bundle]:
        """Yield the open bundles whose owner is gone: what recovery is for."""
        for name in self.names():
            bundle = Bundle(self.sequences / to_component(name))  # one discarded meanwhile has no journal
            for candidate in (bundle, *map(Bundle, bundle.layer_paths())):
                if (
                    self.state(candidate) is State.OPEN
                    and candidate.journal.exists()
                    and not self.owner_alive(candidate)
                ):
                    yield candidate

    def reserve_layer(self, base: Bundle, name: str) -> Bundle:
        """Make the empty folder of a new layer on a sealed sequence."""
        if not base.manifest.exists():
            raise StateError(
                "only a sealed sequence takes a layer",
                sequence=from_component(base.path.name),
                next_step="seal it first",
            )
        try:
            base.layers.mkdir(exist_ok=True)
            return self._next_layer(base, name)
        except FileNotFoundError as error:
            raise _gone(base) from error

    @staticmethod
    def _next_layer(base: Bundle, name: str) -> Bundle:
        while True:
            number = 1 + max((int(p.name[:5]) for p in base.layer_paths()), default=0)
            path = base.layers / f"{number:05d}-{to_component(name)}"
            try:
                path.mkdir()
            except FileExistsError:  # another process was quicker: take the next number
                continue
            return Bundle(path)

    def base_digest(self, base: Bundle) -> str:
        """Return the content digest by which a layer names its base; NotFound where that was just discarded."""
        try:
            return str(read_json(base.manifest)["content_digest"])
        except FileNotFoundError as error:
            raise _gone(base) from error

    @contextlib.contextmanager
    def base_kept(self, layer: Bundle) -> Iterator[None]:
        """Let nobody discard the base of a new layer until it has an owner, whose lock then speaks for it.

        StateError where the base is being discarded, NotFound where it was: the layer's folder went with it.
        """
        base = Bundle(layer.path.parent.parent)
        try:
            fd = self.platform.hold(base.manifest, alone=False)
        except FileNotFoundError as error:
            raise _gone(base) from error
        except SequenceOwned as error:
            raise StateError(
                "the sequence is being discarded and takes no layer",
                sequence=from_component(base.path.name),
                next_step="try again if it is still there: `gapless ls` lists what there is",
            ) from error
        try:
            if not layer.path.is_dir():  # it moved between opening and locking
                raise _gone(base)
            yield
        finally:
            self.platform.close(fd)

    # -- discarding ----------------------------------------------------------------------------

    def discard(self, bundle: Bundle, tombstone: dict[str, Any]) -> Path:
        """Move a bundle to the trash and leave a tombstone; the name is free when the call returns."""
        name = bundle.path.name
        self.trash.mkdir(exist_ok=True)
        self.discarded.mkdir(exist_ok=True)
        number = self._free_number(name)
        target = self.trash / f"{name}-{number}"
        words = {"trash": target.name, "discarded_ns": self.platform.wall_ns(), **tombstone}
        self.platform.write_atomically(bundle.path / TOMBSTONE, canonical_json(words))
        self.platform.replace(bundle.path, target)
        self.platform.sync_directory(self.trash)
        self.platform.sync_directory(self.sequences)
        return self._bury(target)

    def _bury(self, trashed: Path) -> Path:
        """Put the tombstone of a bundle in the trash where it stays for ever; doing it twice changes nothing."""
        path = self.discarded / f"{trashed.name}.json"
        if not path.exists():
            self.discarded.mkdir(exist_ok=True)
            self.platform.write_atomically(path, (trashed / TOMBSTONE).read_bytes())
        return path

    def _free_number(self, name: str) -> int:
        number = 1
        while (self.trash / f"{name}-{number}").exists() or (
            self.discarded / f"{name}-{number}.json"
        ).exists():
            number += 1
        return number

    def was_discarded(self, name: str) -> bool:
        """Tell whether there is a tombstone of exactly this name, without reading any."""
        first = f"{to_component(name)}-1"
        return (self.discarded / f"{first}.json").exists() or (self.trash / first / TOMBSTONE).exists()

    def tombstones(self) -> list[dict[str, Any]]:
        """Return the tombstones, oldest first; one that a crash left in the trash only is among them.

        One that is damaged has what is left of it, and ``unreadable``: which file, why, and what to do.
        """
        return [stone.words for stone in read_tombstones(self.root)]

    def damaged_tombstones(self) -> dict[str, IntegrityError]:
        """Return what is wrong with the tombstones that cannot be read, by the folder in the trash they are of."""
        return {
            stone.kept_as: stone.damage for stone in read_tombstones(self.root) if stone.damage is not None
        }

    def discard_unsealed(self, bundle: Bundle, tombstone: dict[str, Any]) -> Path:
        """Discard a bundle; SequenceOwned while a live process writes it or one of its layers.

        The locks are held until it has moved: an owner that came back after a mere look would go on in the trash,
        and so would a layer that is begun behind the look.
        """
        name = from_component(bundle.path.name)
        with contextlib.ExitStack() as held:
            self._hold(bundle, name, held)
            if bundle.manifest.exists():
                self._keep_layers_out(bundle, name, held)
            for layer in map(Bundle, bundle.layer_paths()):
                self._hold(layer, name, held, found=f"its layer {layer.path.name} is being recorded")
            if not self.platform.moves_open_files:
                held.close()  # the move itself is refused there where an owner has come back
            return self.discard(bundle, tombstone)

    def _hold(
        self, bundle: Bundle, sequence: str, held: contextlib.ExitStack, found: str | None = None
    ) -> None:
        """Take the locks of a bundle's journal, and of one that is being made, as far as there are any."""
        for folder in (bundle.journal, bundle.path / MAKING):
            try:
                lock = self.platform.lock(folder / bundle.lock.name)
            except FileNotFoundError:  # it is sealed, or another process seals it at this moment
                continue
            except SequenceOwned:
                raise SequenceOwned("a live process is writing it", sequence=sequence, found=found) from None
            held.callback(self.platform.close, lock)

    def _keep_layers_out(self, base: Bundle, sequence: str, held: contextlib.ExitStack) -> None:
        """Take the lock that whoever begins a layer shares; see :meth:`base_kept`."""
        try:
            lock = self.platform.hold(base.manifest, alone=True)
        except SequenceOwned:
            raise SequenceOwned(
                "the sequence is in use",
                sequence=sequence,
                found="a layer of it is being begun, or another process discards it",
                next_step="try again in a moment",
            ) from None
        held.callback(self.platform.close, lock)

    # -- cleaning up ---------------------------------------------------------------------------

    def expired(self, older_than_hours: float = TRASH_HOURS) -> list[Path]:
        """Return what has been in the trash longer than that; what has a damaged tombstone is never among it."""
        limit = self.platform.wall_ns() - int(older_than_hours * 3.6e12)
        stones = {stone.kept_as: stone for stone in read_tombstones(self.root)}
        found = sorted(self.trash.iterdir()) if self.trash.is_dir() else []
        return [path for path in found if self._trashed_ns(path, stones.get(path.name)) <= limit]

    def _trashed_ns(self, path: Path, stone: Tombstone | None) -> float:
        """Return since when something is in the trash; never (infinity) where its tombstone is damaged."""
        if stone is None:
            return path.stat().st_mtime_ns
        return math.inf if stone.damage is not None or stone.discarded_ns is None else stone.discarded_ns

    def abandoned(self, older_than_hours: float = 1.0) -> list[Path]:
        """Return the folders of sequences whose creator died before there was anything to record."""
        limit = self.platform.wall_ns() - int(older_than_hours * 3.6e12)
        found = []
        for path in sorted(self.sequences.iterdir()) if self.sequences.is_dir() else []:
            held = {child.name for child in path.iterdir()} if path.is_dir() else {""}
            if held <= {MAKING} and path.stat().st_mtime_ns <= limit:
                found.append(path)
        return found

    def purge(self, path: Path) -> None:
        """Delete a folder that :meth:`expired` or :meth:`abandoned` named; a tombstone stays."""
        if (path / TOMBSTONE).exists():
            self._bury(path)
        self.platform.remove_tree(path)


def _gone(base: Bundle) -> NotFound:
    return NotFound("the sequence was discarded and takes no layer", sequence=from_component(base.path.name))
