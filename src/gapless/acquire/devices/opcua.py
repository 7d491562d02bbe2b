"""OPC UA: values of nodes as the server reports their changes, or all together at a steady rate."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, Self

from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.common.subscription import DataChangeNotif, Subscription
from asyncua.ua.ua_binary import variant_to_binary
from asyncua.ua.uaerrors import UaError
from pydantic import Field, field_validator, model_validator

from gapless.acquire.adapter import DeviceField
from gapless.acquire.device_config import DeviceConfig, Strict
from gapless.acquire.devices.session import SessionDevice
from gapless.acquire.devices.typed_value import ScalarType, typed
from gapless.acquire.emission import ABSENT, GapReport
from gapless.acquire.kit import Handler
from gapless.errors import DeviceFault, DeviceUnreachable, UsageError, ValueRefused

logging.getLogger("asyncua").addHandler(logging.NullHandler())  # it tells of every lost connection at length

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OVERFLOW = 0x0480  # info bits of a status code: a data value, and the server dropped some before it
_COLUMNS = 3


class NodeField(Strict):
    """One node. ``node``: its id as text, such as ``ns=2;s=Reactor.T`` or ``i=2258``."""

    name: str = Field(min_length=1)
    node: str
    dtype: ScalarType = "float64"
    unit: str | None = None
    description: str = ""

    @field_validator("node")
    @classmethod
    def _is_a_node_id(cls, text: str) -> str:
        try:
            ua.NodeId.from_string(text)
        except UaError as error:
            raise ValueError(f"{text!r} is no node id such as ns=2;s=Reactor.T") from error
        return text


class OpcUaConfig(DeviceConfig):
    """A server and the nodes to take.

    ``mode`` subscribe: a record for each change that the server reports, sampled every ``1 / rate_hz``;
    poll: a record of all nodes at ``rate_hz``. ``queue_size``: how many changes of one node the server
    keeps between two reports. ``security``: ``policy,mode,certificate,key`` with paths, as in
    ``Basic256Sha256,SignAndEncrypt,cert.der,key.pem``.
    """

    url: str = Field(pattern=r"^opc\.tcp://[^\s@]+$")
    mode: Literal["subscribe", "poll"] = "subscribe"
    rate_hz: float = Field(default=10.0, gt=0, le=1000)
    queue_size: int = Field(default=100, ge=1, le=100_000)
    username: str | None = None
    password: str | None = None
    security: str | None = None
    nodes: tuple[NodeField, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [name for node in self.nodes for name in (node.name, *_beside(node.name))]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two columns are called {', '.join(twice)}")
        if len({ua.NodeId.from_string(node.node) for node in self.nodes}) < len(self.nodes):
            raise ValueError("one node stands there twice")
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username")
        return self


def _beside(name: str) -> tuple[str, str]:
    return f"{name}_source_ns", f"{name}_status"


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
        self._nodes = {node.name: node for node in config.nodes}
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
        columns = []
        for node in self.config.nodes:
            source_ns, status = _beside(node.name)
            columns += [
                DeviceField(node.name, node.dtype, node.unit, node.description or node.node),
                DeviceField(
                    source_ns, "int64", "ns", f"UTC at which the source of {node.name} had the value"
                ),
                DeviceField(status, "uint32", None, f"OPC UA status code of {node.name}; 0 is good"),
            ]
        return columns

    # -- the session ---------------------------------------------------------------------------

    async def join(self) -> None:
        """Open a channel and a session."""
        config = self.config
        client = Client(config.url, timeout=config.read_timeout_s, watchdog_intervall=config.read_timeout_s)
        client.connection_lost_callback = self._connection_lost
        if config.username is not None:
            client.set_user(config.username)
            client.set_password(config.password or "")
        try:
            if config.security is not None:
                await client.set_security_string(config.security)
            await client.connect()
        except (UaError, ValueError) as error:
            raise DeviceUnreachable(
                f"no session of {self.name!r} with {config.url}", found=str(error)
            ) from error
        except BaseException:
            _drop_connection(client)
            raise
        self._client = client
        self._end_of_session = asyncio.get_running_loop().create_future()

    async def _connection_lost(self, error: Exception) -> None:
        self.end_session(
            DeviceFault(f"the session of {self.name!r} broke", found=f"{type(error).__name__}: {error}")
        )

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
        if self.config.mode == "poll":
            return
        period_ms = 1e3 / self.config.rate_hz
        client = self._session()
        with _said(f"device {self.name!r} could not subscribe"):
            self._subscription = await client.create_subscription(period_ms, _Listener(self))
            nodes = [client.get_node(node.node) for node in self.config.nodes]
            answers = await self._subscription.subscribe_data_change(
                nodes, queuesize=self.config.queue_size, sampling_interval=period_ms
            )
        for node, answer in zip(self.config.nodes, answers, strict=True):
            if isinstance(answer, ua.StatusCode):
                raise DeviceFault(
                    f"the server refuses {self.name!r} a node",
                    field=node.name,
                    found=f"{node.node}: {answer.name}",
                )

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
                _drop_connection(client)

    # -- values --------------------------------------------------------------------------------

    async def _poll(self) -> None:
        client = self._session()
        clock = self.context.clock
        began_ns = clock.now_ns()
        with _said(f"device {self.name!r} could not read"):
            found = await client.read_attributes([client.get_node(node.node) for node in self.config.nodes])
        values: list[Any] = []
        for node, value in zip(self.config.nodes, found, strict=True):
            values += self._columns(node, value)
        self.deliver(values, (began_ns + clock.now_ns()) // 2)

    def take(self, node: Node, found: ua.DataValue) -> None:
        """Make a record of one node's change."""
        place = self._place_of[node.nodeid]
        now_ns = self.context.clock.now_ns()
        if _code(found) & _OVERFLOW == _OVERFLOW:
            self.report(
                GapReport(self.name, "server_queue_full", self._heard_ns[place], now_ns, records=None)
            )
        self._heard_ns[place] = now_ns
        values: list[Any] = [ABSENT] * (_COLUMNS * len(self._nodes))
        values[_COLUMNS * place : _COLUMNS * (place + 1)] = self._columns(self.config.nodes[place], found)
        self.deliver(values, now_ns)

    def _columns(self, node: NodeField, found: ua.DataValue) -> tuple[Any, int | None, int]:
        code = _code(found)
        value = None
        if code < 0x8000_0000 and found.Value is not None and found.Value.Value is not None:
            try:
                value = typed(found.Value.Value, node.dtype)
                self._refusing.discard(node.name)
            except ValueRefused as error:
                self._tell_refusal(node, error)
        return value, _utc_ns(found.SourceTimestamp), code

    def _tell_refusal(self, node: NodeField, error: ValueRefused) -> None:
        if node.name not in self._refusing:
            self._refusing.add(node.name)
            words = f"node {node.name} of {self.name} is no {node.dtype}: {error.message}"
            self.report(self.event("warning", "value_refused", words, node=node.node, found=str(error.found)))

    # -- commands ------------------------------------------------------------------------------

    def handlers(self) -> Mapping[str, Handler]:
        """Return what the device obeys."""
        return {"read": self._read, "write": self._write, "call": self._call}

    def _node(self, node: str) -> Node:
        try:
            return self._session().get_node(self._nodes[node].node if node in self._nodes else node)
        except UaError as error:
            raise UsageError(
                "that is no node", found=node, expected=f"{', '.join(self._nodes)}, or a node id"
            ) from error

    async def _read(self, node: str) -> Any:
        with _said(f"node {node!r} was not read"):
            return _plain(await self._node(node).read_value())

    async def _write(self, node: str, value: Any) -> None:
        place = self._node(node)
        with _said(f"node {node!r} was not written"):
            kind = await place.read_data_type_as_variant_type()
            await place.write_value(ua.DataValue(_variant(value, kind)))

    async def _call(self, owner: str, method: str, arguments: Sequence[Any] = ()) -> Any:
        place, called = self._node(owner), self._node(method)
        with _said(f"method {method!r} was not called"):
            wanted = await _argument_types(called)
            if len(arguments) != len(wanted):
                raise UsageError("a wrong number of arguments", found=len(arguments), expected=len(wanted))
            given = [_variant(value, kind) for value, kind in zip(arguments, wanted, strict=True)]
            return _plain(await place.call_method(called.nodeid, *given))

    async def facts(self) -> dict[str, Any]:
        """Return the server's address and namespaces, and the nodes that are taken."""
        with _said(f"device {self.name!r} did not describe itself"):
            namespaces = await self._session().get_namespace_array()
        nodes = {node.name: node.node for node in self.config.nodes}
        return {"url": self.config.url, "mode": self.config.mode, "namespaces": namespaces, "nodes": nodes}


