"""OPC UA against a real server that asks who is there: passwords, signed and encrypted channels, trust."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from pydantic import ValidationError
from tests.acquire.devices.brokers import free_port
from tests.acquire.devices.certificates import Authority, Holder

from gapless.acquire.devices.opcua import NodeField, OpcUaConfig, OpcUaDevice
from gapless.acquire.rig import load_rig
from gapless.errors import DeviceUnreachable
from gapless.testing.adapter_contract import order

_WAIT_S = 30.0
_SERVER = Path(__file__).with_name("opcua_guarded_server.py")
_PASSWORD = "correct horse"
_KEY_PASSWORD = "battery staple"


@contextmanager
def serving(*files: Path) -> Iterator[int]:
    """Run a server in a process of its own; gives its port."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, _SERVER, str(port), *map(str, files)],
        stdout=subprocess.PIPE,
        env=os.environ | {"LAB_PASSWORD": _PASSWORD},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield port
    finally:
        process.kill()
        process.communicate(timeout=_WAIT_S)


class Parties:
    """Who meets on a secured channel: the server, a client that it trusts, and two whom it does not know."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder, "plant authority")
        self.server = authority.issue("server", x509.UniformResourceIdentifier("urn:freeopcua:python:server"))
        client = x509.UniformResourceIdentifier("urn:lab:recorder")
        self.client = authority.issue("client", client, password=_KEY_PASSWORD)
        self.stranger = authority.issue("stranger", client)
        self.other_server = authority.issue("other-server", client)
        self.trusted = folder / "trusted"
        self.trusted.mkdir()
        shutil.copy(self.client.certificate_file, self.trusted / "client.pem")
        self.port = 0

    def security(self, holder: Holder, *more: Path) -> str:
        """Return what a rig says of a channel of this holder."""
        return ",".join(
            ("Basic256Sha256", "SignAndEncrypt", *map(str, (holder.certificate_file, holder.key_file, *more)))
        )


@pytest.fixture(scope="module")
def open_port() -> Iterator[int]:
    """Return the port of a server that asks for a password, on an open channel."""
    with serving() as port:
        yield port


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parties]:
    """Return the parties, with the server at its port."""
    parties = Parties(tmp_path_factory.mktemp("parties"))
    server = parties.server
    with serving(server.certificate_file, server.key_file, parties.trusted) as parties.port:
        yield parties


def device(port: int, **more: Any) -> OpcUaDevice:
    """Return a device that is the user the server knows, unless told otherwise."""
    given: dict[str, Any] = {"username": "lab", "password": _PASSWORD}
    node = NodeField(name="i", node="ns=2;s=i")
    url = f"opc.tcp://127.0.0.1:{port}/"
    return OpcUaDevice("u", OpcUaConfig(adapter="opcua", url=url, nodes=(node,), **given | more))


def answer(adapter: OpcUaDevice) -> Any:
    """Open a device, read its node, close it; return the value."""

    async def whole() -> Any:
        await adapter.open()
        try:
            return (await adapter.command(order("read", 5.0, node="i"))).value
        finally:
            await adapter.close()

    return asyncio.run(whole())


def refusal(adapter: OpcUaDevice) -> DeviceUnreachable:
    """Open a device that must not be let in and return what it says; a password is never in it."""
    with pytest.raises(DeviceUnreachable) as caught:
        asyncio.run(adapter.open())
    assert _PASSWORD not in str(caught.value)
    assert _KEY_PASSWORD not in str(caught.value)
    return caught.value


def test_the_right_password_opens_the_server(open_port: int) -> None:
    """Reading works then."""
    assert answer(device(open_port)) == 1.5


@pytest.mark.parametrize(
    "login", [{"password": "wrong"}, {"username": "nobody"}, {"username": None, "password": None}]
)
def test_a_wrong_login_says_what_to_check(open_port: int, login: dict[str, Any]) -> None:
    """A wrong password, an unknown user and nobody at all are refused, and the advice is about the login."""
    error = refusal(device(open_port, **login))
    assert str(error.found).startswith(("BadUserAccessDenied", "BadIdentityToken"))
    assert "check username" in error.advice


def test_a_channel_is_encrypted_with_the_key_of_the_client(parties: Parties) -> None:
    """With and without the server's certificate; the key's file needs its password, the user theirs."""
    for more in ((), (parties.server.certificate_file,)):
        security = parties.security(parties.client, *more)
        assert answer(device(parties.port, security=security, key_password=_KEY_PASSWORD)) == 1.5
    error = refusal(device(parties.port, security=security, key_password=_KEY_PASSWORD, password="wrong"))
    assert "check username" in error.advice


def test_an_open_channel_is_refused_by_a_server_that_wants_a_secured_one(parties: Parties) -> None:
    """The password is not sent in the clear."""
    error = refusal(device(parties.port))
    assert "security" in error.advice


def test_a_server_that_has_no_secured_channel_is_unreachable(open_port: int, parties: Parties) -> None:
    """The device does not fall back to an open one."""
    security = parties.security(parties.client)
    error = refusal(device(open_port, security=security, key_password=_KEY_PASSWORD))
    assert "security" in error.advice


def test_a_server_of_another_certificate_is_not_believed(parties: Parties) -> None:
    """Whoever answers without the key of the certificate that the rig names is left."""
    security = parties.security(parties.client, parties.other_server.certificate_file)
    error = refusal(device(parties.port, security=security, key_password=_KEY_PASSWORD))
    assert "certificate" in error.advice


def test_a_client_that_the_server_does_not_trust_is_told_so(parties: Parties) -> None:
    """With what the server has to do."""
    error = refusal(device(parties.port, security=parties.security(parties.stranger)))
    assert "trust" in error.advice


@pytest.mark.parametrize("key_password", [None, "wrong"])
def test_a_key_that_does_not_open_is_named(parties: Parties, key_password: str | None) -> None:
    """Without its password, or with another one."""
    error = refusal(
        device(parties.port, security=parties.security(parties.client), key_password=key_password)
    )
    assert "key_password" in error.advice


def test_files_that_are_not_there_are_named(parties: Parties, tmp_path: Path) -> None:
    """With their path."""
    missing = tmp_path / "missing.pem"
    security = f"Basic256Sha256,SignAndEncrypt,{missing},{parties.client.key_file}"
    error = refusal(device(parties.port, security=security))
    assert str(missing) in str(error.found)
    assert "security" in error.advice


def test_passwords_come_from_the_environment_and_are_masked(parties: Parties, tmp_path: Path) -> None:
    """The rig names variables; what is sealed with a run has none of their values."""
    path = tmp_path / "rig.toml"
    path.write_text(
        f"""
