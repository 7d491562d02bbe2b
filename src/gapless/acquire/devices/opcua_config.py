"""What a rig file says of an OPC UA server: its address, who asks, how the channel is secured, which nodes."""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

from asyncua import ua
from asyncua.ua.uaerrors import UaError
from pydantic import Field, field_validator, model_validator

from gapless.acquire.adapter import DeviceField
from gapless.acquire.device_config import DeviceConfig, Strict
from gapless.acquire.devices.typed_value import ScalarType

_POLICIES = ("Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss", "Basic256", "Basic128Rsa15")
_MODES = ("Sign", "SignAndEncrypt")


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

    def columns(self) -> tuple[DeviceField, DeviceField, DeviceField]:
        """Return the node's columns: value, source's time, status code."""
        name = self.name
        return (
            DeviceField(name, self.dtype, self.unit, self.description or self.node),
            DeviceField(
                f"{name}_source_ns", "int64", "ns", f"UTC at which the source of {name} had the value"
            ),
            DeviceField(f"{name}_status", "uint32", None, f"OPC UA status code of {name}; 0 is good"),
        )


class ChannelSecurity(NamedTuple):
    """How a channel is secured; the last three are paths. Without the server's own certificate, whichever
    server answers is believed."""

    policy: str
    mode: str
    certificate: str
    key: str
    server_certificate: str | None = None

    @classmethod
    def parse(cls, text: str) -> ChannelSecurity:
        """Return what a text says; raise ValueError with words for a person."""
        parts = [part.strip() for part in text.split(",")]
        if len(parts) not in (4, 5) or not all(parts):
            raise ValueError("security is policy,mode,certificate,key or these and the server's certificate")
        if parts[0] not in _POLICIES:
            raise ValueError(f"there is no policy {parts[0]!r}, but {', '.join(_POLICIES)}")
        if parts[1] not in _MODES:
            raise ValueError(f"there is no mode {parts[1]!r}, but {' and '.join(_MODES)}")
        if "::" in parts[3]:
            raise ValueError("what opens the key is given as key_password, which is shown nowhere")
        return cls(*parts)


class OpcUaConfig(DeviceConfig):
    """A server and the nodes to take.

    ``mode`` subscribe: a record for each change that the server reports, sampled every ``1 / rate_hz``;
    poll: a record of all nodes at ``rate_hz``. ``queue_size``: how many changes of one node the server
    keeps between two reports. ``security``: ``policy,mode,certificate,key`` with paths, as in
    ``Basic256Sha256,SignAndEncrypt,cert.der,key.pem``, and behind them, to believe no other server, the path
    of the server's certificate. ``key_password``: of the key's file.
    """

    url: str = Field(pattern=r"^opc\.tcp://[^\s@]+$")
    mode: Literal["subscribe", "poll"] = "subscribe"
    rate_hz: float = Field(default=10.0, gt=0, le=1000)
    queue_size: int = Field(default=100, ge=1, le=100_000)
    username: str | None = None
    password: str | None = None
    security: str | None = None
    key_password: str | None = None
    nodes: tuple[NodeField, ...] = Field(min_length=1)

    @field_validator("security")
    @classmethod
    def _is_security(cls, text: str | None) -> str | None:
        if text is not None:
            ChannelSecurity.parse(text)
        return text

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [column.name for node in self.nodes for column in node.columns()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two columns are called {', '.join(twice)}")
        if len({ua.NodeId.from_string(node.node) for node in self.nodes}) < len(self.nodes):
            raise ValueError("one node stands there twice")
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username")
        if self.key_password is not None and self.security is None:
            raise ValueError("key_password is used with security only")
        return self


__all__ = ["ChannelSecurity", "NodeField", "OpcUaConfig"]
