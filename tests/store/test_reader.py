"""Reading sealed bundles: order, windows, columns, filters, layers, and damage that is never silent."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store.bundle_files import TIME, XS, naive, table, write_bundle, xs

from gapless.errors import FormatUnknown, IntegrityError, NotFound, UsageError
from gapless.store.reader import open_bundle

PART_TIMES = st.lists(st.integers(-50, 50), min_size=1, max_size=30)


def test_a_sealed_bundle_tells_what_it_is(tmp_path: Path) -> None:
    """Name, state, outcome, group, metadata, topics and ledger come from the manifest."""
    write_bundle(tmp_path, {"b": (XS, [xs([1, 2])]), "a": (XS, [])}, metadata={"k": [1]})
    bundle = open_bundle(tmp_path)
    assert (bundle.name, bundle.state, bundle.outcome, bundle.group) == (
        "run",
        "sealed",
        "completed",
        "field",
    )
    assert bundle.metadata == {"k": [1]}
    assert list(bundle.topics) == ["b", "a"] or list(bundle.topics) == ["a", "b"]
    assert bundle.ledger == {"produced": 2, "written": 2, "dropped": 0, "gapped": 0}
    assert not bundle.owner_alive


def test_a_topic_tells_what_it_is(tmp_path: Path) -> None:
    """Schema without the hidden column, units, rows, span and ledger of one topic."""
    write_bundle(tmp_path, {"a": (XS, [xs([5, 7]), xs([6], 2)])})
    topic = open_bundle(tmp_path).topic("a")
    assert topic.schema.equals(XS, check_metadata=True)
    assert (topic.rows, topic.start_ns, topic.end_ns, topic.clock) == (3, 5, 7, "producer")
    assert topic.ledger["written"] == 3


def test_reserved_topics_are_read_by_name_but_not_listed(tmp_path: Path) -> None:
    """``_gaps`` is not among the user's topics and is there all the same."""
    write_bundle(tmp_path, {"a": (XS, [xs([5])])})
    bundle = open_bundle(tmp_path)
    assert "_gaps" not in bundle.topics
    assert bundle.topic("_gaps").rows == 0


def test_units_travel_with_every_batch(tmp_path: Path) -> None:
    """Field metadata of the declared schema is on what scan yields."""
    write_bundle(tmp_path, {"a": (XS, [xs([5])])})
    (batch,) = open_bundle(tmp_path).topic("a").scan(["x"])
    assert batch.schema.names == ["timestamp_ns", "x"]
    assert batch.schema.field("x").metadata == {b"unit": b"V"}


