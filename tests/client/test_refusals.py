"""Bad input is refused at the call, by a typed error that names the place, and harms nothing recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import gapless
from gapless import OnErrorPolicy, SequenceWriter, TopicErrorPolicy
from gapless.errors import GaplessError, SchemaRefused, UsageError, ValueRefused, WriteError

MIXED = pa.schema([("n", pa.int32()), ("s", pa.string())])


def record(root: Path, schema: pa.Schema) -> tuple[gapless.Client, SequenceWriter, Any]:
    """Return a client, an entered sequence and a topic of the schema."""
    client = gapless.connect(root)
    seq = client.sequence_create("s").__enter__()
    return client, seq, seq.topic_create("t", schema=schema)


def sealed(client: gapless.Client, seq: SequenceWriter) -> pa.Table:
    """End the sequence and return the topic's rows."""
    seq.__exit__(None, None, None)
    return client.sequence_handler("s").topic("t").to_arrow()


def test_dictionary_columns_are_stored_as_their_values(tmp_path: Path) -> None:
    """A categorical column reads back as text: a frame stands alone and carries no dictionary."""
    client, seq, topic = record(tmp_path, pa.schema([("c", pa.dictionary(pa.int8(), pa.string()))]))
    batch = pa.record_batch({"timestamp_ns": [1, 2], "c": pa.array(["a", "b"]).dictionary_encode()})
    topic.push_batch(batch)
    topic.push_row(3, "a")
    assert sealed(client, seq)["c"].to_pylist() == ["a", "b", "a"]


@pytest.mark.parametrize(
    "kind",
    [
        pa.struct([("d", pa.dictionary(pa.int8(), pa.string()))]),
        pa.list_(pa.null()),
        pa.string_view(),
        pa.month_day_nano_interval(),
    ],
    ids=str,
)
def test_a_type_that_cannot_be_stored_is_refused_when_the_topic_is_made(
    tmp_path: Path, kind: pa.DataType
) -> None:
    """Nothing is accepted that could not be sealed."""
    with gapless.connect(tmp_path).sequence_create("s") as seq, pytest.raises(SchemaRefused, match="'x'"):
        seq.topic_create("t", schema=pa.schema([("x", kind)]))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.decimal128(10, 2), "1.25"),
        (pa.timestamp("us", "UTC"), 1_000_000),
        (pa.date32(), 3),
        (pa.duration("ms"), 5),
        (pa.binary(3), b"abc"),
        (pa.list_(pa.struct([("a", pa.int16())])), [{"a": 1}]),
        (pa.map_(pa.string(), pa.int32()), [("k", 1)]),
        (pa.large_list(pa.string()), ["x", "y"]),
        (pa.float16(), 0.5),
    ],
    ids=str,
)
def test_every_accepted_type_reads_back(tmp_path: Path, kind: pa.DataType, value: Any) -> None:
    """Rows of each type come back equal, through single rows and batches."""
    value = pa.scalar(value, kind if not pa.types.is_decimal(kind) else pa.string()).cast(kind).as_py()
    client, seq, topic = record(tmp_path, pa.schema([("x", kind)]))
    topic.push_row(1, value)
    topic.push_batch(pa.record_batch({"timestamp_ns": [2], "x": pa.array([value], kind)}))
    assert sealed(client, seq)["x"].to_pylist() == [value, value]


def test_values_that_a_lane_takes_never_fail_later(tmp_path: Path) -> None:
    """True in an int column and an Arrow scalar are kept as plain numbers, also beside text."""
    client, seq, topic = record(tmp_path, MIXED)
    truth: Any = True
    topic.push_row(1, truth, "a")
    topic.push_row(2, pa.scalar(5), "b")
    topic.push_row(3, np.int64(6), None)
    seq.flush()
    assert sealed(client, seq)["n"].to_pylist() == [1, 5, 6]


