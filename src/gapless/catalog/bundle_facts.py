"""What the catalog keeps of one bundle, read from its manifests alone: no Arrow, no locks, no writes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gapless.catalog.annotations import FILE as ANNOTATIONS
from gapless.catalog.annotations import Annotation, read_annotations
from gapless.errors import FormatUnknown, IntegrityError
from gapless.model.names import RESERVED_TOPICS, from_component
from gapless.store.journal import read_checked
from gapless.store.platform import PLATFORM

FORMAT = 1
OWNER_GONE = "open, owner gone"  # the state in words of what nobody writes
CLIENT_AWAY = "open, client away"  # nor now, but a client on another machine may come back to it
_ANNOTATIONS_AT = 2  # in the stamps of sealed and unsealed bundles
_LEDGER = ("produced", "written", "dropped", "gapped")


@dataclass(slots=True)
class TopicFacts:
    """One topic over the base and its layers."""

    name: str
    ontology_tag: str | None
    created_ns: int
    metadata: dict[str, Any]
    fields: dict[str, str]
    parts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # (folder in the bundle, entry)

    @property
    def reserved(self) -> bool:
        """True for the topics that gapless writes itself."""
        return self.name in RESERVED_TOPICS

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(int(entry["rows"]) for _, entry in self.parts)

    @property
    def start_ns(self) -> int | None:
        """The smallest timestamp."""
        return min((e["start_ns"] for _, e in self.parts if e["start_ns"] is not None), default=None)

    @property
    def end_ns(self) -> int | None:
        """The greatest timestamp."""
        return max((e["end_ns"] for _, e in self.parts if e["end_ns"] is not None), default=None)


@dataclass(slots=True)
class BundleFacts:
    """One sequence as its files say."""

    component: str
    name: str
    state: str
    stamp: str
    outcome: str | None = None
    group: str | None = None
    created_ns: int = 0
    sealed_ns: int | None = None
    content_digest: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    ledger: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_LEDGER, 0))
    topics: dict[str, TopicFacts] = field(default_factory=dict)
    layers: int = 0
    unsealed: list[str] = field(default_factory=list)  # folders of layers without a manifest
    size_bytes: int = 0
    annotations: list[Annotation] = field(default_factory=list)
    problem: str | None = None


def bundle_state(bundle: Path) -> str | None:
    """Return ``open``, ``pending`` or ``sealed``; None while the folder is only a reserved name."""
    if (bundle / "manifest.json").exists():
        return "sealed"
    if (bundle / "journal").is_dir():
        pending = (bundle / "journal" / "pending.json").exists()
        return "pending" if pending and not owner_alive(bundle) else "open"
    return "sealed" if (bundle / "manifest.json").exists() else None  # sealed between the two looks


def owner_alive(bundle: Path) -> bool:
    """Return whether a live process is writing the bundle."""
    try:
        return PLATFORM.is_locked(bundle / "journal" / "lock")
    except FileNotFoundError:
        return False


def bundle_stamp(bundle: Path) -> str | None:
    """Return a text that changes when what :func:`read_bundle` reads changes; None without a bundle.

    Plain strings: a look at 10,000 sequences spends most of its time here, and Path costs more than stat.
    """
    folder = os.fspath(bundle)
    manifest = _file_stamp(f"{folder}/manifest.json")
    if manifest != "-":
        stamps = ["sealed", manifest, _file_stamp(f"{folder}/{ANNOTATIONS}")]
        stamps += [_file_stamp(f"{folder}/layers/{name}/manifest.json") for name in _layer_folders(folder)]
        return ";".join(stamps)
    state = bundle_state(bundle)
    if state is None:
        return None
    return ";".join(
        [state, *(_file_stamp(f"{folder}/{file}") for file in ("journal/open.json", ANNOTATIONS))]
    )


def without_annotations(stamp: str) -> str:
    """Return what a stamp says of all other files."""
    words = stamp.split(";")
    return ";".join([*words[:_ANNOTATIONS_AT], *words[_ANNOTATIONS_AT + 1 :]])


def read_bundle(bundle: Path) -> BundleFacts | None:
    """Return what the files of a bundle say; a damaged manifest gives facts with a ``problem``."""
    stamp = bundle_stamp(bundle)
    if stamp is None:
        return None
    state = stamp.partition(";")[0]
    own_name = _folder_name(bundle)
    facts = BundleFacts(bundle.name, own_name, state, stamp)
    try:
        if state == "sealed":
            _read_sealed(bundle, facts)
        else:
            _read_unsealed(bundle, facts)
        facts.annotations = read_annotations(bundle)
    except FileNotFoundError:
        return None  # sealed or discarded while it was read: the next look sees what it became
    except IntegrityError as error:
        facts.problem = str(error)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        facts.problem = f"the manifest cannot be read: {type(error).__name__} {error}"
    if facts.name != own_name and facts.problem is None:
        facts.problem = f"the folder is another sequence's copy: its manifest says {facts.name!r}"
    facts.name = own_name
    return facts


def _folder_name(bundle: Path) -> str:
    """Return the name that a folder stands for; the folder's own where it is no encoded name."""
    try:
        return from_component(bundle.name)
    except UnicodeDecodeError:
        return bundle.name


