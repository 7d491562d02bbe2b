"""MQTT against a real broker: the contract, what messages become, and a broker that is killed and comes back."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import ValidationError
from tests.acquire.devices.brokers import Broker, find_mosquitto, free_port

from gapless.acquire.adapter import Adapter
from gapless.acquire.command import CommandStatus
from gapless.acquire.devices.mqtt import MqttConfig, MqttDevice
from gapless.acquire.devices.mqtt_payload import PayloadField, Subscription
from gapless.acquire.emission import ChannelSample, GapReport, SampleStatus, SourceRecord
from gapless.errors import ValueRefused
from gapless.testing.adapter_contract import AdapterContract, Observed, Question, order

_WAIT_S = 30.0


class Publisher:
    """Another client of the broker, on a thread of its own."""

    def __init__(self, port: int) -> None:
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._connected = threading.Event()
        self._client.on_connect = lambda *_: self._connected.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._connected.wait(_WAIT_S)

    def say(self, topic: str, payload: Any, *, qos: int = 0, retain: bool = False) -> None:
        """Publish without waiting for anybody."""
        self._client.publish(topic, payload, qos=qos, retain=retain)

    def tell(self, topic: str, payload: Any, *, retain: bool = False) -> None:
        """Publish and wait until the broker has it."""
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(_WAIT_S)

    def close(self) -> None:
        """End the thread and the connection."""
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """Return a running broker."""
    program = find_mosquitto()
    if program is None:
        pytest.skip("mosquitto is not installed and could not be")
    broker = Broker(tmp_path, program)
    broker.start()
    yield broker
    broker.stop()


SUBSCRIPTIONS = (
    Subscription(filter="lab/t", payload="number", fields=(PayloadField(name="t", unit="degC"),)),
    Subscription(
        filter="lab/+/state",
        payload="json",
        fields=(
            PayloadField(name="rpm", path="motor.0.rpm"),
            PayloadField(name="on", dtype="bool"),
            PayloadField(name="mode", dtype="string"),
        ),
    ),
    Subscription(filter="lab/note", payload="text", fields=(PayloadField(name="note"),)),
    Subscription(filter="lab/raw", payload="bytes", fields=(PayloadField(name="raw"),)),
)


def device(broker: Broker, **more: Any) -> MqttDevice:
    """Return a device on the broker that notices silence soon."""
    given: dict[str, Any] = {
        "subscriptions": SUBSCRIPTIONS,
        "keepalive_s": 1,
        "open_timeout_s": 4.0,
        "client_id": "device",
    }
    return MqttDevice("m", MqttConfig(adapter="mqtt", host="127.0.0.1", port=broker.port, **given | more))


def named(adapter: Adapter, record: SourceRecord) -> dict[str, Any]:
    """Return a record's values by column, without those that are null."""
    pairs = zip(adapter.fields(), record.values, strict=True)
    return {field.name: value for field, value in pairs if value is not None}


