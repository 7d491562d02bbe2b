"""Verification: compares every file of a bundle with what the manifest says, and names what differs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gapless.errors import GaplessError
from gapless.model.ledger import Ledger
from gapless.store import journal
from gapless.store.declaration import SEQ, TIME
from gapless.store.frame import Damage, scan
from gapless.store.layout import FORMAT, Bundle
from gapless.store.parquet import file_digests, sha256_file
from gapless.store.platform import PLATFORM, Platform
from gapless.store.pyramid_check import first_difference
from gapless.store.recover import read_header, segment_paths
from gapless.store.seal import digest, sums

FINDINGS = {
    "V001": "The manifest cannot be read: it is not the JSON that the seal wrote.",
    "V002": "The manifest's content is not what its content_digest says.",
    "V003": "The manifest's record is not what its record_digest says.",
    "V004": "A file that the manifest names is missing.",
    "V005": "A file's bytes are not the ones that were sealed; the finding names the rows that cannot be trusted.",
    "V006": "A file lies in the bundle that the manifest does not name.",
    "V007": "SHA256SUMS is not what the manifest says, so foreign checks with it mislead.",
    "V008": "A ledger does not balance: produced is not written + dropped + gapped.",
    "V009": "A part's rows are not what the manifest says: another number, or out of time order.",
    "V010": "The format version is not one that this release can read.",
    "V011": "A span of a journal is damaged; recovery turns it into gap rows.",
    "V012": "A layer was written on another base than this one.",
    "V013": "The labels cannot be read.",
    "V014": "The sequence is open and its owner is gone; `gapless recover` seals it.",
    "V015": "A damaged span was met when the sequence was sealed; gap rows stand for what was in it.",
    "V016": "The journal has no readable header: nothing can be recovered from it automatically.",
    "V017": "A file that a device announced was not there when the sequence was sealed.",
    "V018": "A topic's curves are not what its rows give: the rows are right, plots of a long span are not.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: a stable code, how bad (error, warning), where, and which rows (first, last)."""

    code: str
    severity: str
    message: str
    file: str | None = None
    rows: tuple[int, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the finding with stable keys."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "file": self.file,
            "rows": list(self.rows) if self.rows else None,
        }


def _unwatched() -> None:
    """Let the work go on."""


def verify(
    path: Path,
    *,
    deep: bool = False,
    platform: Platform = PLATFORM,
    watch: Callable[[], None] = _unwatched,
) -> list[Finding]:
    """Return the findings of a bundle and its layers; none means every byte is as it was written.

    ``deep`` also decodes every row, checks the time order and counts the ledger again. Reads only. ``watch`` is
    called for each file, and for each row group that is decoded; what it raises ends the work.
    """
    bundle = Bundle(path)
    found = list(_verify_one(bundle, deep, platform, watch))
    for layer in bundle.layer_paths():
        one, folder = Bundle(layer), layer.relative_to(path).as_posix()
        found += [_inside(finding, folder) for finding in _verify_one(one, deep, platform, watch)]
        found += _base_matches(bundle, one, folder)
    found += _annotations(bundle)
    return found


def _inside(finding: Finding, folder: str) -> Finding:
    name = folder if finding.file is None else f"{folder}/{finding.file}"
    return Finding(finding.code, finding.severity, finding.message, name, finding.rows)


