"""The output of a feature run for one sequence, found as the topic ``features/<feature>@<run id>``.

A run's ledger decides what it holds: the last whole line of a sequence counts. An entry that was computed
from another sequence of that name, another group's or one since discarded, is not this sequence's. Only
outputs with times are topics; nothing here loads Arrow until rows are wanted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.errors import NotFound
from gapless.model.names import name_of, to_component

if TYPE_CHECKING:
    from gapless.store.bundle_state import Declared
    from gapless.store.part_reader import Part

PREFIX = "features/"
_TIME = "timestamp_ns"
_LEDGER = "entries.jsonl"


def feature_topic(feature: str, run_id: str) -> str:
    """Return the name of the topic that a run's output is, in every sequence that it has one for."""
    return f"{PREFIX}{feature}@{run_id}"


def is_feature_topic(name: object) -> bool:
    """Tell whether a name may be that of a feature run's output."""
    return isinstance(name, str) and name.startswith(PREFIX)


def is_topic(record: Mapping[str, Any]) -> bool:
    """Tell whether a recorded entry is a topic: it has rows, and they have times."""
    return record["status"] == "ok" and _TIME in record.get("fields", {})


@dataclass(frozen=True)
class Owner:
    """The sequence that outputs belong to; ``opened_ns`` is when its recording began, 0 if unknown."""

    bundle: Path
    name: str
    group: str
    opened_ns: int = 0

    @classmethod
    def of(cls, bundle: Path, content: Mapping[str, Any], record: Mapping[str, Any]) -> Owner:
        """Return the owner that the two parts of a manifest, or an open recording's header, describe."""
        name = str(content.get("name") or name_of(bundle.name) or bundle.name)
        return cls(bundle, name, content.get("group") or "", record.get("opened_ns") or 0)

    @property
    def runs(self) -> Path:
        """The folder of feature runs in the store that the bundle lies in."""
        return Path(os.path.abspath(self.bundle)).parent.parent / "features"

    def owns(self, record: Mapping[str, Any]) -> bool:
        """Tell whether a ledger's record is of this sequence, not of another one of its name."""
        return (
            record.get("sequence") == self.name
            and record.get("group") == self.group
            and record.get("recorded_ns", 0) >= self.opened_ns
        )


@dataclass(frozen=True)
class DerivedTopic:
    """One output as a topic; ``record`` is its entry in the ledger of the run in ``folder``."""

    name: str
    folder: Path
    feature: str
    run_id: str
    record: Mapping[str, Any]

    def declaration(self, topic: str) -> Declared:
        """Return schema, units included, and origin; IntegrityError for a damaged file."""
        import pyarrow as pa

        from gapless.store.bundle_state import Declared

        stored: pa.Schema = self._part.layout.schema.to_arrow_schema()
        fields = [_plain(stored.field(name)) for name in stored.names if name != _TIME]
        schema = pa.schema([pa.field(_TIME, pa.int64(), nullable=False), *fields])
        return Declared(topic, schema, {}, {"feature": self.feature, "run_id": self.run_id}, "derived")

    def sources(self, topic: str, names: list[str]) -> list[Part]:
        """Return the file that holds the rows; all of its columns, whatever the names."""
        del topic, names
        return [self._part]

    def ledger(self, topic: str) -> Mapping[str, int]:
        """Return the ledger: what a feature gave is all written."""
        del topic
        rows = int(self.record["n_rows"])
        return {"produced": rows, "written": rows}

    @cached_property
    def _part(self) -> Part:
        """The file; kept, with the footer that was verified."""
        from gapless.store.part_reader import Part

        return Part.of(self.folder, part_entry(self.record), self.name)


