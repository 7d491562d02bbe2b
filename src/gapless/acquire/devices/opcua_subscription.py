"""A subscription to nodes of an OPC UA server, whose changes and whose end go to one listener."""

from __future__ import annotations

from typing import Any, Protocol

from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.common.subscription import DataChangeNotif, Subscription

from gapless.acquire.devices.opcua_config import OpcUaConfig
from gapless.acquire.devices.opcua_node import server_says
from gapless.errors import DeviceFault


class Listener(Protocol):
    """Who takes the changes."""

    def take(self, node: Node, found: ua.DataValue) -> None:
        """Take one node's change."""

    def end_session(self, error: BaseException) -> None:
        """Take what ends the subscription, be it the server's doing or a defect."""


async def subscription_of(client: Client, listener: Listener, config: OpcUaConfig) -> Subscription:
    """Return a subscription without nodes; raise DeviceFault where the server says no."""
    with server_says("the server gives no subscription"):
        return await client.create_subscription(1e3 / config.rate_hz, _Handler(listener))


async def ask_for_changes(client: Client, subscription: Subscription, config: OpcUaConfig) -> None:
    """Ask for the changes of all configured nodes; raise DeviceFault where the server refuses one."""
    with server_says("the server gives no changes of nodes"):
        nodes = [client.get_node(node.node) for node in config.nodes]
        answers = await subscription.subscribe_data_change(
            nodes, queuesize=config.queue_size, sampling_interval=ua.Double(1e3 / config.rate_hz)
        )
    for node, answer in zip(config.nodes, answers, strict=True):
        if isinstance(answer, ua.StatusCode):
            raise DeviceFault(
                "the server refuses a node", field=node.name, found=f"{node.node}: {answer.name}"
            )


class _Handler:
    """Takes the library's calls; what goes wrong in them ends the session."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def datachange_notification(self, node: Node, _value: Any, data: DataChangeNotif) -> None:
        """Take a change."""
        try:
            self._listener.take(node, data.monitored_item.Value)
        except BaseException as error:  # noqa: BLE001 - whoever serves the session raises it
            self._listener.end_session(error)

    def status_change_notification(self, status: ua.StatusChangeNotification) -> None:
        """Take the end of the subscription."""
        self._listener.end_session(DeviceFault("the server ended the subscription", found=status.Status.name))


__all__ = ["Listener", "ask_for_changes", "subscription_of"]
