"""One episode while it is recorded: a sequence, the writers of its topics, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gapless.errors import EpisodeFailed, GaplessError
from gapless.model.outcome import OnErrorPolicy, Outcome
from gapless.observe.grid import Tick
from gapless.observe.options import OVERFLOW, Mode, Options
from gapless.observe.plan import Plan
from gapless.observe.statistics import write_statistics
from gapless.observe.writers.pictures import PictureWriter
from gapless.observe.writers.table import FrameWriter, TableWriter
from gapless.observe.writers.writer import Instant, Writer
from gapless.store.episode_rows import ENDED, TASKS, FrameFlag

if TYPE_CHECKING:
    from gapless.client.client import Client
    from gapless.client.topic_writer import TopicWriter


STATISTICS = "statistics.json"


@dataclass(frozen=True)
class Ended:
    """What is known of an episode that has ended, in the words of a report."""

    sequence: str
    session: str
    index: int
    seed: int | None
    frames: int
    success: bool | None
    outcome: str | None
    content_digest: str | None
    discarded: str | None = None

    def execution_metadata(self) -> dict[str, Any]:
        """Return the words for a hub: facts of the episode, never its data."""
        return dict(vars(self))


class Episode:
    """An open episode. All of it is used from the observer's thread but :meth:`seal`."""

    def __init__(
        self,
        client: Client,
        plan: Plan,
        options: Options,
        name: str,
        metadata: Mapping[str, Any],
        session: str,
    ) -> None:
        self.name = name
        self.session = session
        self.index: int = metadata["episode"]["index"]
        self.seed: int | None = metadata["episode"]["seed"]
        self.success: bool | None = None
        self._client = client
        self._plan = plan
        self._instant = Instant()
        self._last_ns = 0
        self.frames = FrameWriter()
        self.tables = [TableWriter(r.name, t) for r, t in plan.tick_tables]
        self.step_tables = [TableWriter(r.name, t) for r, t in plan.step_tables]
        policy, may_wait = OVERFLOW[options.image_policy], options.mode is Mode.SIMULATED
        self.cameras = [PictureWriter(r.name, c, policy, may_wait=may_wait) for r, c in plan.cameras]
        self._row_writers: list[Writer] = [self.frames, *self.tables]
        self._tasks: TopicWriter
        self._ended: TopicWriter
        self.sequence = client.sequence_create(name, metadata, group=session, on_error=OnErrorPolicy.Report)

    def open(self) -> None:
        """Make the sequence and its topics; on an error only a tombstone stays."""
        self.sequence.__enter__()
        try:
            self.frames.open(self.sequence)
            self._tasks = self.sequence.topic_create("tasks", schema=TASKS)
            writers: list[Writer] = [*self.tables, *self.step_tables, *self.cameras]
            for writer in writers:
                writer.open(self.sequence)
            self._ended = self.sequence.topic_create("episode", schema=ENDED)
            for recorder in self._plan.recorders:
                recorder.begin()
                for name, content in sorted(recorder.artifacts().items()):
                    self._add(name, content)
        except BaseException as error:
            try:
                self.sequence.discard(f"it could not be opened: {type(error).__name__}: {error}")
            except GaplessError as problem:
                self._let_go(error, problem)
            raise

    def _add(self, name: str, content: bytes) -> None:
        with TemporaryDirectory(prefix="gapless-") as folder:  # a file that grows in place can be no server's
            file = Path(folder) / "content"
            file.write_bytes(content)
            self.sequence.add_artifact(file, name)

    def name_task(self, index: int, text: str) -> None:
        """Write what a task's number means."""
        self._tasks.push_row(self._last_ns, index, text)

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return self.frames.rows

    def start(self, tasks: Mapping[int, str], time_ns: int) -> None:
        """Write the tasks known so far, at the time of the first row."""
        self._last_ns = time_ns
        for index, text in sorted(tasks.items()):
            self.name_task(index, text)

    # -- rows ----------------------------------------------------------------------------------

    def write_row(self, tick: Tick, captured_ns: int, flags: int, task: int) -> None:
        """Write what the tick tables read last as the row of this tick; missed ticks become a gap."""
        if tick.missed:
            for writer in self._row_writers:
                writer.gap(tick.missed, "late", tick.first_missed_ns, tick.time_ns)
            flags |= FrameFlag.AFTER_GAP
        instant = self._instant
        instant.time_ns, instant.captured_ns, instant.flags = tick.time_ns, captured_ns, int(flags)
        self.frames.task = task
        for writer in self.tables:
            writer.append(instant)
        self.frames.append(instant)
        self._last_ns = tick.time_ns

    def write_pictures(self, tick: Tick, captured_ns: int, flags: int) -> None:
        """Write what the cameras read last as the pictures of this tick."""
        if tick.missed:
            for camera in self.cameras:
                camera.gap(tick.missed, "late", tick.first_missed_ns, tick.time_ns)
            flags |= FrameFlag.AFTER_GAP
        instant = self._instant
        instant.time_ns, instant.captured_ns, instant.flags = tick.time_ns, captured_ns, int(flags)
        for camera in self.cameras:
            camera.append(instant)

    def note_reset(self, message: str, time_ns: int) -> None:
        """Note in ``_events`` that the scene was reset."""
        self.sequence.event("info", "soft_reset", message, timestamp_ns=time_ns, durable=False)

    def write_steps(self, time_ns: int) -> None:
        """Write what the step tables read last."""
        self._instant.time_ns = time_ns
        for writer in self.step_tables:
            writer.append(self._instant)

    def gap(self, cause: str, start_ns: int, end_ns: int, *, rows: int | None, pictures: int | None) -> None:
        """Record missing ticks: of the rows, and of the pictures; None: there were no ticks in that time."""
        if rows != 0:
            for writer in self._row_writers:
                writer.gap(rows, cause, start_ns, end_ns)
        if pictures != 0:
            for camera in self.cameras:
                camera.gap(pictures, cause, start_ns, end_ns)
        if rows is None:
            for table in self.step_tables:
                table.gap(None, cause, start_ns, end_ns)

    # -- ends ----------------------------------------------------------------------------------

    def close(self, success: bool | None, reason: str) -> None:
        """Write the last row; :meth:`seal` does the rest, from any thread."""
        self.success = success
        self._ended.push_row(self._last_ns, success, self.frames.rows, reason)

    def seal(self) -> Ended:
        """Add the statistics and seal; when this returns, the episode is complete and claims to be."""
        self.sequence.flush()
        pictures = {camera.topic: camera.summary for camera in self.cameras}
        handler = self._client.sequence_handler(self.name)
        self._add(STATISTICS, write_statistics(handler, pictures))
        self.sequence.end(Outcome.COMPLETED)
        return self._told(Outcome.COMPLETED, None)

    def discard(self, reason: str) -> Ended:
        """Give the episode up; a tombstone with its ledger and the reason stays."""
        self.sequence.discard(reason)
        return self._told(None, reason)

    def fail(self, error: BaseException) -> Ended:
        """Keep what there is: sealed as failed, or pending where the disk does not allow that."""
        return self._end(Outcome.FAILED, error)

    def abort(self, error: BaseException) -> Ended:
        """Seal what there is as stopped by a person, or keep it as :meth:`fail` does."""
        return self._end(Outcome.ABORTED, error)

    def _end(self, outcome: Outcome, error: BaseException) -> Ended:
        try:
            self.sequence.end(outcome, f"{type(error).__name__}: {error}")
        except GaplessError as problem:
            self._let_go(error, problem)
        return self._told(outcome, None)

    def _let_go(self, error: BaseException, problem: GaplessError) -> None:
        """Keep what the disk took as pending: the recording itself failed."""
        if problem is not error:
            error.add_note(f"the episode could not be sealed: {problem}")
        self.sequence.__exit__(type(error), error, error.__traceback__)

    def _told(self, outcome: Outcome | None, discarded: str | None) -> Ended:
        return Ended(
            self.name,
            self.session,
            self.index,
            self.seed,
            self.frames.rows,
            self.success,
            None if outcome is None else str(outcome),
            self.sequence.content_digest,
            discarded,
        )


def as_episode_error(error: BaseException, episode: str) -> GaplessError:
    """Return the error of a source or writer as a typed one."""
    if isinstance(error, GaplessError):
        return error
    failed = EpisodeFailed(
        "a source, a recorder or the disk failed; the episode ends as failed",
        sequence=episode,
        found=f"{type(error).__name__}: {error}",
    )
    failed.__cause__ = error
    return failed
