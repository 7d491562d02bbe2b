"""The part of a query that only rows can answer: exact runs of matching rows, opening few files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gapless.catalog.content_index import part_ranges
from gapless.catalog.ranges import FieldRange, Proof, prove
from gapless.catalog.row_test import plain_array, rows_hold
from gapless.catalog.runs import RunBuilder, Runs
from gapless.errors import IntegrityError
from gapless.model.normal_form import RowGroup
from gapless.store.part_reader import Part
from gapless.store.reader import TopicReader, open_bundle

_TIME = "timestamp_ns"


@dataclass(slots=True)
class SealedPart:
    """A part and what its statistics prove about each group."""

    folder: str
    entry: Mapping[str, Any]
    proofs: list[Proof] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.entry["rows"])


@dataclass(slots=True)
class SealedTopic:
    """A topic of a sealed sequence with the row groups of a query that mean it."""

    bundle: Path
    name: str
    ontology_tag: str | None
    fields: Mapping[str, str]
    parts: dict[tuple[str, str], str | None] = field(default_factory=dict)  # (folder, entry) -> statistics
    groups: list[RowGroup] = field(default_factory=list)
    builder: Callable[[], RunBuilder] = RunBuilder
    _proven: list[SealedPart] | None = None

    def may_match(self, group: RowGroup) -> bool:
        """Return whether statistics leave open that a row satisfies the group."""
        place = self.groups.index(group)
        return any(part.proofs[place] is not Proof.NONE for part in self._parts())

    def runs(self) -> list[Runs]:
        """Return the exact runs of rows that satisfy each group, in the order of ``groups``."""
        builders = [self.builder() for _ in self.groups]
        for cluster in _clusters(self._parts()):
            self._add_cluster(cluster, builders)
        return [builder.runs() for builder in builders]

    def _parts(self) -> list[SealedPart]:
        if self._proven is None:
            self._proven = []
            paths = list(dict.fromkeys(path for group in self.groups for path in group.paths))
            for (folder, entry_text), stats_text in self.parts.items():
                entry = json.loads(entry_text)
                if not entry["rows"]:
                    continue
                ranges = part_ranges(self.fields, entry["rows"], json.loads(stats_text or "{}"), paths)
                proofs = [prove(group.conditions, ranges) for group in self.groups]
                self._proven.append(SealedPart(folder, entry, proofs))
        return self._proven

    def _add_cluster(self, cluster: list[SealedPart], builders: list[RunBuilder]) -> None:
        """Add parts that overlap in time; a part that overlaps none is a cluster of its own."""
        rows = sum(part.rows for part in cluster)
        start_ns = min(part.entry["start_ns"] for part in cluster)
        end_ns = max(part.entry["end_ns"] for part in cluster)
        unclear: list[int] = []
        for place, builder in enumerate(builders):
            proofs = {part.proofs[place] for part in cluster}
            if proofs == {Proof.NONE}:
                builder.skip(rows)
            elif proofs == {Proof.ALL}:
                builder.take(rows, start_ns, end_ns)
            else:
                unclear.append(place)
        if not unclear:
            return
        groups = [self.groups[place] for place in unclear]
        wanted = [builders[place] for place in unclear]
        if len(cluster) == 1:
            self._add_part(cluster[0], groups, wanted)
        else:
            reader = open_bundle(self.bundle).topic(self.name)
            scan_topic(reader, self.fields, groups, wanted, start_ns, end_ns + 1)

    def _add_part(self, part: SealedPart, groups: list[RowGroup], builders: list[RunBuilder]) -> None:
        folder = Path(
            os.path.normpath(self.bundle / part.folder)
        )  # ".." leads out of the bundle, not of a link
        file = Part.of(folder, part.entry, self.name)
        layout = file.layout  # compared with the manifest before anything in it is believed
        columns = _columns(self.fields, groups)
        try:
            with pq.ParquetFile(file.path, metadata=layout, page_checksum_verification=True) as parquet:
                places = _leaf_places(layout.schema.to_arrow_schema())
                for number in range(layout.num_row_groups):
                    group = layout.row_group(number)
                    if not _row_group_may_match(group, places, self.fields, groups):
                        for builder in builders:
                            builder.skip(group.num_rows)
                        continue
                    table = parquet.read_row_group(number, columns=columns, use_threads=False)
                    if table.num_rows != group.num_rows:
                        raise IntegrityError(f"row group {number} of {file.path} is short", topic=self.name)
                    _add_rows({name: table.column(name) for name in columns}, groups, builders)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise IntegrityError(
                f"a file cannot be read: {file.path}", topic=self.name, found=str(error)
            ) from error


def scan_topic(
    reader: TopicReader,
    fields: Mapping[str, str],
    groups: Sequence[RowGroup],
    builders: Sequence[RunBuilder],
    start_ns: int | None = None,
    end_ns: int | None = None,
) -> None:
    """Add a topic's rows of a time window, merged from all that hold them, to one builder per group."""
    columns = _columns(fields, groups)
    for batch in reader.scan(columns, start_ns, end_ns):
        _add_rows({name: batch.column(name) for name in columns}, groups, builders)


