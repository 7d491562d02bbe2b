"""Parameters: what a user overrides, what stays out of an identity, and what is refused."""

from __future__ import annotations

import copy
import pickle
from typing import Annotated, Any

import pytest
from pydantic import Field

from gapless.errors import ArgumentRefused
from gapless.features.artifact import JoblibArtifact, NpzArtifact, ParquetArtifact
from gapless.features.canonical import canonical_text
from gapless.features.load_spec import NpzLoadSpec
from gapless.features.params import GlobalModelParams, Knob, Params
from gapless.features.result import Result
from gapless.features.strict_model import StrictModel


class Window(StrictModel):
    """A model inside of parameters."""

    length_s: float = 1.0
    shape: str = "hann"


WINDOW = Window(length_s=9.0, shape="kaiser")


class Smoothing(Params):
    """Parameters with a model, a knob and a bound."""

    order: int = Field(default=3, ge=0)
    window: Window = Field(default_factory=WINDOW.model_copy)
    plain: Window | None = None
    batch_rows: Annotated[int, Knob()] = 1_000


class Templates(ParquetArtifact):
    """The artifact of one feature."""

    feature: str = "templates"
    pattern: str = "templates.parquet"


class Clustering(GlobalModelParams[JoblibArtifact]):
    """Parameters of a global model with an artifact that has defaults."""

    templates: Templates | None = Field(default_factory=Templates)
    k: int = 5


def test_overrides_take_the_place_of_defaults() -> None:
    """Missing keys have their defaults; None and {} are the defaults."""
    assert Smoothing.from_overrides({"order": 5}) == Smoothing(order=5)
    assert Smoothing.from_overrides(None) == Smoothing.from_overrides({}) == Smoothing()


def test_a_partial_mapping_is_merged_one_level_deep() -> None:
    """Only the keys that it names differ from the default; a field without a factory is not merged."""
    made = Smoothing.from_overrides({"window": {"length_s": 2.0}, "plain": {"shape": "flat"}})
    assert made.window == Window(length_s=2.0, shape="kaiser")
    assert made.plain == Window(length_s=1.0, shape="flat")
    assert Smoothing.from_overrides({"window": Window(shape="x")}).window.shape == "x"


def test_overrides_and_defaults_are_not_changed() -> None:
    """The mapping that was given stays as it is, and no two objects share a default."""
    overrides: dict[str, Any] = {"window": {"length_s": 2.0}}
    before = copy.deepcopy(overrides)
    first = Smoothing.from_overrides(overrides)
    first.window.shape = "changed"
    assert overrides == before
    assert Smoothing().window.shape == Smoothing.from_overrides(overrides).window.shape == "kaiser"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"ordr": 1}, "Smoothing: ordr: Extra inputs are not permitted; found 1"),
        ({"order": -1}, "order: Input should be greater than or equal to 0"),
        ({"window": {"lenght_s": 1.0}}, "window.lenght_s: Extra inputs are not permitted"),
        ({"order": "x", "batch_rows": None}, "order: .*; batch_rows: "),
        ([("order", 1)], "parameters are given by name"),
    ],
)
def test_wrong_overrides_are_refused_by_field(overrides: Any, told: str) -> None:
    """The error is a ValueError that names each wrong field, also of models inside."""
    with pytest.raises(ArgumentRefused, match=told) as caught:
        Smoothing.from_overrides(overrides)
    assert isinstance(caught.value, ValueError)


def test_types_that_cannot_be_checked_are_refused() -> None:
    """A field of an arbitrary class is an error when the class is made."""
    with pytest.raises(Exception, match="arbitrary_types_allowed"):

        class Wrong(Params):
            anything: Thing


class Thing:
    """Something that pydantic knows nothing of."""


def test_knobs_stay_out_of_the_identity_but_not_out_of_a_dump() -> None:
    """Two values of a knob have one identity, two values of another field two; also one level down."""

    class Outer(Params):
        inner: Smoothing = Field(default_factory=Smoothing)

    slow, fast = Smoothing(batch_rows=1), Smoothing(batch_rows=10)
    assert slow.identity_dump() == fast.identity_dump() == {"order": 3, "window": WINDOW, "plain": None}
    assert slow.model_dump() != fast.model_dump()
    assert canonical_text(Outer(inner=slow)) == canonical_text(Outer(inner=fast))
    assert canonical_text(Outer(inner=slow)) != canonical_text(Outer(inner=Smoothing(order=4)))


def test_a_knob_may_be_marked_with_its_class() -> None:
    """``Annotated[int, Knob]`` means what ``Annotated[int, Knob()]`` does."""

    class Marked(Params):
        workers: Annotated[int, Knob] = 1
        value: int = 2

    assert Marked().identity_dump() == {"value": 2}


def test_how_an_attempt_went_is_in_no_identity() -> None:
    """A result among the parameters counts by feature and run alone."""

    class Reading(Params):
        source: Result[str]

    fresh = Reading(source=Result(feature="a", run_id="1-x", cache_hit=False, execution_id="e1"))
    cached = Reading(source=Result(feature="a", run_id="1-x", cache_hit=True, execution_id="e2"))
    assert canonical_text(fresh) == canonical_text(cached)


# -- global models -----------------------------------------------------------------------------


def test_templates_or_a_model_and_the_other_is_none() -> None:
    """The default of what was not given does not count."""
    fitted = Clustering.from_overrides({"model": {"feature": "kmeans", "run_id": "1-a"}})
    assert (fitted.templates, fitted.model) == (None, JoblibArtifact(feature="kmeans", run_id="1-a"))
    fitting = Clustering.from_overrides({"templates": {"run_id": "1-b"}})
    assert fitting.model is None
    assert fitting.templates == Templates(run_id="1-b")


@pytest.mark.parametrize(
    "given", [{}, {"k": 3}, {"templates": None}, {"templates": {}, "model": {"feature": "kmeans"}}]
)
def test_neither_and_both_are_refused(given: dict[str, Any]) -> None:
    """Exactly one is given."""
    with pytest.raises(ArgumentRefused, match="exactly one of templates and model"):
        Clustering.from_overrides(given)


@pytest.mark.parametrize("given", [{"templates": {"run_id": "1-b"}}, {"model": {"feature": "kmeans"}}])
def test_global_parameters_survive_their_own_dump(given: dict[str, Any]) -> None:
    """What a dump holds, as Python or JSON, makes an equal object, again and again."""
    made = Clustering.from_overrides(given)
    again = Clustering.from_overrides(made.model_dump())
    assert again == made
    assert Clustering.from_overrides(again.model_dump()) == made
    assert Clustering.model_validate_json(made.model_dump_json()) == made
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_model_artifact_may_be_plain_arrays() -> None:
    """The type parameter is any artifact, so that a model needs no pickle."""
    made = GlobalModelParams[NpzArtifact](
        model=NpzArtifact(feature="pca", load=NpzLoadSpec(key="components"))
    )
    assert made.model is not None
    assert made.model.load.key == "components"