[devices.u]
adapter = "opcua"
url = "opc.tcp://127.0.0.1:{parties.port}/"
username = "lab"
password = "${{LAB_PASSWORD}}"
security = "{parties.security(parties.client)}"
key_password = "${{LAB_KEY_PASSWORD}}"
nodes = [{{ name = "i", node = "ns=2;s=i" }}]
"""
    )
    rig = load_rig(path, environ={"LAB_PASSWORD": _PASSWORD, "LAB_KEY_PASSWORD": _KEY_PASSWORD})
    sealed = str(rig.snapshot())
    assert _PASSWORD not in sealed
    assert _KEY_PASSWORD not in sealed
    entry = rig.devices["u"]
    assert answer(entry.adapter_class("u", entry.config)) == 1.5


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"security": "Basic256Sha256"}, "policy,mode"),
        ({"security": "Basic256Sha256,SignAndEncrypt,,k"}, "policy,mode"),
        ({"security": "ROT13,Sign,c,k"}, "no policy 'ROT13'"),
        ({"security": "Basic256Sha256,None,c,k"}, "no mode 'None'"),
        ({"security": "Basic256Sha256,Sign,c,k::secret"}, "key_password"),
        ({"key_password": "x"}, "with security only"),
    ],
)
def test_security_that_means_nothing_is_refused(given: dict[str, Any], words: str) -> None:
    """With words for the person who wrote it."""
    with pytest.raises(ValidationError, match=words):
        device(1, **given)
