"""What is done with one node of an OPC UA server: read, written and called with JSON values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.ua.ua_binary import variant_to_binary
from asyncua.ua.uaerrors import UaError

from gapless.errors import DeviceFault, UsageError


@contextmanager
def server_says(message: str) -> Iterator[None]:
    """Turn the server's no, within the block, into a DeviceFault with this message."""
    try:
        yield
    except UaError as error:
        raise DeviceFault(message, found=f"{type(error).__name__}: {error}") from error


def find(client: Client, node: str, known: Mapping[str, str]) -> Node:
    """Return a node by its name in ``known``, or by its id; raise UsageError for what is neither."""
    try:
        return client.get_node(known.get(node, node))
    except UaError as error:
        raise UsageError(
            "that is no node", found=node, expected=f"{', '.join(known)}, or a node id"
        ) from error


def id_of(node: str, known: Mapping[str, str]) -> str:
    """Return the id of a node, in one spelling, by its name in ``known`` or any spelling; else the text."""
    text = known.get(node, node)
    try:
        return ua.NodeId.from_string(text).to_string()
    except UaError:
        return text


async def read(node: Node) -> Any:
    """Return a node's value; raise DeviceFault where the server says no."""
    with server_says(f"node {node.nodeid.to_string()!r} was not read"):
        return _plain(await node.read_value())


async def write(node: Node, value: Any) -> None:
    """Write a value of the node's own type; raise UsageError for what it cannot be, DeviceFault for a no."""
    with server_says(f"node {node.nodeid.to_string()!r} was not written"):
        kind = await node.read_data_type_as_variant_type()
        await node.write_value(ua.DataValue(_variant(value, kind)))


async def call(owner: Node, method: Node, arguments: Sequence[Any]) -> Any:
    """Call a method and return what it returns; raise UsageError for arguments that do not fit."""
    with server_says(f"method {method.nodeid.to_string()!r} was not called"):
        wanted = await _argument_types(method)
        if len(arguments) != len(wanted):
            raise UsageError("a wrong number of arguments", found=len(arguments), expected=len(wanted))
        given = [_variant(value, kind) for value, kind in zip(arguments, wanted, strict=True)]
        return _plain(await owner.call_method(method.nodeid, *given))


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


__all__ = ["call", "find", "id_of", "read", "server_says", "write"]
