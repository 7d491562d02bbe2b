"""``index.csv`` files of feature runs, as other systems keep them: read as text, so that "0.10" stays so."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from gapless.catalog.feature_rows import Row
from gapless.errors import ArgumentRefused
from gapless.features.run_row import now_text

_NEEDED = ("run_id", "sequence", "abs_path")
CsvEntry = tuple[str, str, str, int]  # group, sequence, path, number of rows


def read_index_files(features_root: Path) -> Iterator[tuple[Row, list[CsvEntry]]]:
    """Yield each run of ``<features_root>/<feature>/index.csv`` as a row of ``feature_runs``, with its entries.

    The feature is the column ``feature``, or the folder's name without it. Raises ArgumentRefused for a file
    that does not name runs, sequences and paths, or counts no rows.
    """
    for path in sorted(features_root.glob("*/index.csv")):
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
            if missing:
                raise ArgumentRefused(
                    "an index file lacks columns", found=f"{path}: {reader.fieldnames}", expected=missing
                )
            runs: dict[tuple[str, str], tuple[Row, list[CsvEntry]]] = {}
            for line in reader:
                row = _run(path, line)
                key = (row[0], row[1])
                known, entries = runs.get(key, (row, []))
                entries.append(_entry(path, line, reader.line_num))
                runs[key] = (known if known[-1] else row, entries)  # the end may stand in any line of the run
        yield from runs.values()


def _run(path: Path, line: Mapping[str, str | None]) -> Row:
    def text(name: str) -> str:
        return line.get(name) or ""

    return (
        text("feature") or path.parent.name,
        text("run_id"),
        text("version"),
        text("params_hash"),
        *[None] * 6,
        text("started_at") or now_text(),
        text("finished_at"),
    )


def _entry(path: Path, line: Mapping[str, str | None], number: int) -> CsvEntry:
    count = line.get("n_rows") or "0"
    try:
        n_rows = int(float(count))
    except ValueError as error:
        raise ArgumentRefused(
            "an index file counts rows by something else than a number",
            found=f"{path}, line {number}: {count}",
        ) from error
    place = Path(line["abs_path"] or "")
    if place.parts and not place.is_absolute():
        place = path.parent / place
    return line.get("group") or "", line["sequence"] or "", str(place) if place.parts else "", n_rows
