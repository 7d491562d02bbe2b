"""Labels from files: all of a file or nothing of it, and nothing twice.

A CSV file has a header and one label in each line: ``name``, ``start`` and ``end`` (both included; seconds
since the first row of the sequence, nanoseconds since the epoch, or ISO 8601 with its zone), or
``start_frame`` and ``end_frame`` of a topic; optional ``sequence``, ``confidence`` and ``author``.

A ``.npz`` file has one code for each frame of a topic: ``labels`` (integers) and ``label_names`` (text), the
name of a frame being ``label_names[code]``; a negative code or an empty name is no label. With its own
``timestamp_ns`` it needs no topic.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gapless.catalog.annotations import append_annotation, read_annotations
from gapless.errors import ImportRefused, NotFound, UsageError
from gapless.features.instant import instant_ns
from gapless.model.names import to_component
from gapless.store.declaration import TIME

if TYPE_CHECKING:
    from gapless.client.client import Client

_TIMES = ("start", "end")
_FRAMES = ("start_frame", "end_frame")
_OPTIONAL = ("sequence", "confidence", "author")


@dataclass(frozen=True, slots=True)
class NewLabel:
    """One label of a file."""

    sequence: str
    start_ns: int
    end_ns: int
    name: str
    confidence: float | None = None
    author: str | None = None

    @property
    def span(self) -> tuple[int, int, str]:
        """What makes it the same label as another of its sequence and kind."""
        return self.start_ns, self.end_ns, self.name


@dataclass(frozen=True)
class LabelImport:
    """What a file would add: ``labels`` are new, ``known`` are there already."""

    kind: str
    labels: tuple[NewLabel, ...]
    known: int
    sequences: tuple[str, ...]

    def apply(self, client: Client, author: str | None = None) -> int:
        """Put the new labels on their sequences and return how many; ``author`` where the file names none.

        Each is durable when it is written. Cut short, the same import adds the rest.
        """
        for label in self.labels:
            append_annotation(
                _bundle(client, label.sequence), label.start_ns, label.end_ns, label.name,
                kind=self.kind, author=label.author or author, confidence=label.confidence,
            )  # fmt: skip
        if self.labels:
            client.catalog.reconcile()
        return len(self.labels)


def plan_label_import(
    client: Client,
    path: str | Path,
    kind: str = "label",
    *,
    sequence: str | None = None,
    topic: str | None = None,
) -> LabelImport:
    """Return what the labels of a file are, all of them checked; nothing is written.

    ``sequence``: of files that name none. ``topic``: whose rows frame numbers count, from 0; rows of one time
    are one frame. Raises ImportRefused naming line and column, NotFound for a sequence or topic that is not there.
    """
    file = Path(path)
    if not file.is_file():
        raise NotFound("there is no such file", found=str(file), next_step="check the path")
    places = _Places(client, sequence, topic)
    if file.suffix.lower() == ".npz":
        found = list(_from_npz(file, places))
    elif file.suffix.lower() == ".csv":
        found = list(_from_csv(file, places))
    else:
        raise ImportRefused("labels come from a .csv or a .npz file", found=file.name)
    fresh: dict[tuple[str, tuple[int, int, str]], NewLabel] = {}
    known: dict[str, set[tuple[int, int, str]]] = {}
    for label in found:
        if label.sequence not in known:
            known[label.sequence] = _spans(_bundle(client, label.sequence), kind)
        if label.span not in known[label.sequence]:
            fresh.setdefault((label.sequence, label.span), label)
    return LabelImport(kind, tuple(fresh.values()), len(found) - len(fresh), tuple(sorted(known)))


def _spans(bundle: Path, kind: str) -> set[tuple[int, int, str]]:
    return {(item.start_ns, item.end_ns, item.name) for item in read_annotations(bundle) if item.kind == kind}


def _bundle(client: Client, sequence: str) -> Path:
    return client.path / "sequences" / to_component(sequence)


@dataclass
class _Places:
    """Sequences, and the times of their frames, each looked up once."""

    client: Client
    sequence: str | None
    topic: str | None
    _starts: dict[str, int | None] = field(default_factory=dict)
    _times: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    def named(self, name: str | None) -> str:
        """Return the sequence meant; UsageError if none is, NotFound if there is none of that name."""
        found = name or self.sequence
        if not found:
            raise UsageError(
                "no sequence is named", next_step="add a column `sequence`, or name one on the command line"
            )
        if found not in self._starts:
            self._starts[found] = self.client.sequence_handler(found).start_ns
        return found

    def start_ns(self, sequence: str) -> int | None:
        """Return the time of the first row."""
        return self._starts[sequence]

    def times(self, sequence: str) -> NDArray[np.int64]:
        """Return the time of each frame of the topic; UsageError if no topic is named."""
        if self.topic is None:
            raise UsageError("frame numbers count the rows of a topic", next_step="name it with --topic")
        if sequence not in self._times:
            rows = self.client.sequence_handler(sequence).topic(self.topic).to_arrow([TIME])
            self._times[sequence] = np.unique(rows.column(TIME).to_numpy())
        return self._times[sequence]


# -- CSV ---------------------------------------------------------------------------------------


def _from_csv(file: Path, places: _Places) -> Iterator[NewLabel]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            header = [name.strip() for name in next(reader, [])]
            bounds = _bounds(header, file)
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield _label(row, header, bounds, places, f"{file.name} line {reader.line_num}")
    except UnicodeDecodeError as error:
        raise ImportRefused("the file is not UTF-8 text", found=file.name) from error
    except csv.Error as error:
        raise ImportRefused("the file is no CSV", found=f"{file.name}: {error}") from error


def _bounds(header: Sequence[str], file: Path) -> tuple[str, str]:
    """Return the columns of beginning and end; ImportRefused unless the header says exactly what is what."""
    for pair in (_TIMES, _FRAMES):
        if set(header) >= {"name", *pair}:
            known = {"name", *pair, *_OPTIONAL}
            unknown = [name for name in header if name not in known]
            if unknown or len(set(header)) < len(header):
                raise ImportRefused(
                    f"{file.name} line 1: a column is unknown or there twice", field=(unknown or header)[0],
                    expected=", ".join(sorted(known)),
                )  # fmt: skip
            return pair
    raise ImportRefused(
        f"{file.name} line 1: columns are missing", found=", ".join(header) or "nothing",
        expected="name, start, end or name, start_frame, end_frame; optional sequence, confidence, author",
    )  # fmt: skip


def _label(
    row: Sequence[str], header: Sequence[str], bounds: tuple[str, str], places: _Places, where: str
) -> NewLabel:
    if len(row) != len(header):
        raise ImportRefused(
            f"{where}: the line has {len(row)} cells", expected=f"{len(header)} as the header"
        )
    cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
    sequence = _cell("sequence", where, lambda: places.named(cells.get("sequence")))
    start_ns, end_ns = (
        _cell(name, where, lambda n=name: _time(cells[n], n, sequence, places)) for name in bounds
    )
    if end_ns < start_ns:
        raise ImportRefused(
            f"{where}: the label ends before it starts", field=bounds[1], found=cells[bounds[1]]
        )
    if not cells["name"]:
        raise ImportRefused(f"{where}: the label has no name", field="name")
    confidence = _cell("confidence", where, lambda: _confidence(cells.get("confidence")))
    return NewLabel(sequence, start_ns, end_ns, cells["name"], confidence, cells.get("author") or None)


def _cell(column: str, where: str, read: Any) -> Any:
    """Return what ``read`` makes of a cell; what is wrong with it is told with its line and column."""
    try:
        return read()
    except NotFound as error:
        raise NotFound(
            f"{where}: {error.message}", field=column, found=error.sequence or error.found
        ) from error
    except UsageError as error:
        raise ImportRefused(
            f"{where}: {error.message}", field=column, found=error.found, expected=error.expected,
            next_step=error.advice,
        ) from error  # fmt: skip


def _time(text: str, column: str, sequence: str, places: _Places) -> int:
    if column in _TIMES:
        return instant_ns(text, places.start_ns(sequence))
    times = places.times(sequence)
    try:
        frame = int(text)
    except ValueError:
        frame = -1
    if not 0 <= frame < len(times):
        raise UsageError("there is no such frame", found=text, expected=f"0 to {len(times) - 1}")
    return int(times[frame])


def _confidence(text: str | None) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError("a confidence lies between 0 and 1", found=text)
    return value


# -- npz ---------------------------------------------------------------------------------------


def _from_npz(file: Path, places: _Places) -> Iterator[NewLabel]:
    arrays = _arrays(file)
    named = arrays.get("sequence")
    sequence = places.named(str(named) if named is not None and named.ndim == 0 else None)
    names = [str(name) for name in arrays["label_names"]]
    codes = arrays["labels"]
    times = arrays[TIME] if TIME in arrays else places.times(sequence)
    if len(times) != len(codes):
        raise ImportRefused(
            f"{file.name}: there is not one label for each frame", field="labels", found=f"{len(codes)} labels",
            expected=f"{len(times)} frames",
        )  # fmt: skip
    if len(codes) and int(codes.max()) >= len(names):
        place = int(codes.argmax())
        raise ImportRefused(
            f"{file.name}: frame {place} has a code without a name", field="labels", found=int(codes[place]),
            expected=f"below {len(names)}",
        )  # fmt: skip
    for first, last in _runs(codes):
        code = int(codes[first])
        if code >= 0 and names[code]:
            yield NewLabel(sequence, int(times[first]), int(times[last]), names[code])


def _arrays(file: Path) -> Mapping[str, NDArray[Any]]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError) as error:  # no archive, or arrays that would run code
        raise ImportRefused(
            "the file is no archive of plain arrays", found=f"{file.name}: {error}"
        ) from error
    for name, kinds, expected in (
        ("labels", "iu", "integers"),
        ("label_names", "U", "text"),
        (TIME, "i", "int64"),
    ):
        array = arrays.get(name)
        if array is None and name == TIME:
            continue
        if array is None or array.ndim != 1 or array.dtype.kind not in kinds:
            found = "nothing" if array is None else f"{array.ndim}-dimensional {array.dtype}"
            raise ImportRefused(
                f"{file.name}: an array is missing or of another kind", field=name, found=found,
                expected=f"one dimension of {expected}",
            )  # fmt: skip
    if TIME in arrays and bool(np.any(np.diff(arrays[TIME]) < 0)):
        raise ImportRefused(f"{file.name}: the times go back", field=TIME)
    return arrays


def _runs(codes: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Yield the first and last place of each run of one code."""
    if not len(codes):
        return
    cuts = np.flatnonzero(codes[1:] != codes[:-1])
    yield from zip([0, *(cuts + 1).tolist()], [*cuts.tolist(), len(codes) - 1], strict=True)
