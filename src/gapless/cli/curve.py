"""The curve of one field for a terminal plot: from the pyramid of a sealed sequence, else from a scan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gapless.cli.plot import Curve, render
from gapless.errors import NotFound

if TYPE_CHECKING:
    import pyarrow as pa

    from gapless.client.sequence_handler import SequenceHandler
    from gapless.client.topic_handler import TopicHandler


_COUNTS = ("record", "source_record", "t_utc_ns", "frame_idx")


def plot_lines(
    bundle: Path, topic: str | None, field: str | None, *, columns: int, braille: bool
) -> list[str]:
    """Return the lines of a plot of a sequence in a folder; see :func:`curve_lines`."""
    from gapless.client.sequence_handler import SequenceHandler
    from gapless.model.ontology.registry import OntologyRegistry

    handler = SequenceHandler(bundle, OntologyRegistry())
    return curve_lines(handler, topic, field, columns=columns, braille=braille)


def curve_lines(
    handler: SequenceHandler, topic: str | None, field: str | None, *, columns: int, braille: bool
) -> list[str]:
    """Return the lines of a plot; without a topic or field, of the first that can be drawn."""
    chosen = _topic(handler, topic)
    column = _field(chosen, field)
    title = f"{handler.name}  {chosen.name}  {column.name}"
    if chosen.rows == 0:
        return [title, "  no rows to draw"]
    unit = (column.metadata or {}).get(b"unit", b"").decode() or None
    return render(
        _curve(chosen, column.name, columns * 2), title=title, unit=unit, columns=columns, braille=braille
    )


def _topic(handler: SequenceHandler, name: str | None) -> TopicHandler:
    from gapless.store.pyramid import numeric_fields

    if name is not None:
        return handler.topic(name)
    drawable = [topic for topic in handler if topic.rows and numeric_fields(topic.schema)]
    if not drawable:
        raise NotFound("no topic has a number to draw", sequence=handler.name)
    return drawable[0]


def _field(topic: TopicHandler, name: str | None) -> pa.Field:
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


def _curve(topic: TopicHandler, column: str, buckets: int) -> Curve:
    """Return the exact extremes of a column in buckets of time."""
    found = topic.downsample(column, 2 * buckets)
    low, high = (values.astype("float64").tolist() for values in (found.minimum, found.maximum))
    return Curve(found.start_ns.tolist(), low, high, int(found.end_ns[-1]) if len(found) else 0)
