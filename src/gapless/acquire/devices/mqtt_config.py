"""What a rig file says of an MQTT broker, and the columns that every message has."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from gapless.acquire.adapter import DeviceField
from gapless.acquire.device_config import DeviceConfig
from gapless.acquire.devices.mqtt_payload import Subscription

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
    is away. ``expected_rate_hz``: messages a second, all topics together. ``tls``: the broker proves with a
    certificate that it is ``host``; ``ca_file``: the authorities that may have signed it, in PEM; None:
    those of this machine. Without ``tls`` name and password cross the network in the clear.
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


__all__ = ["MESSAGE_FIELDS", "MqttConfig"]
