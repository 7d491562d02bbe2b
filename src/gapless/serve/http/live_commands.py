"""What an operator does to a run, each through the run's own control socket and under a name."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from gapless.acquire.apart import apart
from gapless.acquire.control.client import ControlClient
from gapless.errors import GaplessError, StateError
from gapless.serve.http.asking import Asking, HttpCall, call_of
from gapless.serve.http.live_operator import NOBODY, operator_of, signed
from gapless.serve.http.live_sequences import LiveSequence
from gapless.serve.http.live_site import Live, LiveSite, live_site
from gapless.serve.http.live_words import plain
from gapless.serve.http.names import Name
from gapless.serve.rights import Right

router = APIRouter(tags=["live"])
_AUDIT_S = 2.0
_NAME_CHARACTERS: Final = 180  # of whoever acts
_WORDS_CHARACTERS: Final = 16_384

By = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=_NAME_CHARACTERS)] | None,
    Field(description="who does it; left out: the label of the key, or `page`"),
]
Words = Annotated[str, StringConstraints(min_length=1, max_length=_WORDS_CHARACTERS)]


class Note(BaseModel):
    """A note of the operator."""

    model_config = ConfigDict(extra="forbid")
    text: Words
    by: By = None


class Order(BaseModel):
    """A command to a device. ``confirmed``: the person named in ``by`` stands behind it."""

    model_config = ConfigDict(extra="forbid")
    device: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    arguments: dict[str, Any] = Field(default_factory=dict)
    confirmed: bool = False
    by: By = None
    timeout_s: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = 5.0


class Confirmation(BaseModel):
    """The answer to a prompt of the method."""

    model_config = ConfigDict(extra="forbid")
    prompt_id: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    answer: Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
    by: By = None


class Stop(BaseModel):
    """The end of the run, and why."""

    model_config = ConfigDict(extra="forbid")
    reason: Words | None = None
    by: By = None


def _cut_to(characters: int) -> BeforeValidator:
    return BeforeValidator(lambda value: value[:characters] or None if isinstance(value, str) else value)


class EmergencyStop(BaseModel):
    """The end of the run at once, and why. No length of words refuses it: long ones are cut, empty ones left out."""

    model_config = ConfigDict(extra="ignore")
    reason: Annotated[str | None, _cut_to(_WORDS_CHARACTERS)] = None
    by: Annotated[str | None, _cut_to(_NAME_CHARACTERS)] = None


class Done(BaseModel):
    """The run has taken it. ``by``: the name under which its event stands."""

    model_config = ConfigDict(extra="forbid")
    by: str


class OrderAnswer(BaseModel):
    """How a command ended. ``failed``: the device's state is unknown; ``refused``: nothing reached it."""

    model_config = ConfigDict(extra="forbid")
    by: str
    command_id: str
    status: Literal["done", "failed", "refused"]
    accepted: bool
    value: Any = None
    message: str


class DeviceOutcome(BaseModel):
    """What became of one device."""

    model_config = ConfigDict(extra="forbid")
    device: str
    status: Literal["safe", "unsafe", "not_declared"]
    via: str | None
    took_s: float
    message: str


class EmergencyAnswer(BaseModel):
    """What became of every device. ``unsafe``: those that a person must go to.

    ``unnoted``: why the audit could not keep a row about it; it was done all the same.
    """

    model_config = ConfigDict(extra="forbid")
    by: str
    reason: str
    outcomes: list[DeviceOutcome]
    unsafe: list[str]
    unnoted: str | None


@router.post("/live/{name}/note")
def note(name: Name, body: Note, call: Asking, live: Live) -> Done:
    """Record an operator's note; it is durable when the answer comes."""
    found, by = live.reached(call, Right.WRITE, name), signed(call, body.by) if body.by else operator_of(call)
    with call.audited("note", f"{name}: a note by {by}"), _connected(found) as run:
        run.note(body.text, by)
    return Done(by=by)


@router.post("/live/{name}/command")
async def command(name: Name, body: Order, call: Asking, live: Live) -> OrderAnswer:
    """Give a command to a device of the run and return the device's answer.

    Without ``confirmed`` the run refuses it, and records that it did.
    """
    return await apart(_commanded, name, body, call, live)


