"""MQTT against a real broker that asks who is there and proves who it is: passwords, TLS, rights of a user."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acquire.devices.brokers import Broker, find_mosquitto
from tests.acquire.devices.certificates import Authority, Holder

from gapless.acquire.devices.mqtt import MqttConfig, MqttDevice
from gapless.acquire.devices.mqtt_payload import PayloadField, Subscription
from gapless.acquire.rig import load_rig
from gapless.errors import DeviceUnreachable
from gapless.testing.adapter_contract import AdapterContract, Observed, order

_PASSWORD = "correct horse"


class GuardedBroker(Broker):
    """A broker that knows one user, ``lab``, who may use ``lab/#`` only; with a holder it speaks TLS alone."""

    def __init__(self, folder: Path, program: str, holder: Holder | None = None) -> None:
        super().__init__(folder, program)
        passwords, rights = folder / "passwords", folder / "rights"
        tool = shutil.which("mosquitto_passwd")
        assert tool is not None
        subprocess.run([tool, "-c", "-b", str(passwords), "lab", _PASSWORD], check=True, timeout=30)
        passwords.chmod(0o600)
        rights.write_text("user lab\ntopic readwrite lab/#\n")
        text = self._config.read_text().replace("allow_anonymous true", "allow_anonymous false")
        text += f"password_file {passwords}\nacl_file {rights}\n"
        if holder is not None:
            text += f"certfile {holder.certificate_file}\nkeyfile {holder.key_file}\n"
        self._config.write_text(text)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the authority that signs the brokers' certificates."""
    return Authority(tmp_path_factory.mktemp("authority"), "lab authority")


def _started(folder: Path, holder: Holder | None = None) -> Iterator[GuardedBroker]:
    program = find_mosquitto()
    if program is None:
        pytest.skip("mosquitto is not installed and could not be")
    broker = GuardedBroker(folder, program, holder)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[GuardedBroker]:
    """Return a broker that asks for a password."""
    yield from _started(tmp_path)


@pytest.fixture
def encrypted(tmp_path: Path, authority: Authority) -> Iterator[GuardedBroker]:
    """Return a broker that asks for a password and speaks TLS."""
    yield from _started(tmp_path, authority.issue("broker"))


def device(broker: Broker, **more: Any) -> MqttDevice:
    """Return a device that is the user the broker knows, unless told otherwise."""
    given: dict[str, Any] = {
        "username": "lab",
        "password": _PASSWORD,
        "host": "127.0.0.1",
        "client_id": "device",
    }
    number = Subscription(filter="lab/t", fields=(PayloadField(name="t"),))
    return MqttDevice(
        "m", MqttConfig(adapter="mqtt", port=broker.port, subscriptions=(number,), **given | more)
    )


class Bench(AdapterContract):
    """The waits of the contract, for scenarios of this module; collects no tests of its own."""

    __test__ = False

    def __init__(self, adapter: MqttDevice) -> None:
        self.adapter = adapter

    def make_adapter(self) -> MqttDevice:
        """Return the device under test."""
        return self.adapter


def values_of_a_run(adapter: MqttDevice) -> list[Any]:
    """Let a device publish two numbers to itself in one run; return what it recorded of them."""
    waits = Bench(adapter)
    place = [field.name for field in adapter.fields()].index("t")

    async def whole(opened: Any) -> Observed:
        await opened.open()
        observed = await waits.begin(opened)
        for value in (1.5, 2.5):
            assert (await opened.command(order("publish", topic="lab/t", payload=value))).accepted
        await waits.wait_for(observed, 2)
        await waits.end(observed)
        return observed

    return [record.values[place] for record in waits.run(whole).records]


