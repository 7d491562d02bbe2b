"""EPICS Channel Access: process variables as their servers report their changes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import caproto  # type: ignore[import-untyped]
from caproto.threading.client import Context, SharedBroadcaster  # type: ignore[import-untyped]
from pydantic import Field, model_validator

from gapless.acquire.adapter import DeviceField, StartContext
from gapless.acquire.device_config import DeviceConfig, Strict
from gapless.acquire.devices.outage import Outage
from gapless.acquire.devices.typed_value import ScalarType, typed
from gapless.acquire.emission import ABSENT, Emission
from gapless.acquire.kit import Handler
from gapless.acquire.pushed import PushedDevice
from gapless.errors import DeviceFault, DeviceUnreachable, UsageError, ValueRefused

_POLL_S = 0.01
_EPICS_EPOCH_S = 631_152_000  # 1990-01-01 in seconds since 1970
_INVALID = 3
_COLUMNS = 4


class PvField(Strict):
    """One process variable. ``length``: of a waveform; None: one value.

    ``dtype`` string takes an enumeration's word, and an array of characters as text.
    """

    name: str = Field(min_length=1)
    pv: str = Field(min_length=1, max_length=500)
    dtype: ScalarType = "float64"
    length: int | None = Field(default=None, ge=1)
    unit: str | None = None
    description: str = ""


class EpicsConfig(DeviceConfig):
    """Process variables, searched where the environment says (EPICS_CA_ADDR_LIST and the rest).

    Best those of one server: while one of them is away, the device is. ``expected_rate_hz``: changes a
    second, all variables together.
    """

    expected_rate_hz: float = Field(default=10.0, gt=0, le=100_000)
    pvs: tuple[PvField, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        columns = [name for pv in self.pvs for name in (pv.name, *_beside(pv.name))]
        for what, names in (("columns", columns), ("variables", [pv.pv for pv in self.pvs])):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"two {what} are called {', '.join(twice)}")
        return self


def _beside(name: str) -> tuple[str, str, str]:
    return f"{name}_ioc_ns", f"{name}_severity", f"{name}_status"


class EpicsDevice(PushedDevice):
    """Some variables of a server; four columns for each: value, server's time, alarm severity and status.

    A value of severity INVALID is null, which makes its samples DEVICE_INVALID. Commands: ``read(pv)`` and
    ``put(pv, value)``, done when the server has processed it; a variable is one of the configured names.
    """

    family: ClassVar[str] = "epics"
    Config: ClassVar[type[EpicsConfig]] = EpicsConfig

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self._client: Context | None = None
        self._pvs: dict[str, Any] = {}
        self._place_of = {pv.pv: n for n, pv in enumerate(config.pvs)}
        self._gate = threading.Lock()  # what the library's threads touch: all below
        self._is_sampling = False
        self._outage = Outage(self, name)
        self._away: set[str] = set()
        self._refusing: set[str] = set()
        self._defect: BaseException | None = None

    @property
    def resource_id(self) -> str:
        """The device's own name: any number of clients may use one server."""
        return f"epics:{self.name}"

    @property
    def expected_rate_hz(self) -> float:
        """The configured rate."""
        return float(self.config.expected_rate_hz)

    def fields(self) -> Sequence[DeviceField]:
        """Return four columns for each variable."""
        columns = []
        for pv in self.config.pvs:
            shape = () if pv.length is None else (pv.length,)
            ioc_ns, severity, status = _beside(pv.name)
            columns += [
                DeviceField(pv.name, pv.dtype, pv.unit, pv.description or pv.pv, shape),
                DeviceField(ioc_ns, "int64", "ns", f"UTC at which the server stamped {pv.name}"),
                DeviceField(
                    severity, "uint8", None, f"alarm of {pv.name}: 0 none, 1 minor, 2 major, 3 invalid"
                ),
                DeviceField(status, "uint8", None, f"alarm status of {pv.name}, as in EPICS' alarm.h"),
            ]
        return columns

    # -- the connection ------------------------------------------------------------------------

    async def connect(self) -> None:
        """Find every variable."""
        self._away = set(self._place_of)
        client = self._client = Context(SharedBroadcaster(), timeout=self.config.read_timeout_s)
        deadline_s = time.monotonic() + 0.9 * self.config.open_timeout_s
        try:
            found = client.get_pvs(*self._place_of, connection_state_callback=self._state_changed)
            self._pvs = {pv.name: variable for pv, variable in zip(self.config.pvs, found, strict=True)}
            while self._away:
                if time.monotonic() > deadline_s:
                    raise DeviceUnreachable(
                        f"no server has every variable of {self.name!r}",
                        found=f"no answer for {', '.join(sorted(self._away))}",
                        next_step="check the names, and EPICS_CA_ADDR_LIST in the environment",
                    )
                await asyncio.sleep(_POLL_S)
        except BaseException:
            await self.disconnect()
            raise

    async def disconnect(self) -> None:
        """End the connections and the library's threads."""
        client, self._client = self._client, None
        self._pvs = {}
        if client is not None:
            await asyncio.to_thread(_hang_up, client)

    def _state_changed(self, variable: Any, state: str) -> None:
        """Take a change of a variable's connection; called on the library's threads."""
        try:
            self._note(variable, state)
        except BaseException as error:  # noqa: BLE001 - the stream raises it
            self._fail(error)

    def _note(self, variable: Any, state: str) -> None:
        with self._gate:
            if state == "connected":
                self._away.discard(variable.name)
                if not self._away:
                    self._outage.end()
            elif self._client is not None:
                self._away.add(variable.name)
                self._outage.begin(f"{variable.name} is {state}")

    # -- one run -------------------------------------------------------------------------------

    async def start(self, context: StartContext) -> None:
        """Ask for the changes of all variables; the server begins with the values they have."""
        await super().start(context)
        with self._gate:
            self._defect = None
            self._is_sampling = True
            self._outage.run_began()
        for pv in self.config.pvs:
            self._monitor(pv).add_callback(self._changed)

    async def stop(self) -> None:
        """Take no more changes, and ask for no more."""
        with self._gate:
            was_sampling, self._is_sampling = self._is_sampling, False
            if was_sampling:
                self._outage.run_ends()
        await super().stop()
        if was_sampling and self._client is not None:
            for pv in self.config.pvs:
                self._monitor(pv).clear()

    def _monitor(self, pv: PvField) -> Any:
        variable = self._pvs[pv.name]
        is_text = (
            variable.channel is not None and variable.channel.native_data_type is caproto.ChannelType.CHAR
        )
        kind = caproto.ChannelType.TIME_STRING if pv.dtype == "string" and not is_text else "time"
        return variable.subscribe(data_type=kind)

    async def stream(self) -> AsyncIterator[Emission]:
        """Yield what is delivered until stopped; raise the defect that ended it."""
        async for emission in super().stream():
            yield emission
        if self._defect is not None:
            raise self._defect

    def _changed(self, monitor: Any, response: Any) -> None:
        """Take one variable's change; called on the library's threads, which keep silent of what it raises."""
        try:
            self._take(monitor, response)
        except BaseException as error:  # noqa: BLE001 - the stream raises it
            self._fail(error)

    def _fail(self, defect: BaseException) -> None:
        """End the stream with a defect."""
        self._defect = defect
        if self._inbox is not None:
            self._inbox.close()

    def _take(self, monitor: Any, response: Any) -> None:
        with self._gate:
            if not self._is_sampling or self._defect is not None:
                return
            place = self._place_of[monitor.pv.name]
            values: list[Any] = [ABSENT] * (_COLUMNS * len(self.config.pvs))
            values[_COLUMNS * place : _COLUMNS * (place + 1)] = self._columns(
                self.config.pvs[place], response
            )
            self.deliver(values)

    def _columns(self, pv: PvField, response: Any) -> tuple[Any, int, int, int]:
        said = response.metadata
        stamp = said.stamp
        ioc_ns = (stamp.secondsSinceEpoch + _EPICS_EPOCH_S) * 10**9 + stamp.nanoSeconds
        value = None
        if said.severity < _INVALID:
            try:
                value = _value(pv, response)
                self._refusing.discard(pv.name)
            except ValueRefused as error:
                self._tell_refusal(pv, error)
        return value, ioc_ns, int(said.severity), int(said.status)

    def _tell_refusal(self, pv: PvField, error: ValueRefused) -> None:
        if pv.name not in self._refusing:
            self._refusing.add(pv.name)
            words = f"variable {pv.name} of {self.name} is not what was promised: {error.message}"
            self.report(self.event("warning", "value_refused", words, pv=pv.pv, found=str(error.found)))

    # -- commands ------------------------------------------------------------------------------

    def handlers(self) -> Mapping[str, Handler]:
        """Return what the device obeys."""
        return {"read": self._read, "put": self._write}

    def _variable(self, pv: str) -> Any:
        if all(known.name != pv for known in self.config.pvs):
            raise UsageError(
                "no such variable", found=pv, expected=", ".join(p.name for p in self.config.pvs)
            )
        variable = self._pvs.get(pv)
        if variable is None or not variable.connected:
            raise DeviceFault(f"variable {pv!r} of {self.name!r} is not connected")
        return variable

    async def _read(self, pv: str) -> Any:
        variable = self._variable(pv)
        field = next(field for field in self.config.pvs if field.name == pv)
        kind = self._monitor(field).data_type
        return _value(
            field, await _answer(lambda call: variable.read(wait=False, callback=call, data_type=kind))
        )

    async def _write(self, pv: str, value: Any) -> None:
        variable = self._variable(pv)
        data = value if isinstance(value, list) else [value]
        is_word = isinstance(value, str) and _native(variable) is caproto.ChannelType.ENUM
        kind = caproto.ChannelType.STRING if is_word else None  # the server knows an enumeration's words
        await _answer(
            lambda call: variable.write(data, wait=False, callback=call, notify=True, data_type=kind)
        )

    async def facts(self) -> dict[str, Any]:
        """Return where each variable was found, and its native type and length."""
        found = {}
        for name, variable in self._pvs.items():
            channel = self._variable(name).channel
            host, port = variable.circuit_manager.circuit.address
            kind = channel.native_data_type.name
            found[name] = {"pv": variable.name, "server": f"{host}:{port}", "type": kind}
            found[name]["length"] = channel.native_data_count
        return {"pvs": found}