def _verify_one(
    bundle: Bundle, deep: bool, platform: Platform, watch: Callable[[], None]
) -> Iterator[Finding]:
    if not bundle.manifest.exists():
        yield from _journal(bundle, platform, watch)
        return
    try:
        manifest = journal.read_json(bundle.manifest)
        version, content, record = manifest["format"], manifest["content"], manifest["record"]
    except (GaplessError, KeyError) as error:
        yield Finding("V001", "error", str(error), "manifest.json")
        return
    if version != FORMAT:
        yield Finding("V010", "error", f"format {version}, this release reads {FORMAT}", "manifest.json")
        return
    if digest(content) != manifest.get("content_digest"):
        yield Finding("V002", "error", "content_digest differs", "manifest.json")
        return
    if digest(record) != manifest.get("record_digest"):
        yield Finding("V003", "error", "record_digest differs", "manifest.json")
        return
    for damage in record["damage"]:
        rows = (
            f", rows {damage['first_seq']} to {damage['first_seq'] + damage['rows'] - 1}"
            if "rows" in damage
            else ""
        )
        place = f" in bytes {damage['start']} to {damage['end']}" if damage["end"] else ""
        yield Finding(
            "V015",
            "warning",
            f"{damage['reason']}{place}{rows}",
            f"journal/{damage['segment']}",
        )
    for name, artifact in content["artifacts"].items():
        if "missing" in artifact:
            yield Finding(
                "V017", "warning", f"the device never made the file of artifact {name!r}", artifact["missing"]
            )
    yield from _files(bundle, manifest, watch)
    for name, topic in _topics(manifest):
        yield from _topic(bundle, name, topic, deep, watch)
        curves = record.get("pyramids", {}).get(name)
        if deep and curves is not None:
            yield from _curves(bundle, name, topic, curves["path"], watch)


def _topics(manifest: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    topics = list(manifest["content"]["topics"].items())
    health = manifest["record"]["health"]
    return [*topics, ("_health", health)] if health is not None else topics


def _files(bundle: Bundle, manifest: dict[str, Any], watch: Callable[[], None]) -> Iterator[Finding]:
    expected = sums(manifest, bundle.manifest.read_bytes())
    if not bundle.sums.exists() or bundle.sums.read_bytes() != expected:
        yield Finding("V007", "error", "SHA256SUMS differs from the manifest", "SHA256SUMS")
    parts = {part["path"]: part for _, topic in _topics(manifest) for part in topic["parts"]}
    named = {"manifest.json", "SHA256SUMS", "annotations.jsonl"}
    for line in expected.decode().splitlines():
        watch()
        value, name = line.split("  ", 1)
        named.add(name)
        path = bundle.path / name
        if not path.exists():
            yield Finding("V004", "error", "the file is missing", name)
        elif name in parts:
            yield from _part_bytes(path, name, parts[name])
        elif name != "manifest.json" and sha256_file(path) != value:
            yield Finding("V005", "error", "the bytes differ from what was sealed", name)
    for path in sorted(bundle.path.rglob("*")):
        name = path.relative_to(bundle.path).as_posix()
        if path.is_file() and name not in named and not name.startswith(("layers/", "journal/")):
            yield Finding("V006", "warning", "the manifest does not name this file", name)


def _part_bytes(path: Path, name: str, part: dict[str, Any]) -> Iterator[Finding]:
    if path.stat().st_size >= 12:
        found = file_digests(path)
        if found["sha256"] == part["sha256"] and found["bytes"] == part["bytes"]:
            return
    spans = list(_bad_groups(path, part["rows"]))
    for first, last in spans or [(0, part["rows"] - 1)]:
        yield Finding(
            "V005", "error", "the bytes differ from what was sealed", name, (first, max(first, last))
        )


def _bad_groups(path: Path, rows: int) -> Iterator[tuple[int, int]]:
    """Yield the row spans of the row groups that fail their page checksums; all rows when the footer is bad."""
    try:
        source = pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError):
        yield 0, rows - 1
        return
    start = 0
    with source:
        for group in range(source.num_row_groups):
            count = source.metadata.row_group(group).num_rows
            try:
                source.read_row_group(group)
            except (pa.ArrowException, OSError, ValueError):
                yield start, start + count - 1
            start += count


def _topic(
    bundle: Bundle, name: str, topic: dict[str, Any], deep: bool, watch: Callable[[], None]
) -> Iterator[Finding]:
    ledger = Ledger.from_json(topic["ledger"])
    if not ledger.balanced or ledger.written != topic["rows"]:
        yield Finding("V008", "error", f"topic {name!r}: {ledger} with {topic['rows']} rows", "manifest.json")
    if not deep:
        return
    for part in topic["parts"]:
        path = bundle.path / part["path"]
        if path.exists():
            yield from _deep(path, part, watch)


