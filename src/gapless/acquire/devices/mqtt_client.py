"""A client of an MQTT broker: made as the configuration says, connected, and hung up for certain."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gapless.acquire.devices.mqtt_config import MqttConfig
from gapless.acquire.devices.mqtt_tls import tls_advice, tls_context
from gapless.errors import DeviceUnreachable

_HANG_UP_S = 0.5
_LOGIN_REFUSED = (0x86, 0x87)  # bad user name or password; not authorized
_CHECK_LOGIN = "check username, the variable that password names, and what the broker allows this user"


async def connect(
    name: str, config: MqttConfig, client_id: str, take: Callable[[aiomqtt.Message], None]
) -> aiomqtt.Client:
    """Return a connected client for device ``name``; ``take`` gets each message as it is read from the socket.

    Raises DeviceUnreachable, or is cancelled, and leaves nothing open.
    """
    client = _new_client(config, client_id, take, await _context(name, config))
    entering = asyncio.ensure_future(client.__aenter__())
    try:
        await asyncio.shield(entering)
    except aiomqtt.MqttError as error:
        await hang_up(client)
        raise DeviceUnreachable(
            f"no session of {name!r} with the broker",
            found=str(error),
            expected=f"a broker at {config.host}:{config.port}",
            next_step=_next_step(error, config),
        ) from error
    except asyncio.CancelledError:
        await asyncio.wait({entering}, timeout=config.open_timeout_s)  # a thread connects: it ends
        await hang_up(client)
        raise
    return client


async def _context(name: str, config: MqttConfig) -> ssl.SSLContext | None:
    """Return how the broker proves itself, None without TLS; raise DeviceUnreachable for a bad ca_file."""
    if not config.tls:
        return None
    try:
        return await asyncio.to_thread(tls_context, config.ca_file)
    except OSError as error:
        raise DeviceUnreachable(
            f"the ca_file of {name!r} cannot be used",
            found=f"{config.ca_file}: {error}",
            next_step="let ca_file be the path of a readable PEM file with the authority's certificate",
        ) from error


def _new_client(
    config: MqttConfig,
    client_id: str,
    take: Callable[[aiomqtt.Message], None],
    context: ssl.SSLContext | None,
) -> aiomqtt.Client:
    kept: dict[str, Any] = {"protocol": aiomqtt.ProtocolVersion.V311, "clean_session": False}
    if config.protocol == "5":
        expiry = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        expiry.SessionExpiryInterval = config.session_expiry_s
        kept = {"protocol": aiomqtt.ProtocolVersion.V5, "clean_start": False, "properties": expiry}
    limit_s = 0.4 * config.open_timeout_s  # one for the connection, one for the broker's answer
    client = aiomqtt.Client(
        config.host,
        config.port,
        username=config.username,
        password=config.password,
        identifier=client_id,
        queue_type=_straight_to(take),
        timeout=limit_s,
        keepalive=config.keepalive_s,
        tls_context=context,
        **kept,
    )
    client._client.connect_timeout = limit_s
    return client


def _straight_to(take: Callable[[aiomqtt.Message], None]) -> type[asyncio.Queue[aiomqtt.Message]]:
    """Return a queue that hands messages on as they come: none is left in it when the connection breaks."""

    class Passage(asyncio.Queue[aiomqtt.Message]):
        """Keeps nothing."""

        def put_nowait(self, item: aiomqtt.Message) -> None:
            """Hand a message on."""
            take(item)

    return Passage


def _next_step(error: aiomqtt.MqttError, config: MqttConfig) -> str | None:
    """Return what to do about a refusal that is no matter of power, cable and address."""
    if config.tls and (advice := tls_advice(error.__context__, config.port)):
        return advice
    code = getattr(error, "rc", None)
    return _CHECK_LOGIN if getattr(code, "value", code) in _LOGIN_REFUSED else None


async def hang_up(client: aiomqtt.Client) -> None:
    """Say goodbye if there is anybody, and close the socket in any case."""
    paho = client._client
    paho.disconnect()
    deadline_s = asyncio.get_running_loop().time() + _HANG_UP_S
    while paho.socket() is not None and asyncio.get_running_loop().time() < deadline_s:
        await asyncio.sleep(0.005)
    paho._sock_close()


__all__ = ["connect", "hang_up"]
