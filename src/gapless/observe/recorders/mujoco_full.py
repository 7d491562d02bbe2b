"""The recorder of a whole MuJoCo simulation: enough in each row to compute the next one again, to the bit.

A row is read after a step and tells how it came about::

    state    the integration state after the step (mj_getState, mjSTATE_INTEGRATION), warm start included
    ctrl     the controls that the step before this row used; of the first row no step has used them
    contact  what the solver saw in that step: it works on the positions from before it

So the state of a row and the inputs of the next one give the next row. The inputs (ctrl, applied forces,
mocap, equality constraints, user data) are part of the state; a program sets them before the step that
they are for and leaves them until the row is read. :mod:`gapless.observe.recorders.mujoco_replay` proves it
of any recording, one that broke this rule included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from gapless.errors import EpisodeFailed, MissingExtra, UsageError
from gapless.observe.recorder import Camera, Every, Table, TableSpec
from gapless.observe.sources import MujocoSource

try:
    import mujoco
except ImportError as error:
    raise MissingExtra("recording MuJoCo needs gapless[sim]", found=str(error)) from error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gapless.observe.step import StepContext

VERSION = 1
STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)
INPUTS = int(mujoco.mjtState.mjSTATE_USER)
_SLEEP = int(getattr(mujoco.mjtEnableBit, "mjENBL_SLEEP", 0))  # older releases have no sleep
_FREE = (-1, -1, 0.0, 0.0, 0.0)  # what a place without a contact holds


class MujocoFullRecorder:
    """Makes the table ``name``, and keeps the compiled model as ``name/model.mjb``.

    Where the source has them, ``name/model.xml`` and ``name/assets/<asset>`` too.
    """

    def __init__(self, name: str, source: MujocoSource) -> None:
        _check(name, source)
        self.name = name
        self._source = source
        self._table = StateTable(name, source)
        self.tables: Sequence[Table] = [self._table]
        self.cameras: Sequence[Camera] = []

    def begin(self) -> None:
        """Expect the first row of an episode."""
        self._table.begin()

    def artifacts(self) -> Mapping[str, bytes]:
        """Return the model as it is now, which a program may change from episode to episode."""
        files = {f"{self.name}/model.mjb": model_bytes(self._source.model)}
        if self._source.xml is not None:
            files[f"{self.name}/model.xml"] = self._source.xml.encode()
        return files | {f"{self.name}/assets/{name}": data for name, data in self._source.assets.items()}


class StateTable:
    """One row for each physics step, or for each tick with the inputs held between.

    Reading raises EpisodeFailed for a physics step that would have no row.
    """

    def __init__(self, topic: str, source: MujocoSource) -> None:
        self._model, self._data = source.model, source.data
        self._state = np.zeros(mujoco.mj_stateSize(self._model, STATE))
        self._ctrl = np.zeros(self._model.nu)
        self._contacts = _Contacts(source)
        columns = [
            _field("time", pa.float64(), "simulation time", "s"),
            _vector("state", len(self._state), "integration state, mj_getState(mjSTATE_INTEGRATION)"),
            *([_vector("ctrl", self._model.nu, "controls over the step to this row")] if self._model.nu else []),
        ]  # fmt: skip
        self.spec = TableSpec(
            topic,
            pa.schema([*columns, *self._contacts.fields]),
            VERSION,
            source.every,
            metadata=_words(source),
        )
        self.row: list[Any] = [0.0] * len(self.spec.schema)
        self._every: Every = source.every
        self.begin()

    def begin(self) -> None:
        """Forget the row before."""
        self._step: int | None = None
        self._time_s = 0.0

    def read(self, context: StepContext) -> None:
        """Copy the state, the controls and the contacts."""
        time_s = float(self._data.time)
        if self._every == "step":
            self._check_step(context.step, time_s)
        self._step, self._time_s = context.step, time_s
        mujoco.mj_getState(self._model, self._data, self._state, STATE)
        vectors = [self._state]
        if len(self._ctrl):
            np.copyto(self._ctrl, self._data.ctrl)
            vectors.append(self._ctrl)
        self.row[:] = [time_s, *vectors, *self._contacts.read(self._model, self._data)]

    def _check_step(self, step: int, time_s: float) -> None:
        """Refuse a step of the program in which physics made more than one."""
        if self._step is None or step != self._step + 1:
            return  # the first row, or the first one after a pause or a reset
        made = round((time_s - self._time_s) / self._model.opt.timestep)
        if made > 1:
            raise EpisodeFailed(
                "physics steps have no row",
                topic=self.spec.topic,
                found=f"{made} physics steps between two rows",
                expected="one",
                next_step='call the hooks after each mj_step, or hold the inputs and say every="tick"',
            )


class _Contacts:
    """The contacts of a row, in arrays of a fixed number of places; those that are free have geom -1."""

    def __init__(self, source: MujocoSource) -> None:
        cap = source.contact_cap
        self._cap = cap
        geom1, geom2 = np.full(cap, -1, np.int32), np.full(cap, -1, np.int32)
        self._places: list[NDArray[Any]] = [
            geom1, geom2, np.zeros(cap), np.zeros((cap, 3)), np.zeros((cap, 9)),
        ]  # fmt: skip
        self._force, self._torque = np.zeros((cap, 3)), np.zeros((cap, 3))
        self._wrench = np.zeros(6)
        own = "in the frame of the contact"
        self.fields = [
            _field("contact.count", pa.int32(), "contacts that there were, kept or not"),
            _field("contact.overflow", pa.bool_(), f"there were more than {cap}; the rest is not kept"),
            _vector("contact.geom1", cap, "first geom; -1: no contact", kind=pa.int32()),
            _vector("contact.geom2", cap, "second geom; -1: no contact", kind=pa.int32()),
            _vector("contact.dist", cap, "distance of the geoms; negative: penetration", "m"),
            _vector("contact.pos", cap * 3, "place in the world", "m", (cap, 3)),
            _vector("contact.frame", cap * 9, "axes in the world; the first is the normal", "1", (cap, 3, 3)),
            _vector("contact.force", cap * 3, f"force {own}", "N", (cap, 3)),
            _vector("contact.torque", cap * 3, f"torque {own}", "N*m", (cap, 3)),
        ]

    def read(self, model: Any, data: Any) -> list[Any]:
        """Return the values for ``fields``; the arrays are used again."""
        found = data.contact
        count = int(data.ncon)
        kept = min(count, self._cap)
        given = found.geom1, found.geom2, found.dist, found.pos, found.frame
        for place, values, nothing in zip(self._places, given, _FREE, strict=True):
            place[:kept] = values[:kept]
            place[kept:] = nothing
        for i in range(kept):
            mujoco.mj_contactForce(model, data, i, self._wrench)
            self._force[i], self._torque[i] = self._wrench[:3], self._wrench[3:]
        self._force[kept:] = self._torque[kept:] = 0.0
        return [count, count > self._cap, *self._places, self._force, self._torque]


def model_bytes(model: Any) -> bytes:
    """Return a compiled model as MuJoCo's .mjb: the same model gives the same bytes."""
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer.tobytes()