@pytest.mark.parametrize(
    "times",
    [
        pd.DatetimeIndex(["2020-01-01", "2020-01-02"]),
        pd.Series(pd.DatetimeIndex(["2020-01-01", "2020-01-02"], tz="UTC")),
        pa.array(["2020-01-01", "2020-01-02"]).cast(pa.timestamp("us")),
        np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[us]"),
        [1577836800_000000000, 1577923200_000000000],
    ],
    ids=lambda times: type(times).__name__,
)
def test_times_of_any_resolution_become_nanoseconds(tmp_path: Path, times: Any) -> None:
    """Datetimes are converted by their unit, never stored as they are."""
    client, seq, topic = record(tmp_path, pa.schema([("x", pa.float64())]))
    topic.push_columns(times, {"x": [1.0, 2.0]})
    assert sealed(client, seq)["timestamp_ns"].to_pylist() == [1577836800_000000000, 1577923200_000000000]


@pytest.mark.parametrize(
    "push",
    [
        lambda t: t.push_row(),
        lambda t: t.push_row(1),
        lambda t: t.push_row(1, 2, "a", 4),
        lambda t: t.push_row(-(2**63), 1, "a"),
        lambda t: t.push_row(1, 2**40, "a"),
        lambda t: t.push_row(1, 1, "\ud800"),
        lambda t: t.push_columns(None, {}),
        lambda t: t.push_columns([1], None),
        lambda t: t.push_columns(5, {"n": [1], "s": ["a"]}),
        lambda t: t.push_columns([1], {"n": [1, 2], "s": ["a"]}),
        lambda t: t.push_columns([1], {"n": ["x"], "s": ["a"]}),
        lambda t: t.push_columns(pa.array([1], pa.duration("s")), {"n": [1], "s": ["a"]}),
        lambda t: t.push_batch(None),
        lambda t: t.push_batch({"n": [1]}),
        lambda t: t.push_batch(pa.RecordBatch.from_arrays([pa.array([1])] * 2, names=["n", "n"])),
        lambda t: t.gap("a", "x"),
        lambda t: t.gap(-5, "x"),
        lambda t: t.gap(1.5, "x"),
        lambda t: t.gap(2**64, "x"),
        lambda t: t.gap(1, None),
        lambda t: t.gap(1, "x", start_ns="q"),
    ],
)
def test_a_refused_push_is_typed_and_harms_nothing(tmp_path: Path, push: Any) -> None:
    """The error names sequence and topic, the status tells of it, and the rows around it are kept."""
    client, seq, topic = record(tmp_path, MIXED)
    topic.push_row(1, 1, "a")
    with pytest.raises(WriteError) as caught:
        push(topic)
    assert (caught.value.sequence, caught.value.topic) == ("s", "t")
    topic.push_row(2, 2, "b")
    assert sealed(client, seq)["n"].to_pylist() == [1, 2]


@pytest.mark.parametrize("schema", [MIXED, pa.schema([("n", pa.int32())])], ids=["general", "packed"])
def test_the_policy_raise_leaves_a_trace(tmp_path: Path, schema: pa.Schema) -> None:
    """After a refused push_row the writer's status and last_error say so."""
    _client, seq, topic = record(tmp_path, schema)
    with pytest.raises(ValueRefused) as caught:
        topic.push_row(1, *["x"] * (len(schema)))
    assert topic.last_error is caught.value
    assert topic.status == "raised_exception"
    seq.__exit__(None, None, None)


def test_an_unknown_policy_word_claims_no_name(tmp_path: Path) -> None:
    """The same call with the right word succeeds."""
    with gapless.connect(tmp_path).sequence_create("s") as seq:
        with pytest.raises(UsageError, match="on_error"):
            seq.topic_create("t", schema=MIXED, on_error="bogus")  # type: ignore[call-overload]
        seq.topic_create("t", schema=MIXED, on_error=TopicErrorPolicy.Ignore)


def test_one_topic_has_one_unit(tmp_path: Path) -> None:
    """A value logged in another unit is refused, not relabelled."""
    client = gapless.connect(tmp_path)
    with client.sequence_create("s") as seq:
        seq.log("p", 1.0, unit="degC")
        seq.log("p", 2.0)
        with pytest.raises(ValueRefused, match="degC"):
            seq.log("p", 3.0, unit="K")


