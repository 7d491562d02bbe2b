"""Random calls on the public API against a plain-Python model: what is read is what was accepted."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

import gapless
from gapless.errors import ValueRefused
from gapless.model.outcome import OnErrorPolicy, TopicErrorPolicy
from gapless.store.layout import Bundle

FIXED = pa.schema([("n", pa.int64()), ("x", pa.float64())])
WIDE = pa.schema([("n", pa.int64()), ("text", pa.string()), ("v", pa.list_(pa.int32()))])
TIMES = st.integers(-(2**63) + 1, 2**63 - 1) | st.integers(0, 20)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "x": st.none() | st.floats(allow_nan=False),
    "text": st.none() | st.text(st.characters(codec="utf-8"), max_size=20),
    "v": st.none() | st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
}


class Stop(Exception):
    """An error of the user's own."""


class Recordings(RuleBasedStateMachine):
    """One store, one sequence at a time; the model keeps the accepted rows of each topic in order."""

    @initialize()
    def open_store(self) -> None:
        """Begin with an empty store in memory."""
        shm = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=shm if shm.is_dir() else None))
        self.client = gapless.connect(self.folder, flush_ms=5)
        self.seq: gapless.SequenceWriter | None = None
        self.sealed: dict[str, tuple[str, dict[str, list[tuple[Any, ...]]]]] = {}
        self.model: dict[str, list[tuple[Any, ...]]] = {}
        self.dropped = 0
        self.count = 0

    def teardown(self) -> None:
        """Remove the store."""
        if not hasattr(self, "folder"):
            return
        if self.seq is not None:
            self.seq.__exit__(None, None, None)
        self.client.close()
        shutil.rmtree(self.folder)

    @precondition(lambda self: self.seq is None)
    @rule(policy=st.sampled_from(list(OnErrorPolicy)))
    def create(self, policy: OnErrorPolicy) -> None:
        """Begin a sequence."""
        self.count += 1
        self.name = f"s/{self.count}"
        self.seq = self.client.sequence_create(self.name, on_error=policy).__enter__()
        self.model, self.dropped = {}, 0

    @precondition(lambda self: self.seq is not None and len(self.model) < 4)
    @rule(wide=st.booleans(), policy=st.sampled_from([TopicErrorPolicy.Raise, TopicErrorPolicy.Ignore]))
    def create_topic(self, wide: bool, policy: TopicErrorPolicy) -> None:
        """Add a topic."""
        assert self.seq is not None
        name = f"t{len(self.model)}"
        self.seq.topic_create(name, schema=WIDE if wide else FIXED, on_error=policy)
        self.model[name] = []

    def _topic(self, data: st.DataObject) -> gapless.TopicWriter:
        assert self.seq is not None
        return self.seq.get_topic_writer(data.draw(st.sampled_from(sorted(self.model))))

    def _row(self, data: st.DataObject, topic: gapless.TopicWriter) -> tuple[Any, ...]:
        number = len(self.model[topic.name])
        return (data.draw(TIMES), number, *(data.draw(VALUES[name]) for name in topic.schema.names[2:]))

    @precondition(lambda self: self.seq is not None and self.model)
    @rule(data=st.data(), rows=st.integers(1, 5))
    def push_rows(self, data: st.DataObject, rows: int) -> None:
        """Push rows one by one."""
        topic = self._topic(data)
        for _ in range(rows):
            row = self._row(data, topic)
            topic.push_row(*row)
            self.model[topic.name].append(row)

    @precondition(lambda self: self.seq is not None and self.model)
    @rule(data=st.data(), rows=st.integers(1, 5), columns=st.booleans())
    def push_block(self, data: st.DataObject, rows: int, columns: bool) -> None:
        """Push a block as columns or as a batch."""
        topic = self._topic(data)
        block = []
        for _ in range(rows):
            block.append(self._row(data, topic))
            self.model[topic.name].append(block[-1])
        lists = {n: list(c) for n, c in zip(topic.schema.names, zip(*block, strict=True), strict=True)}
        if columns:
            topic.push_columns(lists.pop("timestamp_ns"), lists)
        else:
            topic.push_batch(pa.record_batch(lists, schema=topic.schema))

    @precondition(lambda self: self.seq is not None and self.model)
    @rule(data=st.data())
    def push_what_does_not_fit(self, data: st.DataObject) -> None:
        """A refused row is an error or a drop, and nothing else changes."""
        topic = self._topic(data)
        try:
            topic.push_row(1, "not a number", *(None for _ in topic.schema.names[2:]))
            assert topic.on_error is TopicErrorPolicy.Ignore
            self.dropped += 1
        except ValueRefused:
            assert topic.on_error is TopicErrorPolicy.Raise

    @precondition(lambda self: self.seq is not None)
    @rule()
    def flush(self) -> None:
        """After a flush a reader of the open sequence sees every accepted row."""
        assert self.seq is not None
        self.seq.flush()
        self._compare(self.name, self.model)

    @precondition(lambda self: self.seq is not None)
    @rule(error=st.sampled_from([None, None, KeyboardInterrupt, Stop]))
    def end(self, error: type[BaseException] | None) -> None:
        """Leave the block, well or with an error, and compare what its policy left."""
        assert self.seq is not None
        seq, self.seq = self.seq, None
        seq.__exit__(error, error() if error else None, None)
        if error is Stop and seq.on_error is OnErrorPolicy.Delete:
            assert self.name not in self.client.list_sequences()
            return
        outcome = "completed" if error is None else "failed" if error is Stop else "aborted"
        if error is Stop:
            assert self.client.sequence_handler(self.name).state == "pending"
            self._compare(self.name, self.model)
            self.client.seal(self.name)
        self.sealed[self.name] = (outcome, self.model)
        handler = self.client.sequence_handler(self.name)
        written = sum(map(len, self.model.values()))
        assert handler.ledger == {
            "produced": written + self.dropped, "written": written, "dropped": self.dropped, "gapped": 0,
        }  # fmt: skip
        before = Bundle(self.client._store.bundle(self.name).path).manifest.read_bytes()
        self.client.seal(self.name)  # sealing again changes nothing
        assert Bundle(self.client._store.bundle(self.name).path).manifest.read_bytes() == before

    @precondition(lambda self: self.seq is None and self.sealed)
    @rule()
    def open_again(self) -> None:
        """A new client finds every sealed sequence as it was, with nothing to complain of."""
        self.client.close()
        self.client = gapless.connect(self.folder, flush_ms=5)
        assert sorted(self.client.list_sequences()) == sorted(self.sealed)
        for name, (outcome, model) in self.sealed.items():
            assert self.client.sequence_handler(name).outcome == outcome
            self._compare(name, model)
            assert self.client.verify(name, deep=True) == []

    def _compare(self, name: str, model: dict[str, list[tuple[Any, ...]]]) -> None:
        handler = self.client.sequence_handler(name)
        assert sorted(handler.topics) == sorted(model)
        for topic, rows in model.items():
            table = handler.topic(topic).to_arrow()
            found = [tuple(row.values()) for row in table.to_pylist()]
            assert found == sorted(rows, key=lambda row: row[:2])


Recordings.TestCase.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestRecordings = Recordings.TestCase