def refusal(adapter: MqttDevice) -> DeviceUnreachable:
    """Open a device that must not be let in and return what it says; a password is never in it."""
    with pytest.raises(DeviceUnreachable) as caught:
        asyncio.run(adapter.open())
    assert _PASSWORD not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_the_right_password_opens_the_broker(guarded: GuardedBroker, protocol: str) -> None:
    """A run records what the user may read."""
    assert values_of_a_run(device(guarded, protocol=protocol)) == [1.5, 2.5]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize(
    "login", [{"password": "wrong"}, {"username": "nobody"}, {"username": None, "password": None}]
)
def test_a_wrong_login_says_what_to_check(
    guarded: GuardedBroker, login: dict[str, Any], protocol: str
) -> None:
    """A wrong password, an unknown user and nobody at all are refused, and the advice is about the login."""
    error = refusal(device(guarded, protocol=protocol, **login))
    assert "ot authori" in str(error.found)
    assert "check username" in error.advice


def test_a_password_comes_from_the_environment_and_is_masked(guarded: GuardedBroker, tmp_path: Path) -> None:
    """The rig names a variable; what is sealed with a run has neither its value nor, on failure, has the error."""
    path = tmp_path / "rig.toml"
    path.write_text(
        f"""
[devices.m]
adapter = "mqtt"
host = "127.0.0.1"
port = {guarded.port}
username = "lab"
password = "${{BROKER_PASSWORD}}"

[[devices.m.subscriptions]]
filter = "lab/t"
fields = [{{ name = "t" }}]
"""
    )
    rig = load_rig(path, environ={"BROKER_PASSWORD": _PASSWORD})
    entry = rig.devices["m"]
    assert _PASSWORD not in str(rig.snapshot())
    assert values_of_a_run(entry.adapter_class("m", entry.config)) == [1.5, 2.5]


def test_a_broker_with_a_certificate_is_believed_if_its_authority_is(
    encrypted: GuardedBroker, authority: Authority
) -> None:
    """A run over TLS records like any other, and the password is still asked for."""
    trusting = {"tls": True, "ca_file": str(authority.certificate_file)}
    assert values_of_a_run(device(encrypted, **trusting)) == [1.5, 2.5]
    assert encrypted.connections("device") == 1
    assert "check username" in refusal(device(encrypted, **trusting, password="wrong")).advice


def test_a_broker_of_another_authority_is_not_believed(encrypted: GuardedBroker, tmp_path: Path) -> None:
    """Neither with the file of another authority nor with this machine's own; nothing is sent to it."""
    stranger = Authority(tmp_path, "a stranger")
    for ca_file in (str(stranger.certificate_file), None):
        error = refusal(device(encrypted, tls=True, ca_file=ca_file))
        assert "certificate verify failed" in str(error.found)
        assert "ca_file" in error.advice
    assert encrypted.connections("device") == 0


def test_a_certificate_for_another_name_is_not_believed(tmp_path: Path, authority: Authority) -> None:
    """A broker whose certificate is good, but somebody else's, may be anybody."""
    for broker in _started(tmp_path, authority.issue("elsewhere", host="192.0.2.1")):
        error = refusal(device(broker, tls=True, ca_file=str(authority.certificate_file)))
        assert "certificate is not valid for '127.0.0.1'" in str(error.found)
        assert "host" in error.advice


def test_tls_where_the_broker_has_none_says_so(guarded: GuardedBroker, authority: Authority) -> None:
    """The port is the wrong one: no password is sent to it in the clear instead."""
    error = refusal(device(guarded, tls=True, ca_file=str(authority.certificate_file), open_timeout_s=3))
    assert "TLS" in error.advice


def test_no_tls_where_the_broker_wants_it_is_unreachable(encrypted: GuardedBroker) -> None:
    """The broker hangs up; the device does not hang."""
    refusal(device(encrypted, open_timeout_s=3))


def test_a_ca_file_that_is_not_there_is_named(encrypted: GuardedBroker, tmp_path: Path) -> None:
    """With its path, as is a file without a certificate in it."""
    missing, empty = tmp_path / "missing.crt", tmp_path / "empty.crt"
    empty.touch()
    for path in (missing, empty):
        error = refusal(device(encrypted, tls=True, ca_file=str(path)))
        assert str(path) in str(error.found)
        assert "PEM" in error.advice