def _words(source: MujocoSource) -> dict[str, Any]:
    """Return what a reader must know to use the rows; nothing of it depends on time or place."""
    option = source.model.opt
    return {
        "mujoco": mujoco.__version__,
        "integrator": mujoco.mjtIntegrator(option.integrator).name,
        "timestep_s": float(option.timestep),
        "state_signature": STATE,
        "inputs_signature": INPUTS,
        "inputs": "of the step before the row" if source.every == "step" else "held since the row before",
        "contact_cap": source.contact_cap,
    }


def _field(name: str, kind: pa.DataType, description: str, unit: str | None = None) -> pa.Field:
    words = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=False, metadata=words)


def _vector(
    name: str,
    size: int,
    description: str,
    unit: str | None = None,
    shape: tuple[int, ...] = (),
    kind: pa.DataType | None = None,
) -> pa.Field:
    field = _field(name, pa.list_(kind or pa.float64(), size), description, unit)
    if not shape:
        return field
    return field.with_metadata({**field.metadata, "shape": f"[{','.join(map(str, shape))}]"})


def _check(name: str, source: MujocoSource) -> None:
    if not isinstance(source.model, mujoco.MjModel) or not isinstance(source.data, mujoco.MjData):
        raise UsageError(
            "a MuJoCo source has a model and its data",
            topic=name,
            found=f"{type(source.model).__name__} and {type(source.data).__name__}",
            expected="MjModel and MjData",
        )
    if source.model.opt.enableflags & _SLEEP:
        raise UsageError(
            "a model whose bodies fall asleep cannot be computed again: its state does not say which do",
            topic=name,
            found='the flag sleep="enable"',
            next_step="switch the flag off: model.opt.enableflags &= ~mujoco.mjtEnableBit.mjENBL_SLEEP",
        )
    if type(source.contact_cap) is not int or source.contact_cap < 1:
        raise UsageError(
            "contacts have places", topic=name, field="contact_cap",
            found=repr(source.contact_cap), expected="1 or more",
        )  # fmt: skip
    if source.every not in ("step", "tick"):
        raise UsageError("rows are of steps or of ticks", topic=name, field="every", found=repr(source.every))
