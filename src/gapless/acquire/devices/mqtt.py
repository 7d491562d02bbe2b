"""MQTT: one record for each message of the subscribed topics; held and sent again by the broker while away."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import aiomqtt
from paho.mqtt.subscribeoptions import SubscribeOptions

from gapless.acquire.adapter import DeviceField
from gapless.acquire.devices.mqtt_client import connect, hang_up
from gapless.acquire.devices.mqtt_config import MESSAGE_FIELDS, MqttConfig
from gapless.acquire.devices.mqtt_payload import Subscription
from gapless.acquire.devices.session import SessionDevice
from gapless.acquire.emission import ABSENT
from gapless.acquire.kit import Handler
from gapless.errors import DeviceFault, UsageError, ValueRefused

_KEEPALIVE_TIMEOUT = 0x8D
_TOPICS_REMEMBERED = 4096


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
        self._client = await connect(self.name, self.config, self._client_id, self._take)

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
            await hang_up(client)

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


__all__ = ["MqttConfig", "MqttDevice"]
