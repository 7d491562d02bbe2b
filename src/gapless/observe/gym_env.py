"""Any gymnasium environment recorded as episodes::

    env = RecordEpisodes(gymnasium.make("Pendulum-v1"), client)
    # and then as without it: reset, step, …, close

Row t of the topic ``environment`` holds observation t, the action that answered it, and the reward,
``terminated`` and ``truncated`` that came of it. The observation after the last action is the one row of the
topic ``final_observation``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat

import numpy as np

from gapless.errors import MissingExtra, UsageError, ValueRefused
from gapless.observe.observer import Observer
from gapless.observe.options import ImagePolicy
from gapless.observe.state import DataState

try:
    import gymnasium
except ModuleNotFoundError as error:
    raise MissingExtra("it needs gymnasium", next_step="pip install 'gapless[sim]'") from error

from gapless.observe.gym_recorder import EnvironmentRecorder, Media

if TYPE_CHECKING:
    from gapless.client.client import Client
    from gapless.observe.approval import Approver

FINAL_OBSERVATION = "final_observation"
_LARGEST_DENOMINATOR = 1_000_000  # a float such as 0.05 is meant as 1/20
_NS = 1_000_000_000
_POLL_S = 0.01
_OVER = (DataState.IDLE, DataState.REJECTED, DataState.INTERRUPTED)


class RecordEpisodes(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Records each episode of an environment as a sequence ``<session>/episode-000000`` and on.

    An episode begins with the first step after a reset and ends where the environment ends it; ``reset()`` or
    ``close()`` before that end it as truncated, an exception as failed. ``session``: the environment's id if
    None. A step takes ``dt`` seconds, or what the environment says (``unwrapped.dt``, else ``render_fps``).
    Pictures are uint8 observations ``[height, width, 3]`` and, with ``render``, what ``env.render()`` returns;
    they become mp4, which is not exact, or png where their size is odd, or what ``media`` says.
    ``success`` of an episode is the last ``info["is_success"]`` or ``info["success"]``, else not judged.
    Rows have simulation time, so the same seed and actions give the same bytes, if the environment does.
    After ``total_episodes`` it only passes on. The other options are those of the Observer.

    Raises SchemaRefused for a space that has no columns, UsageError if nothing says how long a step is.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        client: Client,
        session: str | None = None,
        *,
        tasks: Iterable[str] = (),
        dt: float | Fraction | None = None,
        render: bool = False,
        media: Media | None = None,
        approver: Approver | None = None,
        on_recording_started: Callable[[], None] | None = None,
        total_episodes: int | None = None,
        image_policy: ImagePolicy | str = ImagePolicy.BLOCK,
        robot_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        _check(env, render=render)
        super().__init__(env)
        name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
        self.session = session or name
        self.rate = _rate(env, dt)  # steps per second
        self.last_episode: str | None = None  # the sequence of the episode that ended last
        self._tasks = list(tasks)
        self._rendered = render
        self._recorder = EnvironmentRecorder(env, media)
        self._new_observer = partial(
            Observer,
            client,
            [self._recorder],
            approver,
            data_hz=self.rate,
            on_recording_started=on_recording_started,
            total_episodes=total_episodes,
            image_policy=image_policy,
            robot_type=robot_type,
            metadata={"environment": {"id": name, "dt_s": str(1 / self.rate)}, **(metadata or {})},
        )
        self._observer: Observer | None = None
        self._ready = False  # an observation waits for its action
        self._steps = 0
        self._seed: int | None = None
        self._success: bool | None = None

    # -- as without it -------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """End an episode that is open as truncated, and reset the environment; the seed is recorded."""
        self._end("truncated")
        self._ready = False
        observation, info = self.env.reset(seed=seed, options=options)
        self._steps, self._success = 0, None
        self._seed = None if seed is None else int(seed)
        self._look(observation)
        self._ready = True
        return observation, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the environment and record the row.

        Raises ValueRefused before the step for an action that is not of its space, UsageError after the end.
        """
        if not self._ready:
            raise UsageError("no episode has begun", next_step="call reset(), also after an end or an error")
        values = self._recorder.actions.values(action)
        observer = self._observer if self._steps and self._observer is not None else self._begin()
        self._ready = False
        with _failing(observer):
            observation, reward, terminated, truncated, info = self.env.step(action)
            self._recorder.answer(values, reward, terminated, truncated)
            self._success = _success(info)
        observer.observe(self._steps, self._steps * _NS * self.rate.denominator // self.rate.numerator)
        self._steps += 1
        over = bool(terminated or truncated)
        with _failing(observer):
            self._look(observation, last=over)
        if over:
            self._end("terminated" if terminated else "truncated")
        self._ready = not over
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        """End an episode that is open as truncated, end the session, and close the environment.

        While an exception is on its way (``finally: env.close()``) the episode ends as failed, or as aborted
        by a person, and not as truncated.
        """
        error = sys.exc_info()[1]
        try:
            if error is not None and self._observer is not None and self._observer.recording:
                self._observer.__exit__(type(error), error, error.__traceback__)
            self._end("truncated")
            if self._observer is not None and self._observer.state is not DataState.IDLE:
                self._observer.end_session()
        finally:
            self._ready = False
            super().close()

    def __exit__(self, *raised: Any) -> Literal[False]:
        if raised[1] is not None and self._observer is not None:
            self._observer.__exit__(*raised)
        self.close()
        return False

    # -- recording -----------------------------------------------------------------------------

    def _look(self, observation: Any, *, last: bool = False) -> None:
        """Keep the observation that the next action answers, before the environment changes it."""
        self._recorder.observe(observation)
        if self._rendered and not last:
            self._recorder.show(self.env.render())

    def _begin(self) -> Observer:
        """Return the observer, with an open episode unless it has all it may have; waits for approval."""
        if self._observer is None or self._observer.state in _OVER:
            self._observer = self._new_observer()
            self._observer.start_session(self.session, self._tasks)
        while self._observer.tick() is DataState.PENDING_APPROVAL:
            time.sleep(_POLL_S)
        if self._observer.state is DataState.REJECTED and self._observer.last_error is not None:
            raise self._observer.last_error
        if not self._observer.complete:
            self._observer.begin_episode(seed=self._seed)
        return self._observer

    def _end(self, reason: str) -> None:
        """End the episode if one is open: what was seen last is its final observation."""
        observer = self._observer
        episode = None if observer is None else observer.sequence
        if observer is None or episode is None:
            return
        time_ns = self._steps * _NS * self.rate.denominator // self.rate.numerator
        topic = episode.topic_create(FINAL_OBSERVATION, schema=self._recorder.final_schema)
        topic.push_row(time_ns, *self._recorder.final_row)
        self.last_episode = observer.end_episode(self._success, reason=reason)


@contextmanager
def _failing(observer: Observer) -> Iterator[None]:
    """End an open episode as failed when the environment raises, and the session when a person stops it."""
    try:
        yield
    except BaseException as error:
        if observer.recording and isinstance(error, Exception):
            observer.fail_episode(error)
        elif observer.recording:
            observer.__exit__(type(error), error, error.__traceback__)
        raise


def _check(env: Any, *, render: bool) -> None:
    if not isinstance(env, gymnasium.Env):
        raise UsageError(
            "only a single environment can be recorded",
            found=type(env).__name__,
            next_step="wrap each environment of a vector",
        )
    if render and env.render_mode != "rgb_array":
        raise UsageError(
            "the environment renders no pictures",
            field="render",
            found=f"render_mode {env.render_mode!r}",
            expected="'rgb_array'",
            next_step='make it with render_mode="rgb_array"',
        )


def _rate(env: gymnasium.Env[Any, Any], dt: float | Fraction | None) -> Fraction:
    """Return steps per second; the physics' own time is right even where ``render_fps`` is another."""
    step_s = dt if dt is not None else getattr(env.unwrapped, "dt", None)
    fps = env.metadata.get("render_fps")
    if step_s is None and fps is None:
        raise UsageError(
            "nothing says how long a step is",
            field="dt",
            found="neither env.unwrapped.dt nor render_fps in env.metadata",
            next_step="give dt= in seconds",
        )
    try:
        return _fraction(fps) if step_s is None else 1 / _fraction(step_s)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            "a step takes a number of seconds", field="dt", found=repr(fps if step_s is None else step_s)
        ) from error


def _fraction(value: Any) -> Fraction:
    meant = Fraction(value if isinstance(value, Fraction) else float(value))
    meant = meant.limit_denominator(_LARGEST_DENOMINATOR)
    if meant <= 0:
        raise ValueError("not above zero")
    return meant


def _success(info: Mapping[str, Any]) -> bool | None:
    found = info.get("is_success", info.get("success"))
    if found is None:
        return None
    if np.size(found) != 1:
        raise ValueRefused(
            "an episode succeeds or not", field="is_success", found=repr(found), expected="one bool"
        )
    return bool(np.asarray(found).item())