def test_a_layer_cannot_make_its_base_unreadable(tmp_path: Path) -> None:
    """A topic of the base takes the base's columns in a layer; another type or case is refused."""
    client = gapless.connect(tmp_path)
    with client.sequence_create("base") as seq:
        seq.log("a", 1.0)
    with client.sequence_update("base") as layer:
        with pytest.raises(ValueRefused):
            layer.log("a", "text")
        layer.log("a", 2.0)
        with pytest.raises(GaplessError):
            layer.topic_create("A", schema=MIXED)
    with client.sequence_update("base") as layer, pytest.raises(SchemaRefused):
        layer.topic_create("a", schema=MIXED)
    assert client.sequence_handler("base").topic("a").to_arrow()["value"].to_pylist() == [1.0, 2.0]


class Unspeakable(Exception):
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def end_with(client: gapless.Client, policy: OnErrorPolicy, error: Exception) -> None:
    """Let an exception leave a sequence's block."""
    with client.sequence_create("s", on_error=policy) as seq:
        seq.log("a", 1.0)
        raise error


@pytest.mark.parametrize("error", [Unspeakable(), ValueError("\ud800")], ids=["unspeakable", "surrogate"])
@pytest.mark.parametrize("policy", list(OnErrorPolicy))
def test_an_awkward_exception_is_still_the_users(
    tmp_path: Path, error: Exception, policy: OnErrorPolicy
) -> None:
    """The policy is carried out and the caller sees the very exception that was raised."""
    client = gapless.connect(tmp_path)
    with pytest.raises(type(error)) as caught:
        end_with(client, policy, error)
    assert caught.value is error
    if policy is OnErrorPolicy.Report:
        assert client.sequence_handler("s").state == "pending"
        assert client.seal("s")["content"]["ledger"]["written"] == 1
    else:
        assert client.list_sequences() == []


def test_a_fix_that_raises_loses_no_quarantined_row(tmp_path: Path) -> None:
    """Rows not looked at stay, rows pushed again are not pushed twice."""
    client = gapless.connect(tmp_path)
    with client.sequence_create("s") as seq:
        topic = seq.topic_create("t", schema=MIXED, on_error=TopicErrorPolicy.Quarantine)
        for k in range(3):
            topic.push_row(k, "bad", str(k))
        calls: list[int] = []

        def fix(kept: Any) -> tuple[Any, ...]:
            calls.append(1)
            return (kept.timestamp_ns, 7, "ok") if len(calls) == 1 else (1 // 0, 0, "")

        with pytest.raises(ZeroDivisionError):
            topic.repush(fix)
        assert len(topic.quarantined()) == 2
        assert topic.repush(lambda kept: (kept.timestamp_ns, 8, "ok")) == 2
    assert client.sequence_handler("s").topic("t").to_arrow()["n"].to_pylist() == [7, 8, 8]


def test_refused_columns_keep_their_times(tmp_path: Path) -> None:
    """A quarantined block can be pushed again: its times are kept with its values."""
    with gapless.connect(tmp_path).sequence_create("s") as seq:
        topic = seq.topic_create("t", schema=MIXED, on_error=TopicErrorPolicy.Quarantine)
        topic.push_columns(np.array([5, 6]), {"n": ["x", "y"], "s": ["a", "b"]})
        assert topic.quarantined()[0].values == {"timestamp_ns": [5, 6], "n": ["x", "y"], "s": ["a", "b"]}


def test_nothing_answers_before_the_block(tmp_path: Path) -> None:
    """Every call on a writer that was not entered raises, also those that only ask."""
    writer = gapless.connect(tmp_path).sequence_create("s")
    for ask in (writer.list_topic_writers, lambda: writer.ledger, lambda: writer.topic_writer_exists("a")):
        with pytest.raises(UsageError):
            ask()


def test_infinities_are_values_without_a_warning(tmp_path: Path) -> None:
    """A column with both infinities seals in silence and reads back."""
    client, seq, topic = record(tmp_path, pa.schema([("x", pa.float64())]))
    topic.push_columns([1, 2, 3], {"x": np.array([np.inf, -np.inf, 1.0])})
    assert sealed(client, seq)["x"].to_pylist() == [np.inf, -np.inf, 1.0]


def test_a_store_cannot_be_a_file(tmp_path: Path) -> None:
    """Naming a file, or nothing that is a path, is a usage error."""
    (tmp_path / "file").write_text("x")
    for url in (tmp_path / "file", 5):
        with pytest.raises(UsageError):
            gapless.connect(url)  # type: ignore[arg-type]