def _columns(fields: Mapping[str, str], groups: Iterable[RowGroup]) -> list[str]:
    paths = (path for group in groups for path in group.paths if path in fields)
    return list(dict.fromkeys((_TIME, *paths)))


def _add_rows(
    columns: Mapping[str, pa.Array | pa.ChunkedArray],
    groups: Sequence[RowGroup],
    builders: Sequence[RunBuilder],
) -> None:
    arrays = {name: plain_array(column) for name, column in columns.items()}
    times = arrays[_TIME].to_numpy()
    for group, builder in zip(groups, builders, strict=True):
        builder.mask(rows_hold(arrays, len(times), group.conditions), times)


def _leaf_places(schema: pa.Schema) -> dict[str, int]:
    """Return which leaf of a Parquet file each column is that is no struct, list or map.

    Leaves cannot be told by their paths: that of a struct ``a``'s member ``b`` reads like a column ``a.b``.
    """
    places: dict[str, int] = {}
    place = 0
    for column in schema:
        if not column.type.num_fields:
            places[column.name] = place
        place += _leaves(column.type)
    return places


def _leaves(kind: pa.DataType) -> int:
    return sum(_leaves(kind.field(i).type) for i in range(kind.num_fields)) or 1


def _clusters(parts: list[SealedPart]) -> list[list[SealedPart]]:
    """Return the parts in time order, those that share a time together."""
    clusters: list[list[SealedPart]] = []
    reach = 0
    for part in sorted(parts, key=lambda p: (p.entry["start_ns"], p.entry["end_ns"])):
        if clusters and part.entry["start_ns"] <= reach:
            clusters[-1].append(part)
            reach = max(reach, part.entry["end_ns"])
        else:
            clusters.append([part])
            reach = part.entry["end_ns"]
    return clusters


def _row_group_may_match(
    group: Any, places: Mapping[str, int], fields: Mapping[str, str], groups: Sequence[RowGroup]
) -> bool:
    """Return False only when Parquet's own statistics prove that no row of a row group matches."""
    for wanted in groups:
        ranges: dict[str, FieldRange | None] = {}
        for path in wanted.paths:
            if path in fields:
                ranges[path] = _parquet_range(group, places.get(path), fields[path])
        if prove([c for c in wanted.conditions if c.wanted], ranges) is not Proof.NONE:
            return True
    return False


def _parquet_range(group: Any, place: int | None, arrow_type: str) -> FieldRange | None:
    if place is None or arrow_type.startswith(("string", "large_string", "dictionary", "halffloat")):
        return None  # text statistics may be cut short
    known = group.column(place).statistics
    if known is None or not known.has_min_max or not known.has_null_count:
        return None
    if not isinstance(known.min, int | float):
        return None
    # Parquet leaves NaN out of its statistics: how many there are is unknown, so one is assumed.
    nans = 1 if isinstance(known.min, float) and group.num_rows > known.null_count + 1 else 0
    return FieldRange.of(
        arrow_type,
        group.num_rows,
        {"min": known.min, "max": known.max, "nulls": known.null_count, "nans": nans},
    )
