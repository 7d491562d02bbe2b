"""The metrics of a training for a person: single values as lines, and one table of what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gapless.cli import output

_DIGITS = 4


def metric_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return the lines of metrics however deep they are nested; a number has four digits, None is ``-``."""
    single = [(name, _text(value)) for name, value in metrics.items() if not _is_nested(value)]
    lines = output.definition_lines(single, indent=2)
    rows = [row for name, value in metrics.items() if _is_nested(value) for row in _rows(name, value)]
    columns = list(dict.fromkeys(column for _, row in rows for column in row))
    if rows:
        cells = [
            (place, *(_text(row[name]) if name in row else "" for name in columns)) for place, row in rows
        ]
        right = frozenset(range(1, len(columns) + 1))
        lines += [f"  {line}" for line in output.table(("", *columns), cells, right=right)]
    return lines


def _is_nested(value: object) -> bool:
    if isinstance(value, list):
        return any(isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping)


def _rows(place: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each mapping that holds values, with the way down to it."""
    items = enumerate(value, 1) if isinstance(value, list) else value.items()
    pairs = [(str(name), item) for name, item in items]
    own = {name: item for name, item in pairs if not _is_nested(item)}
    for name, item in pairs:
        if _is_nested(item):
            yield from _rows(f"{place} {name}", item)
    if own:
        yield place, own


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    return "-" if value is None else str(value)
