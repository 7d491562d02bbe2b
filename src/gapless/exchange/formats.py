"""The formats that can be imported and exported: CSV and Parquet, and what is installed beside gapless.

Other packages add formats through the entry point groups ``gapless.importers`` and
``gapless.exporters``; an entry point names an :class:`Importer` or :class:`Exporter` and is loaded only
when its format is asked for. Its name is the format, and also the suffix by which a file is recognised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from gapless.errors import ImportRefused, UsageError


@dataclass(frozen=True)
class Importer:
    """A format that becomes sequences.

    ``plan(path, topic=None, **options)`` returns the intakes, each with ``topic``, ``schema`` and ``assumed``
    lines, and stores nothing. ``run(client, path, name, topic, group, metadata, **options)`` stores
    them and returns an ImportReport.
    """

    format: str
    suffixes: tuple[str, ...]
    plan: Callable[..., Any]
    run: Callable[..., Any]


@dataclass(frozen=True)
class Exporter:
    """A format that sequences become.

    ``run(sequence, path, topics, columns, start_ns, end_ns, **options)`` returns an ExportReport. A format with
    ``joins`` makes one dataset of several sequences: ``run(client, references, path, **options)``.
    """

    format: str
    suffixes: tuple[str, ...]
    run: Callable[..., Any]
    joins: bool = False


def _later(module: str, name: str) -> Callable[..., Any]:
    """Return a function that imports its module when it is first called: Arrow takes long to load."""

    def call(*args: Any, **options: Any) -> Any:
        return getattr(import_module(f"gapless.exchange.{module}"), name)(*args, **options)

    return call


_Kind = TypeVar("_Kind", Importer, Exporter)

IMPORTERS = (
    Importer(
        "csv", (".csv", ".tsv", ".txt"), _later("csv_import", "plan_import"),
        _later("csv_import", "import_csv"),
    ),
    Importer(
        "parquet", (".parquet", ".pq"), _later("parquet_import", "plan_import"),
        _later("parquet_import", "import_parquet"),
    ),
    Importer(
        "lerobot", (), _later("lerobot.import_dataset", "plan_import"),
        _later("lerobot.import_dataset", "import_dataset"),
    ),
)  # fmt: skip
EXPORTERS = (
    Exporter("csv", (".csv",), _later("csv_export", "export_csv")),
    Exporter("parquet", (".parquet", ".pq"), _later("parquet_export", "export_parquet")),
    Exporter("lerobot", (), _later("lerobot.export_dataset", "export_lerobot"), joins=True),
)


def importer_for(path: str | Path, format: str | None = None) -> Importer:  # noqa: A002 (the word of the command line)
    """Return the importer of a format, or of a file's or folder's content when no format is named.

    Raises ImportRefused when neither tells.
    """
    path = Path(path)
    wanted = format or _format_of(path)
    for importer in IMPORTERS:
        if importer.format == wanted:
            return importer
    return _load("gapless.importers", wanted, Importer)


def exporter_for(format: str) -> Exporter:  # noqa: A002 (the word of the command line)
    """Return the exporter of a format, or raise UsageError naming those there are."""
    for exporter in EXPORTERS:
        if exporter.format == format:
            return exporter
    return _load("gapless.exporters", format, Exporter)


def format_names(group: str) -> list[str]:
    """Return the names of the formats in an entry point group, built-in ones first."""
    own = [i.format for i in IMPORTERS] if group == "gapless.importers" else [e.format for e in EXPORTERS]
    return own + sorted({e.name for e in entry_points(group=group)} - set(own))


def _format_of(path: Path) -> str:
    if (path / "meta" / "info.json").is_file():
        return "lerobot"
    if path.is_dir():
        inside = {_suffix_format(file) for file in path.rglob("*") if file.is_file()} - {None}
        if len(inside) == 1:
            return str(inside.pop())
        raise ImportRefused(
            "the format of the folder's files is not certain",
            found=str(path),
            expected="files of one format",
            next_step="name the format (--format)",
        )
    found = _suffix_format(path)
    if found is None:
        raise ImportRefused(
            "the format is not known from the file's name",
            found=path.name,
            expected=", ".join(format_names("gapless.importers")),
            next_step="name it (--format)",
        )
    return found


def _suffix_format(path: Path) -> str | None:
    suffix = path.suffix.lower()
    for importer in IMPORTERS:
        if suffix in importer.suffixes:
            return importer.format
    return _added_suffixes().get(suffix)


@cache
def _added_suffixes() -> dict[str, str]:
    """Return the format of each suffix that another package's importer reads; looked up once, not for each file."""
    return {f".{entry.name}": entry.name for entry in entry_points(group="gapless.importers")}


def _load(group: str, name: str, kind: type[_Kind]) -> _Kind:
    found: list[EntryPoint] = [e for e in entry_points(group=group) if e.name == name]
    if not found:
        raise UsageError(
            "there is no such format",
            found=name,
            expected=", ".join(format_names(group)),
            next_step="name one of these (--format), or install the package that adds it",
        )
    loaded = found[0].load()
    if not isinstance(loaded, kind):
        raise UsageError(
            f"the entry point {found[0].value} of {group} is no {kind.__name__}",
            found=repr(loaded),
            next_step="ask the package's authors for one that fits this gapless",
        )
    return loaded
