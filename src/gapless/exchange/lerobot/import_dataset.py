"""Import of a LeRobot dataset (v3.0): each episode becomes a sequence ``SESSION/episode-000000`` of the group SESSION.

The dataset is verified first and refused if anything is wrong with it. Values keep their bits. H.264 packets
are stored as they are where a picture can be decoded as soon as its packet is read; other videos are
decoded and stored as PNG, which is what loaders saw, or encoded again if that is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from gapless.errors import ImportRefused, NameTaken, NotFound, UsageError
from gapless.exchange.lerobot.dataset import EpisodeEntry, LeRobotDatasetFiles
from gapless.exchange.lerobot.import_episode import PACKETS, store_episode
from gapless.exchange.lerobot.import_layout import Layout, lay_out
from gapless.exchange.lerobot.import_pictures import why_not_packets
from gapless.exchange.lerobot.import_rows import features_of_frames, read_rows
from gapless.exchange.lerobot.verify import verify_dataset
from gapless.exchange.report import ImportReport
from gapless.model.outcome import Outcome
from gapless.store.episode_rows import FRAMES
from gapless.store.media.rows import EncodedImage
from gapless.store.parquet import sha256_file

Pictures = Literal["png", "mp4"]

_FORMAT = 1  # of the words that an episode's metadata has under "episode"


class PlannedTopic(NamedTuple):
    """What one feature becomes: the topic, where its values are, and what was assumed."""

    topic: str
    path: Path
    schema: pa.Schema
    assumed: tuple[str, ...]


@dataclass
class EpisodesReport(ImportReport):
    """What an import of a dataset stored. ``sequence`` is the session, ``rows`` are over all its episodes.

    ``kept``: episodes that an import of the same files stored before.
    """

    sequences: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Plan:
    """A verified dataset and what becomes of it. ``how``: for each video camera packets, png or mp4."""

    dataset: LeRobotDatasetFiles
    entries: list[EpisodeEntry]
    texts: list[str]
    layout: Layout
    how: dict[str, str]
    assumed: list[str]
    told: dict[int, dict[str, Any]]  # what the export of gapless told of its episodes, by number


def plan_import(
    path: str | Path, topic: str | None = None, *, pictures: Pictures = "png"
) -> list[PlannedTopic]:
    """Return the topics that each episode gets; stores nothing. Raises ImportRefused as the import does."""
    plan = _plan(Path(path), topic, pictures)
    files = plan.dataset.path
    general = PlannedTopic("frames", files, FRAMES, tuple(plan.assumed))
    tables = [PlannedTopic(table.topic, files, table.schema, ()) for table in plan.layout.tables]
    cameras = [PlannedTopic(c.topic, files, EncodedImage.schema(), ()) for c in plan.layout.cameras]
    return [general, *tables, *cameras]


def import_dataset(
    client: Any,
    path: str | Path,
    name: str | None = None,
    topic: str | None = None,
    group: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    pictures: Pictures = "png",
) -> EpisodesReport:
    """Store each episode as a sequence of the session ``name`` (default: the folder's) and return what was stored.

    Episodes that an import of the same files stored before are kept, so that an import that broke off can
    be repeated. Raises ImportRefused for a dataset with findings or of version 2, NameTaken for a sequence of
    another origin.
    """
    source = Path(path).resolve()
    if group is not None:
        raise UsageError(
            "the group of imported episodes is their session",
            field="group",
            found=group,
            next_step="leave it out, and name the session (--name)",
        )
    plan = _plan(source, topic, pictures)
    session = name or source.name
    report = EpisodesReport(session, assumed=list(plan.assumed))
    digest = lru_cache(maxsize=None)(sha256_file)  # a file of several episodes is read once
    tables = lru_cache(maxsize=1)(plan.dataset.read)
    for entry in plan.entries:
        sequence = f"{session}/episode-{entry.index:06d}"
        words = {**_words(plan, entry, session, digest), **dict(metadata or {})}
        if _is_there(client, sequence, words["import"]):
            report.kept.append(sequence)
            continue
        table = tables(plan.dataset.data_file(entry.data))
        rows = read_rows(plan.dataset, entry, table, plan.layout.in_frames)
        told = plan.told.get(entry.index, {})
        with client.sequence_create(sequence, words, group=session) as writer:
            stored = store_episode(
                writer, plan.dataset, entry, rows, plan.layout, plan.how, plan.texts, told.get("success")
            )
            for stored_topic, count in stored:
                report.rows[stored_topic] = report.rows.get(stored_topic, 0) + count
            if _outcome(told) is not Outcome.COMPLETED:
                writer.end(_outcome(told), f"it was {_outcome(told)} when it was recorded")
        report.sequences.append(sequence)
    return report


def _plan(path: Path, topic: str | None, pictures: str) -> _Plan:
    if topic is not None:
        raise UsageError(
            "a dataset becomes several topics", field="topic", found=topic, next_step="leave it out"
        )
    if pictures not in ("png", "mp4"):
        raise UsageError("unknown pictures", field="pictures", found=pictures, expected="png or mp4")
    _refuse_findings(path)
    dataset = LeRobotDatasetFiles(path)
    entries = sorted(dataset.episodes(), key=lambda entry: entry.index)
    told = {
        number: dict(words) for number, words in enumerate((dataset.manifest() or {}).get("episodes", []))
    }
    for words in told.values():
        _outcome(words)
    layout = lay_out(dataset.features, own_names=bool(told), in_frames=features_of_frames(dataset))
    how, assumed = _how(dataset, layout, entries, pictures)
    assumed = [*_assumed(dataset, layout), *assumed]
    return _Plan(dataset, entries, dataset.task_texts(), layout, how, assumed, told)


def _refuse_findings(path: Path) -> None:
    wrong = [finding for finding in verify_dataset(path) if finding.severity == "error"]
    if wrong:
        shown = "; ".join(f"{f.code} {f.file or ''}: {f.message}" for f in wrong[:3])
        raise ImportRefused(
            f"the dataset has {len(wrong)} findings, and nothing of it was stored",
            found=shown,
            expected="none",
            next_step=f"`gapless verify {path}` lists them; get a whole copy, or repair it",
        )


def _how(
    dataset: LeRobotDatasetFiles, layout: Layout, entries: Sequence[EpisodeEntry], pictures: str
) -> tuple[dict[str, str], list[str]]:
    """Return how the pictures of each video camera are stored, and what to say of it."""
    how: dict[str, str] = {}
    assumed = []
    for camera in layout.cameras:
        if not camera.feature.is_video:
            continue
        reason = why_not_packets(dataset, camera.feature, entries)
        how[camera.topic] = PACKETS if reason is None else pictures
        if reason is None:
            assumed.append(f"{camera.topic}: H.264 packets as they are")
        else:
            way = "decoded and stored as PNG" if pictures == "png" else "decoded and encoded again as H.264"
            assumed.append(f"{camera.topic}: {way}, because {reason}")
    return how, assumed


def _assumed(dataset: LeRobotDatasetFiles, layout: Layout) -> Iterator[str]:
    yield f"rows are {dataset.fps} in a second, from 0 ns in each episode"
    if "captured_ns" not in layout.in_frames:
        yield "the dataset does not say when rows were captured: at their nominal times"
    for table in layout.tables:
        if not table.roles:
            yield f"topic {table.topic} has no role: it is neither state nor action"


def _words(plan: _Plan, entry: EpisodeEntry, session: str, digest: Any) -> dict[str, Any]:
    """Return an episode's metadata: what it is, and of which files."""
    dataset = plan.dataset
    names = [dataset.data_file(entry.data)]
    names += sorted(dataset.video_file(key, span.place) for key, span in entry.videos.items())
    files = [{"file": name, "sha256": digest(dataset.path / name)} for name in names]
    told = plan.told.get(entry.index, {})
    origin: dict[str, Any] = {key: told[key] for key in ("sequence", "content_digest") if key in told}
    if _outcome(told) is not Outcome.COMPLETED:
        origin["outcome"] = told["outcome"]
    rate = str(dataset.fps)
    return {
        "episode": {
            "format": _FORMAT, "session": session, "index": entry.index, "seed": None, "mode": "imported",
            "deterministic": False, "data_hz": rate, "video_hz": rate,
            "robot_type": dataset.info.get("robot_type"), "schemas": {},
        },
        "import": {
            "format": "lerobot", "source": dataset.path.name, "episode": entry.index, "files": files,
            "tasks": list(entry.tasks), "assumed": plan.assumed, **origin,
        },
    }  # fmt: skip


def _outcome(told: Mapping[str, Any]) -> Outcome:
    """Return how the recording of an episode ended; ``told``: what the export of gapless wrote of it, if it did."""
    try:
        return Outcome(told.get("outcome") or Outcome.COMPLETED)
    except ValueError as error:
        raise ImportRefused(
            "the dataset tells of an outcome that this release does not know",
            found=repr(told["outcome"]), expected=", ".join(Outcome),
        ) from error  # fmt: skip


def _is_there(client: Any, sequence: str, origin: Mapping[str, Any]) -> bool:
    """Tell whether the sequence was imported from the same files; what an import left that was killed is discarded.

    Raises NameTaken for a sequence of another origin, SequenceOwned while another process writes it.
    """
    if not client.sequence_exists(sequence):
        return False
    try:
        found = client.sequence_handler(sequence)
    except NotFound:  # killed before there was anything but the folder
        client.discard(sequence)
        return False
    if found.metadata.get("import") != origin:
        raise NameTaken(
            "there is a sequence of that name, and it was not imported from these files in this way",
            sequence=sequence,
            next_step="name another session (--name)",
        )
    if found.outcome == origin.get("outcome", Outcome.COMPLETED) and "episode" in found.topics:
        return True  # its last topic tells it from one that a killed import left, which reads as interrupted
    client.discard(sequence)
    return False
