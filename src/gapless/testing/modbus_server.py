"""A real Modbus server for tests and demonstrations: registers to set and look at, a log, and faults on request.

It runs pymodbus's own server in a thread. Faults are made on the wire: what the client misses, it misses.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

Kind = Literal["holding", "input", "coil", "discrete"]
_KINDS: Mapping[int, Kind] = {
    1: "coil",
    2: "discrete",
    3: "holding",
    4: "input",
    5: "coil",
    6: "holding",
    15: "coil",
    16: "holding",
}
_WAIT_S = 30.0
# The faults that are made here on purpose would be printed as the server's errors.
logging.getLogger("pymodbus").addHandler(logging.NullHandler())
_GARBAGE_BYTES = 24


@dataclass(frozen=True)
class Served:
    """One register that was read or written, or one bit that was written; ``time_ns`` is this machine's
    monotonic clock.
    """

    time_ns: int
    unit: int
    kind: Kind
    address: int
    value: int
    is_write: bool


@dataclass
class ModbusFaults:
    """What is wrong with the server now; each may be changed at any time.

    ``delay_s``: answers come so late. ``silent``: requests are heard and not answered; ``silent_units``: by
    these units. ``garbage``: answers are random bytes. ``half``: answers are cut in the middle and the
    connection is closed. ``exceptions``: addresses whose requests are refused as an illegal address.
    """

    delay_s: float = 0.0
    silent: bool = False
    silent_units: set[int] = field(default_factory=set)
    garbage: bool = False
    half: bool = False
    exceptions: set[int] = field(default_factory=set)


class ModbusServer:
    """Serves units with ``size`` registers and bits of each kind, from address 0, all 0 at first.

    TCP on a port given by the system, or RTU where ``serial_port`` is given. ``behave`` is called with the
    server before each read, so that its registers can follow a model. A context manager; methods may be
    called from any thread.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        serial_port: str | None = None,
        baudrate: int = 19_200,
        units: Iterable[int] = (1,),
        size: int = 4096,
        behave: Callable[[ModbusServer], None] | None = None,
    ) -> None:
        self.host, self.port, self.serial_port, self.baudrate = host, port, serial_port, baudrate
        self.units = tuple(units)
        self.size = size
        self.behave = behave
        self.faults = ModbusFaults()
        self.connections = 0
        self.requests: list[tuple[int, int, int, int]] = []  # unit, function, address, count
        self.served: list[Served] = []
        self._counting: set[tuple[int, Kind, int]] = set()
        self._values: dict[tuple[int, Kind], list[int]] = {
            (unit, kind): [0] * size for unit in self.units for kind in set(_KINDS.values())
        }
        self._changed = threading.Condition(threading.RLock())
        self._noise = random.Random(1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: ModbusTcpServer | ModbusSerialServer | None = None
        self._error: BaseException | None = None

    # -- registers -----------------------------------------------------------------------------

    def get(self, address: int, *, kind: Kind = "holding", unit: int = 1) -> int:
        """Return what a register or bit holds."""
        with self._changed:
            return self._values[unit, kind][address]

    def set(self, address: int, *values: int, kind: Kind = "holding", unit: int = 1) -> None:
        """Set registers or bits from an address on."""
        with self._changed:
            self._values[unit, kind][address : address + len(values)] = [int(value) for value in values]
            self._changed.notify_all()

    def count_at(self, address: int, *, kind: Kind = "holding", unit: int = 1) -> None:
        """Let a register hold the number of the read that asks for it: 1, 2, … 65535, 0, 1, …"""
        with self._changed:
            self._counting.add((unit, kind, address))

    def wait_for(
        self, value: int, address: int, *, kind: Kind = "holding", unit: int = 1, timeout_s: float = _WAIT_S
    ) -> bool:
        """Wait until a register holds a value; return whether it does."""
        with self._changed:
            return self._changed.wait_for(lambda: self.get(address, kind=kind, unit=unit) == value, timeout_s)

    def values_served(self, address: int, *, kind: Kind = "holding", unit: int = 1) -> list[int]:
        """Return what was answered for a register, in order, whether or not the answer arrived."""
        with self._changed:
            return [
                entry.value
                for entry in self.served
                if (entry.unit, entry.kind, entry.address, entry.is_write) == (unit, kind, address, False)
            ]

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to listen, or raise OSError; after :meth:`stop` on the same port as before."""
        began = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(began,), name="gapless-modbus-server", daemon=True
        )
        self._thread.start()
        if not began.wait(_WAIT_S) or self._error is not None:
            raise OSError(f"no Modbus server on {self.serial_port or self.host}") from self._error

    def stop(self) -> None:
        """Close every connection and the port; nobody answers until :meth:`start`."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(self._ended.set)
        thread.join(_WAIT_S)
        self._loop = self._thread = None

    def hang_up(self) -> None:
        """Close every connection; new ones are taken."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._close_connections)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, began: threading.Event) -> None:
        try:
            asyncio.run(self._serve(began))
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: start() raises it
            self._error = error
            began.set()

    async def _serve(self, began: threading.Event) -> None:
        self._ended = asyncio.Event()
        server = self._server = self._build()
        await server.serve_forever(background=True)
        if self.serial_port is None:
            self.port = server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self._loop = asyncio.get_running_loop()
        began.set()
        await self._ended.wait()
        await server.shutdown()  # type: ignore[no-untyped-call]
        await asyncio.sleep(0.02)  # the transports close in the loop's next turns

    def _build(self) -> ModbusTcpServer | ModbusSerialServer:
        devices = [self._device(unit) for unit in self.units]
        traces: dict[str, Any] = {
            "trace_packet": self._on_bytes,
            "trace_pdu": self._on_pdu,
            "trace_connect": self._on_connection,
        }
        if self.serial_port is None:
            return ModbusTcpServer(devices, address=(self.host, self.port), **traces)
        return ModbusSerialServer(devices, port=self.serial_port, baudrate=self.baudrate, **traces)

    def _device(self, unit: int) -> SimDevice:
        bits = SimData(0, count=self.size, values=False, datatype=DataType.BITS)
        words = SimData(0, count=self.size, values=0, datatype=DataType.REGISTERS)
        action = functools.partial(self._act, unit)
        return SimDevice(id=unit, simdata=([bits], [bits], [words], [words]), action=action)

    # -- on the wire ---------------------------------------------------------------------------

    def _on_connection(self, is_made: bool) -> None:
        self.connections += is_made

    def _on_pdu(self, is_sent: bool, pdu: Any) -> Any:
        if not is_sent:
            self.requests.append((pdu.dev_id, pdu.function_code, pdu.address, pdu.count))
        return pdu

    def _on_bytes(self, is_sent: bool, data: bytes) -> bytes:
        faults = self.faults
        if not is_sent:
            return data
        unit = data[6] if self.serial_port is None else data[0]
        if faults.silent or unit in faults.silent_units:
            return b""
        if faults.garbage:
            return self._noise.randbytes(_GARBAGE_BYTES)
        if faults.half:
            if self._loop is not None and self.serial_port is None:
                self._loop.call_soon(self._close_connections)
            return data[: len(data) // 2]
        return data

    def _close_connections(self) -> None:
        if self._server is not None and self.serial_port is None:
            for connection in list(self._server.active_connections.values()):
                connection.close()

    async def _act(
        self,
        unit: int,
        function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        written: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        if self.faults.delay_s:
            await asyncio.sleep(self.faults.delay_s)
        if address in self.faults.exceptions:
            return ExcCodes.ILLEGAL_ADDRESS
        kind = _KINDS[function]
        if written is not None:
            self._take(unit, kind, address, [int(value) for value in written])
            return None
        if self.behave is not None:
            self.behave(self)
        with self._changed:
            values = self._values[unit, kind]
            if kind in ("coil", "discrete"):
                first = address // 16
                for n in range(first, first + count):
                    registers[n - start] = sum(bit << k for k, bit in enumerate(values[16 * n : 16 * n + 16]))
            else:
                self._count(unit, kind, address, count)
                registers[address - start : address - start + count] = values[address : address + count]
                self._log(unit, kind, address, values[address : address + count], is_write=False)
        return None

    def _count(self, unit: int, kind: Kind, address: int, count: int) -> None:
        for counted_unit, counted_kind, place in self._counting:
            if (counted_unit, counted_kind) == (unit, kind) and address <= place < address + count:
                values = self._values[unit, kind]
                values[place] = (values[place] + 1) & 0xFFFF

    def _take(self, unit: int, kind: Kind, address: int, values: list[int]) -> None:
        with self._changed:
            self._values[unit, kind][address : address + len(values)] = values
            self._log(unit, kind, address, values, is_write=True)
            self._changed.notify_all()

    def _log(self, unit: int, kind: Kind, address: int, values: list[int], *, is_write: bool) -> None:
        now_ns = time.monotonic_ns()
        self.served += [
            Served(now_ns, unit, kind, address + n, value, is_write) for n, value in enumerate(values)
        ]


__all__ = ["ModbusFaults", "ModbusServer", "Served"]
