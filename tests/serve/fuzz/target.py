"""What a fuzzed server holds, and every request about it as a client that means well would send it."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

import pyarrow as pa
from pyarrow import flight
from tests.serve.mosaico.caller import SCHEMA as THEIRS
from tests.serve.mosaico.caller import readings
from tests.serve.native.raw_writer import SCHEMA as OURS
from tests.serve.native.raw_writer import RawWriter, declaration, rows

from gapless.client.remote import protocol, reading

Document = dict[str, Any]
GROUP = "lab"


class Target:
    """A sealed and an open sequence of each protocol, made anew each time that what was there has been fuzzed."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url
        self._token = token
        self.number = 0

    def renew(self) -> None:
        """Make new sequences; that it works shows that the server still serves."""
        self.number += 1
        self.name, self.growing, self.theirs = (f"{kind}{self.number}" for kind in ("seq", "open", "theirs"))
        with RawWriter(
            self._url, self.name, token=self._token, group=GROUP, metadata={"a": {"b": 1}}
        ) as writer:
            self.uid = writer.uid
            writer.open()
            self._fill(writer)
            data = b"x" * 100
            writer.upload("plan", data, hashlib.sha256(data).hexdigest(), 0)
            writer.end({"t": 10}, 1)
        with RawWriter(self._url, self.growing, token=self._token, group=GROUP) as writer:
            self.growing_uid = writer.uid
            writer.open()
            self._fill(writer)
        self._renew_theirs()

    @staticmethod
    def _fill(writer: RawWriter) -> None:
        writer.topic("t")
        lane = writer.lane("t")
        lane.push(0, 10)
        assert lane.finish() == 10

    def _renew_theirs(self) -> None:
        headers = [] if self._token is None else [(b"mosaico-api-key-token", self._token.encode())]
        options = flight.FlightCallOptions(headers=headers, timeout=60.0)
        with flight.connect(self._url) as client:

            def ask(action: str, **words: Any) -> Document:
                found = list(client.do_action(flight.Action(action, json.dumps(words).encode()), options))
                answer: Document = json.loads(found[0].body.to_pybytes())["response"] if found else {}
                return answer

            ask("sequence_create", locator=self.theirs, user_metadata={"group": GROUP, "k": [1]})
            self.session = ask("session_create", locator=self.theirs)["uuid"]
            self.locator = f"{self.theirs}/t"
            words = {"serialization_format": "default", "ontology_tag": "Temperature", "user_metadata": {}}
            self.topic = ask("topic_create", session_uuid=self.session, locator=self.locator, **words)["uuid"]
            command = json.dumps({"resource_locator": self.locator, "topic_uuid": self.topic})
            descriptor = flight.FlightDescriptor.for_command(command)
            writer, _ = client.do_put(descriptor, THEIRS, options)
            writer.write_batch(readings(1, 2, 3))
            writer.done_writing()
            writer.close()

    # -- valid requests ------------------------------------------------------------------------

    def actions(self) -> dict[str, Document]:
        """Return one request of each action."""
        place, act = {"name": self.name}, {"name": self.growing, "uid": self.growing_uid}
        topic, label = {**place, "topic": "t"}, {**place, "start_ns": 1, "end_ns": 5, "label": "x"}
        opening = {"uid": secrets.token_hex(8), "group": GROUP, "metadata": {"a": 1}, "window_ms": 20}
        gap = {"timestamp_ns": 5, "topic": "t", "count": 3, "end_ns": None, "cause": "pause"}
        said = {"severity": "error", "message": "m", "timestamp_ns": 1, "source": "t"}
        stone: Document = {"reason": "r", "rows": {}, "ledger": {}, "error": None}
        theirs, part = {"locator": self.theirs}, {"locator": self.locator}
        condition = {"Temperature.value": {"$geq": 1}}
        cluster = {**part, "ontology": condition, "clustering_dt_ns": 5}
        expression = {"and": [{"target": "sequence", "path": "name", "op": "eq", "value": self.name}]}
        query = {
            "sequence": {"name": {"$match": "s*"}, "user_metadata": {"a.b": {"$eq": 1}}},
            "ontology": condition,
        }
        return {
            protocol.INFO: {},
            protocol.OPEN: {"name": f"new{self.number}-{secrets.token_hex(2)}", **opening},
            protocol.TOPIC: {**act, "declaration": declaration("t2"), "on_full": "block"},
            protocol.NOTE: {**act, "n": 0, "kind": "gap", "document": gap},
            protocol.END: {**act, "outcome": "completed", "cause": None, "topics": {"t": 10}, "notes": 0},
            protocol.KEEP: {**act, "text": "e", "notifications": [said]},
            protocol.DISCARD: {**act, "tombstone": stone},
            reading.LIST: {},
            reading.ROWS: {"state": "sealed", "group": GROUP, "outcome": "completed", "limit": 5, "order": "created"},
            reading.ROW: {"ref": self.name},
            reading.QUERY: {"expression": expression, "order": "name", "limit": 3, "cursor": None, "topics": True},
            reading.DISCARDED: {},
            reading.EXISTS: place,
            reading.DESCRIBE: {**place, "uid": self.uid, "layers": None},
            reading.LIVE: topic,
            reading.FEATURES: place,
            reading.FEATURE: topic,
            reading.FLOOR: {**topic, "time_ns": 50},
            reading.SEAL: place,
            reading.RECOVER: {"name": self.growing},
            reading.REMOVE: {"name": self.growing},
            reading.VERIFY: {**place, "deep": True},
            reading.CHECK: place,
            reading.LABEL: {**label, "kind": "label", "author": "a", "confidence": 0.5},
            reading.UNLABEL: {**place, "id": "0" * 32, "author": "a"},
            reading.LABELS: place,
            "info": {},
            "sequence_create": {"locator": f"their-new{self.number}", "user_metadata": {"a": 1}},
            "sequence_delete": theirs,
            "session_create": {"locator": self.name},
            "session_finalize": {"session_uuid": self.session},
            "session_delete": {"locator": f"{self.theirs}:base"},
            "topic_create": {
                "session_uuid": self.session, "locator": f"{self.theirs}/u", "serialization_format": "default",
                "ontology_tag": "IMU", "user_metadata": {"a": 1},
            },
            "topic_delete": part,
            "sequence_notification_create": {**theirs, "notification_type": "error", "msg": "m"},
            "sequence_notification_list": theirs,
            "sequence_notification_purge": theirs,
            "topic_notification_create": {**part, "notification_type": "error", "msg": "m"},
            "topic_notification_list": part,
            "topic_notification_purge": part,
            "query": query,
            "topic_filter_clusterize": {**cluster, "timestamp_range": {"start_ns": 0, "end_ns": 9}},
            "topic_filter_intersect": {"topics": [cluster, cluster], "intersect_dt_ns": 5},
        }  # fmt: skip

    def tickets(self) -> list[Document]:
        """Return one request of each stream to read."""
        place = {"name": self.name, "uid": self.uid, "layers": None}
        rest = {
            "columns": ["n"],
            "start_ns": 0,
            "end_ns": 90,
            "with_seq": True,
            "filter": None,
            "batch_rows": 5,
        }
        found: list[Document] = [
            {"gapless": "scan", **place, "topic": "t", **rest},
            {"gapless": "tail", "name": self.growing, "topic": "t", "from_start": True, "timeout_s": 0.05},
            {
                "gapless": "downsample",
                **place,
                "topic": "t",
                "field": "n",
                "points": 5,
                "start_ns": 0,
                "end_ns": 99,
            },
            {"gapless": "artifact", **place, "artifact": "plan", "folder": self.name},
            {"gapless": "scan", **place, "topic": "t", "filter": {"tree": ["field", "n"], "values": "AAAA"}},
        ]
        return found + self.descriptions()

    def descriptions(self) -> list[Document]:
        """Return what flights and schemas are asked for with."""
        window = {"timestamp_ns_start": 1, "timestamp_ns_end": 9}
        return [
            {"resource_locator": self.name},
            {"resource_locator": self.locator, **window},
            {"resource_locator": f"{self.name}/t"},
        ]

    def uploads(self) -> list[tuple[Document, pa.Schema, Document, pa.RecordBatch]]:
        """Return commands of streams to write: with schema, words beside a batch, and a batch."""
        lane = {"name": self.growing, "uid": self.growing_uid}
        upload = {"gapless": "artifact", **lane, "artifact": "a", "media_type": "text/plain", "n": 0}
        chunk = pa.record_batch([pa.array([b"x"], pa.binary())], names=["data"])
        return [
            (
                {"gapless": "lane", **lane, "topic": "t"},
                OURS,
                {"first_seq": 10, "unstamped": 0},
                rows(10, 20),
            ),
            (
                {"gapless": "lane", **lane, "topic": "t"},
                OURS,
                {"first_seq": 10, "drop": 5, "cause": "c"},
                rows(5, 9),
            ),
            ({**upload, "sha256": hashlib.sha256(b"x").hexdigest()}, chunk.schema, {"sync": True}, chunk),
            ({"resource_locator": self.locator, "topic_uuid": self.topic}, THEIRS, {}, readings(4, 5)),
        ]
