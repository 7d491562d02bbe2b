"""Artifacts: which file, how it is loaded, and that loading it runs no code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skops.io
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from gapless.errors import ArgumentRefused, ArtifactMissing, IntegrityError, UntrustedArtifact
from gapless.features.artifact import ArtifactSpec, JoblibArtifact, NpzArtifact, ParquetArtifact
from gapless.features.load_spec import JoblibLoadSpec, NpzLoadSpec, ParquetLoadSpec
from gapless.features.loading import load_from_spec
from gapless.features.result import Result, ResultColumn

MATRIX = np.arange(6, dtype=np.float64).reshape(2, 3)


class Templates(ParquetArtifact):
    """The artifact of one feature."""

    feature: str = "templates"


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.marker,)


def npz(path: Path, **arrays: Any) -> Path:
    """Write an archive."""
    np.savez(path, **arrays)
    return path


# -- which file --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "pattern"),
    [
        (JoblibArtifact(feature="a"), "*.joblib"),
        (NpzArtifact(feature="a", load=NpzLoadSpec(key="k")), "*.npz"),
        (ParquetArtifact(feature="a"), "*.parquet"),
        (ArtifactSpec[ParquetLoadSpec](feature="a", load=ParquetLoadSpec()), "*.parquet"),
        (JoblibArtifact(feature="a", pattern="model.skops"), "model.skops"),
    ],
)
def test_the_pattern_is_that_of_the_kind(spec: ArtifactSpec[Any, Any], pattern: str) -> None:
    """It is made from what loads it, and stays the same when it is dumped and read."""
    assert spec.pattern == pattern
    assert type(spec).model_validate(spec.model_dump()) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda p: ParquetArtifact(feature="a", pattern=p), r"expected \*.parquet"),
        (lambda p: JoblibArtifact(feature="a", pattern=p), r"expected \*.joblib or \*.skops"),
        (lambda p: NpzArtifact(feature="a", load=NpzLoadSpec(key="k"), pattern=p), r"expected \*.npz"),
    ],
)
@pytest.mark.parametrize("pattern", ["*", "model.pkl", "*.npy"])
def test_a_pattern_of_another_kind_is_refused(make: Any, told: str, pattern: str) -> None:
    """Its extension says what the file is."""
    with pytest.raises(ArgumentRefused, match=told):
        make(pattern)


@pytest.mark.parametrize("pattern", ["../other/*.parquet", "/etc/x.parquet"])
def test_a_pattern_stays_in_the_run(pattern: str) -> None:
    """No file of another run or place is loaded by it."""
    with pytest.raises(ArgumentRefused, match="leaves the run's folder"):
        ParquetArtifact(feature="a", pattern=pattern)


def test_an_array_needs_its_key() -> None:
    """Which array is meant is never guessed."""
    with pytest.raises(ArgumentRefused, match="load: Field required"):
        NpzArtifact(feature="a")  # type: ignore[call-arg]
    with pytest.raises(ArgumentRefused, match="key: Field required"):
        NpzLoadSpec()  # type: ignore[call-arg]


def test_an_artifact_is_made_from_a_result() -> None:
    """Feature and run are taken over; a plain artifact takes any feature, a typed one its own."""
    made = ParquetArtifact.from_result(
        Result(feature="any", run_id="1-a", cache_hit=True), pattern="t.parquet"
    )
    assert made == ParquetArtifact(feature="any", run_id="1-a", pattern="t.parquet")
    derived = Templates.from_result(Result(feature="templates__from__speed", run_id="1-b"))
    assert (type(derived), derived.feature, derived.run_id) == (Templates, "templates__from__speed", "1-b")
    for name in ("speed", "templates2", "templates-2"):
        with pytest.raises(ArgumentRefused, match=f"found {name}; expected templates"):
            Templates.from_result(Result(feature=name))


def test_an_artifact_is_no_column_and_no_plain_result() -> None:
    """Equal feature and run do not make two kinds of reference equal."""
    assert JoblibArtifact(feature="a") != Result(feature="a")
    assert JoblibArtifact(feature="a") != ResultColumn(feature="a", column="b")


# -- arrays ------------------------------------------------------------------------------------


def test_an_array_is_loaded_as_float32_in_two_dimensions(tmp_path: Path) -> None:
    """A row of numbers becomes a column; transposing happens after that."""
    path = npz(tmp_path / "a.npz", m=MATRIX, v=np.array([1, 2, 3]), s=np.float64(7))
    matrix = load_from_spec(path, NpzLoadSpec(key="m"))
    assert (matrix.dtype, matrix.tolist()) == (np.float32, MATRIX.tolist())
    assert load_from_spec(path, NpzLoadSpec(key="m", transpose=True)).tolist() == MATRIX.T.tolist()
    assert load_from_spec(path, NpzLoadSpec(key="v")).tolist() == [[1.0], [2.0], [3.0]]
    assert load_from_spec(path, NpzLoadSpec(key="v", transpose=True)).tolist() == [[1.0, 2.0, 3.0]]
    assert load_from_spec(path, NpzLoadSpec(key="s")).tolist() == [[7.0]]
    artifact = NpzArtifact(feature="a", load=NpzLoadSpec(key="m"))
    assert artifact.from_path(path).shape == (2, 3)


def test_an_array_that_is_not_there_or_no_table_is_refused(tmp_path: Path) -> None:
    """The error names what the archive has."""
    path = npz(tmp_path / "a.npz", m=MATRIX, cube=np.zeros((2, 2, 2)), text=np.array(["a"]))
    with pytest.raises(ArtifactMissing, match="no array 'x'; found m, cube, text"):
        load_from_spec(path, NpzLoadSpec(key="x"))
    for key in ("cube", "text"):
        with pytest.raises(ArgumentRefused, match="not a table of real numbers"):
            load_from_spec(path, NpzLoadSpec(key=key))


@pytest.mark.parametrize("trust", [False, True])
def test_an_array_of_objects_never_runs_code(tmp_path: Path, trust: bool) -> None:
    """Objects in an archive are refused, also where other files are trusted."""
    marker = tmp_path / "ran"
    path = npz(tmp_path / "a.npz", m=np.array([Payload(str(marker))], dtype=object))
    with pytest.raises(UntrustedArtifact, match="Python objects"):
        load_from_spec(path, NpzLoadSpec(key="m"), trust=trust)
    assert not marker.exists()


# -- tables ------------------------------------------------------------------------------------


def table(path: Path) -> Path:
    """Write a table with numbers, text, truth values and frames."""
    pq.write_table(pa.table({"n": [5, 6], "x": [1.5, 2.5], "s": ["a", "b"], "b": [True, False]}), path)
    return path


@pytest.mark.parametrize(
    ("spec", "columns"),
    [
        ({}, ["n", "x"]),
        ({"numeric_only": False}, ["n", "x", "s", "b"]),
        ({"columns": ["s", "n"]}, ["s", "n"]),
        ({"drop_columns": ["x", "absent"]}, ["n"]),
        ({"columns": ["n", "x"], "drop_columns": ["n"]}, ["x"]),
        ({"frame_column": "n"}, ["x"]),
        ({"frame_column": "n", "columns": ["x", "n"]}, ["x"]),
    ],
)
def test_a_table_has_the_columns_that_were_asked_for(
    tmp_path: Path, spec: dict[str, Any], columns: list[str]
) -> None:
    """In their order; without a list all numeric ones, or all."""
    frame = load_from_spec(table(tmp_path / "t.parquet"), ParquetLoadSpec(**spec))
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == columns
    assert frame.index.tolist() == ([5, 6] if "frame_column" in spec else [0, 1])


def test_a_table_is_transposed_with_its_frames(tmp_path: Path) -> None:
    """Frames become the columns."""
    spec = ParquetLoadSpec(transpose=True, frame_column="n")
    frame = ParquetArtifact(feature="a", load=spec).from_path(table(tmp_path / "t.parquet"))
    assert frame.to_dict() == {5: {"x": 1.5}, 6: {"x": 2.5}}


@pytest.mark.parametrize("spec", [{"columns": ["y"]}, {"frame_column": "y"}])
def test_a_column_that_is_not_there_is_refused(tmp_path: Path, spec: dict[str, Any]) -> None:
    """The error names what the table has."""
    with pytest.raises(ArtifactMissing, match="no column 'y'; found n, x, s, b"):
        load_from_spec(table(tmp_path / "t.parquet"), ParquetLoadSpec(**spec))


# -- objects -----------------------------------------------------------------------------------


def test_a_joblib_file_is_loaded_only_if_trusted(tmp_path: Path) -> None:
    """Without trust its code does not run; with it the object, or one value of a mapping, is there."""
    marker = tmp_path / "ran"
    joblib.dump(Payload(str(marker)), tmp_path / "evil.joblib")
    with pytest.raises(UntrustedArtifact, match="trust=True"):
        load_from_spec(tmp_path / "evil.joblib", JoblibLoadSpec())
    assert not marker.exists()
    path = tmp_path / "m.joblib"
    joblib.dump({"scale": 2.0}, path)
    assert load_from_spec(path, JoblibLoadSpec(), trust=True) == {"scale": 2.0}
    assert JoblibArtifact(feature="a", load=JoblibLoadSpec(key="scale")).from_path(path, trust=True) == 2.0
    with pytest.raises(ArtifactMissing, match="no value 'x'; found scale"):
        load_from_spec(path, JoblibLoadSpec(key="x"), trust=True)


def test_a_skops_file_of_known_types_needs_no_trust(tmp_path: Path) -> None:
    """A fitted scikit-learn model comes back as it was."""
    path = tmp_path / "m.skops"
    skops.io.dump({"model": StandardScaler().fit(MATRIX)}, path)
    loaded = load_from_spec(path, JoblibLoadSpec(key="model"))
    assert loaded.mean_.tolist() == MATRIX.mean(axis=0).tolist()


def test_a_skops_file_of_other_types_names_them(tmp_path: Path) -> None:
    """What would have to be trusted is listed; with trust it is loaded."""
    path = tmp_path / "m.skops"
    skops.io.dump(FunctionTransformer(pd.isna), path)
    with pytest.raises(UntrustedArtifact, match="pandas"):
        load_from_spec(path, JoblibLoadSpec())
    assert isinstance(load_from_spec(path, JoblibLoadSpec(), trust=True), FunctionTransformer)


# -- files that are not what they should be ----------------------------------------------------


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("a.npz", NpzLoadSpec(key="m")),
        ("a.parquet", ParquetLoadSpec()),
        ("a.skops", JoblibLoadSpec()),
        ("a.joblib", JoblibLoadSpec()),
    ],
)
@pytest.mark.parametrize("content", [b"", b"not that at all", b"PK\x03\x04", b"PAR1PAR1"])
def test_a_file_that_is_not_of_its_kind_is_damaged(
    tmp_path: Path, name: str, spec: Any, content: bytes
) -> None:
    """It is an integrity error and nothing else; a file that is absent is a missing artifact."""
    path = tmp_path / name
    with pytest.raises(ArtifactMissing, match="not there"):
        load_from_spec(path, spec)
    path.write_bytes(content)
    with pytest.raises(IntegrityError):
        load_from_spec(path, spec, trust=True)


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    """An .npy file under the name of an archive is told apart."""
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, MATRIX)
    with pytest.raises(IntegrityError, match=r"not an \.npz archive"):
        load_from_spec(tmp_path / "a.npz", NpzLoadSpec(key="m"))


def test_a_cut_file_is_damaged_at_any_length(tmp_path: Path) -> None:
    """Whatever is missing at the end of an archive or a table is noticed."""
    whole = npz(tmp_path / "a.npz", m=MATRIX).read_bytes()
    parquet = table(tmp_path / "t.parquet").read_bytes()
    for cut in range(0, len(whole), 7):
        (tmp_path / "c.npz").write_bytes(whole[:cut])
        with pytest.raises(IntegrityError):
            load_from_spec(tmp_path / "c.npz", NpzLoadSpec(key="m"))
    for cut in range(0, len(parquet), 31):
        (tmp_path / "c.parquet").write_bytes(parquet[:cut])
        with pytest.raises(IntegrityError):
            load_from_spec(tmp_path / "c.parquet", ParquetLoadSpec())
