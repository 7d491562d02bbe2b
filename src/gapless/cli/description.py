"""Describe one sequence as plain values, from its manifests alone when it is sealed.

The keys are those of `gapless show --json` and stay as they are. Standard library only for sealed
sequences; one that is not sealed is read through its journal, which needs Arrow.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.cli import output
from gapless.errors import FormatUnknown, IntegrityError, NotFound
from gapless.store.layout import FORMAT, Bundle

if TYPE_CHECKING:
    from gapless.store.reader import BundleReader, TopicReader


def describe(bundle: Path) -> dict[str, Any]:
    """Return what is known of the sequence in a bundle; raises IntegrityError for a broken manifest."""
    if (bundle / "manifest.json").exists():
        return _describe_sealed(bundle)
    return _describe_unsealed(bundle)


def feature_topics(known: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the topics that feature runs made from a described sequence: rows, times and size of each."""
    from gapless.store.derived import Owner, derived_topics

    owner = Owner.of(Path(known["path"]), known, known)
    keys = {"rows": "n_rows", "start_ns": "start_ns", "end_ns": "end_ns", "bytes": "bytes"}
    return {
        topic.name: {name: topic.record[key] for name, key in keys.items()} for topic in derived_topics(owner)
    }


def topic_of(known: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what is known of one topic of a described sequence, its own or a feature run's; raises NotFound.

    A reserved topic is always there, as it is for readers; mostly it has no rows.
    """
    if name in known["topics"]:
        return dict(known["topics"][name])
    from gapless.store.derived import is_feature_topic
    from gapless.store.reserved import RESERVED_SCHEMAS

    if is_feature_topic(name) or name in RESERVED_SCHEMAS:
        from gapless.store.reader import open_bundle

        topic = open_bundle(Path(known["path"])).topic(name)
        if name in RESERVED_SCHEMAS:
            return reserved_topic(topic)
        return {**live_topic(topic), "bytes": sum(part.size_bytes for part in topic.parts())}
    raise NotFound(
        f"there is no topic {name!r}",
        sequence=known["name"],
        next_step=f"the topics are {', '.join(known['topics']) or 'none'}",
    )


def read_manifest(bundle: Path) -> dict[str, Any]:
    """Return the manifest of a bundle or layer; IntegrityError if it is damaged."""
    path = bundle / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        version = manifest["format"]
        manifest["content"]["topics"], manifest["record"]["outcome"]
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path} is no manifest: {error}", sequence=bundle.name) from error
    if version != FORMAT:
        raise FormatUnknown(f"{path} has an unknown format", found=version, expected=FORMAT)
    return dict(manifest)


def layer_folders(bundle: Path) -> list[Path]:
    """Return the sealed layers of a bundle in their order."""
    return [path for path in Bundle(bundle).layer_paths() if Bundle(path).manifest.exists()]


def _unsealed_layers(bundle: Path) -> list[dict[str, Any]]:
    """Return the layers that were begun and not sealed; their rows are not counted."""
    from gapless.catalog.bundle_facts import bundle_state, owner_alive
    from gapless.model.names import name_of

    found = []
    for path in Bundle(bundle).layer_paths():
        state = bundle_state(path)
        if state in ("open", "pending"):
            component = path.name.partition("-")[2]
            awaited_ns = _awaited_until_ns(path)
            found.append(
                {
                    "name": name_of(component) or component,
                    "state": state,
                    "owner_alive": owner_alive(path),
                    "awaited_until_ns": awaited_ns,
                    "client_away": awaited_ns is not None,
                    "content_digest": None,
                    "path": str(path),
                }
            )
    return found


def _awaited_until_ns(layer: Path) -> int | None:
    from gapless.store.bundle_state import Folder  # it loads Arrow, which a sealed sequence does not need

    return Folder(layer, None, None).awaited_until_ns


def _describe_sealed(bundle: Path) -> dict[str, Any]:
    layers = [(str(folder), read_manifest(folder)) for folder in layer_folders(bundle)]
    waiting, notes = _unsealed_layers(bundle), _annotations(bundle)
    return sealed(read_manifest(bundle), layers, waiting, notes, path=str(bundle))


def sealed(
    manifest: dict[str, Any],
    layers: Sequence[tuple[str | None, dict[str, Any]]],
    waiting: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    *,
    path: str | None,
) -> dict[str, Any]:
    """Return the description of a sealed sequence: its manifest, path and manifest of each sealed layer.

    ``waiting`` are the layers that are not sealed; ``path`` is None where the files are a server's.
    """
    content, record = manifest["content"], manifest["record"]
    topics = {name: _topic(entry) for name, entry in content["topics"].items()}
    other_bytes = _other_bytes(manifest)
    told = []
    for folder, layer in layers:
        told.append(
            {
                "name": layer["content"]["name"],
                "state": "sealed",
                "owner_alive": False,
                "content_digest": layer["content_digest"],
                "path": folder,
            }
        )
        other_bytes += _other_bytes(layer)
        for name, entry in layer["content"]["topics"].items():
            topics[name] = _joined(topics.get(name), _topic(entry))
    return {
        **_times(topics),
        "name": content["name"],
        "state": "sealed",
        "outcome": record["outcome"],
        "cause": record.get("cause"),
        "group": content.get("group"),
        "metadata": content.get("metadata", {}),
        "topics": topics,
        "artifacts": content.get("artifacts", {}),
        "ledger": content["ledger"],
        "layers": [*told, *waiting],
        "annotations": annotations,
        "notifications": record.get("notifications", []),
        "opened": output.rfc3339(record.get("opened_ns")),
        "opened_ns": record.get("opened_ns"),
        "sealed_ns": record.get("sealed_ns"),
        "producer": record.get("producer"),
        "durability": record.get("durability"),
        "content_digest": manifest["content_digest"],
        "bytes": sum(t["bytes"] for t in topics.values()) + other_bytes,
        "owner_alive": False,
        "path": path,
    }


def _other_bytes(manifest: dict[str, Any]) -> int:
    """Return the size of what is sealed with the topics of a manifest: the health table and artifacts."""
    artifacts = manifest["content"].get("artifacts", {}).values()
    return _health_bytes(manifest) + sum(a.get("bytes") or 0 for a in artifacts if "path" in a)


def _health_bytes(manifest: dict[str, Any]) -> int:
    health = (manifest["record"].get("health") or {}).get("parts", ())
    return int(sum(p["bytes"] for p in health))


def _topic(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "ontology": entry["ontology"],
        "rows": entry["rows"],
        "start_ns": entry["start_ns"],
        "end_ns": entry["end_ns"],
        "clock": entry["clock"],
        "metadata": entry["metadata"],
        "fields": entry["fields"],
        "ledger": entry["ledger"],
        "bytes": sum(part["bytes"] for part in entry["parts"]),
    }


def _joined(below: dict[str, Any] | None, above: dict[str, Any]) -> dict[str, Any]:
    """Return a topic of the base and its addition in a layer as one."""
    if below is None:
        return above
    starts = [t["start_ns"] for t in (below, above) if t["start_ns"] is not None]
    ends = [t["end_ns"] for t in (below, above) if t["end_ns"] is not None]
    return {
        **below,
        "rows": below["rows"] + above["rows"],
        "bytes": below["bytes"] + above["bytes"],
        "start_ns": min(starts, default=None),
        "end_ns": max(ends, default=None),
        "ledger": {key: below["ledger"][key] + above["ledger"][key] for key in below["ledger"]},
    }


def _times(topics: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the span that the user's topics cover."""
    user = [t for name, t in topics.items() if not name.startswith("_") and t["start_ns"] is not None]
    start = min((t["start_ns"] for t in user), default=None)
    end = max((t["end_ns"] for t in user), default=None)
    return {
        "started": output.rfc3339(start),
        "start_ns": start,
        "end_ns": end,
        "duration_s": None if start is None or end is None else (end - start) / 1e9,
    }


def _annotations(bundle: Path) -> list[dict[str, Any]]:
    """Return the annotations that were added and not removed."""
    path = bundle / "annotations.jsonl"
    if not path.exists():
        return []
    from gapless.catalog.annotations import read_annotations

    return [dataclasses.asdict(annotation) for annotation in read_annotations(bundle)]


def _describe_unsealed(bundle: Path) -> dict[str, Any]:
    from gapless.store.journal import read_checked
    from gapless.store.reader import open_bundle

    reader = open_bundle(bundle)
    pending = read_checked(Bundle(bundle).pending) or {}
    size_bytes = _folder_bytes(bundle)
    return unsealed(reader, pending, _annotations(bundle), size_bytes=size_bytes, path=str(bundle))


def unsealed(
    reader: BundleReader,
    pending: dict[str, Any],
    annotations: list[dict[str, Any]],
    *,
    size_bytes: int | None,
    path: str | None,
) -> dict[str, Any]:
    """Return the description of a sequence that is not sealed; ``pending`` is what a failed one left."""
    header = reader.base.description
    topics = {name: live_topic(topic) for name, topic in reader.topics.items()}
    return {
        **_times(topics),
        "name": reader.name,
        "state": reader.state,
        "outcome": reader.outcome,
        "cause": pending.get("error"),
        "group": reader.group,
        "metadata": reader.metadata,
        "topics": topics,
        "artifacts": {},
        "ledger": reader.ledger,
        "layers": [],
        "annotations": annotations,
        "notifications": pending.get("notifications", []),
        "opened": output.rfc3339(header.get("opened_ns")),
        "opened_ns": header.get("opened_ns"),
        "sealed_ns": None,
        "producer": header.get("producer"),
        "durability": header.get("durability"),
        "content_digest": None,
        "bytes": size_bytes,
        "owner_alive": reader.owner_alive,
        "awaited_until_ns": reader.base.awaited_until_ns,
        "path": path,
    }


def live_topic(topic: TopicReader) -> dict[str, Any]:
    """Return what is known of a topic through its reader; its size is not."""
    return {
        "ontology": topic.ontology,
        "rows": topic.rows,
        "start_ns": topic.start_ns,
        "end_ns": topic.end_ns,
        "clock": topic.clock,
        "metadata": topic.metadata,
        "fields": [_field(field) for field in topic.schema],
        "ledger": topic.ledger,
        "bytes": None,
    }


def reserved_topic(topic: TopicReader) -> dict[str, Any]:
    """Return what is known of a reserved topic that the description does not list; its size once it is sealed."""
    if topic.bundle.manifest is None:
        return live_topic(topic)
    manifests = [folder.manifest for folder in topic.bundle.folders if folder.manifest is not None]
    size = sum(map(_health_bytes, manifests)) if topic.name == "_health" else 0
    return {**live_topic(topic), "bytes": size}


def _field(field: Any) -> dict[str, Any]:
    """Return an Arrow field in the words of the manifest."""
    out: dict[str, Any] = {"name": field.name, "type": str(field.type), "nullable": field.nullable}
    for key in (b"unit", b"description", b"shape", b"uncertainty"):
        if field.metadata and key in field.metadata:
            out[key.decode()] = field.metadata[key].decode()
    return out


def _folder_bytes(bundle: Path) -> int:
    """Return the size of all files of a bundle that is still changing."""
    total = 0
    for path in bundle.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # a segment became a part while we looked
            continue
    return total
