"""MQTT: one record for each message of the subscribed topics; held and sent again by the broker while away."""

from __future__ import annotations

import asyncio
import json
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Literal

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions
from pydantic import Field, model_validator

from gapless.acquire.adapter import DeviceField
from gapless.acquire.device_config import DeviceConfig
from gapless.acquire.devices.mqtt_payload import Subscription
from gapless.acquire.devices.session import SessionDevice
from gapless.acquire.emission import ABSENT
from gapless.acquire.kit import Handler
from gapless.errors import DeviceFault, DeviceUnreachable, UsageError, ValueRefused

_KEEPALIVE_TIMEOUT = 0x8D
_HANG_UP_S = 0.5
_TOPICS_REMEMBERED = 4096

#: The columns of every record, before those of the subscriptions.
MESSAGE_FIELDS = (
    DeviceField("topic", "string", None, "the message's topic"),
    DeviceField("retained", "bool", None, "whether the broker kept the message from before the subscription"),
    DeviceField("qos", "uint8", None, "quality of service of the delivery"),
    DeviceField("refused_payload", "binary", None, "the payload, where it is not what the subscription says"),
)


class MqttConfig(DeviceConfig):
    """A broker and what to take from it.

    ``client_id``: fixed, the broker keeps a session across programs; None: a new one for each program.
    ``session_expiry_s``: how long the broker holds messages of quality 1 and 2 for a device that is away
    (protocol 5; with 3.1.1 the broker decides). ``keepalive_s``: a broker that is silent for twice as long
    is away. ``expected_rate_hz``: messages a second, all topics together.
    """

    host: str
    port: int = Field(default=1883, gt=0, lt=65_536)
    protocol: Literal["5", "3.1.1"] = "5"
    client_id: str | None = Field(default=None, min_length=1)
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca_file: str | None = None
    keepalive_s: int = Field(default=10, ge=1, le=3600)
    session_expiry_s: int = Field(default=3600, ge=0, le=7 * 86_400)
    expected_rate_hz: float = Field(default=10.0, gt=0, le=100_000)
    subscriptions: tuple[Subscription, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> MqttConfig:
        taken = [field.name for field in MESSAGE_FIELDS]
        names = taken + [field.name for sub in self.subscriptions for field in sub.fields]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two fields are called {', '.join(twice)}; {', '.join(taken)} are always there")
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username")
        if self.ca_file is not None and not self.tls:
            raise ValueError("ca_file is used with tls = true only")
        return self


class MqttDevice(SessionDevice):
    """One client of a broker; a column for each field of the subscriptions, null where a message lacks it.

    Every delivery is a record: what the broker sends twice is there twice. A payload that is not what its
    subscription says is kept as it came, with an event for the first in a row. Command:
    ``publish(topic, payload, qos=1, retain=False)``, done when the broker has it.
    """

    family: ClassVar[str] = "mqtt"
    Config: ClassVar[type[MqttConfig]] = MqttConfig

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self._client: aiomqtt.Client | None = None
        self._client_id = config.client_id or f"gapless-{uuid.uuid4().hex[:12]}"
        self._places = {field.name: n for n, field in enumerate(self.fields())}
        self._refusing: set[str] = set()
        self._matching = lru_cache(_TOPICS_REMEMBERED)(self._find_matching)

    @property
    def resource_id(self) -> str:
        """The broker's address and the client's name there: several clients may use one broker."""
        return f"mqtt:{self.config.host}:{self.config.port}/{self.config.client_id or self.name}"

    @property
    def expected_rate_hz(self) -> float:
        """The configured rate."""
        return float(self.config.expected_rate_hz)

    def fields(self) -> Sequence[DeviceField]:
        """Return the message's own columns, then those of the subscriptions."""
        return [
            *MESSAGE_FIELDS,
            *(f.column(sub.payload) for sub in self.config.subscriptions for f in sub.fields),
        ]

    # -- the session ---------------------------------------------------------------------------

    async def join(self) -> None:
        """Connect to the broker, which still has the session if it was away for a short time only."""
        client = self._new_client()
        entering = asyncio.ensure_future(client.__aenter__())
        try:
            await asyncio.shield(entering)
        except aiomqtt.MqttError as error:
            await _hang_up(client)
            raise DeviceUnreachable(
                f"no session of {self.name!r} with the broker",
                found=str(error),
                expected=f"a broker at {self.config.host}:{self.config.port}",
            ) from error
        except asyncio.CancelledError:
            await asyncio.wait({entering}, timeout=self.config.open_timeout_s)  # a thread connects: it ends
            await _hang_up(client)
            raise
        self._client = client

    def _new_client(self) -> aiomqtt.Client:
        config = self.config
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
            identifier=self._client_id,
            queue_type=_straight_to(self._take),
            timeout=limit_s,
            keepalive=config.keepalive_s,
            tls_params=aiomqtt.TLSParameters(ca_certs=config.ca_file) if config.tls else None,
            **kept,
        )
        client._client.connect_timeout = limit_s
        return client

    def _session(self) -> aiomqtt.Client:
        if self._client is None or not self.is_joined:
            raise DeviceFault(f"device {self.name!r} has no session with the broker at the moment")
        return self._client

    async def subscribe(self) -> None:
        """Subscribe to all filters; the broker sends what it retains."""
        is_5 = self.config.protocol == "5"
        wanted: list[Any] = [
            (sub.filter, SubscribeOptions(qos=sub.qos) if is_5 else sub.qos)
            for sub in self.config.subscriptions
        ]
        try:
            answers = await self._session().subscribe(wanted)
        except aiomqtt.MqttError as error:
            raise DeviceFault(f"device {self.name!r} could not subscribe", found=str(error)) from error
        for (topic_filter, _), answer in zip(wanted, answers, strict=True):
            code: Any = getattr(answer, "value", answer)
            if code >= 0x80:
                raise DeviceFault(
                    f"the broker refuses {self.name!r} a subscription", field=topic_filter, found=str(answer)
                )

    async def unsubscribe(self) -> None:
        """Take the subscriptions back, so that the broker holds nothing for the time between runs."""
        try:
            await self._session().unsubscribe([sub.filter for sub in self.config.subscriptions])
        except (aiomqtt.MqttError, DeviceFault) as error:
            self.outage.begin(error)

    async def serve(self) -> None:
        """Wait until the broker is gone; messages are taken as they are read from the socket."""
        try:
            await anext(self._session().messages)
        except aiomqtt.MqttError as error:
            cause = error.__cause__
            if isinstance(cause, Exception) and not isinstance(cause, aiomqtt.MqttError | OSError):
                raise cause from None  # a defect in what takes the messages
            raise DeviceFault(f"the broker of {self.name!r} is away", found=str(cause or error)) from error

    def silent_since_ns(self, error: BaseException) -> int | None:
        """Return the time of the last sign of life where the broker fell silent, None where it hung up."""
        fault = error.__cause__
        code = fault.__cause__ if fault is not None else None
        if self._context is None or getattr(getattr(code, "rc", None), "value", None) != _KEEPALIVE_TIMEOUT:
            return None
        last_sign_ns: int = self.context.clock.now_ns() - 2 * self.config.keepalive_s * 10**9
        return last_sign_ns

    async def leave(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            await _hang_up(client)

    # -- messages ------------------------------------------------------------------------------

    def _take(self, message: aiomqtt.Message) -> None:
        """Make a record of one message."""
        values: list[Any] = [ABSENT] * len(self._places)
        topic = message.topic.value
        payload = bytes(message.payload) if isinstance(message.payload, bytes | bytearray) else b""
        refused = None
        for subscription in self._matching(topic):
            try:
                for name, value in subscription.decode(payload).items():
                    values[self._places[name]] = value
                self._refusing.discard(subscription.filter)
            except ValueRefused as error:
                refused = payload
                for field in subscription.fields:
                    values[self._places[field.name]] = None
                self._tell_refusal(subscription, topic, error)
        values[: len(MESSAGE_FIELDS)] = (topic, message.retain, message.qos, refused)
        self.deliver(values)

    def _find_matching(self, topic: str) -> tuple[Subscription, ...]:
        place = aiomqtt.Topic(topic)
        return tuple(sub for sub in self.config.subscriptions if place.matches(sub.filter))

    def _tell_refusal(self, subscription: Subscription, topic: str, error: ValueRefused) -> None:
        if subscription.filter in self._refusing or not self.is_sampling:
            return
        self._refusing.add(subscription.filter)
        words = f"a message on {topic} is not what {self.name} was told: {error.message}"
        self.report(self.event("warning", "payload_refused", words, topic=topic, filter=subscription.filter))

    # -- commands ------------------------------------------------------------------------------

    def handlers(self) -> Mapping[str, Handler]:
        """Return what the device obeys."""
        return {"publish": self._publish}

    async def _publish(self, topic: str, payload: Any, qos: int = 1, retain: bool = False) -> None:
        if qos not in (0, 1, 2):
            raise UsageError("there is no such quality of service", found=qos, expected="0, 1 or 2")
        try:
            aiomqtt.Topic(topic)
        except (TypeError, ValueError) as error:
            raise UsageError("that is no topic to publish to", found=topic) from error
        words = payload if isinstance(payload, str) else json.dumps(payload)
        try:
            await self._session().publish(topic, words, qos=qos, retain=retain, timeout=math.inf)
        except aiomqtt.MqttError as error:
            raise DeviceFault(
                f"the broker of {self.name!r} did not take a message", found=str(error)
            ) from error

    async def facts(self) -> dict[str, Any]:
        """Return the broker's address and what is subscribed to."""
        config = self.config
        filters = {sub.filter: {"payload": sub.payload, "qos": sub.qos} for sub in config.subscriptions}
        return {
            "broker": f"{config.host}:{config.port}",
            "protocol": config.protocol,
            "subscriptions": filters,
        }


def _straight_to(take: Callable[[aiomqtt.Message], None]) -> type[asyncio.Queue[aiomqtt.Message]]:
    """Return a queue that hands messages on as they come: none is left in it when the connection breaks."""

    class Passage(asyncio.Queue[aiomqtt.Message]):
        """Keeps nothing."""

        def put_nowait(self, item: aiomqtt.Message) -> None:
            """Hand a message on."""
            take(item)

    return Passage


async def _hang_up(client: aiomqtt.Client) -> None:
    """Say goodbye if there is anybody, and close the socket in any case."""
    paho = client._client
    paho.disconnect()
    deadline_s = asyncio.get_running_loop().time() + _HANG_UP_S
    while paho.socket() is not None and asyncio.get_running_loop().time() < deadline_s:
        await asyncio.sleep(0.005)
    paho._sock_close()


__all__ = ["MqttConfig", "MqttDevice"]