def _native(variable: Any) -> caproto.ChannelType | None:
    """Return the server's own type of a variable, None while nobody knows it."""
    channel = variable.channel
    return None if channel is None else channel.native_data_type


async def _answer(ask: Callable[[Callable[[Any], None]], None]) -> Any:
    """Ask a server and return its answer; the caller bounds the wait."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()

    def settle(response: Any) -> None:
        if not answer.done():
            answer.set_result(response)

    def called(response: Any) -> None:
        loop.call_soon_threadsafe(settle, response)

    try:
        ask(called)
    except (ValueError, TypeError) as error:
        raise UsageError("the variable does not take such a value", found=str(error)) from error
    except caproto.CaprotoError as error:
        raise DeviceFault("the server was not asked", found=f"{type(error).__name__}: {error}") from error
    response = await answer
    status = response.status
    if not status.success:
        raise DeviceFault("the server said no", found=f"{status.name}: {status.description}")
    return response


def _value(pv: PvField, response: Any) -> Any:
    """Return a response's value as the column has it; raise ValueRefused for what it is not."""
    data = response.data
    if pv.dtype == "string" and pv.length is None:
        if hasattr(data, "tobytes"):
            return data.tobytes().split(b"\0", 1)[0].decode("utf-8", "replace")
        return _text(data[0]) if len(data) else ""
    values = [typed(item, pv.dtype) for item in (map(_text, data) if pv.dtype == "string" else data.tolist())]
    if pv.length is None and len(values) == 1:
        return values[0]
    if pv.length is None or len(values) != pv.length:
        raise ValueRefused(
            f"variable {pv.name!r} has another length", found=len(values), expected=pv.length or 1
        )
    return values


def _text(item: Any) -> str:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)


def _hang_up(client: Context) -> None:
    """End a client's connections and threads, and the broadcaster that is its own."""
    broadcaster = client.broadcaster
    client.disconnect(wait=True)
    broadcaster.disconnect(wait=True)
    for selecting in (client.selector, broadcaster.selector):
        selecting.selector.close()  # the library leaves it open


__all__ = ["EpicsConfig", "EpicsDevice", "PvField"]
