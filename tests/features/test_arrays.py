"""Files of plain arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from gapless.errors import ArtifactMissing, UsageError
from gapless.features.arrays import read_arrays, write_arrays

ARRAYS: dict[str, NDArray[Any]] = {
    "b": np.arange(6, dtype=np.int16).reshape(2, 3),
    "a": np.array(["x", "äöü"]),
    "nothing": np.empty((0, 4)),
    "one": np.array(1.5, dtype=np.float32),
}


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    """With their types and shapes; numpy alone reads them, without pickle."""
    file = tmp_path / "m.npz"
    write_arrays(file, ARRAYS)
    found = read_arrays(file)
    assert found.keys() == ARRAYS.keys()
    for name, array in found.items():
        expected = ARRAYS[name]
        np.testing.assert_array_equal(array, expected)
        assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
    with np.load(file, allow_pickle=False) as archive:
        assert sorted(archive.files) == sorted(ARRAYS)


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, min_side=0), elements=st.floats(width=64)))
def test_every_bit_comes_back(tmp_path_factory: pytest.TempPathFactory, array: NDArray[np.float64]) -> None:
    """Not-a-numbers, signed zeros and infinities too."""
    file = tmp_path_factory.getbasetemp() / "any.npz"
    write_arrays(file, {"a": array})
    assert read_arrays(file)["a"].tobytes() == array.tobytes()


def test_the_bytes_depend_on_the_arrays_alone(tmp_path: Path) -> None:
    """Not on the order in which they are given, on how they lie in memory, nor on when they are written."""
    first, second = tmp_path / "1.npz", tmp_path / "2.npz"
    write_arrays(first, ARRAYS)
    write_arrays(second, dict(reversed(list(ARRAYS.items()))))
    assert first.read_bytes() == second.read_bytes()
    assert b"\x21\x00" in first.read_bytes()[10:14]  # the oldest date that the format knows


def test_objects_are_refused(tmp_path: Path) -> None:
    """They would need pickle; a file that is not there is named."""
    with pytest.raises(UsageError, match="field 'a'"):
        write_arrays(tmp_path / "m.npz", {"a": np.array([{}], dtype=object)})
    with pytest.raises(ArtifactMissing, match=r"other\.npz"):
        read_arrays(tmp_path / "other.npz")