def _file_stamp(path: Path | str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return "-"
    return f"{status.st_mtime_ns}:{status.st_size}:{status.st_ino}"


def _layer_folders(bundle: Path | str) -> list[str]:
    try:
        return sorted(os.listdir(f"{bundle}/layers"))
    except OSError:
        return []


def load_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; ValueError if it is none."""
    document = json.loads(path.read_bytes())
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds no object")
    return document


def _read_sealed(bundle: Path, facts: BundleFacts) -> None:
    manifest = load_json(bundle / "manifest.json")
    if manifest.get("format") != FORMAT:
        raise FormatUnknown(
            "the bundle has a format that this release cannot read", found=manifest.get("format")
        )
    content, record = manifest["content"], manifest["record"]
    facts.name = content["name"]
    facts.group = content["group"]
    facts.metadata = content["metadata"]
    facts.outcome = record["outcome"]
    facts.created_ns = record.get("opened_ns") or 0
    facts.sealed_ns = record.get("sealed_ns")
    facts.content_digest = manifest["content_digest"]
    _add_folder(facts, "", manifest)
    for folder in _layer_folders(bundle):
        path = bundle / "layers" / folder
        if (path / "manifest.json").exists():
            _add_folder(facts, f"layers/{folder}", load_json(path / "manifest.json"))
            facts.layers += 1
        elif folder[:5].isdigit():
            facts.unsealed.append(folder)


def _add_folder(facts: BundleFacts, folder: str, manifest: Mapping[str, Any]) -> None:
    content, record = manifest["content"], manifest["record"]
    topics = dict(content["topics"])
    if record.get("health"):
        topics["_health"] = record["health"]
    for name, topic in topics.items():
        known = facts.topics.get(name)
        if known is None:
            known = facts.topics[name] = TopicFacts(
                name,
                (topic.get("ontology") or {}).get("tag"),
                record.get("opened_ns") or 0,
                topic.get("metadata") or {},
                {"timestamp_ns": "int64"} | {row["name"]: row["type"] for row in topic.get("fields") or ()},
            )
        known.parts += [(folder, part) for part in topic["parts"]]
        facts.size_bytes += sum(part["bytes"] for part in topic["parts"])
    facts.size_bytes += sum(
        a.get("bytes") or 0 for a in (content.get("artifacts") or {}).values() if "path" in a
    )
    for key in _LEDGER:
        facts.ledger[key] += (content.get("ledger") or {}).get(key, 0)


def _read_unsealed(bundle: Path, facts: BundleFacts) -> None:
    declared = read_checked(bundle / "journal" / "open.json")
    if declared is None:
        raise IntegrityError(
            f"what the recording was opened with cannot be read: {bundle / 'journal' / 'open.json'}"
        )
    facts.name = declared["name"]
    facts.group = declared["group"]
    facts.metadata = declared["metadata"]
    facts.created_ns = int(declared["opened_ns"])
