"""Clusters of matching rows, exact at every border."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gapless
from gapless.model.glob import glob_match
from gapless.serve.mosaico.clusters import clusters, overlaps
from gapless.serve.mosaico.topic_name_glob import patterns, with_digits
from gapless.store.reader import TopicReader


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> TopicReader:
    """Return a topic of 200,000 rows, more than one batch, whose value is the row's number."""
    root: Path = tmp_path_factory.mktemp("store")
    with gapless.connect(root) as client:
        with client.sequence_create("s") as seq:
            topic = seq.topic_create("t", schema=pa.schema([("v", pa.int64())]))
            rows = np.arange(200_000)
            topic.push_columns(rows * 10, {"v": rows})
        return client.sequence_handler("s").topic("t").reader


def _by_hand(times: list[int], gap_ns: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for time_ns in times:
        if found and (not gap_ns or time_ns - found[-1][1] <= gap_ns):
            found[-1] = (found[-1][0], time_ns)
        else:
            found.append((time_ns, time_ns))
    return found


@pytest.mark.parametrize("gap_ns", [0, 1, 9, 10, 11, 655_350, 655_360, 10**12])
def test_clusters_are_those_of_a_loop_over_rows(reader: TopicReader, gap_ns: int) -> None:
    """Also where a cluster goes over the border of a batch."""
    test: dict[str, Any] = {"Unmodeled.v": {"$outside": [65_000, 66_000]}}
    matching = [n * 10 for n in range(200_000) if n < 65_000 or n > 66_000]
    assert clusters(reader, test, gap_ns) == _by_hand(matching, gap_ns)


def test_a_range_includes_both_of_its_ends(reader: TopicReader) -> None:
    """The SDK's ranges do, its windows do not."""
    assert clusters(reader, {}, 10, 100, 200) == [(100, 200)]
    assert clusters(reader, {"Unmodeled.v": {"$eq": 5}}, 0, 51) == []
    assert clusters(reader, {}, 0, None, 2**63 - 1) == [(0, 1_999_990)]


def test_conditions_of_another_type_are_refused(reader: TopicReader) -> None:
    """They could not hold in any row of the topic."""
    with pytest.raises(pa.ArrowInvalid, match="Unmodeled"):
        clusters(reader, {"IMU.v": {"$eq": 1}}, 0)


def test_times_at_the_ends_of_int64_do_not_overflow(tmp_path: Path) -> None:
    """The gap between them is more than a signed number holds."""
    with gapless.connect(tmp_path) as client:
        low, high = 1 - 2**63, 2**63 - 1
        with client.sequence_create("s") as seq:
            seq.topic_create("t", schema=pa.schema([("v", pa.int8())])).push_columns(
                np.array([low, high]), {"v": np.array([1, 1], np.int8)}
            )
        found = client.sequence_handler("s").topic("t").reader
        assert clusters(found, {}, 5) == [(low, low), (high, high)]
        assert clusters(found, {}, 0) == [(low, high)]


def test_overlaps_are_the_times_near_every_set() -> None:
    """The tolerance widens each cluster on both sides."""
    sets = [[(0, 10), (100, 110)], [(5, 20), (105, 300)]]
    assert overlaps(sets, 0) == [(5, 10), (105, 110)]
    assert overlaps([[(0, 10)], [(14, 20)]], 1) == []
    assert overlaps([[(0, 10)], [(14, 20)]], 2) == [(12, 12)]
    assert overlaps([[(0, 10)], []], 5) == []


@given(st.text("*?[]!/ab", min_size=1, max_size=6), st.text("ab/*", min_size=1, max_size=4))
def test_patterns_mean_the_same_names_with_and_without_the_slash(pattern: str, name: str) -> None:
    """A pattern of the SDK is over names that begin with one."""
    expected = glob_match(pattern, f"/{name}")
    found = any(glob_match(one, name) if one else not name for one in patterns(pattern))
    if pattern[0] in "*?/[" or expected:
        assert found == expected


@pytest.mark.parametrize(
    ("pattern", "ours"),
    [("a#", "a[0-9]"), ("[#]", "[#]"), ("[a]#", "[a][0-9]"), ("[#", "[[0-9]"), ("x", "x"), ("[]#]", "[]#]")],
)
def test_a_hash_outside_of_brackets_is_a_digit(pattern: str, ours: str) -> None:
    """Inside it stands for itself."""
    assert with_digits(pattern) == ours
