"""What is done with one connected EPICS variable: watched, read and written, each answer awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import caproto  # type: ignore[import-untyped]

from gapless.acquire.devices.epics_config import PvField
from gapless.acquire.devices.epics_value import value_of
from gapless.errors import DeviceFault, UsageError


def monitor_of(variable: Any, pv: PvField) -> Any:
    """Return the library's subscription to a variable's changes, with the server's time and alarms."""
    is_text = _native(variable) is caproto.ChannelType.CHAR
    kind = caproto.ChannelType.TIME_STRING if pv.dtype == "string" and not is_text else "time"
    return variable.subscribe(data_type=kind)


def facts_of(variable: Any) -> dict[str, Any]:
    """Return where a connected variable was found, and its native type and length."""
    channel = variable.channel
    host, port = variable.circuit_manager.circuit.address
    return {
        "pv": variable.name,
        "server": f"{host}:{port}",
        "type": channel.native_data_type.name,
        "length": channel.native_data_count,
    }


async def read(variable: Any, pv: PvField) -> Any:
    """Return a variable's value as its column has it; the caller bounds the wait."""
    kind = monitor_of(variable, pv).data_type
    answer = await _answer(lambda call: variable.read(wait=False, callback=call, data_type=kind))
    return value_of(pv, answer)


async def write(variable: Any, value: Any) -> None:
    """Write a value and wait until the server has processed it; the caller bounds the wait."""
    data = value if isinstance(value, list) else [value]
    is_word = isinstance(value, str) and _native(variable) is caproto.ChannelType.ENUM
    kind = caproto.ChannelType.STRING if is_word else None  # the server knows an enumeration's words
    await _answer(lambda call: variable.write(data, wait=False, callback=call, notify=True, data_type=kind))


def _native(variable: Any) -> caproto.ChannelType | None:
    """Return the server's own type of a variable, None while nobody knows it."""
    channel = variable.channel
    return None if channel is None else channel.native_data_type


async def _answer(ask: Callable[[Callable[[Any], None]], None]) -> Any:
    """Ask a server and return its answer; raise UsageError for nonsense, DeviceFault for the server's no."""
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


__all__ = ["facts_of", "monitor_of", "read", "write"]
