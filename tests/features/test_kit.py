"""The bases for features."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pandas as pd
import pytest

from gapless.errors import ArgumentRefused
from gapless.features import inputs as feature_inputs
from gapless.features import params as feature_params
from gapless.features.columns import Columns
from gapless.features.entry import EntryKey
from gapless.features.feature import Feature, InputStream
from gapless.features.inputs import InputRequire, TrackInput
from gapless.features.kit import FittedFeature, TableFeature
from gapless.features.result import Result

SPEED: Any = Result(feature="speed")
NAME: Any = "tracks"


class Scaled(TableFeature):
    """Multiplies a column."""

    name = "scaled"
    version = "1.0"

    class Inputs(feature_inputs.Inputs[TrackInput]):
        """The recorded topic alone."""

    class Params(feature_params.Params):
        """The factor."""

        factor: float = 2.0

    params: Params

    def apply(self, df: Any) -> Any:
        """Return value times factor."""
        return pd.DataFrame({"value": df["value"] * self.params.factor})


class Mean(FittedFeature):
    """Subtracts the mean of all entries."""

    name = "mean"
    version = "1.0"
    scope_dependent: ClassVar[bool] = True
    mean = 0.0

    def load_state(
        self,
        run_root: Path,
        artifact_paths: dict[str, Path],
        dependency_lookups: dict[str, dict[EntryKey, Path]],
    ) -> bool:
        """Load the mean."""
        if not (run_root / "mean.txt").exists():
            return False
        self.mean = float((run_root / "mean.txt").read_text(encoding="utf-8"))
        return True

    def fit(self, inputs: InputStream) -> None:
        """Learn the mean."""
        self.mean = float(pd.concat([df["value"] for _, df in inputs()]).mean())

    def save_state(self, run_root: Path) -> None:
        """Save the mean."""
        (run_root / "mean.txt").write_text(repr(self.mean), encoding="utf-8")

    def apply(self, df: Any) -> Any:
        """Return value minus mean."""
        return pd.DataFrame({"value": df["value"] - self.mean})


def test_a_stateless_feature_is_a_name_a_version_and_apply(tmp_path: Path) -> None:
    """It reads tracks by default, has nothing to learn, and leaves no file."""
    feature = Scaled()
    assert isinstance(feature, Feature)
    assert feature.inputs.is_single_tracks
    assert (feature.parallelizable, feature.scope_dependent) == (True, False)
    assert feature.load_state(tmp_path / "nowhere", {}, {})
    feature.fit(InputStream(lambda: iter(()), 0))
    feature.save_state(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert feature.apply(pd.DataFrame({"value": [1.0, 2.0]}))["value"].tolist() == [2.0, 4.0]


def test_parameters_come_as_a_mapping_or_as_themselves() -> None:
    """Both give the same; the inputs class and the parameters class are the feature's own."""
    by_mapping = Scaled(Scaled.Inputs(("tracks",)), {"factor": 3})
    by_model = Scaled(params=Scaled.Params(factor=3.0))
    assert by_mapping.params == by_model.params
    assert by_mapping.inputs == by_model.inputs
    assert repr(by_mapping) == "Scaled(Inputs(root=('tracks',)), Params(factor=3.0))"


def test_inputs_come_as_the_features_own_as_others_or_as_their_items() -> None:
    """All three are narrowed to what the feature takes; one that may take none takes none by default."""

    class Optional(Scaled):
        class Inputs(feature_inputs.Inputs[Result]):
            """Results or nothing."""

            _require: ClassVar[InputRequire] = "any"

    own = Scaled.Inputs(("tracks",))
    assert Scaled(own).inputs is own
    assert type(Scaled(TableFeature.Inputs(("tracks",))).inputs) is Scaled.Inputs
    assert Scaled(["tracks"]).inputs == own
    assert Optional().inputs.is_empty


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Scaled(params={"faktor": 3}), "faktor"),
        (lambda: Scaled(Scaled.Inputs((SPEED,))), "Input should be 'tracks'"),
        (lambda: Scaled(params=Mean.Params()), "parameters of another feature"),
        (lambda: Scaled(TableFeature.Inputs((SPEED,))), "Input should be 'tracks'"),
        (lambda: Scaled(NAME), "Input should be 'tracks'"),
    ],
)
def test_what_the_feature_does_not_take_is_refused(make: Any, told: str) -> None:
    """Before anything is computed."""
    with pytest.raises(ArgumentRefused, match=told):
        make()


def test_a_feature_learns_what_the_columns_are_called() -> None:
    """From the data set that it is bound to; two features do not share it."""
    columns = Columns(id_col="animal")
    bound, other = Scaled(), Scaled()
    bound.bind_dataset(SimpleNamespace(columns=columns))
    assert bound.columns is columns
    assert other.columns == Columns()


def test_a_fitted_feature_learns_saves_and_loads(tmp_path: Path) -> None:
    """What one object saved, another loads; without it there is nothing to load."""
    feature = Mean()
    assert isinstance(feature, Feature)
    assert not feature.load_state(tmp_path, {}, {})
    frames = [(("", "a"), pd.DataFrame({"value": [1.0]})), (("", "b"), pd.DataFrame({"value": [5.0]}))]
    feature.fit(InputStream(lambda: iter(frames), 2))
    feature.save_state(tmp_path)
    again = Mean()
    assert again.load_state(tmp_path, {}, {})
    assert again.apply(pd.DataFrame({"value": [4.0]}))["value"].tolist() == [1.0]


def test_what_a_feature_must_have_cannot_be_left_out() -> None:
    """apply of every feature; fit, save_state and load_state of one that learns."""

    class Nothing(TableFeature):
        name = "nothing"
        version = "1"

    class NoFit(FittedFeature):
        name = "no-fit"
        version = "1"

        def apply(self, df: Any) -> Any:
            return df

    with pytest.raises(TypeError, match="apply"):
        Nothing()  # type: ignore[abstract]
    with pytest.raises(TypeError, match="fit"):
        NoFit()  # type: ignore[abstract]


def test_features_travel_to_other_processes() -> None:
    """With their parameters and inputs."""
    again = pickle.loads(pickle.dumps(Scaled(params={"factor": 3})))
    assert (again.params.factor, again.inputs.is_single_tracks) == (3.0, True)