@given(
    base=st.lists(PART_TIMES, min_size=1, max_size=4),
    layers=st.lists(st.lists(PART_TIMES, min_size=1, max_size=2), max_size=2),
    window=st.tuples(st.none() | st.integers(-60, 60), st.none() | st.integers(-60, 60)),
    group_rows=st.sampled_from([1, 3, 64]),
    batch_rows=st.sampled_from([1, 4, 100]),
)
@settings(max_examples=60, deadline=None)
def test_overlapping_parts_and_layers_read_as_a_plain_sort(
    base: list[list[int]],
    layers: list[list[list[int]]],
    window: tuple[int | None, int | None],
    group_rows: int,
    batch_rows: int,
) -> None:
    """Any parts, layers, window, row group and batch size give the rows of one stable sort, each once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        tables = [xs(times, 1000 * n) for n, times in enumerate(base)]
        manifest = write_bundle(path, {"a": (XS, tables)}, group_rows=group_rows)
        for n, parts in enumerate(layers, 1):
            added = [xs(times, 100_000 * n + 1000 * k) for k, times in enumerate(parts)]
            write_bundle(
                path / "layers" / f"{n:05d}-more",
                {"a": (XS, added)},
                base={"name": "run", "content_digest": manifest["content_digest"]},
            )
            tables += added
        start, end = window
        batches = list(
            open_bundle(path)
            .topic("a")
            .scan(start_ns=start, end_ns=end, with_seq=True, batch_rows=batch_rows)
        )
    found = [
        (t, s)
        for batch in batches
        for t, s in zip(batch["timestamp_ns"].to_pylist(), batch["_seq"].to_pylist(), strict=True)
    ]
    kept = [(t, s) for t, s in naive(tables) if (start is None or t >= start) and (end is None or t < end)]
    assert found == kept
    assert all(0 < batch.num_rows <= batch_rows for batch in batches)


def test_the_extreme_timestamps_are_read(tmp_path: Path) -> None:
    """The smallest legal and the greatest int64 come back, also through a window that ends above them."""
    low, high = -(2**63) + 1, 2**63 - 1
    write_bundle(tmp_path, {"a": (XS, [xs([low, high])])})
    topic = open_bundle(tmp_path).topic("a")
    assert topic.to_arrow(start_ns=low, end_ns=2**63)["timestamp_ns"].to_pylist() == [low, high]
    assert topic.to_arrow(end_ns=high)["timestamp_ns"].to_pylist() == [low]


def test_a_window_reads_only_row_groups_that_can_hold_it(tmp_path: Path) -> None:
    """Row groups outside the window are ruled out by the footer."""
    write_bundle(tmp_path, {"a": (XS, [xs(range(100))])}, group_rows=10)
    (part,) = open_bundle(tmp_path).topic("a").parts()
    from gapless.store.selection import Selection

    wanted = Selection.of(XS, None, 35, 41, with_seq=False, filter=None, topic="a")
    assert part.row_groups(wanted) == [3, 4]


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        (pc.field("x") > 5, [6.0, 7.0]),
        (pc.field("x") != 5, ["nan", 6.0, 7.0]),
        (~(pc.field("x") <= 5), ["nan", 6.0, 7.0]),
        (pc.field("x").is_nan(), ["nan"]),
        (pc.field("x") == 5, [5.0, 5.0]),
        (pc.field("label") == "d", [6.0]),
    ],
)
def test_a_filter_keeps_what_is_true_also_beside_nan(
    tmp_path: Path, condition: pc.Expression, kept: list[float | str]
) -> None:
    """A row group of 5.0 and NaN has the statistics of one of 5.0 only; its NaN is not lost."""
    values = [5.0, 5.0, float("nan"), None, 6.0, 7.0]
    labels = ["a", "b", "c", "c", "d", "e"]
    write_bundle(tmp_path, {"a": (XS, [table(XS, range(6), [values, labels], range(6))])}, group_rows=4)
    found = open_bundle(tmp_path).topic("a").scan(["x"], filter=condition)
    assert ["nan" if v != v else v for batch in found for v in batch["x"].to_pylist()] == kept


@pytest.mark.parametrize("condition", [pc.field("nope") > 5, pc.field("label") > 5])
def test_a_filter_that_does_not_fit_is_the_caller_s(tmp_path: Path, condition: pc.Expression) -> None:
    """Another column or type is a usage error when the scan is asked for, never taken for damage."""
    write_bundle(tmp_path, {"a": (XS, [xs([1, 2])])})
    with pytest.raises(UsageError, match="does not fit"):
        open_bundle(tmp_path).topic("a").scan(filter=condition)


def test_a_filter_skips_row_groups_by_statistics(tmp_path: Path) -> None:
    """A filter that no row of a group can pass does not read that group."""
    from gapless.store.selection import Selection

    write_bundle(tmp_path, {"a": (XS, [xs(range(100))])}, group_rows=10)
    (part,) = open_bundle(tmp_path).topic("a").parts()
    wanted = Selection.of(XS, ["label"], None, None, with_seq=False, filter=pc.field("x") > 84.5, topic="a")
    assert part.row_groups(wanted) == [8, 9]
    assert wanted.read_names == ["timestamp_ns", "label", "x"]


def test_a_name_that_begins_another_name_is_read_alone(tmp_path: Path) -> None:
    """Columns ``a`` and ``a.b`` are two columns, and asking for one gives one."""
    schema = pa.schema([TIME, pa.field("a", pa.int64()), pa.field("a.b", pa.int64())])
    write_bundle(tmp_path, {"t": (schema, [table(schema, [1], [[2], [3]], [0])])})
    topic = open_bundle(tmp_path).topic("t")
    assert topic.to_arrow(["a"]).to_pydict() == {"timestamp_ns": [1], "a": [2]}
    assert topic.to_arrow(["a.b"]).to_pydict() == {"timestamp_ns": [1], "a.b": [3]}


def test_layers_are_chosen_by_name(tmp_path: Path) -> None:
    """None takes all layers, [] the base, a name that layer; a topic only a layer has appears too."""
    digest = write_bundle(tmp_path, {"a": (XS, [xs([1, 3])])})["content_digest"]
    base = {"name": "run", "content_digest": digest}
    write_bundle(tmp_path / "layers/00001-late", {"a": (XS, [xs([2])]), "z": (XS, [xs([9])])}, base=base)
    write_bundle(tmp_path / "layers/00002-fix", {"a": (XS, [xs([4])])}, base=base)
    every = open_bundle(tmp_path)
    assert every.layers == ["late", "fix"]
    assert every.topic("a").to_arrow()["timestamp_ns"].to_pylist() == [1, 2, 3, 4]
    assert every.topic("z").rows == 1
    assert every.ledger["written"] == 5
    assert list(open_bundle(tmp_path, layers=[]).topics) == ["a"]
    assert open_bundle(tmp_path, layers=["fix"]).topic("a").rows == 3
    with pytest.raises(NotFound, match="no sealed layer"):
        open_bundle(tmp_path, layers=["nope"])


def test_a_layer_of_another_base_is_refused(tmp_path: Path) -> None:
    """A layer names the digest of its base; another digest is damage."""
    write_bundle(tmp_path, {"a": (XS, [xs([1])])})
    write_bundle(
        tmp_path / "layers/00001-x", {"a": (XS, [xs([2])])}, base={"name": "run", "content_digest": "?"}
    )
    with pytest.raises(IntegrityError, match="another base"):
        open_bundle(tmp_path)


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    """A missing sequence, topic or column is NotFound and names what there is."""
    with pytest.raises(NotFound, match="no sequence"):
        open_bundle(tmp_path / "none")
    write_bundle(tmp_path, {"a": (XS, [xs([1])])})
    with pytest.raises(NotFound, match=r"topic 'b'.*one of a"):
        open_bundle(tmp_path).topic("b")
    with pytest.raises(NotFound, match="no such column"):
        open_bundle(tmp_path).topic("a").scan(["y"])
    with pytest.raises(UsageError, match="whole nanoseconds"):
        open_bundle(tmp_path).topic("a").scan(start_ns=1.5)  # type: ignore[arg-type] # the refusal is tested


def test_any_flipped_bit_of_a_part_is_an_error_or_harmless(tmp_path: Path) -> None:
    """Each second byte of a part with one bit flipped raises IntegrityError or gives the same rows."""
    values = np.random.default_rng(1).normal(size=20)
    labels = [f"label {n % 3}" for n in range(20)]
    write_bundle(tmp_path, {"a": (XS, [table(XS, range(20), [values, labels], range(20))])}, group_rows=10)
    expected = open_bundle(tmp_path).topic("a").to_arrow()
    (file,) = (tmp_path / "topics" / "a").iterdir()
    whole = file.read_bytes()
    refused = 0
    for position in range(0, len(whole), 2):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position // 2 % 8)
        file.write_bytes(damaged)
        try:
            assert open_bundle(tmp_path).topic("a").to_arrow().equals(expected), position
        except IntegrityError as error:
            refused += str(file) in str(error)
    assert refused > len(whole) // 4


def test_a_part_cut_short_or_gone_is_an_error_that_names_it(tmp_path: Path) -> None:
    """Truncated and missing parts raise IntegrityError."""
    write_bundle(tmp_path, {"a": (XS, [xs([1, 2])])})
    (file,) = (tmp_path / "topics" / "a").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=r"wrong size.*part-00000"):
        open_bundle(tmp_path).topic("a").to_arrow()
    file.unlink()
    with pytest.raises(IntegrityError, match="part-00000"):
        open_bundle(tmp_path).topic("a").to_arrow()


def test_an_altered_manifest_is_an_error(tmp_path: Path) -> None:
    """Changed content, another format and broken JSON are each refused with their own class."""
    write_bundle(tmp_path, {"a": (XS, [xs([1, 2])])})
    file = tmp_path / "manifest.json"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"group":"field"', b'"group":"fjeld"'))
    with pytest.raises(IntegrityError, match="not what was sealed"):
        open_bundle(tmp_path)
    file.write_bytes(whole.replace(b'"format":1', b'"format":9'))
    with pytest.raises(FormatUnknown):
        open_bundle(tmp_path)
    file.write_bytes(whole[:-5])
    with pytest.raises(IntegrityError, match="cannot be read"):
        open_bundle(tmp_path)


def test_the_greatest_time_at_or_before_is_found(tmp_path: Path) -> None:
    """floor_ns agrees with a plain search over parts and row groups."""
    write_bundle(tmp_path, {"a": (XS, [xs([10, 20, 30, 40]), xs([25, 35], 9)])}, group_rows=2)
    topic = open_bundle(tmp_path).topic("a")
    assert [topic.floor_ns(t) for t in (9, 10, 24, 25, 36, 99)] == [None, 10, 20, 25, 35, 40]
