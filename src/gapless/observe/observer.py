"""The observer: drives recorders inside a stepping program and seals one sequence for each episode."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - pandas, imported late by pyarrow, cannot import it at exit
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from gapless.errors import (
    ApprovalRefused,
    EpisodeFailed,
    GaplessError,
    ObserveFailed,
    TransitionRefused,
    UsageError,
)
from gapless.model.outcome import choice
from gapless.observe.approval import Approval, Approver, Decision, NoApproval
from gapless.observe.closing import Closer
from gapless.observe.episode import Ended, Episode, as_episode_error
from gapless.observe.instants import Instants
from gapless.observe.options import ImagePolicy, Mode, Options, judgement
from gapless.observe.plan import Plan
from gapless.observe.recorder import Recorder
from gapless.observe.session import Session, tasks_of
from gapless.observe.state import DataState, Move, after
from gapless.observe.step import Phase, StepContext
from gapless.store.episode_rows import FrameFlag

if TYPE_CHECKING:
    from gapless.client.client import Client
    from gapless.client.sequence_writer import SequenceWriter

_LOG = logging.getLogger("gapless.observe")


class Observer:
    """Records episodes of a stepping program; nothing is written before the session is approved.

    ``start_session`` asks, ``tick`` (called once per frame) promotes to recording or disarms, and the two
    hooks, called in both phases of every step, read all sources first and hand over afterwards, so that all
    recorders see one instant. An error of a source, a writer or an encoder ends the episode as failed and is
    raised by the call that meets it. Use it as a context manager, from one thread.

    ``data_hz``, ``video_hz``: rows and pictures per second, of which missing ones become gaps. ``mode``: whose
    time the rows have. ``deterministic=True`` is refused where identical seeds could give other bytes.
    ``image_policy``: block, repeat or fail, for pictures that the encoder has no room for.
    ``max_episode_s`` ends an episode by itself; with ``auto_advance`` the next one begins.
    """

    def __init__(
        self,
        client: Client,
        recorders: Sequence[Recorder],
        approver: Approver | None = None,
        mode: Mode | str = Mode.SIMULATED,
        data_hz: int | float | str | Fraction = 30,
        video_hz: int | float | str | Fraction | None = None,
        on_recording_started: Callable[[], None] | None = None,
        *,
        deterministic: bool | None = None,
        total_episodes: int | None = None,
        max_episode_s: float | None = None,
        auto_advance: bool = False,
        image_policy: ImagePolicy | str = ImagePolicy.BLOCK,
        robot_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.options = Options.of(
            mode,
            data_hz,
            video_hz,
            image_policy,
            deterministic=deterministic,
            total_episodes=total_episodes,
            max_episode_s=max_episode_s,
            auto_advance=auto_advance,
        )
        self.state = DataState.IDLE
        self.last_error: GaplessError | None = None
        self._torn: BaseException | None = None
        self._unrecorded = 0  # hooks of a session in which no episode has begun
        self._client = client
        self._plan = Plan(recorders)
        self._approver: Approver = approver or NoApproval()
        self._on_recording_started = on_recording_started
        self._robot_type = robot_type
        self._metadata = dict(metadata or {})
        self._session: Session | None = None
        self._approval: Approval | None = None
        self._episode: Episode | None = None
        self._instants = Instants(self.options)
        self._closer = Closer()
        self._at_exit = partial(_end_at_exit, self)

    # -- the session ---------------------------------------------------------------------------

    def start_session(
        self, session: str, tasks: Iterable[str] = (), *, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Ask for approval of a session; its episodes become sequences ``session/episode-000000`` and on.

        Nothing is recorded yet: :meth:`tick` tells when it may. Raises NotAuthenticated, with the state
        Rejected, before anything is sent; SchemaChanged for recorders that changed within a version.
        """
        state = after(self.state, Move.START)
        started = Session(
            session,
            self._client,
            self._plan,
            self.options,
            self._robot_type,
            {**self._metadata, **(metadata or {})},
        )
        for index, text in tasks_of(tasks).items():
            started.register(index, text)
            started.task = 0
        self._session, self.state, self.last_error = started, state, None
        self._unrecorded, self._torn = 0, None
        atexit.register(self._at_exit)  # keeps an observer that the program forgets, until its session ends
        try:
            self._approval = self._approver.request(started.request())
        except BaseException as error:  # the approver is the caller's
            self._refuse(_as_refusal(error))
            raise

    def tick(self) -> DataState:
        """Look once, without waiting: promote to recording, or disarm with :attr:`last_error`; return the state.

        Raises what sealing an earlier episode behind the simulation's back met.
        """
        self._collect(wait=False)
        if self.state is DataState.PENDING_APPROVAL:
            assert self._approval is not None
            assert self._session is not None
            decision = self._approval.poll()
            if decision is Decision.APPROVED:
                self._session.reports = self._approval.reports
                self.state = after(self.state, Move.APPROVE)
                if self._on_recording_started is not None:
                    self._on_recording_started()
            elif decision is Decision.REFUSED:
                self._refuse(
                    self._approval.error or ObserveFailed("the session was refused without a reason")
                )
        return self.state

    def _refuse(self, error: GaplessError) -> None:
        self.state = after(self.state, Move.REFUSE)
        self.last_error = error
        self._approval = self._session = None
        atexit.unregister(self._at_exit)

    def end_session(self) -> None:
        """End the session; an open episode is ended as not judged, one not approved yet is no longer asked for.

        It has ended also when an episode's failure is raised.
        """
        state = after(self.state, Move.STOP)
        try:
            if self._episode is not None:
                self.end_episode(None)
            self._collect(wait=True)
        finally:
            self._closer.stop()
            self._take_sealed(wait=False)  # all are sealed now: those too whose end nobody waited for
            if self._approval is not None and self.state is DataState.PENDING_APPROVAL:
                self._approval.cancel()
                self.last_error = ApprovalRefused("the session was ended before it was approved")
            self._leave("ended")
            self.state = state

    def _leave(self, reason: str) -> None:
        """Let go of the session; the hub hears of its end last."""
        session, self._session, self._approval = self._session, None, None
        atexit.unregister(self._at_exit)
        if session is None:
            return
        session.stop_reports(reason)
        if self._unrecorded and not session.used:
            warnings.warn(
                f"session {session.name!r} recorded nothing: begin_episode() was never called,"
                f" and its hooks {self._unrecorded} times",
                stacklevel=3,
            )

    # -- episodes ------------------------------------------------------------------------------

    def begin_episode(self, *, seed: int | None = None, metadata: Mapping[str, Any] | None = None) -> str:
        """Open the next episode and return its sequence's name; the next hook is its first instant.

        Raises TransitionRefused unless the session is approved and no episode is open.
        """
        self._collect(wait=False)
        session = self._approved("begin an episode")
        if self._episode is not None:
            raise TransitionRefused(
                "an episode is open", sequence=self._episode.name, next_step="end it first"
            )
        if session.complete:
            raise TransitionRefused(
                "the session has all its episodes", found=session.begun, expected="at most total_episodes"
            )
        fresh = session.next_episode(seed, metadata)
        self.state = after(self.state, Move.BEGIN)
        return self._open(session, fresh)

    def _open(self, session: Session, fresh: Episode) -> str:
        try:
            fresh.open()
        except BaseException as error:  # noqa: BLE001 - it is raised again
            self._fail(error, fresh.name, None)
        self._episode = fresh
        session.begun += 1
        self._instants.begin(fresh, session.tasks, session.task)
        return fresh.name

    def end_episode(self, success: bool | None = None, *, reason: str = "ended") -> str:
        """End and seal the open episode; ``success`` None: not judged. Return its sequence's name."""
        episode = self._open_episode("end an episode")
        self._close(episode, success, reason)
        self._collect(wait=True)
        return episode.name

    def end_and_begin_next(
        self,
        success: bool | None = None,
        *,
        seed: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        reason: str = "advanced",
    ) -> str:
        """End the open episode and begin the next between two steps; return the next one's name.

        The old one is sealed on another thread: the program goes on at once, and a failure to seal is raised
        by the next call that is not a hook: by :meth:`tick`, say. The next one records on nevertheless.
        """
        self._collect(wait=False)
        episode = self._open_episode("end an episode")
        session = self._approved("begin an episode")
        if session.complete:
            raise TransitionRefused("the session has all its episodes", found=session.begun)
        fresh = session.next_episode(seed, metadata)  # what it refuses leaves the old one open
        self._close(episode, success, reason)
        return self._open(session, fresh)

    def discard_episode(self, reason: str) -> None:
        """Give the open episode up: no topic of it stays, but a tombstone with its ledger and the reason."""
        if not isinstance(reason, str) or not reason.strip():
            raise UsageError("a discarded episode has a reason", field="reason", found=repr(reason))
        episode = self._open_episode("discard an episode")
        self._episode = None
        self._instants.forget()
        earlier = self._take_sealed(wait=True)
        try:
            ended = episode.discard(reason)
        except BaseException as error:  # noqa: BLE001 - it is raised again
            self._fail(error, episode.name, episode)
        assert self._session is not None
        self._session.begun -= 1
        self._started().tell(ended)
        if earlier is not None:
            raise earlier

    def fail_episode(self, error: BaseException) -> None:
        """End the open episode as failed, for a program whose own step raised; the session may go on."""
        episode = self._open_episode("fail an episode")
        self._episode = None
        self._failed(as_episode_error(error, episode.name), episode)

    def _close(self, episode: Episode, success: bool | None, reason: str) -> None:
        """Write the last rows of the open episode and have it sealed, after those that ended before it."""
        self._fail_if_torn()
        judged = judgement(success)
        try:
            self._instants.end()
            episode.close(judged, reason)
        except BaseException as error:
            if not isinstance(error, Exception):
                raise  # Ctrl-C, as in the hooks
            self._episode = None
            self._fail(error, episode.name, episode)
        self._closer.give(episode)
        self._episode = None

    def _fail_if_torn(self) -> None:
        """Fail the open episode if a Ctrl-C came into the middle of an instant and the program went on."""
        torn, self._torn = self._torn, None
        if torn is None or self._episode is None:
            return
        episode, self._episode = self._episode, None
        failure = EpisodeFailed(
            "the episode was interrupted in the middle of an instant, so it cannot be complete",
            sequence=episode.name,
            found=repr(torn),
        )
        self._failed(failure, episode)
        raise failure from torn

    def _collect(self, *, wait: bool) -> None:
        """Take what was sealed behind the back; raise the first failure after all are taken."""
        failure = self._take_sealed(wait=wait)
        if failure is not None:
            raise failure

    def _take_sealed(self, *, wait: bool) -> GaplessError | None:
        failures: list[GaplessError] = []

        def take(episode: Episode, found: Ended | BaseException) -> None:
            if isinstance(found, Ended):
                self._started().tell(found)
            else:
                failures.append(as_episode_error(found, episode.name))
                self._keep_failed(failures[-1], episode)

        self._closer.ended(take, wait=wait)
        return failures[0] if failures else None

    # -- the step hooks ------------------------------------------------------------------------

    def update_data(self, context: StepContext) -> None:
        """Acquire: read the tables of all recorders. Export: write their rows. Called in both phases of a step."""
        self._hook(context, self._instants.acquire_data, self._instants.export_data)

    def update_video(self, context: StepContext) -> None:
        """Acquire: read the cameras of all recorders. Export: hand their pictures to the encoders."""
        self._hook(context, self._instants.acquire_video, self._instants.export_video)

    def observe(self, step: int, time_ns: int | None = None) -> None:
        """Call both hooks in both phases, for a program without phases of its own."""
        for phase in (Phase.ACQUIRE, Phase.EXPORT):
            context = StepContext(step, phase, time_ns)
            self.update_data(context)
            self.update_video(context)

    def _hook(
        self,
        context: StepContext,
        acquire: Callable[[StepContext], None],
        export: Callable[[], None],
    ) -> None:
        acquiring = choice(Phase, context.phase, "phase") is Phase.ACQUIRE
        self._fail_if_torn()
        if acquiring and self._instants.begins(context):
            self._advance_if_over()
        if self._episode is None:
            self._unrecorded += self._session is not None
            return
        try:
            if acquiring:
                acquire(context)
            else:
                self._instants.check_export(context)
                export()
        except BaseException as error:
            if not isinstance(error, Exception):
                self._torn = error  # some rows of this instant may be written and others not
                raise  # Ctrl-C: the block that ends says what becomes of the episode
            episode, self._episode = self._episode, None
            self._fail(error, episode.name, episode)

    def _advance_if_over(self) -> None:
        """End an episode that has reached its cap, before the first source of a step is read."""
        limit = self.options.max_rows
        if limit is None or self._episode is None or self._instants.ticks < limit:
            return
        if self.options.auto_advance and self._session is not None and not self._session.complete:
            self.end_and_begin_next(None, reason="duration_cap")
        else:
            self.end_episode(None, reason="duration_cap")

    # -- what is said of rows ------------------------------------------------------------------

    def register_task(self, index: int, text: str) -> None:
        """Give a task its number, before or while an episode is recorded."""
        session = self._started()
        new = index not in session.tasks
        session.register(index, text)
        if new and self._episode is not None and self._instants.started:
            self._episode.name_task(index, text)

    def set_task(self, index: int) -> None:
        """Make this the task of the rows from the next one on; -1: none."""
        self._started().set_task(index)
        self._instants.task = index

    def flag(self, flag: FrameFlag) -> None:
        """Set a bit in ``frame_flags`` of the next row: NEW_POLICY_STEP or POST_RESET; the observer sets the others."""
        self._open_episode("flag a row")
        if flag not in (FrameFlag.NEW_POLICY_STEP, FrameFlag.POST_RESET):
            raise UsageError(
                "a program cannot set this flag",
                field="flag",
                found=repr(flag),
                expected="FrameFlag.NEW_POLICY_STEP or FrameFlag.POST_RESET",
            )
        self._instants.flag(flag)

    def soft_reset(self, message: str = "the scene was reset") -> None:
        """Note that the scene was reset while the episode goes on; time may go back, and the next row says so."""
        self._open_episode("reset the scene")
        self._instants.soft_reset(message)

    def pause(self, reason: str = "paused") -> None:
        """Record nothing until :meth:`resume`; the time between becomes a gap with this cause."""
        self._open_episode("pause")
        if not isinstance(reason, str) or not reason.strip() or not reason.isprintable():
            raise UsageError("a pause has a reason in words", field="reason", found=repr(reason))
        self._instants.pause(reason)

    def resume(self) -> None:
        """Go on after :meth:`pause`; the next row is marked."""
        self._open_episode("resume")
        self._instants.resume()

    # -- state ---------------------------------------------------------------------------------

    @property
    def recording(self) -> bool:
        """Whether an episode is open."""
        return self._episode is not None

    @property
    def episode(self) -> str | None:
        """The sequence of the open episode."""
        return None if self._episode is None else self._episode.name

    @property
    def sequence(self) -> SequenceWriter | None:
        """The writer of the open episode, for topics and events that no recorder has."""
        return None if self._episode is None else self._episode.sequence

    @property
    def rows(self) -> int:
        """Rows of the open episode so far."""
        return 0 if self._episode is None else self._episode.rows

    @property
    def ticks(self) -> int:
        """Rows that the open episode should have so far: those it has, and those that are missing."""
        return self._instants.ticks

    @property
    def episodes(self) -> int:
        """Episodes of the session that are sealed."""
        return 0 if self._session is None else self._session.ended

    @property
    def complete(self) -> bool:
        """Whether the session has all the episodes it may have."""
        return self._session is not None and self._session.complete and self._episode is None

    def _started(self) -> Session:
        if self._session is None:
            raise TransitionRefused(
                "there is no session", found=f"state {self.state}", next_step="start_session()"
            )
        return self._session

    def _approved(self, what: str) -> Session:
        if self.state not in (DataState.RECORDING, DataState.FAILED) or self._session is None:
            raise TransitionRefused(
                f"the observer cannot {what} now",
                found=f"state {self.state}",
                expected="an approved session",
                next_step="call tick() until the state is recording",
            )
        return self._session

    def _open_episode(self, what: str) -> Episode:
        if self._episode is None:
            raise TransitionRefused(
                f"the observer cannot {what}: none is open",
                found=f"state {self.state}",
                next_step="begin_episode() first; last_error tells of one that failed",
            )
        return self._episode

    def _fail(self, error: BaseException, name: str, episode: Episode | None) -> NoReturn:
        """Raise the error, as a typed one, when what there is is kept."""
        failure = as_episode_error(error, name)
        self._failed(failure, episode)
        if failure is error or not isinstance(error, Exception):
            raise error
        raise failure from error

    def _failed(self, error: GaplessError, episode: Episode | None) -> None:
        """Keep what there is of the episode that was open; None: it could not be opened."""
        self._instants.forget()
        earlier = self._take_sealed(wait=True)  # reports keep the order in which episodes ended
        if earlier is not None:
            error.add_note(f"an earlier episode failed as well: {earlier}")
        self._keep_failed(error, episode)

    def _keep_failed(self, error: GaplessError, episode: Episode | None) -> None:
        if self._episode is None:  # a failure behind the back does not end the episode that is open
            self.state = after(self.state, Move.FAIL)
        self.last_error = error
        if episode is not None and self._session is not None:
            self._session.begun -= 1
            self._started().tell(episode.fail(error))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            if self.state is not DataState.IDLE:
                self.end_session()
            return
        self._interrupt(error)

    def _interrupt(self, error: BaseException) -> None:
        """Keep what there is when an exception ends the block: aborted by a person, or failed."""
        episode, self._episode = self._episode, None
        if episode is not None and self._closer.has(episode):
            episode = None  # it had ended, and is sealed or told of below
        earlier = self._take_sealed(wait=True)
        if earlier is not None:
            error.add_note(f"an episode could not be sealed: {earlier}")
        if episode is not None:
            try:
                self._instants.end()
            except GaplessError as problem:
                error.add_note(f"the last gaps of {episode.name} could not be written: {problem}")
            self._started().tell(
                episode.fail(error) if isinstance(error, Exception) else episode.abort(error)
            )
        self._closer.stop()
        if self._approval is not None and self.state is DataState.PENDING_APPROVAL:
            self._approval.cancel()
        if self.state in (DataState.PENDING_APPROVAL, DataState.RECORDING, DataState.FAILED):
            self.state = after(self.state, Move.INTERRUPT)
        self._leave(f"{type(error).__name__}: {error}")


def _end_at_exit(observer: Observer) -> None:
    """Keep the open episode of a program that ends without ending its session."""
    if observer.state is DataState.IDLE:
        return
    episode = observer.episode
    ended = SystemExit("the program ended without end_session()")
    observer._interrupt(ended)
    for note in getattr(ended, "__notes__", ()):  # nobody else will ever read them
        _LOG.error("episode %s: %s; `gapless recover` seals what reached the disk", episode, note)


def _as_refusal(error: BaseException) -> GaplessError:
    """Return what an approver raised as the reason why the session is not recorded."""
    if isinstance(error, GaplessError):
        return error
    return ObserveFailed("the approver failed", found=f"{type(error).__name__}: {error}")