class _Listener:
    """Takes the notifications of one subscription; what goes wrong in it ends the session."""

    def __init__(self, device: OpcUaDevice) -> None:
        self._device = device

    def datachange_notification(self, node: Node, _value: Any, data: DataChangeNotif) -> None:
        """Take a change."""
        try:
            self._device.take(node, data.monitored_item.Value)
        except BaseException as error:  # noqa: BLE001 - whoever serves the session raises it
            self._device.end_session(error)

    def status_change_notification(self, status: ua.StatusChangeNotification) -> None:
        """Take the end of the subscription."""
        self._device.end_session(DeviceFault("the server ended the subscription", found=status.Status.name))


@contextmanager
def _said(message: str) -> Iterator[None]:
    """Turn what the server says into a device's fault."""
    try:
        yield
    except UaError as error:
        raise DeviceFault(message, found=f"{type(error).__name__}: {error}") from error


def _drop_connection(client: Client) -> None:
    """Close the socket, which the library keeps open where the server fell silent."""
    protocol = client.uaclient.protocol
    client.disconnect_socket()
    if protocol is not None and protocol.transport is not None:
        protocol.transport.abort()


def _code(found: ua.DataValue) -> int:
    return int(found.StatusCode.value) if found.StatusCode is not None else 0


def _utc_ns(moment: datetime | None) -> int | None:
    """Return nanoseconds since 1970, exactly; the server's times are UTC."""
    if moment is None:
        return None
    since = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


def _variant(value: Any, kind: ua.VariantType) -> ua.Variant:
    """Return a JSON value as the server wants it; raise UsageError for what cannot be."""
    if kind in (ua.VariantType.Float, ua.VariantType.Double) and isinstance(value, int):
        value = float(value)
    try:
        variant = ua.Variant(value, kind)
        variant_to_binary(variant)
    except (UaError, TypeError, ValueError, AttributeError) as error:
        raise UsageError("the node does not take such a value", found=value, expected=kind.name) from error
    return variant


async def _argument_types(method: Node) -> list[ua.VariantType]:
    for place in await method.get_properties():
        if (await place.read_browse_name()).Name == "InputArguments":
            return [ua.VariantType(argument.DataType.Identifier) for argument in await place.read_value()]
    return []


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


__all__ = ["NodeField", "OpcUaConfig", "OpcUaDevice"]
