"""The instants of an episode: which ticks a step has, what was read for them, what is still to be written.

A step has one instant, taken at its first hook; all its hooks see that one. What was due and not handed
over before the next step begins becomes a gap, so rows and gaps together are all ticks there were.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import index
from typing import TYPE_CHECKING

from gapless.errors import EpisodeFailed, UsageError
from gapless.observe.grid import Grid, Tick
from gapless.observe.options import Mode, Options
from gapless.store.episode_rows import FrameFlag

if TYPE_CHECKING:
    from gapless.observe.episode import Episode
    from gapless.observe.step import StepContext

_NOT_HOOKED = "hook not called"


class Instants:
    """The clock of one observer, episode after episode."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._data = Grid(options.data_hz)
        self._video = Grid(options.video_hz)
        self.forget()

    def forget(self) -> None:
        """Have no episode any more."""
        self._episode: Episode | None = None
        self._tasks: Mapping[int, str] = {}
        self.task = -1
        self.started = False
        self.ticks = 0  # data ticks so far, recorded or missed
        self._step: int | None = None
        self._data_read = self._video_read = False  # in this step
        self._now_ns = self.last_ns = 0
        self._captured_ns = 0
        self._offset_ns = 0  # what is added to simulation time, which a soft reset may set back
        self._raw_ns: int | None = None
        self._row: Tick | None = None  # due in this step and not written yet
        self._row_read = False
        self._picture: Tick | None = None
        self._picture_read = False
        self._steps_due = 0  # physics steps of this turn that have no row yet, those before it included
        self._steps_read = False
        self._messages: list[str] = []  # of resets, to be noted at the next instant
        self._flags = 0
        self._picture_flags = 0
        self._reset = False
        self._rebase = False
        self._paused: str | None = None  # the reason
        self._paused_ns = 0
        self._resumed = False

    def begin(self, episode: Episode, tasks: Mapping[int, str], task: int) -> None:
        """Begin an episode; its first instant is that of the next hook."""
        self.forget()
        self._episode, self._tasks, self.task = episode, tasks, task

    def end(self) -> None:
        """Account for what is due and was never written, and for a pause that did not end."""
        if self._episode is not None and self.started:
            self._settle()
            if self._options.mode is Mode.REALTIME:
                self._now_ns = self._clock()
                if self._paused is None:
                    row = self._data.take(self._now_ns)
                    self._miss(row, self._picture_of(row), "late")
            self._write_pause(self._now_ns)
        self.forget()

    # -- a step --------------------------------------------------------------------------------

    def begins(self, context: StepContext) -> bool:
        """Tell whether this is the first hook of a step."""
        return context.step != self._step

    def _turn(self, context: StepContext) -> None:
        """At the first hook of a step, settle the last one and find which ticks are due now."""
        if not self.begins(context):
            self._check_same(context)
            return
        self._settle()
        going_on = self._step is not None and self._paused is None
        step = _number_of(context.step)
        skipped = max(0, step - (self._step or 0) - 1) if going_on else 0
        self._step = step
        self._data_read = self._video_read = False
        self._take_time(context)
        assert self._episode is not None
        for message in self._messages:
            self._episode.note_reset(message, self._now_ns)
        self._messages.clear()
        if not self.started:
            self.started = True
            self._data.start(self._now_ns)
            self._video.start(self._now_ns)
            self._episode.start(self._tasks, self._now_ns)
            self._paused_ns = self._now_ns
        if self._paused is not None:
            if not self._resumed:
                return
            self._write_pause(self._now_ns)
            self._rebase = True
            self.flag(FrameFlag.AFTER_GAP)
        if self._rebase:
            self._rebase = False
            self._data.start(self._now_ns)
            self._video.start(self._now_ns)
        self._steps_due = 1 + skipped
        self._row = self._data.take(self._now_ns)
        self._picture = self._picture_of(self._row)
        self.ticks += 0 if self._row is None else self._row.missed + 1

    def _picture_of(self, row: Tick | None) -> Tick | None:
        """Return the tick of the pictures; with one rate it is that of the rows."""
        same = self._options.data_hz == self._options.video_hz
        return row if same else self._video.take(self._now_ns)

    def _take_time(self, context: StepContext) -> None:
        assert self._episode is not None
        if self._options.mode is Mode.REALTIME:
            self._now_ns = self._captured_ns = self._clock()
            return
        if context.time_ns is None:
            raise UsageError(
                "the step has no time",
                found="StepContext.time_ns None",
                expected=f"simulation time in mode {self._options.mode}",
            )
        try:
            raw = index(context.time_ns)
        except TypeError as error:
            raise UsageError(
                "a step's time is whole nanoseconds: a float would lose ticks",
                field="time_ns",
                found=repr(context.time_ns),
                expected=f"simulation time as an int in mode {self._options.mode}",
                next_step="count steps and multiply by the step's length in ns, or round()",
            ) from error
        if self._raw_ns is not None and (raw <= self._raw_ns if self._reset else raw < self._raw_ns):
            if not self._reset:
                raise EpisodeFailed(
                    "simulation time went back within an episode",
                    found=f"{raw} after {self._raw_ns}",
                    next_step="call soft_reset() when the scene is reset, or begin the next episode",
                )
            # the step after a reset comes one tick after the last step before it
            self._offset_ns = self._now_ns + self._data.time_of(1) - self._data.time_of(0) - raw
            self._rebase = True
        self._reset = False
        self._raw_ns = raw
        self._now_ns = self._raw_ns + self._offset_ns
        self._captured_ns = self._raw_ns if self._options.mode is Mode.SIMULATED else self._clock()

    def _clock(self) -> int:
        assert self._episode is not None
        return self._episode.sequence.now_ns()

    def _settle(self) -> None:
        """Make gaps of the ticks that the last step had and no hook wrote."""
        row, picture = self._row, self._picture
        self._row = self._picture = None
        self._row_read = self._picture_read = self._steps_read = False
        self._miss(row, picture, _NOT_HOOKED)
        self._miss_steps(self._steps_due)

    def _miss(self, row: Tick | None, picture: Tick | None, cause: str) -> None:
        """Make gaps of ticks that nothing will be written for; the next row and picture say so."""
        assert self._episode is not None
        if row is not None:
            self._episode.gap(cause, row.first_missed_ns, row.time_ns, rows=row.missed + 1, pictures=0)
            self._flags |= int(FrameFlag.AFTER_GAP)
        if picture is not None:
            count = picture.missed + 1
            self._episode.gap(cause, picture.first_missed_ns, picture.time_ns, rows=0, pictures=count)
            self._picture_flags |= int(FrameFlag.AFTER_GAP)

    def _miss_steps(self, count: int) -> None:
        """Make a gap of physics steps without a row; each that has one takes it away before."""
        assert self._episode is not None
        self._steps_due = 0
        for writer in self._episode.step_tables if count else ():
            writer.gap(count, _NOT_HOOKED, self._now_ns, self._now_ns)

    # -- the hooks -----------------------------------------------------------------------------

    def acquire_data(self, context: StepContext) -> None:
        """Read all tables that have a row in this step."""
        self._turn(context)
        assert self._episode is not None
        if self._seen(self._data_read) or self._paused is not None:
            return
        self._data_read = True
        for writer in self._episode.step_tables:
            writer.table.read(context)
        self._steps_read = True
        if self._row is not None:
            for writer in self._episode.tables:
                writer.table.read(context)
            self._row_read = True

    def acquire_video(self, context: StepContext) -> None:
        """Read all cameras if this step has a picture."""
        self._turn(context)
        assert self._episode is not None
        if self._seen(self._video_read):
            return
        self._video_read = True
        if self._picture is not None:
            for writer in self._episode.cameras:
                writer.camera.read(context)
            self._picture_read = True

    def _check_same(self, context: StepContext) -> None:
        """Refuse another time under the number of a step that was seen: its rows would be lost."""
        if self._options.mode is not Mode.REALTIME and context.time_ns != self._raw_ns:
            raise self._not_counted(f"step {context.step} at {context.time_ns} and at {self._raw_ns}")

    def _seen(self, read: bool) -> bool:
        """Tell whether this hook has read this step; in real time nobody could tell it from another."""
        if read and self._options.mode is Mode.REALTIME:
            raise self._not_counted(f"step {self._step} twice")
        return read

    def _not_counted(self, found: str) -> UsageError:
        return UsageError(
            "two steps have one number", field="step", found=found, expected="another number for each step"
        )

    def check_export(self, context: StepContext) -> None:
        """Raise UsageError if another step is to be exported than was acquired."""
        if self._step is not None and context.step != self._step:
            raise UsageError(
                "a step is exported that was not acquired",
                field="step",
                found=context.step,
                expected=self._step,
            )

    def export_data(self) -> None:
        """Write the rows of what was read."""
        assert self._episode is not None
        if self._steps_read:
            self._steps_read = False
            self._miss_steps(self._steps_due - 1)
            self._episode.write_steps(self._now_ns)
        if self._row is not None and self._row_read:
            tick, self._row, self._row_read = self._row, None, False
            self._episode.write_row(tick, self._captured_ns, self._flags, self.task)
            self.last_ns = tick.time_ns
            self._flags = 0

    def export_video(self) -> None:
        """Hand over the pictures that were read."""
        assert self._episode is not None
        if self._picture is not None and self._picture_read:
            tick, self._picture, self._picture_read = self._picture, None, False
            self._episode.write_pictures(tick, self._captured_ns, self._picture_flags)
            self._picture_flags = 0

    # -- what is said of rows ------------------------------------------------------------------

    def flag(self, flag: FrameFlag) -> None:
        """Set a bit of the next row; a picture has only the bits of what happened to the scene."""
        self._flags |= int(flag)
        self._picture_flags |= int(flag) & int(FrameFlag.POST_RESET | FrameFlag.AFTER_GAP)

    def soft_reset(self, message: str) -> None:
        """Let time go back once, and note why at the next instant."""
        self._messages.append(message)
        self._reset = True
        self._step = None  # the program may count its steps anew
        self.flag(FrameFlag.POST_RESET)

    def pause(self, reason: str) -> None:
        """Take no ticks until :meth:`resume`."""
        self._resumed = False
        if self._paused is None:
            self._paused, self._paused_ns = reason, self._now_ns

    def resume(self) -> None:
        """Make the next instant the first tick of a new grid, and the time from the last one to it a gap."""
        self._resumed = True
        if not self.started:
            self._paused = None

    def _write_pause(self, end_ns: int) -> None:
        if self._paused is not None:
            assert self._episode is not None
            self._episode.gap(self._paused, self._paused_ns, end_ns, rows=None, pictures=None)
            self._paused = None


def _number_of(step: object) -> int:
    try:
        return index(step)  # type: ignore[arg-type] # refused here
    except TypeError as error:
        raise UsageError("a step has a number", field="step", found=repr(step), expected="int") from error
