"""Which recorders there are: the entry points of the group ``gapless.recorders``, by the kind that a source names."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from gapless.errors import GaplessError, NotFound, UsageError
from gapless.model.names import check_topic_name
from gapless.observe.recorder import Recorder, Source

GROUP = "gapless.recorders"


def recorder_names() -> list[str]:
    """Return the kinds of recorders that are installed; none is imported."""
    return sorted(entry_points(group=GROUP).names)


def recorder_for(name: str, source: Source) -> Recorder:
    """Return the recorder of a source; its topics are called ``name``, or ``name/part``.

    Raises UsageError for something that is no source and for a recorder that breaks or is none, NotFound
    for a kind that is not installed, NameRefused, and what the recorder refuses.
    """
    check_topic_name(name)
    kind = getattr(source, "recorder", None)
    if not isinstance(kind, str):
        raise UsageError(
            f"{name!r} is no source",
            found=type(source).__name__,
            expected="an object with the attribute `recorder`, such as RobotSource",
        )
    point = _point(kind)
    recorder = _load(point)(name, source)
    if not isinstance(recorder, Recorder):
        raise UsageError(
            f"the entry point {point.value} makes no recorder",
            found=type(recorder).__name__,
            expected="name, tables, cameras, begin() and artifacts()",
        )
    return recorder


def _point(kind: str) -> EntryPoint:
    found = list({point.value: point for point in entry_points(group=GROUP, name=kind)}.values())
    if not found:
        raise NotFound(
            "no recorder of that kind is installed",
            found=kind,
            expected=", ".join(recorder_names()) or "none: gapless itself is not installed",
            next_step="name one of these as the source's `recorder`, or install the package that brings it",
        )
    if len(found) > 1:
        raise UsageError(
            "two packages bring a recorder of one kind",
            found=f"{kind}: {', '.join(sorted(point.value for point in found))}",
            next_step="remove one of the packages",
        )
    return found[0]


def _load(point: EntryPoint) -> Any:
    """Return what an entry point names: importing the code of others may do anything."""
    try:
        return point.load()
    except BaseException as error:
        if isinstance(error, GaplessError) or not isinstance(error, Exception):
            raise
        raise UsageError(
            f"the recorder {point.name!r} of {point.value} breaks when it is imported",
            found=f"{type(error).__name__}: {error}",
            next_step="mend or remove the package that brings it",
        ) from error
