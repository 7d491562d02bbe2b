"""OPC UA: values of nodes as the server reports their changes, or all together at a steady rate."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.common.subscription import Subscription
from asyncua.ua.uaerrors import UaError

from gapless.acquire.adapter import DeviceField
from gapless.acquire.devices import opcua_node
from gapless.acquire.devices.opcua_config import NodeField, OpcUaConfig
from gapless.acquire.devices.opcua_connection import connect, drop
from gapless.acquire.devices.opcua_node import server_says
from gapless.acquire.devices.opcua_subscription import ask_for_changes, subscription_of
from gapless.acquire.devices.opcua_value import code_of, good_value, source_ns, tells_of_loss
from gapless.acquire.devices.session import SessionDevice
from gapless.acquire.devices.typed_value import typed
from gapless.acquire.emission import ABSENT, GapReport
from gapless.acquire.kit import Handler
from gapless.errors import DeviceFault, ValueRefused

_COLUMNS = 3
_NODES = ("node", "owner", "method")  # arguments that name a node


class OpcUaDevice(SessionDevice):
    """One session with a server; three columns for each node: value, source's time, status code.

    A value that the server calls bad is null, which makes its samples DEVICE_INVALID. Commands:
    ``read(node)``, ``write(node, value)`` and ``call(owner, method, arguments=[])``; a node is one of the
    configured names or an id.
    """

    family: ClassVar[str] = "opcua"
    Config: ClassVar[type[OpcUaConfig]] = OpcUaConfig

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self._client: Client | None = None
        self._subscription: Subscription | None = None
        self._end_of_session: asyncio.Future[None] | None = None
        self._nodes = {node.name: node.node for node in config.nodes}
        self._place_of = {ua.NodeId.from_string(node.node): n for n, node in enumerate(config.nodes)}
        self._heard_ns = [0] * len(config.nodes)
        self._refusing: set[str] = set()

    @property
    def resource_id(self) -> str:
        """The server's address and the session's name: several may use one server."""
        return f"opcua:{self.config.url.removeprefix('opc.tcp://')}/{self.name}"

    @property
    def expected_rate_hz(self) -> float:
        """Records a second: one for each node's change, or one for all."""
        per_tick = 1 if self.config.mode == "poll" else len(self.config.nodes)
        return float(self.config.rate_hz) * per_tick

    def fields(self) -> Sequence[DeviceField]:
        """Return three columns for each node."""
        return [column for node in self.config.nodes for column in node.columns()]

    # -- the session ---------------------------------------------------------------------------

    async def join(self) -> None:
        """Open a channel and a session."""
        self._client = await connect(self.name, self.config, self._connection_lost)
        self._end_of_session = asyncio.get_running_loop().create_future()

    async def _connection_lost(self, error: Exception) -> None:
        found = f"{type(error).__name__}: {error}"
        self.end_session(DeviceFault(f"the session of {self.name!r} broke", found=found))

    def end_session(self, error: BaseException) -> None:
        """Let whoever serves the session raise an error."""
        if self._end_of_session is not None and not self._end_of_session.done():
            self._end_of_session.set_exception(error)

    def _session(self) -> Client:
        if self._client is None or not self.is_joined:
            raise DeviceFault(f"device {self.name!r} has no session at the moment")
        return self._client

    async def subscribe(self) -> None:
        """Ask for the changes of all nodes; the server begins with the values they have."""
        self._heard_ns = [self.context.clock.now_ns()] * len(self.config.nodes)
        if self.config.mode == "subscribe":
            client = self._session()
            self._subscription = await subscription_of(client, self, self.config)
            await ask_for_changes(client, self._subscription, self.config)

    async def unsubscribe(self) -> None:
        """Delete the subscription."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            try:
                await subscription.delete()
            except (UaError, OSError, TimeoutError) as error:
                self.end_session(DeviceFault(f"the subscription of {self.name!r} broke", found=str(error)))

    async def serve(self) -> None:
        """Poll, or let the listener deliver, until the session breaks."""
        assert self._end_of_session is not None
        if self.config.mode == "subscribe":
            return await self._end_of_session
        clock, period_s = asyncio.get_running_loop().time, 1.0 / self.config.rate_hz
        due_s = clock()
        while not self._end_of_session.done():
            if self.is_sampling:
                await self._poll()
            due_s = max(due_s + period_s, clock())  # a slow answer leaves ticks out, none is caught up
            await asyncio.wait({self._end_of_session}, timeout=due_s - clock())
        return self._end_of_session.result()

    async def leave(self) -> None:
        """Close the session and the channel."""
        client, self._client, self._subscription = self._client, None, None
        if client is not None:
            try:
                await client.disconnect()
            finally:
                drop(client)

    # -- values --------------------------------------------------------------------------------

    async def _poll(self) -> None:
        client = self._session()
        clock = self.context.clock
        began_ns = clock.now_ns()
        with server_says(f"device {self.name!r} could not read"):
            found = await client.read_attributes([client.get_node(node.node) for node in self.config.nodes])
        values: list[Any] = []
        for node, value in zip(self.config.nodes, found, strict=True):
            values += self._columns(node, value)
        self.deliver(values, (began_ns + clock.now_ns()) // 2)

    def take(self, node: Node, found: ua.DataValue) -> None:
        """Make a record of one node's change."""
        place = self._place_of[node.nodeid]
        now_ns = self.context.clock.now_ns()
        if tells_of_loss(found):
            self.report(
                GapReport(self.name, "server_queue_full", self._heard_ns[place], now_ns, records=None)
            )
        self._heard_ns[place] = now_ns
        values: list[Any] = [ABSENT] * (_COLUMNS * len(self._nodes))
        values[_COLUMNS * place : _COLUMNS * (place + 1)] = self._columns(self.config.nodes[place], found)
        self.deliver(values, now_ns)

    def _columns(self, node: NodeField, found: ua.DataValue) -> tuple[Any, int | None, int]:
        value = good_value(found)
        if value is not None:
            try:
                value = typed(value, node.dtype)
                self._refusing.discard(node.name)
            except ValueRefused as error:
                value = None
                self._tell_refusal(node, error)
        return value, source_ns(found), code_of(found)

    def _tell_refusal(self, node: NodeField, error: ValueRefused) -> None:
        if node.name not in self._refusing:
            self._refusing.add(node.name)
            words = f"node {node.name} of {self.name} is no {node.dtype}: {error.message}"
            self.report(self.event("warning", "value_refused", words, node=node.node, found=str(error.found)))

    # -- commands ------------------------------------------------------------------------------

    def handlers(self) -> Mapping[str, Handler]:
        """Return what the device obeys."""
        return {"read": self._read, "write": self._write, "call": self._call}

    def choices(self, command: str) -> Mapping[str, Sequence[str]]:
        """Return the names of nodes; every other node of the server is taken by its id."""
        del command
        return {name: list(self._nodes) for name in _NODES}

    def resolved(self, command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments with nodes by their ids: a node may be named as in the rig, or by its id."""
        found = super().resolved(command, arguments)
        nodes = {name: found[name] for name in _NODES if isinstance(found.get(name), str)}
        return found | {name: opcua_node.id_of(node, self._nodes) for name, node in nodes.items()}

    def _node(self, node: str) -> Node:
        return opcua_node.find(self._session(), node, self._nodes)

    async def _read(self, node: str) -> Any:
        return await opcua_node.read(self._node(node))

    async def _write(self, node: str, value: Any) -> None:
        await opcua_node.write(self._node(node), value)

    async def _call(self, owner: str, method: str, arguments: Sequence[Any] = ()) -> Any:
        return await opcua_node.call(self._node(owner), self._node(method), arguments)

    async def facts(self) -> dict[str, Any]:
        """Return the server's address and namespaces, and the nodes that are taken."""
        with server_says(f"device {self.name!r} did not describe itself"):
            namespaces = await self._session().get_namespace_array()
        config = self.config
        return {"url": config.url, "mode": config.mode, "namespaces": namespaces, "nodes": self._nodes}


__all__ = ["NodeField", "OpcUaConfig", "OpcUaDevice"]
