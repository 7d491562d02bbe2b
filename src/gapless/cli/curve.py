"""The curve of one field for a terminal plot: from the pyramid of a sealed sequence, else from a scan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gapless.cli.plot import Curve, render
from gapless.errors import NotFound

if TYPE_CHECKING:
    import pyarrow as pa

    from gapless.store.reader import BundleReader, TopicReader


_COUNTS = ("record", "source_record", "t_utc_ns", "frame_idx")


def plot_lines(
    bundle: Path, topic: str | None, field: str | None, *, columns: int, braille: bool
) -> list[str]:
    """Return the lines of a plot; without a topic or field, of the first that can be drawn."""
    from gapless.store.reader import open_bundle

    reader = open_bundle(bundle)
    chosen = _topic(reader, topic)
    column = _field(chosen, field)
    title = f"{reader.name}  {chosen.name}  {column.name}"
    if chosen.rows == 0:
        return [title, "  no rows to draw"]
    unit = (column.metadata or {}).get(b"unit", b"").decode() or None
    return render(
        _curve(chosen, column.name, columns * 2), title=title, unit=unit, columns=columns, braille=braille
    )


def _topic(reader: BundleReader, name: str | None) -> TopicReader:
    from gapless.store.pyramid import numeric_fields

    if name is not None:
        return reader.topic(name)
    drawable = [topic for topic in reader.topics.values() if topic.rows and numeric_fields(topic.schema)]
    if not drawable:
        raise NotFound("no topic has a number to draw", sequence=reader.name)
    return drawable[0]


def _field(topic: TopicReader, name: str | None) -> pa.Field:
    from gapless.store.pyramid import numeric_fields

    numeric = numeric_fields(topic.schema)
    found = [known for known in numeric if name in (None, known)]
    if name is None:  # numbers that only count records, and flags, are drawn when they are asked for
        found = [known for known in found if known not in _COUNTS and not known.endswith("_status")] or found
    if found:
        return topic.schema.field(found[0])
    raise NotFound(
        f"the topic has no number called {name!r}" if name else "the topic has no number to draw",
        topic=topic.name,
        next_step=f"its numbers are: {', '.join(numeric) or 'none'}",
    )


def _curve(topic: TopicReader, column: str, buckets: int) -> Curve:
    """Return the exact extremes of a column in buckets of time."""
    from gapless.store.pyramid_read import downsample

    found = downsample(topic, column, 2 * buckets)
    low, high = (values.astype("float64").tolist() for values in (found.minimum, found.maximum))
    return Curve(found.start_ns.tolist(), low, high, int(found.end_ns[-1]) if len(found) else 0)
