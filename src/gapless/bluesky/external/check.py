"""Looking at the external files of a run: are they there, and do they hold what the run says they hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gapless.bluesky.external.external_file import ExternalFile
from gapless.bluesky.external.file_uri import is_local
from gapless.bluesky.external.frame_map import FrameRange
from gapless.errors import DocumentRefused, IntegrityError, MissingExtra, NotFound
from gapless.store.verify import Finding

if TYPE_CHECKING:
    from gapless.bluesky.external.external_key import ExternalKey
    from gapless.bluesky.external.resource import Resource

FINDINGS = {
    "B001": "An external file of a run is missing; the finding names the first and how many there are.",
    "B002": "An external file cannot be read as what its media type says, or lacks the dataset.",
    "B003": "An external file holds values of another shape than the data key declares.",
    "B004": "An external file holds another type than the data key declares; reading gives the file's type.",
    "B005": "An external file holds fewer frames than the run refers to.",
    "B006": "Frames were left out, or referred to twice: the ranges of a resource do not follow each other.",
    "B007": "A range of frames and the range of events it belongs to have different lengths.",
    "B008": "External data lie on another machine or service and were not looked at.",
    "B009": "No reader knows the media type: only that the files exist was checked.",
    "B010": "The library that reads these files is not installed: only that they exist was checked.",
}


def check_key(key: ExternalKey, place: str, *, deep: bool = False) -> Iterator[Finding]:
    """Yield the findings of one data key; ``place`` names it. Nothing is written.

    Every file must exist; one of each resource is opened, with ``deep`` all of them.
    """
    yield from _range_findings(key, place)
    for ordinal, resource in enumerate(key.resources):
        ranges = [one for one in key.ranges if one.resource == ordinal and one.index_stop > one.index_start]
        try:
            yield from _resource_findings(resource, ranges, place, deep)
        except DocumentRefused as error:
            yield Finding("B002", "error", f"{place}: {error.message}, found {error.found}", resource.uri)


def _range_findings(key: ExternalKey, place: str) -> Iterator[Finding]:
    ends: dict[tuple[str, ...], int] = {}
    for one in key.ranges:
        indices, events = one.index_stop - one.index_start, one.seq_stop - one.seq_start
        resource = key.resources[one.resource]
        uri = resource.uri
        if indices != events:
            words = f"{place}: {indices} frames for {events} events from seq_num {one.seq_start}"
            yield Finding("B007", "warning", words, uri)
        due = ends.get(resource.place, resource.offset)
        if one.index_start > due:
            words = f"{place}: frames {due} to {one.index_start - 1} belong to no event"
            yield Finding("B006", "warning", words, uri)
        elif one.index_start < due:
            last = min(due, one.index_stop) - 1
            words = f"{place}: frames {one.index_start} to {last} are referred to twice"
            yield Finding("B006", "warning", words, uri)
        ends[resource.place] = max(due, one.index_stop)


def _resource_findings(
    resource: Resource, ranges: list[FrameRange], place: str, deep: bool
) -> Iterator[Finding]:
    if not is_local(resource.uri):
        yield Finding("B008", "warning", f"{place}: not looked at", resource.uri)
        return
    if not ranges:
        return
    missing, present = 0, 0
    first_missing = ""
    opened = False
    for uri, path in _files(resource, ranges):
        if not path.exists():
            missing, first_missing = missing + 1, first_missing or uri
            continue
        present += 1
        if deep or not opened:
            opened = True
            yield from _file_findings(resource, ranges, uri, path, place)
    if missing:
        words = f"{place}: {missing} of {missing + present} files are missing"
        yield Finding("B001", "error", words, first_missing)
    if resource.format is None:
        yield Finding("B009", "warning", f"{place}: {resource.mimetype} has no reader", resource.uri)


def _files(resource: Resource, ranges: list[FrameRange]) -> Iterator[tuple[str, Path]]:
    if resource.names is None:
        yield from resource.files_of(0, 0)
        return
    for one in ranges:
        yield from resource.files_of(one.index_start, one.index_stop)


def _file_findings(
    resource: Resource, ranges: list[FrameRange], uri: str, path: Path, place: str
) -> Iterator[Finding]:
    if resource.format is None:
        return
    try:
        with resource.open(uri, path) as file:
            yield from _content_findings(resource, ranges, uri, file, place)
    except MissingExtra as error:
        yield Finding("B010", "warning", f"{place}: {error.message}", uri)
    except (IntegrityError, NotFound) as error:
        yield Finding("B002", "error", f"{place}: {error.message}, found {error.found}", uri)


def _content_findings(
    resource: Resource, ranges: list[FrameRange], uri: str, file: ExternalFile, place: str
) -> Iterator[Finding]:
    rows = None if resource.names is None else file.rows * resource.datum.files
    fitted = resource.datum.fit(rows, file.row_shape)
    declared = resource.datum.dtype
    if fitted is None:
        words = f"{file.rows} rows of {list(file.row_shape)}, declared {list(resource.datum.shape)}"
        yield Finding("B003", "error", f"{place}: {words} for each event", uri)
        return
    if declared is not None and declared.newbyteorder("=") != file.dtype.newbyteorder("="):
        yield Finding("B004", "warning", f"{place}: {file.dtype}, declared {declared}", uri)
    if resource.names is not None:
        return
    needed = max(one.index_stop for one in ranges) - resource.offset
    if file.rows // fitted[0] < needed:
        words = f"{file.rows // fitted[0]} frames, {needed} are referred to"
        yield Finding("B005", "error", f"{place}: {words}", uri)
