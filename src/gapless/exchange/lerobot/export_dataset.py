"""Export to a LeRobot dataset (v3.0): groups and sequences become episodes, one after the other.

Exporting again adds the episodes that are new; the files of the others keep their bytes. Merging, splitting,
leaving out and relabelling are exports to another place. The dataset appears, or changes, in one step when
all of it is on the disk; an export that was killed goes on when it is repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.errors import ExportRefused, FormatUnknown, NameTaken, NotFound
from gapless.exchange.lerobot.dataset import INFO, MANIFEST, LeRobotDatasetFiles
from gapless.exchange.lerobot.export_entries import IDENTITY, Entries
from gapless.exchange.lerobot.export_meta import FORMAT, write_meta
from gapless.exchange.lerobot.export_options import ExportOptions
from gapless.exchange.lerobot.export_piece import Piece, Position
from gapless.exchange.lerobot.export_place import ExportPlace
from gapless.exchange.lerobot.export_rows import EpisodeRows, read_rows
from gapless.exchange.lerobot.export_selection import LeftOut, choose, success_of
from gapless.exchange.lerobot.export_shape import DATA_FILE_MB, VIDEO_FILE_MB, VIDEO_FILE_S, DatasetShape
from gapless.exchange.lerobot.export_source import FRAMES, read_source
from gapless.store.align import Rate
from gapless.store.parquet import sha256_file

if TYPE_CHECKING:
    from gapless.client.client import Client
    from gapless.client.sequence_handler import SequenceHandler

_MB = 1_000_000


@dataclass
class DatasetReport:
    """What an export wrote: the dataset's totals, the sequences that were added, kept and left out, and why.

    ``backfilled_rows``, ``repeated_image_rows`` and ``unusable_values`` (NaN, infinite) are of the added ones.
    """

    path: Path
    episodes: int = 0
    rows: int = 0
    added: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    backfilled_rows: int = 0
    repeated_image_rows: int = 0
    unusable_values: int = 0


def export_lerobot(
    client: Client,
    references: str | Sequence[str],
    path: str | Path,
    *,
    fps: Rate | None = None,
    state: Iterable[str] = (),
    action: Iterable[str] = (),
    cameras: Iterable[str] = (),
    layout: str = "episodes",
    outcomes: Iterable[str] = ("completed",),
    include_interrupted: bool = False,
    success: bool | None = None,
    only: Iterable[int | str] | None = None,
    skip: Iterable[int | str] | None = None,
    relabel: Mapping[str, str] | None = None,
) -> DatasetReport:
    """Write the sequences of groups, or of names, as a dataset, or add those that it does not have.

    Without ``fps``, ``state``, ``action`` and ``cameras`` the sequences are observed episodes and keep their
    rate, fields and cameras. ``state`` and ``action`` name fields, ``TOPIC.FIELD`` or what several begin with.
    ``layout``: files for each episode, or ``compact``: up to 100 MB of rows and 200 MB of video in a file.
    ``only`` and ``skip`` take numbers in the order of export, or names; ``relabel`` gives tasks other words.

    Raises ExportRefused for what no dataset can hold, for episodes that are not alike, and for a dataset
    that was made with other options; NameTaken for a folder of another origin. The recordings are only read.
    """
    options = ExportOptions.of(
        fps=fps, state=state, action=action, cameras=cameras, layout=layout, outcomes=outcomes,
        include_interrupted=include_interrupted, success=success, only=only, skip=skip, relabel=relabel,
    )  # fmt: skip
    named = [references] if isinstance(references, str) else list(references)
    chosen, left_out = choose(client, named, options)
    with ExportPlace(Path(path).resolve()) as place:
        export = _Export(client, place, options, named, DatasetReport(place.path, left_out=left_out))
        try:
            return export.run(chosen)
        except ExportRefused:
            if not place.has_records:  # an export with another choice of episodes can go on with them
                place.clear()
            raise


def plan_export(
    client: Client, references: str | Sequence[str], **options: Any
) -> tuple[list[str], list[LeftOut]]:
    """Return the sequences that an export with these options would write, and those left out; writes nothing.

    Raises what the export would refuse before it begins.
    """
    checked = ExportOptions.of(**options)
    named = [references] if isinstance(references, str) else list(references)
    chosen, left_out = choose(client, named, checked)
    common_shape(client, chosen, checked)
    if chosen:
        check_relabel(checked, _possible_tasks(client, chosen, checked))
    return chosen, left_out


def common_shape(
    client: Client,
    names: Sequence[str],
    options: ExportOptions,
    known: tuple[str, DatasetShape] | None = None,
) -> DatasetShape | None:
    """Return what the sequences have in common, and with ``known`` of a sequence that is exported already.

    Raises ExportRefused for one that is not like the first; None without any.
    """
    first = known
    for name in names:
        shape = DatasetShape.of(read_source(client.sequence_handler(name), options), options)
        first = first or (name, shape)
        first[1].check_same(shape, name, first[0])
    return first[1] if first else None


def check_relabel(options: ExportOptions, had: Iterable[str]) -> None:
    """Return if there is each task that is to get other words, else raise ExportRefused."""
    there = set(had)
    unknown = next((task for task in options.relabel if task not in there), None)
    if unknown is not None:
        raise ExportRefused(
            "no episode has the task that is to get other words",
            found=unknown,
            expected=", ".join(sorted(filter(None, there))),
            next_step="write the task as it was recorded (--relabel OLD=NEW)",
        )


class _Export:
    """One export while it runs."""

    def __init__(
        self,
        client: Client,
        place: ExportPlace,
        options: ExportOptions,
        references: list[str],
        report: DatasetReport,
    ) -> None:
        self._client = client
        self._place = place
        self._options = options
        self._references = references
        self._report = report
        self._known = _known_manifest(place.path)
        self._entries = Entries(self._known["episodes"] if self._known else [])
        self._shape: DatasetShape
        if self._known:
            _check_options(self._known["options"], options)
            self._shape = DatasetShape.from_words(self._known["shape"])

    def run(self, chosen: Sequence[str]) -> DatasetReport:
        fresh = self._fresh(chosen)
        if fresh:
            known = (self._entries.listed[0]["sequence"], self._shape) if self._known else None
            shape = common_shape(self._client, fresh, self._options, known)
            assert shape is not None
            self._shape = shape
            self._check_relabel(_possible_tasks(self._client, fresh, self._options))
            plan = {
                "options": self._options.row_words(),
                "kept": [_identity(entry) for entry in self._entries.listed],
                "fresh": [self._identified(name) for name in fresh],
            }
            for record in self._place.begin(plan):
                self._entries.extend(record["episodes"])
            self._write_pieces(fresh)
        if not len(self._entries):
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self._report.left_out[:3])
            raise ExportRefused(
                "there is no episode to export",
                found=reasons or ", ".join(self._references),
                next_step="record some, or name other outcomes (--include-interrupted)",
            )
        self._check_relabel()
        if self._entries.added:
            self._finish()
        else:
            self._place.clear()
        return self._told()

    def _fresh(self, chosen: Sequence[str]) -> list[str]:
        """Return what the dataset does not have yet; raises ExportRefused for an episode that changed."""
        known = {entry["sequence"]: entry for entry in self._entries.listed}
        for name in chosen:
            if name in known and _identity(known[name]) != self._identified(name):
                raise ExportRefused(
                    "the dataset has this sequence as it was before a layer was added",
                    sequence=name,
                    found=str(self._place.path),
                    next_step="export to another place",
                )
        self._report.kept = [name for name in chosen if name in known]
        return [name for name in chosen if name not in known]

    # -- episodes ------------------------------------------------------------------------------

    def _write_pieces(self, fresh: Sequence[str]) -> None:
        there = self._entries.sequences
        waiting = self._readable(name for name in fresh if name not in there)
        coming = next(waiting, None)
        while coming is not None:
            number = self._entries.next_piece
            written: list[dict[str, Any]] = []
            with Piece(self._place.dataset, number, self._shape) as piece:
                while coming is not None and self._has_room(piece, coming[1]):
                    written.append(self._write(piece, len(self._entries) + len(written), *coming))
                    coming = next(waiting, None)
            names = (piece.data_name, *piece.video_names.values())
            files = {name: sha256_file(self._place.dataset / name) for name in names}
            record = self._place.record(number, {"episodes": [entry | {"files": files} for entry in written]})
            self._entries.extend(record["episodes"])

    def _has_room(self, piece: Piece, rows: EpisodeRows) -> bool:
        if not piece.rows:
            return True
        if self._options.layout == "episodes":
            return False
        if self._shape.videos and piece.rows + rows.count > VIDEO_FILE_S * self._shape.fps:
            return False
        rows_bytes, video_bytes = piece.size_bytes
        return rows_bytes < DATA_FILE_MB * _MB and video_bytes < VIDEO_FILE_MB * _MB

    def _readable(self, names: Iterable[str]) -> Iterator[tuple[SequenceHandler, EpisodeRows]]:
        """Yield the sequences that have rows, and note the others."""
        for name in names:
            sequence = self._client.sequence_handler(name)
            rows = read_rows(read_source(sequence, self._options), self._shape.fps)
            if rows.count:
                yield sequence, rows
            else:
                self._report.left_out.append(LeftOut(name, "its topics have no row in common"))

    def _write(
        self, piece: Piece, number: int, sequence: SequenceHandler, rows: EpisodeRows
    ) -> dict[str, Any]:
        relabelled = [self._options.relabel.get(task, task) for task in rows.tasks]
        position = Position(number, self._entries.rows + piece.rows, self._entries.number_tasks(relabelled))
        told = sequence.metadata.get("episode")
        return {
            **self._identified(sequence.name),
            "outcome": sequence.outcome,
            "success": success_of(sequence),
            "robot_type": told.get("robot_type") if isinstance(told, dict) else None,
            "tasks": list(dict.fromkeys(relabelled)),
            "recorded_tasks": list(rows.tasks),
            **piece.add(sequence, rows, position),
        }

    def _identified(self, name: str) -> dict[str, Any]:
        """Return what an episode is known by: name, digest, and those of the layers that are read with it."""
        sequence = self._client.sequence_handler(name)
        layers = {
            folder.layer_name: folder.manifest["content_digest"]
            for folder in sequence.reader.folders[1:]
            if folder.manifest is not None
        }
        return {"sequence": name, "content_digest": sequence.content_digest, "layers": layers}

    # -- the end -------------------------------------------------------------------------------

    def _check_relabel(self, to_come: Iterable[str] = ()) -> None:
        had = {task for entry in self._entries.listed for task in entry["recorded_tasks"]}
        check_relabel(self._options, had.union(to_come))

    def _finish(self) -> None:
        before = self._known["references"] if self._known else []
        words = {
            "references": list(dict.fromkeys([*before, *self._references])),
            "options": self._options.words(),
        }
        old = self._place.path if self._known else None
        write_meta(self._place.dataset, self._entries, self._shape, words, old)
        self._place.publish()

    def _told(self) -> DatasetReport:
        added = self._entries.added
        return replace(
            self._report,
            episodes=len(self._entries),
            rows=self._entries.rows,
            added=[entry["sequence"] for entry in added],
            **{
                name: sum(entry[name] for entry in added)
                for name in ("backfilled_rows", "repeated_image_rows", "unusable_values")
            },
        )


def _possible_tasks(client: Client, names: Iterable[str], options: ExportOptions) -> set[str]:
    """Return the texts that the rows of episodes can have as their task; none where nobody asks."""
    found: set[str] = set()
    for name in names if options.relabel else ():
        sequence = client.sequence_handler(name)
        told = sequence.metadata.get("task")
        found.add(told if isinstance(told, str) else "")
        if FRAMES in sequence.topics and "tasks" in sequence.topics:
            found.update(sequence.topic("tasks").reader.to_arrow(["task"])["task"].to_pylist())
    return found


def _identity(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in IDENTITY}


def _known_manifest(path: Path) -> dict[str, Any] | None:
    """Return what an export before this one told, None where there is nothing yet."""
    if not path.exists():
        return None
    try:
        manifest = LeRobotDatasetFiles(path).manifest() if (path / INFO).is_file() else None
    except (NotFound, FormatUnknown) as error:
        raise NameTaken(f"{path} is there and no dataset of this release", found=str(error)) from error
    if manifest is None:
        raise NameTaken(
            f"{path} is there and was not exported by gapless",
            found=f"no {MANIFEST}",
            next_step="choose another path",
        )
    if manifest.get("format") != FORMAT:
        raise FormatUnknown(
            "the dataset was exported by a later release", found=manifest.get("format"), expected=FORMAT
        )
    return manifest


def _check_options(known: Mapping[str, Any], options: ExportOptions) -> None:
    for name, value in options.words().items():
        if known.get(name) != value:
            raise ExportRefused(
                f"the dataset was exported with another option {name!r}",
                found=repr(value),
                expected=repr(known.get(name)),
                next_step="repeat that export with its options, or choose another path",
            )