def _commanded(name: str, body: Order, call: HttpCall, live: LiveSite) -> OrderAnswer:
    """Wait for the device on a thread of the request's own: a slow one takes no thread from others."""
    found, by = live.reached(call, Right.WRITE, name), signed(call, body.by) if body.by else operator_of(call)
    what = f"{name}: {body.name} to {body.device} by {by}"
    with call.audited("command", what), _connected(found) as run:
        result = run.command(
            body.device,
            body.name,
            body.arguments,
            by=by,
            confirmed=body.confirmed,
            timeout_s=body.timeout_s,
        )
    return OrderAnswer(
        by=by,
        command_id=result.command_id,
        status=result.status.value,
        accepted=result.accepted,
        value=plain(result.value),
        message=result.message,
    )


@router.post("/live/{name}/confirm")
def confirm(name: Name, body: Confirmation, call: Asking, live: Live) -> Done:
    """Answer a prompt of the run's method."""
    found, by = live.reached(call, Right.WRITE, name), signed(call, body.by) if body.by else operator_of(call)
    with call.audited("confirm", f"{name}: {body.prompt_id} by {by}"), _connected(found) as run:
        run.confirm(body.prompt_id, body.answer, by)
    return Done(by=by)


@router.post("/live/{name}/stop")
def stop(name: Name, body: Stop, call: Asking, live: Live) -> Done:
    """Begin the end of the run: safe state, drain, sealed as aborted."""
    found, by = live.reached(call, Right.WRITE, name), signed(call, body.by) if body.by else operator_of(call)
    with call.audited("stop", f"{name}: by {by}"), _connected(found) as run:
        run.stop(by, **({} if body.reason is None else {"reason": body.reason}))
    return Done(by=by)


@router.post("/live/{name}/emergency-stop")
async def emergency_stop(name: Name, body: EmergencyStop, request: Request) -> EmergencyAnswer:
    """Put every device into its safe state now, tell what became of each, then end the run.

    It waits for no other request, for no audit row and, for a run that is being watched, for no disk: its
    threads are its own, and the row is written afterwards.
    """
    call, live = call_of(request), await live_site(request)
    found = await apart(live.reached, call, Right.WRITE, name)
    by = signed(call, body.by) if body.by else call.key_id or NOBODY
    try:
        document = await apart(_make_safe, found, by, body.reason)
    except GaplessError as error:
        await _noted(call, f"{name}: by {by}: {error.code}")
        raise
    outcomes = [DeviceOutcome(**outcome) for outcome in document["outcomes"]]
    return EmergencyAnswer(
        by=by,
        reason=document["reason"],
        outcomes=outcomes,
        unsafe=[outcome.device for outcome in outcomes if outcome.status == "unsafe"],
        unnoted=await _noted(call, f"{name}: by {by}"),
    )


async def _noted(call: HttpCall, what: str) -> str | None:
    """Keep an audit row about an emergency stop that was asked for; return why that was not possible."""
    try:
        async with asyncio.timeout(_AUDIT_S):
            await apart(call.audit, "emergency-stop", what)
    except (GaplessError, OSError, TimeoutError) as error:
        return f"the audit row is not written: {error or 'the disk takes too long'}"
    return None


def _make_safe(found: LiveSequence, by: str, reason: str | None) -> dict[str, Any]:
    with _connected(found) as run:
        report = run.emergency_stop(by, **({} if reason is None else {"reason": reason}))
    document: dict[str, Any] = plain(report.to_json())
    return document


def _connected(found: LiveSequence) -> ControlClient:
    """Return a connection of its own: a slow command holds up neither the watchers nor a stop.

    Raises StateError for a recording without a control socket, ControlFailed where a run's does not answer.
    """
    if found.control is None:
        raise StateError(
            f"{found.name} takes no commands: its recorder has no control socket",
            sequence=found.name,
            found="an episode" if found.kind == "episode" else "a recording that is no run",
            expected="a run of a rig",
            next_step="end it where it was started; a run that is only starting takes commands in a moment",
        )
    return ControlClient(found.control)
