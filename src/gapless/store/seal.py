"""Sealing: from a journal to an immutable, self-describing bundle.

The steps, in order; what a crash leaves behind each is put right by doing them all again:

1. every topic's rows are in synced parts (``topics/``);
2. the gap rows are in a synced part; the ledger balances, or the seal stops here;
3. files that others wrote are synced and digested; pyramids and provenance are synced;
4. ``SHA256SUMS`` is synced;
5. ``manifest.json`` is renamed into place and its directory synced: **the commit point**;
6. the journal is deleted.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa

from gapless.errors import LedgerUnbalanced
from gapless.model.ledger import Ledger
from gapless.model.metadata import canonical_json
from gapless.model.outcome import Outcome
from gapless.store import journal
from gapless.store.declaration import TopicDeclaration
from gapless.store.growing import settle
from gapless.store.layout import FORMAT, Bundle
from gapless.store.parquet import sha256_file
from gapless.store.part import PartWriter
from gapless.store.platform import Platform
from gapless.store.provenance import provenance
from gapless.store.pyramid_write import write_pyramid
from gapless.store.reserved import GAPS
from gapless.store.sealer import Sealer
from gapless.store.topic_sealer import TopicSealer

GAPS_INDEX = 4


def seal(
    bundle: Bundle,
    header: dict[str, Any],
    sealer: Sealer,
    platform: Platform,
    *,
    outcome: Outcome | None = None,
    cause: str | None = None,
) -> dict[str, Any]:
    """Seal the bundle and return its manifest.

    All segments must have been given to the sealer. The outcome is the argument's, else what the closing
    words say, else ``interrupted``. Raises LedgerUnbalanced (nothing is sealed, nothing is lost) when a
    topic's rows do not add up to what it was offered.
    """
    closing = sealer.closing or journal.read_closing(bundle)
    complete = sealer.closing is not None
    topics = {t.declaration.name: t for t in sealer.topics.values()}
    for topic in topics.values():
        _account(topic, closing if complete else None)
        topic.finish()
        topic.declared = sum(g["count"] or 0 for g in sealer.gaps if g["topic"] == topic.declaration.name)
    gaps = [row for topic in topics.values() for row in topic.gap_rows()] + sealer.gaps
    if not complete:
        gaps.append(_killed(topics, journal.read_closing(bundle)))
    entries = {name: _topic_entry(topic) for name, topic in topics.items()}
    if gaps:
        entries["_gaps"] = _write_gaps(bundle, gaps, platform)
    sealer.publish()
    for name, entry in entries.items():
        ledger = Ledger.from_json(entry["ledger"])
        if not ledger.balanced:
            raise LedgerUnbalanced(
                "the ledger does not balance",
                sequence=header["name"],
                topic=name,
                found=ledger,
                expected="produced = written + dropped + gapped",
            )
    chosen = outcome or Outcome((closing or {}).get("outcome") or Outcome.INTERRUPTED)
    manifest = _manifest(
        bundle,
        header,
        sealer,
        entries,
        settle(bundle, sealer.artifacts, platform, owner_gone=not complete),
        platform,
        outcome=chosen,
        cause=cause or (closing or {}).get("cause"),
        closing=closing,
    )
    _commit(bundle, manifest, platform)
    return manifest


def _account(topic: TopicSealer, closing: dict[str, Any] | None) -> None:
    """Compare what arrived with what was offered: rows missing at the end become a gap."""
    if closing is None:
        return
    words = closing["topics"].get(str(topic.declaration.index))
    if words is None:
        return
    arrived = topic.arrived - topic.late
    if words["offered"] > arrived:
        topic.lose(topic.arrived, words["offered"] - arrived, "damaged")
    elif words["offered"] < arrived:
        raise LedgerUnbalanced(
            "more rows arrived than were offered",
            topic=topic.declaration.name,
            found=arrived,
            expected=words["offered"],
        )


def _killed(topics: dict[str, TopicSealer], words: dict[str, Any] | None) -> dict[str, Any]:
    """Return the gap row of a recording whose end is missing: how much is not there nobody can know."""
    ends = [p["end_ns"] for t in topics.values() for p in t.done.parts if p["end_ns"] is not None]
    return {
        "timestamp_ns": max(ends, default=0),
        "topic": "*",
        "first_seq": None,
        "count": None,
        "end_ns": None,
        "cause": "failed" if words is not None else "killed",
    }


def _topic_entry(topic: TopicSealer) -> dict[str, Any]:
    return topic_entry(topic.declaration, topic.done.parts, topic.ledger(), topic.clock)


def topic_entry(
    declaration: TopicDeclaration, parts: list[dict[str, Any]], ledger: Ledger, clock: str
) -> dict[str, Any]:
    """Return a topic's entry in a manifest."""
    starts = [p["start_ns"] for p in parts if p["start_ns"] is not None]
    ends = [p["end_ns"] for p in parts if p["end_ns"] is not None]
    described = declaration.to_json()
    return {
        "ontology": declaration.ontology,
        "metadata": declaration.metadata,
        "clock": clock,
        "fields": declaration.fields_json(),
        "schema": described["schema"],
        "producer_seq": declaration.producer_seq,
        "rows": sum(p["rows"] for p in parts),
        "start_ns": min(starts, default=None),
        "end_ns": max(ends, default=None),
        "parts": parts,
        "ledger": ledger.to_json(),
    }


