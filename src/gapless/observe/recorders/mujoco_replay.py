"""The proof of a MuJoCo recording: between every two of its rows the physics is computed again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np
import pyarrow as pa

from gapless.errors import IntegrityError, UsageError
from gapless.observe.recorders.mujoco_full import INPUTS, STATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Replayed:
    """What came of it. ``max_delta``: the largest difference of any number of any state; inf for NaN.

    ``intervals`` were computed, with ``steps`` physics steps; in ``wrong`` of them a bit of the result is
    another one, and ``first_wrong`` is the row that the first of them leads to. ``resets``: time did not go
    on, so there is nothing to compute; ``pauses``: more steps than ``most_steps``, so nobody knows the inputs.
    """

    max_delta: float
    intervals: int
    steps: int
    wrong: int
    first_wrong: int | None
    resets: int
    pauses: int


def load_model(mjb: bytes) -> Any:
    """Return the model of an episode from its artifact ``<recorder>/model.mjb``."""
    return mujoco.MjModel.from_binary_path("model.mjb", {"model.mjb": mjb})


def replay(
    model: Any, rows: pa.Table | Iterable[pa.RecordBatch], *, most_steps: int | None = None
) -> Replayed:
    """Compute every row again from the state of the row before and the controls and inputs of its own.

    ``rows`` are those of the recorder's table, in their order, with the columns ``state`` and, if the model
    has actuators, ``ctrl``. An episode with pauses needs ``most_steps``, the physics steps that two rows may
    be apart: 1 in a table of steps. Raises UsageError for rows of another model, IntegrityError for a time
    that is no number.
    """
    size, nu = mujoco.mj_stateSize(model, STATE), int(model.nu)
    data = mujoco.MjData(model)
    largest, first_wrong = 0.0, None
    intervals = steps = wrong = resets = pauses = 0
    before: Vector | None = None
    for number, (after, ctrl) in enumerate(_rows(rows, size, nu)):
        made = 0 if before is None else round((after[0] - before[0]) / model.opt.timestep)
        if before is None:
            pass  # the first row follows from none
        elif made <= 0:
            resets += 1
        elif most_steps is not None and made > most_steps:
            pauses += 1
        else:
            intervals, steps = intervals + 1, steps + made
            delta = _delta(_computed(model, data, before, after, ctrl, made), after)
            if delta is not None:
                wrong, largest = wrong + 1, max(largest, delta)
                first_wrong = number if first_wrong is None else first_wrong
        before = after
    return Replayed(largest, intervals, steps, wrong, first_wrong, resets, pauses)


def _computed(model: Any, data: Any, before: Vector, after: Vector, ctrl: Vector, steps: int) -> Vector:
    """Return the state that follows from one row under the inputs of the next; nothing is left of earlier calls."""
    inputs = np.zeros(mujoco.mj_stateSize(model, INPUTS))
    mujoco.mj_setState(model, data, after, STATE)
    mujoco.mj_getState(model, data, inputs, INPUTS)
    mujoco.mj_resetData(model, data)
    mujoco.mj_setState(model, data, before, STATE)
    mujoco.mj_setState(model, data, inputs, INPUTS)
    data.ctrl[:] = ctrl
    for _ in range(steps):
        mujoco.mj_step(model, data)
    found = np.zeros(len(before))
    mujoco.mj_getState(model, data, found, STATE)
    return found


def _delta(found: Vector, recorded: Vector) -> float | None:
    """Return the largest difference, or None if every bit is the same."""
    other = found.view(np.int64) != recorded.view(np.int64)
    if not other.any():
        return None
    delta = float(np.abs(found[other] - recorded[other]).max())
    return math.inf if math.isnan(delta) else delta


def _rows(rows: pa.Table | Iterable[pa.RecordBatch], size: int, nu: int) -> Iterator[tuple[Vector, Vector]]:
    """Yield state and controls of each row, as arrays of their own."""
    for batch in rows.to_batches() if isinstance(rows, pa.Table) else rows:
        states = _vectors(batch, "state", size)
        ctrls = _vectors(batch, "ctrl", nu) if nu else np.zeros((batch.num_rows, 0))
        if not np.isfinite(states[:, 0]).all():
            raise IntegrityError("the time of a row is no number", field="state")
        yield from zip(states, ctrls, strict=True)


def _vectors(batch: pa.RecordBatch, name: str, size: int) -> NDArray[np.float64]:
    column = batch.column(name) if name in batch.schema.names else None
    if column is None or column.type != pa.list_(pa.float64(), size):
        raise UsageError(
            "the rows are of another model",
            field=name,
            found="no such column" if column is None else str(column.type),
            expected=f"{size} numbers",
            next_step="load the model that is sealed with the episode",
        )
    flat: NDArray[np.float64] = column.flatten().to_numpy()
    return flat.reshape(-1, size)