def _deep(path: Path, part: dict[str, Any], watch: Callable[[], None]) -> Iterator[Finding]:
    """Decode every column of a part, row group by row group."""
    try:
        source = pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        yield Finding("V005", "error", f"the part cannot be opened: {error}", part["path"])
        return
    rows, last = 0, (-(2**63), -(2**63))
    with source:
        for group in range(source.num_row_groups):
            watch()
            try:
                table = source.read_row_group(group)
                table.validate(full=True)
            except (pa.ArrowException, OSError, ValueError) as error:
                yield Finding("V005", "error", f"row group {group} cannot be decoded: {error}", part["path"])
                return
            if table.num_rows:
                first = (table[TIME][0].as_py(), table[SEQ][0].as_py())
                if first < last or not _sorted(table):
                    yield Finding(
                        "V009",
                        "error",
                        "rows are not in time order",
                        part["path"],
                        (rows, rows + table.num_rows - 1),
                    )
                last = (table[TIME][-1].as_py(), table[SEQ][-1].as_py())
            rows += table.num_rows
    if rows != part["rows"]:
        yield Finding("V009", "error", f"{rows} rows, the manifest says {part['rows']}", part["path"])


def _curves(
    bundle: Bundle, name: str, topic: dict[str, Any], file: str, watch: Callable[[], None]
) -> Iterator[Finding]:
    """Make a topic's buckets again and compare them with those that were sealed."""
    parts = [bundle.path / part["path"] for part in topic["parts"]]
    if not all(path.exists() for path in (bundle.path / file, *parts)):
        return  # what is missing is told of already
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(topic["schema"])))
        place = first_difference(bundle.path / file, parts, schema, watch)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        yield Finding("V018", "error", f"the curves cannot be compared with the rows: {error}", file)
        return
    if place is not None:
        part, row = place
        message = f"the curves of {name!r} differ from the rows of part {part} from row {row} on"
        yield Finding("V018", "error", message, file)


def _sorted(table: pa.Table) -> bool:
    times, seqs = table[TIME].to_numpy(), table[SEQ].to_numpy()
    return bool(np.all((times[1:] > times[:-1]) | ((times[1:] == times[:-1]) & (seqs[1:] >= seqs[:-1]))))


def _journal(bundle: Bundle, platform: Platform, watch: Callable[[], None]) -> Iterator[Finding]:
    if not bundle.journal.exists():
        yield Finding("V001", "error", "there is neither a manifest nor a journal", None)
        return
    alive = platform.is_locked(bundle.lock)
    try:
        header = read_header(bundle)
    except GaplessError as error:
        yield Finding("V016", "error", str(error), "journal/open.json")
        return
    if not alive and not bundle.pending.exists():
        yield Finding("V014", "warning", "the owner is gone", "journal/lock")
    for path in segment_paths(bundle):
        watch()
        try:
            damaged = [item for item in scan(path, header["nonce"]) if isinstance(item, Damage)]
        except FileNotFoundError:  # became a part while we looked
            continue
        for item in damaged:
            if alive and item.end >= path.stat().st_size:
                continue  # the live owner is writing it
            rows = None
            if item.header is not None and item.header.rows:
                rows = (item.header.first_seq, item.header.first_seq + item.header.rows - 1)
            yield Finding(
                "V011",
                "error",
                f"{item.reason} in bytes {item.start} to {item.end}",
                f"journal/{path.name}",
                rows,
            )


def _base_matches(base: Bundle, layer: Bundle, name: str) -> Iterator[Finding]:
    if not (base.manifest.exists() and layer.manifest.exists()):
        return
    try:
        expected = journal.read_json(base.manifest).get("content_digest")
        found = (journal.read_json(layer.manifest)["content"]["base"] or {}).get("content_digest")
    except (GaplessError, KeyError, AttributeError) as error:
        yield Finding("V001", "error", str(error), f"{name}/manifest.json")
        return
    if found != expected:
        yield Finding("V012", "error", f"written on {found}, the base is {expected}", f"{name}/manifest.json")


def _annotations(bundle: Bundle) -> Iterator[Finding]:
    if not bundle.annotations.exists():
        return
    for number, line in enumerate(bundle.annotations.read_bytes().splitlines(), 1):
        try:
            json.loads(line)
        except ValueError as error:
            yield Finding("V013", "error", f"line {number}: {error}", "annotations.jsonl")