def _write_gaps(bundle: Bundle, rows: list[dict[str, Any]], platform: Platform) -> dict[str, Any]:
    declaration = TopicDeclaration(GAPS_INDEX, "_gaps", GAPS, {})
    part = PartWriter(bundle, declaration, 0, platform)
    rows = sorted(rows, key=lambda r: (r["timestamp_ns"], r["topic"], r["first_seq"] or 0))
    table = pa.Table.from_pylist(rows, schema=GAPS)
    table = table.append_column(
        declaration.stored_schema.field("_seq"), pa.array(range(len(rows)), pa.int64())
    )
    part.add(table, 0)
    return topic_entry(declaration, [part.finish()], Ledger(len(rows), len(rows)), "producer")


def _manifest(
    bundle: Bundle,
    header: dict[str, Any],
    sealer: Sealer,
    entries: dict[str, dict[str, Any]],
    artifacts: dict[str, dict[str, Any]],
    platform: Platform,
    *,
    outcome: Outcome,
    cause: str | None,
    closing: dict[str, Any] | None,
) -> dict[str, Any]:
    health = entries.pop("_health", None)
    total = Ledger()
    for name, entry in entries.items():
        if not name.startswith("_"):
            total += Ledger.from_json(entry["ledger"])
    content = {
        "name": header["name"],
        "group": header["group"],
        "metadata": (closing or {}).get("metadata", {}) | header["metadata"],
        "base": header["base"],
        "topics": entries,
        "artifacts": artifacts,
        "ledger": total.to_json(),
    }
    platform.write_atomically(bundle.provenance, canonical_json(provenance(header)))
    pending = journal.read_checked(bundle.pending) or {}
    record = {
        "uid": header["uid"],
        "outcome": str(outcome),
        "cause": cause,
        "opened_ns": header["opened_ns"],
        "sealed_ns": platform.wall_ns(),
        "clock": header["clock"],
        "producer": header["producer"],
        "durability": {
            **header["durability"],
            "max_lag_ms": round((closing or {}).get("max_lag_ns", 0) / 1e6, 3),
        },
        "health": health,
        "provenance_sha256": sha256_file(bundle.provenance),
        "pyramids": _pyramids(bundle, sealer, platform),
        "notifications": pending.get("notifications", []),
        "damage": sealer.damage,
    }
    return {
        "format": FORMAT,
        "content_digest": digest(content),
        "record_digest": digest(record),
        "content": content,
        "record": record,
    }


def digest(document: Any) -> str:
    """Return the canonical digest of a JSON value."""
    return f"sha256:{hashlib.sha256(canonical_json(document)).hexdigest()}"


def _pyramids(bundle: Bundle, sealer: Sealer, platform: Platform) -> dict[str, Any]:
    out = {}
    for topic in sealer.topics.values():
        if topic.declaration.name.startswith("_"):
            continue
        entry = write_pyramid(bundle, topic.declaration, topic.done.parts, platform)
        if entry is not None:
            out[topic.declaration.name] = entry
    return out


def _commit(bundle: Bundle, manifest: dict[str, Any], platform: Platform) -> None:
    for leftover in bundle.path.glob("topics/*/*.partial"):
        platform.remove(leftover)
    body = canonical_json(manifest)
    platform.write_atomically(bundle.sums, sums(manifest, body))
    platform.write_atomically(bundle.manifest, body)
    clear_journal(bundle, platform)


def sums(manifest: dict[str, Any], body: bytes) -> bytes:
    """Return the lines of SHA256SUMS: every file of the bundle but labels, layers and itself."""
    known = {
        "manifest.json": hashlib.sha256(body).hexdigest(),
        "provenance.json": manifest["record"]["provenance_sha256"],
    }
    topics = list(manifest["content"]["topics"].values())
    if manifest["record"]["health"] is not None:
        topics.append(manifest["record"]["health"])
    known |= {part["path"]: part["sha256"] for topic in topics for part in topic["parts"]}
    known |= {p["path"]: p["sha256"] for p in manifest["record"]["pyramids"].values()}
    known |= {a["path"]: a["sha256"] for a in manifest["content"]["artifacts"].values() if "path" in a}
    return "".join(f"{value}  {path}\n" for path, value in sorted(known.items())).encode()


def clear_journal(bundle: Bundle, platform: Platform) -> None:
    """Delete the journal of a sealed bundle, the lock last; what was put aside in quarantine stays.

    Another process may be doing the same, so that whatever is to go may be gone.
    """
    if not bundle.journal.exists():
        return
    children = []
    with contextlib.suppress(FileNotFoundError):
        children = [*bundle.journal.iterdir()]
    for child in children:
        if child.name != "quarantine" and child != bundle.lock:
            with contextlib.suppress(FileNotFoundError):
                (platform.remove_tree if child.is_dir() else platform.remove)(child)
    with contextlib.suppress(FileNotFoundError):
        platform.remove(bundle.lock)
        _remove_if_empty(bundle.journal)
    with contextlib.suppress(FileNotFoundError):  # discarded already
        platform.sync_directory(bundle.path)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
