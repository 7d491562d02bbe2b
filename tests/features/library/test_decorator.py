"""Typed functions as features."""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic import Field
from tests.features.tracks import files, record_tracks, values

from gapless.errors import ArgumentRefused
from gapless.features.apply import frame_type
from gapless.features.code_digest import code_digest
from gapless.features.dataset import Dataset
from gapless.features.decorator import feature
from gapless.features.feature import Feature
from gapless.features.result import Result

if TYPE_CHECKING:
    from decimal import Decimal


@feature
def scaled_x(df: pd.DataFrame, *, factor: Annotated[float, Field(gt=0)] = 2.0) -> pd.DataFrame:
    """Multiply x."""
    return pd.DataFrame({"value": df["x"] * factor})


@feature(name="shifted", version="2.1", units={"value": "m"}, input_columns=["x"])
def shifted_x(df: pa.Table, *, by: float) -> pa.Table:
    """Add a number to x; it gets no other data column."""
    assert "y" not in df.column_names
    return pa.table({"value": df.column("x").to_numpy() + by})


@feature
def counted(df: pl.DataFrame) -> pl.DataFrame:
    """Give one row without a time."""
    return pl.DataFrame({"rows": [df.height]})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Give a store of three sequences of ten rows."""
    record_tracks(tmp_path / "store", 3)
    return tmp_path / "store"


def test_the_signature_makes_the_class() -> None:
    """Name, version, documentation, parameters and kind of frame come from the function."""
    made = scaled_x()
    assert isinstance(made, Feature)
    assert (made.name, made.version, frame_type(made)) == ("scaled-x", "1.0", "pandas")
    assert type(made).__doc__ == "Multiply x."
    assert made.params.identity_dump() == {"factor": 2.0}
    assert scaled_x(None, {"factor": 3}).params.factor == 3.0
    assert (shifted_x.name, shifted_x.version, frame_type(shifted_x)) == ("shifted", "2.1", "arrow")
    assert list(shifted_x.Params.model_fields) == ["by"]
    assert frame_type(counted) == "polars"


@pytest.mark.parametrize("overrides", [{"factor": 0}, {"factor": "many"}, {"other": 1}])
def test_parameters_are_checked(overrides: dict[str, Any]) -> None:
    """A value outside its bounds, of another type, or of an unknown name is refused."""
    with pytest.raises(ArgumentRefused):
        scaled_x(None, overrides)


def test_a_parameter_without_default_is_needed() -> None:
    """It is refused when it is not given."""
    with pytest.raises(ArgumentRefused, match="by"):
        shifted_x()


def test_it_runs_on_a_data_set(store: Path) -> None:
    """Parameters, units, columns and kind of frame reach the function; another parameter is another run."""
    with Dataset(store) as ds:
        doubled = ds.run_feature(scaled_x())
        assert values(ds, doubled)["s001"] == [2 * (100.0 + row) for row in range(10)]
        assert ds.run_feature(scaled_x(None, {"factor": 2.0})).cache_hit
        assert ds.run_feature(scaled_x(None, {"factor": 3.0})).run_id != doubled.run_id
        shifted = ds.run_feature(shifted_x(None, {"by": 1.0}))
        assert values(ds, shifted)["s000"] == [1.0 + row for row in range(10)]
        topic = ds.client.sequence_handler("s000").topic(f"features/{shifted.feature}@{shifted.run_id}")
        assert topic.schema.field("value").metadata == {b"unit": b"m"}
        assert values(ds, ds.run_feature(counted()), "rows") == {"s000": [10], "s001": [10], "s002": [10]}


def test_it_reads_the_output_of_another(store: Path) -> None:
    """A decorated class takes inputs like any feature."""
    with Dataset(store) as ds:
        first = ds.run_feature(shifted_x(None, {"by": 1.0}))

        @feature
        def halved(df: pd.DataFrame) -> pd.DataFrame:
            """Halve the value."""
            return pd.DataFrame({"value": df["value"] / 2})

        second = ds.run_feature(halved([Result(feature=first.feature, run_id=first.run_id)]))
        assert second.feature == "halved__from__shifted"
        assert values(ds, second)["s000"] == [(1.0 + row) / 2 for row in range(10)]


def test_other_processes_make_the_same_bytes(store: Path) -> None:
    """An instance travels with its parameters, and workers write what one thread writes."""
    there = pickle.loads(pickle.dumps(scaled_x(None, {"factor": 5.0})))
    assert type(there) is scaled_x
    assert there.params.factor == 5.0
    with Dataset(store) as ds:
        alone = files(ds, ds.run_feature(scaled_x()))
        again = ds.run_feature(scaled_x(), overwrite=True, parallel_workers=2, parallel_mode="process")
        assert files(ds, again) == alone


@pytest.mark.parametrize(
    ("body", "moves"),
    [
        ("    'Tell.'\n    # why\n    return df\n", False),
        ("    return df[:1]\n", True),
    ],
    ids=["told", "changed"],
)
def test_its_source_is_that_of_the_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, moves: bool
) -> None:
    """A changed statement changes the digest of the code; a comment and the docstring do not."""
    digests = []
    for folder, text in (("before", "    return df\n"), ("after", body)):
        (tmp_path / folder).mkdir()
        module = tmp_path / folder / "made_of_a_function.py"
        head = "from gapless.features.decorator import feature\n\n\n@feature\ndef f(df):\n"
        module.write_text(head + text, encoding="utf-8")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(tmp_path / folder)
            made = importlib.import_module("made_of_a_function").f
            digests.append(code_digest(made))
        del sys.modules["made_of_a_function"]
    assert None not in digests
    assert (digests[0] != digests[1]) == moves


def without_frame() -> None:
    """Take nothing."""


def with_positional(df: Any, factor: float = 1.0) -> None:
    """Take a parameter by place."""


def with_any(df: Any, **options: float) -> None:
    """Take whatever comes."""


def without_annotation(df: Any, *, factor=1.0) -> None:  # type: ignore[no-untyped-def]
    """Take a parameter of any type."""


def with_lost_name(df: Any, *, factor: Decimal) -> None:
    """Take a parameter whose type is there for the type checker alone."""


@pytest.mark.parametrize(
    "function",
    [
        without_frame, with_positional, with_any, without_annotation, with_lost_name,
    ],
    ids=lambda function: str(function.__name__),
)  # fmt: skip
def test_a_signature_that_makes_no_parameters_is_refused(function: Callable[..., Any]) -> None:
    """The error comes when the function is decorated, not when it runs."""
    with pytest.raises(ArgumentRefused):
        feature(function)