class TestMqttContract(AdapterContract):
    """An MQTT client keeps what every device promises."""

    @pytest.fixture(autouse=True)
    def _served(self, broker: Broker) -> Iterator[None]:
        self.broker = broker
        self.publisher = Publisher(broker.port)
        yield
        self.publisher.close()

    def make_adapter(self) -> Adapter:
        """Return a client of the broker."""
        return device(self.broker)

    def make_unreachable(self) -> Adapter:
        """Return a client of nobody."""
        config = MqttConfig(
            adapter="mqtt", host="127.0.0.1", port=free_port(), subscriptions=SUBSCRIPTIONS, open_timeout_s=1
        )
        return MqttDevice("m", config)

    async def provoke(self) -> None:
        """Publish a number."""
        self.publisher.say("lab/t", "21.5")

    def connections(self) -> int:
        """Return what the broker's log says."""
        return self.broker.connections("device")

    def questions(self) -> Sequence[Question]:
        """Return the publishing of a message."""
        return [Question(order("publish", topic="elsewhere", payload=1.5), None)]

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Freeze the broker."""
        self.broker.freeze()
        yield
        self.broker.thaw()

    def cut(self) -> None:
        """Kill the broker."""
        self.broker.stop(signal.SIGKILL)

    def mend(self) -> None:
        """Start the broker again."""
        self.broker.start()


class Bench(AdapterContract):
    """The waits of the contract, for scenarios of this module; collects no tests of its own."""

    __test__ = False

    def __init__(self, adapter: MqttDevice) -> None:
        self.adapter = adapter

    def make_adapter(self) -> Adapter:
        """Return the device under test."""
        return self.adapter


def bench(
    adapter: MqttDevice, scenario: Callable[[Bench, Observed], Awaitable[None]]
) -> list[dict[str, Any]]:
    """Open a device, run a scenario in one run of it, and return its records by column."""
    waits = Bench(adapter)

    async def whole(opened: Adapter) -> Observed:
        await opened.open()
        observed = await waits.begin(opened)
        await scenario(waits, observed)
        await waits.end(observed)
        waits.check_order(observed)
        return observed

    return [named(adapter, record) for record in waits.run(whole).records]


@pytest.fixture
def publisher(broker: Broker) -> Iterator[Publisher]:
    """Return another client of the broker."""
    publisher = Publisher(broker.port)
    yield publisher
    publisher.close()


def test_each_message_is_a_record_of_what_it_has(broker: Broker, publisher: Publisher) -> None:
    """Numbers, JSON with paths, texts and bytes; the fields of other subscriptions are not there at all."""
    publisher.tell("lab/t", "20.5", retain=True)

    async def scenario(waits: Bench, observed: Observed) -> None:
        await waits.wait_for(observed, 1)
        publisher.tell("lab/t", b" 21 ")
        publisher.tell("lab/mixer/state", '{"motor": [{"rpm": 300}], "on": true, "mode": null}')
        publisher.tell("lab/pump/state", '{"on": 0, "mode": {"a": 1}, "other": []}')
        publisher.tell("lab/note", "Grüße")
        publisher.tell("lab/raw", b"\x00\xff")
        publisher.tell("lab/unheard", "1")
        await waits.wait_for(observed, 6)

    frame = {"retained": False, "qos": 1}
    assert bench(device(broker), scenario) == [
        {**frame, "topic": "lab/t", "retained": True, "t": 20.5},
        {**frame, "topic": "lab/t", "t": 21.0},
        {**frame, "topic": "lab/mixer/state", "rpm": 300.0, "on": True},
        {**frame, "topic": "lab/pump/state", "on": False, "mode": '{"a": 1}'},
        {**frame, "topic": "lab/note", "note": "Grüße"},
        {**frame, "topic": "lab/raw", "raw": b"\x00\xff"},
    ]


def test_a_payload_that_is_refused_is_kept(broker: Broker, publisher: Publisher) -> None:
    """Its bytes are in the record, its field is null; one event tells of the first in a row."""

    async def scenario(waits: Bench, observed: Observed) -> None:
        for payload in ("hot", b"\xff", "1e400", "", "20", "warm"):
            publisher.tell("lab/t", payload)
        publisher.tell("lab/x/state", '{"on": 7}')
        await waits.wait_for(observed, 7)
        events = observed.events("payload_refused")
        assert [event.data and event.data["topic"] for event in events] == [*["lab/t"] * 3, "lab/x/state"]

    records = bench(device(broker), scenario)
    assert [(record.get("t"), record.get("refused_payload")) for record in records[:6]] == [
        (None, b"hot"),
        (None, b"\xff"),
        (float("inf"), None),
        (None, b""),
        (20.0, None),
        (None, b"warm"),
    ]
    assert {"on", "rpm"}.isdisjoint(records[6])


def test_a_field_without_value_differs_from_one_that_is_not_there(
    broker: Broker, publisher: Publisher
) -> None:
    """Null, and a payload that is refused, give a sample without value; what is not in a message gives none."""
    adapter = device(broker)

    async def scenario(waits: Bench, observed: Observed) -> None:
        for payload in ('{"on": null}', '{"on": 1}', "{", '{"mode": "x"}'):
            publisher.tell("lab/x/state", payload)
        await waits.wait_for(observed, 4)
        await waits.end(observed)
        names = [field.name for field in adapter.fields()]
        given = [
            [
                (names[int(s.channel[1:])], s.value, s.status)
                for s in observed.of(ChannelSample)
                if s.source_record_id == r.source_record_id
            ]
            for r in observed.records
        ]
        frame = [("retained", 0.0, 0), ("qos", 1.0, 0)]
        no_value = int(SampleStatus.DEVICE_INVALID)
        assert given == [
            [*frame, ("on", None, no_value)],
            [*frame, ("on", 1.0, 0)],
            [*frame, ("rpm", None, no_value), ("on", None, no_value)],
            frame,
        ]

    bench(adapter, scenario)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_broker_that_restarts_sends_what_it_held(broker: Broker, protocol: str) -> None:
    """What came while the device was away is recorded after the return, around one event, gap and event."""
    adapter = device(broker, protocol=protocol)

    async def scenario(waits: Bench, observed: Observed) -> None:
        first = Publisher(broker.port)
        first.tell("lab/t", "1")
        await waits.wait_for(observed, 1)
        first.close()
        broker.stop()
        await waits.until(lambda: bool(observed.events("device_lost")), "the loss")
        result = await adapter.command(order("publish", topic="x", payload=1))
        assert result.status is CommandStatus.FAILED
        assert not observed.of(GapReport)
        broker.start()
        second = Publisher(broker.port)
        for n in range(2, 6):
            second.tell("lab/t", str(n))
        await waits.wait_for(observed, 5)
        await waits.until(lambda: bool(observed.events("device_back")), "the return")
        second.close()
        (lost,), (gap,), (back,) = (
            observed.events("device_lost"),
            observed.of(GapReport),
            observed.events("device_back"),
        )
        assert gap.records is None
        assert gap.start_ns <= lost.timestamp_ns < gap.end_ns <= back.timestamp_ns

    assert {record["t"] for record in bench(adapter, scenario)} == {1.0, 2.0, 3.0, 4.0, 5.0}


def test_a_gap_begins_with_the_silence(broker: Broker, publisher: Publisher) -> None:
    """A broker that hangs is noticed late: the gap reaches back to where its last sign of life may lie."""

    async def scenario(waits: Bench, observed: Observed) -> None:
        publisher.tell("lab/t", "1")
        await waits.wait_for(observed, 1)
        broker.freeze()
        await waits.until(lambda: bool(observed.events("device_lost")), "the loss")
        broker.thaw()
        await waits.until(lambda: bool(observed.events("device_back")), "the return")
        (gap,), (lost,) = observed.of(GapReport), observed.events("device_lost")
        assert gap.start_ns < lost.timestamp_ns

    bench(device(broker), scenario)


def test_a_run_that_begins_in_an_outage_says_so(broker: Broker) -> None:
    """The loss from before the run is an event and a gap of the run; the next run has no part in it."""
    adapter = device(broker)
    waits = Bench(adapter)

    async def whole(opened: Adapter) -> None:
        await opened.open()
        broker.stop()
        await waits.until(lambda: adapter.outage.is_on, "the loss")
        observed = await waits.begin(opened)
        await waits.until(lambda: bool(observed.events("device_lost")), "an event")
        broker.start()
        await waits.until(lambda: bool(observed.events("device_back")), "the return")
        await waits.end(observed)
        assert len(observed.of(GapReport)) == 1
        following = await waits.begin(opened)
        await waits.end(following)
        assert following.emissions == []

    waits.run(whole)


def test_nothing_is_held_between_runs(broker: Broker, publisher: Publisher) -> None:
    """What is published while no run takes it is not in the next one, unless the broker retains it."""
    adapter = device(broker)
    waits = Bench(adapter)

    async def whole(opened: Adapter) -> list[Any]:
        await opened.open()
        for value in ("1", "2"):
            observed = await waits.begin(opened)
            publisher.tell("lab/t", value)
            await waits.wait_for(observed, 1)
            await waits.end(observed)
            publisher.tell("lab/t", "-1")
        await opened.close()
        publisher.tell("lab/t", "-2")
        await opened.open()
        observed = await waits.begin(opened)
        publisher.tell("lab/t", "3")
        await waits.wait_for(observed, 1)
        await waits.end(observed)
        return [named(adapter, record)["t"] for record in observed.records]

    assert waits.run(whole) == [3.0]


def test_a_published_message_reaches_others(broker: Broker) -> None:
    """Texts as they are, anything else as JSON; what cannot be published is refused."""
    adapter = device(broker)

    async def scenario(waits: Bench, observed: Observed) -> None:
        for payload in ("as it is", {"a": [1, None]}, True):
            assert (await adapter.command(order("publish", topic="lab/note", payload=payload))).accepted
        for wrong in ({"topic": "a/#"}, {"topic": ""}, {"topic": "a", "qos": 3}):
            result = await adapter.command(order("publish", 5.0, payload="", **wrong))
            assert result.status is CommandStatus.REFUSED
        await waits.wait_for(observed, 3)

    assert [record["note"] for record in bench(adapter, scenario)] == ["as it is", '{"a": [1, null]}', "true"]


def test_a_defect_ends_the_stream(broker: Broker, publisher: Publisher) -> None:
    """What is no trouble of the broker's is raised out of the stream, not tried again for ever."""

    class Defective(MqttDevice):
        """Breaks at every message."""

        def deliver(self, values: Sequence[Any], timestamp_ns: int | None = None) -> bool:
            """Break."""
            raise ZeroDivisionError

    adapter = Defective("m", device(broker).config)
    waits = Bench(adapter)

    async def whole(opened: Adapter) -> None:
        await opened.open()
        observed = await waits.begin(opened)
        publisher.tell("lab/t", "1")
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(_WAIT_S):
                await observed.task
        await opened.stop()

    waits.run(whole)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"subscriptions": ()}, "at least 1"),
        ({"password": "x"}, "needs a username"),
        ({"ca_file": "x"}, "tls"),
        ({"subscriptions": [{"filter": "a/#/b", "fields": [{"name": "x"}]}]}, "Invalid wildcard"),
        ({"subscriptions": [{"filter": "a", "fields": [{"name": "x"}, {"name": "y"}]}]}, "fills one field"),
        ({"subscriptions": [{"filter": "a", "fields": [{"name": "x", "path": "y"}]}]}, "for payload json"),
        ({"subscriptions": [{"filter": "a", "fields": [{"name": "topic"}]}]}, "two fields are called topic"),
    ],
)
def test_a_config_that_means_nothing_is_refused(given: dict[str, Any], words: str) -> None:
    """With words for the person who wrote it."""
    with pytest.raises(ValidationError, match=words):
        MqttConfig(adapter="mqtt", host="h", **{"subscriptions": SUBSCRIPTIONS} | given)


