"""One Modbus connection: whole answers to one's own requests, or DeviceFault with what was heard.

After anything but a whole answer, a cancelled request included, the connection is closed. On a serial line,
where an answer does not name its request, the next connection waits until the time in which the answer was
due is over: it is never taken for the answer to another request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Self

from gapless.acquire.devices.modbus_points import PointKind
from gapless.errors import DeviceFault, DeviceUnreachable, MissingExtra

if TYPE_CHECKING:
    from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
    from pymodbus.pdu import ModbusPDU

    Client = AsyncModbusTcpClient | AsyncModbusSerialClient

_QUIET_S = 0.1  # a serial line that was silent for so long carries no late answer
_HEARD_BYTES = 64
_LONGEST_S = 120.0  # the callers' own limits are shorter
_READS = {
    PointKind.HOLDING: ("read_holding_registers", 3),
    PointKind.INPUT: ("read_input_registers", 4),
    PointKind.COIL: ("read_coils", 1),
    PointKind.DISCRETE: ("read_discrete_inputs", 2),
}


# What pymodbus would print for each failed request stands in the DeviceFault.
logging.getLogger("pymodbus").addHandler(logging.NullHandler())


class ModbusLink:
    """An open connection; ``is_broken`` once it is closed, by whomever."""

    def __init__(self, settings: Any) -> None:
        self.settings: Hashable = settings
        self._is_serial = settings[1] == "rtu"
        self.is_broken = False
        self.late_until_s = 0.0
        self._client: Client | None = None
        self._heard = bytearray()
        self._heard_s = 0.0
        self._discards = False
        self._asked = False

    @classmethod
    async def open(cls, settings: Any, late_until_s: float = 0.0) -> Self:
        """Open a connection: ``(modbus, tcp, host, port)`` or ``(modbus, rtu, path, baudrate, parity, stopbits)``.

        Raises DeviceUnreachable, or MissingExtra where pymodbus is not installed.
        """
        link = cls(settings)
        client = link._client = link._make(settings)
        try:
            if not await client.connect():
                raise DeviceUnreachable("nobody answers", found=":".join(map(str, settings[1:4])))
            await asyncio.sleep(0)  # a serial port takes its place in the loop in the turn after
            if late_until_s:
                await link._let_pass(late_until_s)
        except BaseException:
            await link.close()
            raise
        return link

    def _make(self, settings: Any) -> Client:
        try:
            from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

            if self._is_serial:
                import serial  # noqa: F401 - pymodbus needs it and says so too late
        except ImportError as error:
            raise MissingExtra(
                f"a Modbus device needs {error.name}", next_step="pip install 'gapless[modbus,serial]'"
            ) from error
        shared: dict[str, Any] = {
            "timeout": _LONGEST_S,
            "retries": 0,
            "reconnect_delay": 0,
            "trace_packet": self._on_bytes,
            "trace_connect": self._on_connection,
        }
        _, transport, *rest = settings
        if transport == "tcp":
            host, port = rest
            return AsyncModbusTcpClient(host, port=port, **shared)
        path, baudrate, parity, stopbits = rest
        return AsyncModbusSerialClient(path, baudrate=baudrate, parity=parity, stopbits=stopbits, **shared)

    def _on_bytes(self, is_sent: bool, data: bytes) -> bytes:
        if is_sent:
            return data
        self._heard_s = time.monotonic()
        self._heard[:] = data[-_HEARD_BYTES:]
        return b"" if self._discards else data

    def _on_connection(self, is_connected: bool) -> None:
        if is_connected:
            return
        self.is_broken = True
        answer = self._client.ctx.response_future if self._client is not None else None
        if self._asked and answer is not None and not answer.done():
            answer.set_exception(ConnectionResetError("the connection was closed"))

    async def _let_pass(self, late_until_s: float) -> None:
        """Throw away what comes until then, and until the line has been silent for a moment, if it ever is."""
        self._discards = True
        self._heard_s = time.monotonic()
        late_until_s = max(late_until_s, self._heard_s + _QUIET_S)
        longest_s = late_until_s + 5 * _QUIET_S
        while (left_s := min(max(late_until_s, self._heard_s + _QUIET_S), longest_s) - time.monotonic()) > 0:
            await asyncio.sleep(left_s)
        self._discards = False

    async def close(self) -> None:
        """Close; closing twice changes nothing."""
        self.is_broken = True
        if self._client is not None:
            self._client.close()

    # -- requests ------------------------------------------------------------------------------

    async def read(
        self, kind: PointKind, address: int, count: int, unit_id: int, limit_s: float
    ) -> list[int]:
        """Return ``count`` registers or bits, as one request reads them."""
        method, function = _READS[kind]
        reply = await self._ask(
            lambda c: getattr(c, method)(address, count=count, device_id=unit_id), function, limit_s
        )
        values = reply.bits if kind.is_bit else reply.registers
        expected = (count + 7) // 8 * 8 if kind.is_bit else count
        if len(values) != expected:
            await self._fail("an answer of another length", found=len(values), expected=expected)
        self.late_until_s = 0.0
        return [int(value) for value in values[:count]]

    async def write(
        self, kind: PointKind, address: int, words: Sequence[int], unit_id: int, limit_s: float
    ) -> None:
        """Write one bit or some registers; the device must confirm just these."""
        place: dict[str, Any] = {"address": address, "device_id": unit_id}
        expected: int
        if kind is PointKind.COIL:
            function, expected = 5, words[0]
            reply = await self._ask(lambda c: c.write_coil(value=bool(expected), **place), function, limit_s)
            confirmed = int(reply.bits[0])
        elif len(words) == 1:
            function, expected = 6, words[0]
            reply = await self._ask(lambda c: c.write_register(value=words[0], **place), function, limit_s)
            confirmed = reply.registers[0]
        else:
            function, expected = 16, len(words)
            reply = await self._ask(
                lambda c: c.write_registers(values=list(words), **place), function, limit_s
            )
            confirmed = reply.count
        if (reply.address, confirmed) != (address, expected):
            await self._fail(
                "the device confirms another write",
                found=(reply.address, confirmed),
                expected=(address, expected),
            )
        self.late_until_s = 0.0

    async def _ask(
        self, call: Callable[[Any], Awaitable[ModbusPDU]], function: int, limit_s: float
    ) -> ModbusPDU:
        from pymodbus.exceptions import ModbusException

        self._heard.clear()
        self._asked = True
        if self._is_serial:  # over TCP each answer names its request
            self.late_until_s = time.monotonic() + limit_s
        try:
            async with asyncio.timeout(limit_s):
                reply = await call(self._client)
        except TimeoutError:
            await self._fail(f"no answer within {limit_s:.3g} s", found=self._words())
        except (ModbusException, OSError) as error:
            await self._fail(f"no answer: {error}", found=self._words())
        except BaseException:
            await self.close()
            raise
        finally:
            self._asked = False
        if reply.isError():
            self.late_until_s = 0.0
            raise DeviceFault("the device refuses the request", found=_exception_words(reply))
        if reply.function_code != function:
            await self._fail("an answer to another request", found=reply.function_code, expected=function)
        return reply

    def _words(self) -> str:
        return f"the bytes {self._heard.hex(' ')}" if self._heard else "nothing"

    async def _fail(self, message: str, **evidence: Any) -> NoReturn:
        await self.close()
        raise DeviceFault(message, **evidence)


def _exception_words(reply: ModbusPDU) -> str:
    from pymodbus.constants import ExcCodes

    code = reply.exception_code
    known = {int(item): item.name.lower().replace("_", " ") for item in ExcCodes}
    return f"exception {code} ({known.get(code, 'unknown')})"


__all__ = ["ModbusLink"]
