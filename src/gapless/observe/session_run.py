"""Run a simulation under an observer: wait for approval, then one episode after the other, each with its seed."""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from gapless.errors import EpisodeFailed, GaplessError, UsageError
from gapless.observe.options import Mode, Options
from gapless.observe.simulation import file_of, place_of
from gapless.observe.state import DataState

if TYPE_CHECKING:
    from gapless.observe.observer import Observer
    from gapless.observe.simulation import Simulation

_LOOK_S = 0.05  # between two looks at an approval that is pending
_NS = 1_000_000_000


@dataclass(frozen=True)
class EpisodeResult:
    """One episode that was sealed. ``success`` None: the simulation did not judge it."""

    sequence: str
    seed: int
    rows: int
    success: bool | None


@dataclass
class Progress:
    """Where a run is; one object, changed in place. ``sequence`` None: no episode is open.

    ``seed`` and ``rows`` are those of the open episode, ``results`` the episodes that are sealed, in their order.
    """

    episodes: int
    sequence: str | None = None
    seed: int = 0
    rows: int = 0
    results: list[EpisodeResult] = field(default_factory=list)


def episode_seed(seed: int, number: int) -> int:
    """Return the seed of an episode: 31 bits, which every random generator takes."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4]) >> 1


def run_session(
    observer: Observer,
    simulation: Simulation,
    *,
    session: str,
    episodes: int,
    seed: int,
    first: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[EpisodeResult]:
    """Record this many episodes and end the session; return what was sealed.

    The simulation is not touched before the session is approved. The episodes are reset with
    ``episode_seed(seed, first)``, ``episode_seed(seed, first + 1)`` and so on: a session that is continued
    goes on with ``first``, the number of its next episode. An episode ends when ``step()`` says so or at the
    observer's ``max_episode_s``, with the simulation's ``success``. In real time a step that is early waits;
    ticks of one that is late become a gap. ``on_progress`` is called while waiting, at each begin and after
    each step; what it raises ends the run: KeyboardInterrupt seals the open episode as aborted, everything
    else as failed.

    Raises what refused the session, and EpisodeFailed with file and line if the simulation raises.
    """
    if observer.options.auto_advance:
        raise UsageError(
            "auto_advance is for a program that never resets",
            next_step="leave it out: the run resets the simulation",
        )
    if not episodes > 0:
        raise UsageError("a run has episodes", field="episodes", found=episodes, expected="1 or more")
    period_ns = _period_ns(simulation.dt_ns, observer.options)
    progress = Progress(episodes)
    tell = on_progress or _ignore
    with observer:
        observer.start_session(session, getattr(simulation, "tasks", ()))
        _wait_until_approved(observer, progress, tell)
        while len(progress.results) < episodes and not observer.complete:
            progress.seed = episode_seed(seed, first + len(progress.results))
            progress.results.append(_episode(observer, simulation, period_ns, progress, tell))
            progress.sequence = None
    return progress.results


def _ignore(_progress: Progress) -> None:
    """Tell nobody."""


def _period_ns(dt_ns: int, options: Options) -> Fraction:
    """Return the exact length of a step in nanoseconds.

    A step that is a whole part of the time between two rows, such as 1/30 s, is no whole number of
    nanoseconds: it is taken exactly, or the rows would run ahead of the steps and one would be missing.
    """
    row_ns = _NS / options.data_hz
    exact_ns = row_ns / max(1, round(row_ns / dt_ns))
    period_ns = exact_ns if abs(exact_ns - dt_ns) < 1 else Fraction(dt_ns)
    if period_ns > row_ns:
        raise UsageError(
            "the simulation makes fewer steps than there are rows to write",
            field="data_hz",
            found=f"a step of {dt_ns} ns, {options.data_hz} rows per second",
            expected=f"at most {float(_NS / period_ns):.6g} rows per second",
        )
    return period_ns


def _wait_until_approved(observer: Observer, progress: Progress, tell: Callable[[Progress], None]) -> None:
    while observer.tick() is DataState.PENDING_APPROVAL:
        tell(progress)
        time.sleep(_LOOK_S)
    if observer.last_error is not None:
        raise observer.last_error


def _episode(
    observer: Observer,
    simulation: Simulation,
    period_ns: Fraction,
    progress: Progress,
    tell: Callable[[Progress], None],
) -> EpisodeResult:
    """Record one episode, from the state after the reset to the state in which it is over."""
    limit = observer.options.max_rows
    realtime = observer.options.mode is Mode.REALTIME
    with _placed(simulation, "reset()"):
        simulation.reset(progress.seed)
    name = observer.begin_episode(seed=progress.seed)
    progress.sequence, progress.rows = name, 0
    tell(progress)
    begin_ns, step, going = time.monotonic_ns(), 0, True
    while going:
        time_ns = step * period_ns.numerator // period_ns.denominator
        if realtime:
            time.sleep(max(0.0, (begin_ns + time_ns - time.monotonic_ns()) / _NS))
        observer.tick()
        observer.observe(step, None if realtime else time_ns)
        progress.rows = observer.rows
        tell(progress)
        if limit is not None and observer.ticks >= limit:  # before the next hook ends the episode by itself
            break
        with _placed(simulation, "step()"):
            going = simulation.step()
        step += 1
    with _placed(simulation, "success"):
        success = _success_of(simulation)
    observer.end_episode(success, reason="duration_cap" if going else "ended")
    return EpisodeResult(name, progress.seed, progress.rows, None if success is None else bool(success))


def _success_of(simulation: Simulation) -> Any:
    """Return what a simulation says of the episode that is over; None where it says nothing.

    An AttributeError inside a property is the simulation's own, not the word that there is no such property.
    """
    try:
        return simulation.success  # type: ignore[attr-defined] # it may have one
    except AttributeError:
        if inspect.getattr_static(simulation, "success", None) is not None:
            raise
        return None


@contextmanager
def _placed(simulation: Simulation, what: str) -> Iterator[None]:
    """Give an error of the simulation its place in the user's file."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, GaplessError) or not isinstance(error, Exception):
            raise
        raise EpisodeFailed(
            f"{place_of(error, file_of(simulation))}: {what} of the simulation failed",
            found=f"{type(error).__name__}: {error}",
            next_step="mend the simulation and run it again",
        ) from error