@pytest.mark.parametrize(
    ("dtype", "text", "value"),
    [
        ("float64", "3", 3.0),
        ("int64", "3.0", 3),
        ("int64", "9007199254740993", 9007199254740993),
        ("bool", "1", True),
        ("string", '"a"', "a"),
        ("string", "[1, 2]", "[1, 2]"),
        ("float64", "null", None),
    ],
)
def test_values_out_of_json_have_their_type(dtype: Any, text: str, value: Any) -> None:
    """Whole numbers are not rounded through a float; null is a value that is missing."""
    field = PayloadField(name="x", path="", dtype=dtype)
    taken = Subscription(filter="a", payload="json", fields=(field,)).decode(text.encode())["x"]
    assert (taken, type(taken)) == (value, type(value))


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        ("float64", '"3"'),
        ("float64", "1" + "0" * 400),
        ("int64", "3.5"),
        ("int64", str(2**63)),
        ("bool", "2"),
        ("bool", "[]"),
        ("float64", "{"),
        ("float64", "[" * 100_000),
    ],
)
def test_values_of_another_type_are_refused(dtype: Any, text: str) -> None:
    """Nothing is bent until it fits."""
    field = PayloadField(name="x", path="", dtype=dtype)
    with pytest.raises(ValueRefused):
        Subscription(filter="a", payload="json", fields=(field,)).decode(text.encode())
