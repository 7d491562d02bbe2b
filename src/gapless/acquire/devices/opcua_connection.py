"""A connection with an OPC UA server: secured and logged in as the configuration says, dropped for certain."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto import security_policies
from asyncua.ua.uaerrors import UaError, UaStatusCodeError
from cryptography import x509

from gapless.acquire.devices.opcua_config import ChannelSecurity, OpcUaConfig
from gapless.errors import DeviceUnreachable

logging.getLogger("asyncua").addHandler(logging.NullHandler())  # it tells of every lost connection at length

_LOGIN_REFUSED = ("BadUserAccessDenied", "BadIdentityTokenRejected", "BadIdentityTokenInvalid")
_CHECK_LOGIN = "check username, the variable that password names, and what the server allows this user"
_CHECK_FILES = (
    "check that security names a certificate and its key, in PEM where the name ends in .pem and in DER "
    "otherwise, and key_password"
)
_CHECK_CHANNEL = (
    "compare security with what the server offers and wants, let the server trust the certificate that it "
    "names, and let its last part be the certificate of this server"
)


async def connect(
    name: str, config: OpcUaConfig, lost: Callable[[Exception], Coroutine[Any, Any, None]]
) -> Client:
    """Open a channel and a session for device ``name``; ``lost`` is told when it breaks.

    Raises DeviceUnreachable, or is cancelled, and leaves nothing open.
    """
    client = Client(config.url, timeout=config.read_timeout_s, watchdog_intervall=config.read_timeout_s)
    client.connection_lost_callback = lost
    if config.username is not None:
        client.set_user(config.username)
        client.set_password(config.password or "")
    try:
        if config.security is not None:
            await _secure(client, name, ChannelSecurity.parse(config.security), config.key_password)
        await client.connect()
    except (UaError, ValueError) as error:
        drop(client)
        raise _unreachable(name, config, error) from error
    except BaseException as error:
        drop(client)
        if (
            isinstance(error, OSError) and config.security is not None
        ):  # how servers refuse what they cannot read
            raise _unreachable(name, config, error) from error
        raise
    return client


async def _secure(client: Client, name: str, security: ChannelSecurity, key_password: str | None) -> None:
    """Let the client sign, and encrypt, with a certificate of its own, which says what the client is called."""
    try:
        await client.set_security(
            getattr(security_policies, f"SecurityPolicy{security.policy}"),
            security.certificate,
            security.key,
            key_password,
            security.server_certificate,
            ua.MessageSecurityMode[security.mode],
        )
    except (ValueError, TypeError, FileNotFoundError, PermissionError) as error:
        raise DeviceUnreachable(
            f"the certificate or the key of {name!r} cannot be used",
            found=f"{type(error).__name__}: {error}",
            next_step=_CHECK_FILES,
        ) from error
    own = client.security_policy.host_certificate
    assert own is not None
    client.application_uri = _uri_of(own) or client.application_uri


def _uri_of(certificate: bytes) -> str | None:
    """Return the application's URI in a certificate, which a server compares with what the client says it is."""
    extensions = x509.load_der_x509_certificate(certificate).extensions
    for extension in extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            uris = extension.value.get_values_for_type(x509.UniformResourceIdentifier)
            return uris[0] if uris else None
    return None


def _unreachable(name: str, config: OpcUaConfig, error: Exception) -> DeviceUnreachable:
    code = ua.StatusCode(error.code).name if isinstance(error, UaStatusCodeError) else type(error).__name__
    next_step = None
    if code in _LOGIN_REFUSED:
        next_step = _CHECK_LOGIN
    elif isinstance(error, OSError):
        next_step = f"{DeviceUnreachable.next_step}; {_CHECK_CHANNEL}"
    elif code == "UaError" or code.startswith(("BadCertificate", "BadSecurity")):
        next_step = _CHECK_CHANNEL
    return DeviceUnreachable(
        f"no session of {name!r} with {config.url}",
        found=f"{code}: {error}",
        next_step=next_step,
    )


def drop(client: Client) -> None:
    """Close the socket, which the library keeps open where the server fell silent."""
    protocol = client.uaclient.protocol
    client.disconnect_socket()
    if protocol is not None and protocol.transport is not None:
        protocol.transport.abort()


__all__ = ["connect", "drop"]
