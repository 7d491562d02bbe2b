"""What the store knows of a recording act: whatever its client asks about it again, there is one answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gapless.errors import IntegrityError, NameTaken, NotFound, StateError, UsageError
from gapless.model.metadata import check_metadata
from gapless.model.names import check_sequence_name, to_component
from gapless.model.outcome import State
from gapless.store import journal
from gapless.store.adopt import is_ended
from gapless.store.layout import MAKING, Bundle
from gapless.store.recover import read_header
from gapless.store.tombstone import UNREADABLE, is_tombstone

if TYPE_CHECKING:
    from gapless.client.client import Client
    from gapless.store.folder import FolderStore

_SHOWN: Final = 200  # characters of words that are refused
_MAKING_S: Final = 1.0  # by then whoever makes a folder has put a journal into it, or has died


@dataclass(frozen=True, slots=True)
class Act:
    """Which recording act is meant: its name, its uid and, for a layer, the base's name."""

    name: str
    uid: str
    layer_of: str | None

    @property
    def sequence(self) -> str:
        """The name of the sequence that it makes or adds to."""
        return self.layer_of or self.name


@dataclass(frozen=True, slots=True)
class Found:
    """A recording act that the store knows, and its sequence's group.

    ``state``: open, ended (it has its closing words and is not sealed yet), sealed, pending or discarded.
    ``bundle`` None: it was discarded; ``header`` None: that, or it is sealed.
    """

    state: str
    group: str | None
    bundle: Bundle | None = None
    header: dict[str, Any] | None = None
    manifest: dict[str, Any] | None = None


def find(client: Client, act: Act) -> Found | None:
    """Return what became of an act, None if there was none; NameTaken where the name is somebody else's."""
    if act.layer_of is None:
        return _find_sequence(client, act)
    for layer in map(Bundle, _bundle(client, act.layer_of).layer_paths()):
        if _uid(layer) == act.uid:
            return _found(client, layer, group_of(client, act))
    return _discarded(client._store, act)


def _find_sequence(client: Client, act: Act) -> Found | None:
    store, name = client._store, check_sequence_name(act.name)
    taken = store.taken_by(name)
    if taken is not None and taken == name and _clear_half_made(store, store.bundle(name)):
        taken = None
    if taken is None:
        return _discarded(store, act) if store.was_discarded(name) else None
    bundle = store.bundle(taken)
    if taken != name or _uid(bundle) != act.uid:
        raise NameTaken("a sequence of that name exists", sequence=name)
    return _found(client, bundle, group_of(client, act))


def _found(client: Client, bundle: Bundle, group: str | None) -> Found:
    if bundle.manifest.exists():
        return Found("sealed", group, bundle, manifest=journal.read_json(bundle.manifest))
    state, header = client._store.state(bundle), read_header(bundle)
    if state is State.OPEN and not client._store.owner_alive(bundle) and is_ended(bundle):
        return Found("ended", group, bundle, header)
    return Found(str(state), group, bundle, header)


def check_asked(manifest: dict[str, Any], name: str, outcome: str, offered: object) -> None:
    """Raise StateError where a sequence was sealed otherwise than its client asks: by recovery, or by a person."""
    found = str(manifest["record"]["outcome"])
    here = {topic: entry["ledger"]["produced"] for topic, entry in manifest["content"]["topics"].items()}
    wanted = offered if isinstance(offered, dict) else {}
    short = [t for t, rows in wanted.items() if not isinstance(rows, int) or rows > here.get(t, 0)]
    if found != outcome or short:
        raise StateError(
            "the sequence was sealed without its client",
            sequence=name,
            topic=short[0] if short else None,
            found=found,
            expected=outcome,
            next_step="look at what is there; record what is missing as a layer of it",
        )


def _uid(bundle: Bundle) -> str | None:
    """Return the uid of what a folder holds, None where it holds nothing yet."""
    if bundle.manifest.exists():
        return str(journal.read_json(bundle.manifest)["record"].get("uid"))
    if bundle.journal.exists():
        return str(read_header(bundle).get("uid"))
    return None


def _discarded(store: FolderStore, act: Act) -> Found | None:
    """Return an act whose tombstone is there; IntegrityError where one that cannot be read may be its own.

    Otherwise what was discarded would be recorded again.
    """
    stones = store.tombstones()
    for words in stones:
        if words.get("uid") == act.uid:
            return Found("discarded", words.get("group"))
    for words in stones:
        if UNREADABLE in words and words.get("uid") is None and _may_be_of(words, act):
            raise IntegrityError(
                "nobody can tell whether this recording was discarded: a tombstone of its name cannot be read",
                sequence=act.name,
                found=f"discarded/{words['trash']}.json",
                next_step="put a good copy in its place, delete it, or record under another name",
            )
    return None


def _may_be_of(words: dict[str, Any], act: Act) -> bool:
    """Tell whether a damaged tombstone is of a bundle of an act's name; before a layer's name is its number."""
    folder = str(words.get("trash")).rpartition("-")[0]
    if act.layer_of is not None:
        number, _, folder = folder.partition("-")
        if not number.isdecimal():
            return False
    return folder == to_component(act.name)


def _clear_half_made(store: FolderStore, bundle: Bundle) -> bool:
    """Take away a folder whose maker died before it had a journal; return whether it did."""
    give_up_s = time.monotonic() + 2 * _MAKING_S
    while _is_half_made(bundle.path):
        making = bundle.path / MAKING
        age_s = (store.platform.wall_ns() - bundle.path.stat().st_mtime_ns) / 1e9
        if age_s > _MAKING_S and not store.platform.is_locked(making / "lock"):
            store.purge(bundle.path)
            return True
        if time.monotonic() > give_up_s:
            break
        time.sleep(_MAKING_S / 10)
    return False


def _is_half_made(path: Path) -> bool:
    return path.is_dir() and {child.name for child in path.iterdir()} <= {MAKING}


def _bundle(client: Client, name: str) -> Bundle:
    """Return a sequence's bundle; NotFound in the words that a sequence of a foreign group is refused with."""
    if client._store.taken_by(name) != name:
        raise NotFound("there is no sequence of that name", sequence=name)
    return client._store.bundle(name)


def group_of(client: Client, act: Act) -> str | None:
    """Return the group of the sequence that an act belongs to, as the store has it."""
    bundle = _bundle(client, act.sequence)
    if bundle.manifest.exists():
        group = journal.read_json(bundle.manifest)["content"]["group"]
    else:
        group = read_header(bundle)["group"]
    return None if group is None else str(group)


def tombstone(client: Client, header: dict[str, Any], document: object) -> dict[str, Any]:
    """Return the words of a discarded act: the client's own, and what the server knows better.

    A layer has the group of its sequence there, so that those who may write it can tell what became of it.
    Raises UsageError for words that no reader of tombstones could use.
    """
    base = header.get("base")
    group = (
        header["group"]
        if base is None
        else group_of(client, Act(header["name"], header["uid"], base["name"]))
    )
    words = check_metadata(document, sequence=header["name"])
    kept = {key: words.get(key) for key in ("outcome", "error", "reason", "rows", "ledger") if key in words}
    known = {key: header[key] for key in ("name", "metadata", "uid")} | {"group": group}
    made: dict[str, Any] = {"outcome": None, "error": None, "rows": {}, "ledger": None} | kept | known
    if not is_tombstone(made | {"discarded_ns": 0}):
        raise UsageError(
            "these words are no tombstone",
            sequence=header["name"],
            found=repr(kept)[:_SHOWN],
            expected="outcome, error and reason as texts, rows by topic, a ledger of numbers",
        )
    return made