def part_entry(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file of a recorded entry as a manifest lists a part."""
    return {
        "path": record["file"],
        "rows": record["n_rows"],
        **{key: record[key] for key in ("bytes", "sha256", "footer_sha256", "start_ns", "end_ns")},
    }


def feature_topics(owner: Owner) -> list[str]:
    """Return the names of all topics that feature runs have for a sequence, by feature and run."""
    return [topic.name for topic in derived_topics(owner)]


def derived_topic(owner: Owner, name: str) -> DerivedTopic:
    """Return the topic of that name, or raise NotFound saying why there is none."""
    feature, mark, run_id = name.removeprefix(PREFIX).rpartition("@")
    if not (feature and mark and run_id):
        raise _unknown(owner, name, "this names no output of a feature run")
    folder = owner.runs / to_component(feature) / to_component(run_id)
    record = _last_record(folder / _LEDGER, owner)
    if record is None:
        raise _unknown(owner, name, "the feature run has no output for this sequence")
    if record["status"] != "ok":
        raise NotFound(
            f"the feature run has no rows for this sequence: its entry is {record['status']}",
            sequence=owner.name,
            topic=name,
            found=record.get("error_message"),
            next_step="`gapless features why` says more",
        )
    if not is_topic(record):
        raise NotFound(
            "the output is a table without time, and so no topic",
            sequence=owner.name,
            topic=name,
            found=", ".join(record.get("fields", {})),
            next_step=f"read the table: pyarrow.parquet.read_table({str(folder / record['file'])!r})",
        )
    return DerivedTopic(name, folder, feature, run_id, record)


def _unknown(owner: Owner, name: str, message: str) -> NotFound:
    known = feature_topics(owner)
    return NotFound(
        message,
        sequence=owner.name,
        topic=name,
        expected=f"one of {', '.join(known)}" if known else f"{PREFIX}<feature>@<run id>",
        next_step="`gapless show NAME` lists the feature topics of a sequence",
    )


def derived_topics(owner: Owner) -> Iterator[DerivedTopic]:
    """Yield all topics that feature runs have for a sequence, by feature and run.

    One walk over the runs; only the ledgers of those that have a file of the sequence are read.
    """
    file = f"{to_component(owner.name)}.parquet"
    for feature, feature_folder in _named_folders(owner.runs):
        for run_id, folder in _named_folders(feature_folder):
            if not (folder / file).exists():
                continue
            record = _last_record(folder / _LEDGER, owner)
            if record is not None and is_topic(record):
                yield DerivedTopic(feature_topic(feature, run_id), folder, feature, run_id, record)


def _named_folders(path: Path) -> list[tuple[str, Path]]:
    """Return name and path of the folders whose names stand for one, in order."""
    try:
        with os.scandir(path) as entries:
            found = [(name_of(entry.name), Path(entry.path)) for entry in entries if entry.is_dir()]
    except FileNotFoundError:
        return []
    return sorted((name, folder) for name, folder in found if name is not None)


def _last_record(ledger: Path, owner: Owner) -> dict[str, Any] | None:
    """Return the last whole record of a sequence in a run's ledger; torn and damaged lines are passed over.

    Lines are looked for from the end by the name in them, so that a ledger of many sequences is not parsed.
    """
    try:
        data = ledger.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    named = json.dumps(owner.name, ensure_ascii=False).encode()
    end = len(data)
    while (found := data.rfind(named, 0, end)) >= 0:
        start = data.rfind(b"\n", 0, found) + 1
        stop = data.find(b"\n", found)
        record = _checked(data[start : stop if stop >= 0 else len(data)])
        if record is not None and owner.owns(record):
            return record
        end = start
    return None


def _checked(line: bytes) -> dict[str, Any] | None:
    """Return the record of a whole line whose checksum is right."""
    from crc32c import crc32c  # costs 15 ms, which listing sequences need not pay

    try:
        outer = json.loads(line)
        record = outer["record"]
        text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        good = isinstance(record, dict) and outer["crc"] == f"{crc32c(text.encode()):08x}"
    except (ValueError, KeyError, TypeError):
        return None
    return record if good else None


def _plain(column: Any) -> Any:
    """Return a dictionary column as one of its values, as every other topic has it."""
    import pyarrow as pa

    return column.with_type(column.type.value_type) if pa.types.is_dictionary(column.type) else column
