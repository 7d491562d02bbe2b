"""EPICS Channel Access: process variables as their servers report their changes."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar

from caproto.threading.client import Context  # type: ignore[import-untyped]

from gapless.acquire.adapter import DeviceField, StartContext
from gapless.acquire.devices import epics_variable
from gapless.acquire.devices.epics_client import all_found, hang_up, new_client
from gapless.acquire.devices.epics_config import EpicsConfig, PvField
from gapless.acquire.devices.epics_value import ioc_ns, value_of
from gapless.acquire.devices.outage import Outage
from gapless.acquire.emission import ABSENT, Emission
from gapless.acquire.kit import Handler
from gapless.acquire.pushed import PushedDevice
from gapless.errors import DeviceFault, UsageError, ValueRefused

_INVALID = 3
_COLUMNS = 4


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
        self._fields = {pv.name: pv for pv in config.pvs}
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
        return [column for pv in self.config.pvs for column in pv.columns()]

    # -- the connection ------------------------------------------------------------------------

    async def connect(self) -> None:
        """Find every variable."""
        self._away = set(self._place_of)
        client = self._client = new_client(self.config.read_timeout_s)
        try:
            found = client.get_pvs(*self._place_of, connection_state_callback=self._state_changed)
            self._pvs = {pv.name: variable for pv, variable in zip(self.config.pvs, found, strict=True)}
            await all_found(self.name, self._away, 0.9 * self.config.open_timeout_s)
        except BaseException:
            await self.disconnect()
            raise

    async def disconnect(self) -> None:
        """End the connections and the library's threads."""
        client, self._client = self._client, None
        self._pvs = {}
        if client is not None:
            await hang_up(self.name, client)

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
        for monitor in self._monitors():
            monitor.add_callback(self._changed)

    async def stop(self) -> None:
        """Take no more changes, and ask for no more."""
        with self._gate:
            was_sampling, self._is_sampling = self._is_sampling, False
            if was_sampling:
                self._outage.run_ends()
        await super().stop()
        if was_sampling and self._client is not None:
            for monitor in self._monitors():
                monitor.clear()

    def _monitors(self) -> list[Any]:
        return [epics_variable.monitor_of(self._pvs[pv.name], pv) for pv in self.config.pvs]

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
        value = None
        if said.severity < _INVALID:
            try:
                value = value_of(pv, response)
                self._refusing.discard(pv.name)
            except ValueRefused as error:
                self._tell_refusal(pv, error)
        return value, ioc_ns(response), int(said.severity), int(said.status)

    def _tell_refusal(self, pv: PvField, error: ValueRefused) -> None:
        if pv.name not in self._refusing:
            self._refusing.add(pv.name)
            words = f"variable {pv.name} of {self.name} is not what was promised: {error.message}"
            self.report(self.event("warning", "value_refused", words, pv=pv.pv, found=str(error.found)))

    # -- commands ------------------------------------------------------------------------------

    def handlers(self) -> Mapping[str, Handler]:
        """Return what the device obeys."""
        return {"read": self._read, "put": self._write}

    def choices(self, command: str) -> Mapping[str, Sequence[str]]:
        """Return the names of the variables."""
        del command
        return {"pv": list(self._fields)}

    def _variable(self, pv: str) -> Any:
        if pv not in self._fields:
            raise UsageError("no such variable", found=pv, expected=", ".join(self._fields))
        variable = self._pvs.get(pv)
        if variable is None or not variable.connected:
            raise DeviceFault(f"variable {pv!r} of {self.name!r} is not connected")
        return variable

    async def _read(self, pv: str) -> Any:
        return await epics_variable.read(self._variable(pv), self._fields[pv])

    async def _write(self, pv: str, value: Any) -> None:
        await epics_variable.write(self._variable(pv), value)

    async def facts(self) -> dict[str, Any]:
        """Return where each variable was found, and its native type and length."""
        return {"pvs": {name: epics_variable.facts_of(self._variable(name)) for name in self._pvs}}


__all__ = ["EpicsConfig", "EpicsDevice", "PvField"]
