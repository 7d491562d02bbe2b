"""Labels of sequences: which rows they cover, what identifies them, and the files that features get."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.features.training.doubling import Double
from tests.features.training.track_store import START_NS, STEP_NS, label_runs, record

import gapless
from gapless.errors import LabelsMissing, NotFound
from gapless.features.dataset import Dataset
from gapless.features.labels import (
    LabelSpan,
    label_digest,
    label_digests,
    label_membership,
    labels_per_row,
    materialise_labels,
    read_labels,
)
from gapless.features.labels_source import FeatureLabelsSource, GroundTruthLabelsSource

SPANS = st.lists(
    st.builds(
        lambda start, length, name: LabelSpan(start, start + length, name),
        st.integers(0, 30), st.integers(0, 10), st.sampled_from("abc"),
    ),
    max_size=8,
)  # fmt: skip


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give three sequences, two of them labelled."""
    with gapless.connect(str(tmp_path / "store")) as client:
        for name in ("a", "b", "c"):
            record(client, name)
        label_runs(client, "a")
        label_runs(client, "b")
        client.annotate("b", START_NS, START_NS + 3 * STEP_NS, "groom", kind="behavior", confidence=0.5)
        client.annotate("c", START_NS, START_NS, "run", kind="note")
        with Dataset(client) as found:
            yield found


@given(SPANS, st.lists(st.integers(-5, 45), max_size=30))
def test_membership_is_lying_in_a_span(spans: list[LabelSpan], times: list[int]) -> None:
    """A row has a label exactly if a span of that name covers it, both ends included; order never matters."""
    found = label_membership(np.array(times, np.int64), spans, ["a", "b"])
    for row, time in enumerate(times):
        for column, name in enumerate("ab"):
            covered = any(s.name == name and s.start_ns <= time <= s.end_ns for s in spans)
            assert found[row, column] == covered


@given(SPANS, st.lists(st.integers(-5, 45), max_size=30))
def test_the_label_that_begins_last_counts(spans: list[LabelSpan], times: list[int]) -> None:
    """Of overlapping labels the one that begins last counts, of those the shortest, then the last name."""
    codes, names = labels_per_row(np.array(times, np.int64), spans, default="none")
    assert names[0] == "none"
    for row, time in enumerate(times):
        covering = [s for s in spans if s.start_ns <= time <= s.end_ns]
        expected = max(covering, key=lambda s: (s.start_ns, -s.end_ns, s.name)).name if covering else "none"
        assert names[codes[row]] == expected


def test_names_choose_and_order_the_codes() -> None:
    """With names given, others are no labels, and the codes follow the names."""
    spans = [LabelSpan(0, 4, "a"), LabelSpan(2, 2, "b")]
    codes, names = labels_per_row(np.arange(6), spans, names=["c", "a"])
    assert (codes.tolist(), names) == ([2, 2, 2, 2, 2, 0], ("", "c", "a"))


def test_a_set_is_one_kind_of_one_sequence(ds: Dataset) -> None:
    """Only the asked kind is read, in the order of time; a sequence without has an empty set."""
    found = read_labels(ds.client, "b", "behavior")
    assert found.names == ("groom", "run")
    assert found.spans[0] == LabelSpan(START_NS, START_NS + 3 * STEP_NS, "groom", 0.5)
    assert read_labels(ds.client, "c", "behavior").spans == ()
    with pytest.raises(NotFound):
        read_labels(ds.client, "absent", "behavior")


def test_the_digest_is_of_what_is_labelled(ds: Dataset) -> None:
    """It is the same for the same labels put on again, and another one for any change of span or name."""
    before = read_labels(ds.client, "a", "behavior").digest
    added = ds.client.annotate("a", START_NS, START_NS, "run", kind="behavior", author="me")
    changed = read_labels(ds.client, "a", "behavior").digest
    ds.client.remove_annotation("a", added.id)
    assert changed != before == read_labels(ds.client, "a", "behavior").digest
    first = ds.client.annotate("a", START_NS + 1, START_NS + 2, "run", kind="behavior", confidence=0.5)
    sure = read_labels(ds.client, "a", "behavior").digest
    ds.client.remove_annotation("a", first.id)
    ds.client.annotate("a", START_NS + 1, START_NS + 2, "run", kind="behavior", confidence=0.6)
    assert read_labels(ds.client, "a", "behavior").digest != sure
    sets = [read_labels(ds.client, name, "behavior") for name in "ab"]
    assert label_digest(sets) == label_digest(sets[::-1]) != label_digest(sets[:1])


def test_only_labelled_entries_have_a_digest(ds: Dataset) -> None:
    """Entries without labels of the kind are left out."""
    source = GroundTruthLabelsSource()
    assert source.kind == "behavior"
    digests = label_digests(ds, source, ds.entries())
    assert set(digests) == {("", "a"), ("", "b")}
    assert digests["", "a"] == read_labels(ds.client, "a", "behavior").digest


def test_files_hold_codes_for_each_frame(ds: Dataset, tmp_path: Path) -> None:
    """A file for each labelled entry, with one meaning of the codes, loaded without pickle, always the same."""
    source = GroundTruthLabelsSource()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    files = materialise_labels(ds, source, ds.entries(), tmp_path / "one")
    again = materialise_labels(ds, source, ds.entries(), tmp_path / "two")
    assert set(files) == {("", "a"), ("", "b")}
    assert [path.read_bytes() for path in files.values()] == [path.read_bytes() for path in again.values()]
    with np.load(files["", "b"], allow_pickle=False) as arrays:
        assert arrays["label_names"].tolist() == ["", "groom", "run"]
        assert arrays["frame"].tolist() == list(range(60))
        assert arrays["timestamp_ns"][1] == START_NS + STEP_NS
        assert arrays["labels"][:12].tolist() == [1] * 4 + [0] * 6 + [2] * 2
        assert arrays["membership"].shape == (60, 2)
        assert arrays["membership"][3].tolist() == [True, False]


def test_a_feature_can_be_the_source(ds: Dataset, tmp_path: Path) -> None:
    """A column of a feature's output gives the codes; a column that is not there is named."""
    result = ds.run_feature(Double())
    files = materialise_labels(ds, FeatureLabelsSource(feature="double"), ds.entries(), tmp_path)
    frame = ds.frame("c", result)
    with np.load(files["", "c"], allow_pickle=False) as arrays:
        names = arrays["label_names"][arrays["labels"]]
        assert names.tolist() == frame["label"].tolist()
    digests = label_digests(ds, FeatureLabelsSource(feature="double"), ds.entries())
    assert digests["", "c"] == ds.entry_records(result)["", "c"].sha256
    with pytest.raises(NotFound, match="no such column"):
        materialise_labels(ds, FeatureLabelsSource(feature="double", column="x"), ds.entries(), tmp_path)


def test_no_labels_at_all_names_the_command(ds: Dataset, tmp_path: Path) -> None:
    """Without any label of the kind the error says how to put one on."""
    with pytest.raises(LabelsMissing, match=r"gapless label SEQUENCE START END NAME --kind sleep"):
        materialise_labels(ds, GroundTruthLabelsSource(kind="sleep"), ds.entries(), tmp_path)
    assert list(tmp_path.glob("*.npz")) == []
