"""One pure function names a run: what can change a value moves it, and nothing else does."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from gapless.errors import ArgumentRefused, IdentityRefused
from gapless.features import (
    Columns,
    FeatureLabelsSource,
    GlobalModelParams,
    GroundTruthLabelsSource,
    Inputs,
    JoblibArtifact,
    Knob,
    NpzArtifact,
    NpzLoadSpec,
    Params,
    ParquetArtifact,
    Result,
    ResultColumn,
    StrictModel,
    TableFeature,
    TopicInput,
    TracksColumn,
)
from gapless.features.identity import (
    SCHEME,
    RunIdentity,
    RunOptions,
    identify,
    lengthened,
    references,
    storage_name,
)

GOLDEN = json.loads((Path(__file__).parent / "golden_identities.json").read_text())
KEYS = [("g", "b"), ("g", "a")]


class Window(StrictModel):
    """A nested parameter."""

    length: int = 5
    shape: str = "hann"
    at: ResultColumn | None = None


class PlainParams(Params):
    """Parameters of many kinds."""

    window: Window = Window()
    cut: float | None = None
    names: frozenset[str] = frozenset()
    anything: Any = None
    threads: Annotated[int, Knob()] = 1


class Plain(TableFeature):
    """A feature that is never run."""

    name: ClassVar[str] = "plain"
    version: ClassVar[str] = "1.0"

    class Inputs(Inputs):
        """Anything or nothing."""

        _require = "any"

    class Params(PlainParams):
        """No others."""

    def __init__(self, inputs: Any = ("tracks",), params: Any = None) -> None:
        super().__init__(inputs, params)

    def apply(self, df: Any) -> Any:
        """Return what came."""
        return df


class Scoped(Plain):
    """Depends on which entries there are."""

    name: ClassVar[str] = "scoped"
    scope_dependent: ClassVar[bool] = True


class Model(TableFeature):
    """Fits on templates, or loads a fitted model."""

    name: ClassVar[str] = "model"
    version: ClassVar[str] = "0.1"

    class Params(GlobalModelParams[JoblibArtifact]):
        """Labels besides."""

        labels: GroundTruthLabelsSource | FeatureLabelsSource = GroundTruthLabelsSource()

    def apply(self, df: Any) -> Any:
        """Return what came."""
        return df


def pinned(feature: Any, run_id: str = "1.0-aaaaaaaaaaaa") -> dict[str, tuple[str, str]]:
    """Return a pin for every reference: its own run id, or the one given."""
    return {
        ref.place: (ref.value.feature, ref.value.run_id or run_id)
        for ref in references(feature)
        if ref.kind != "labels"
    }


def identity(feature: Any, options: RunOptions | None = None, **given: Any) -> RunIdentity:
    """Return the identity of a run over the data set's topic ``tracks``."""
    chosen = {"columns": Columns(), "topic": "tracks", "pins": pinned(feature), **given}
    return identify(feature, options or RunOptions(), **chosen)


def plain(**params: Any) -> RunIdentity:
    """Return the identity of a run of the plain feature."""
    return identity(Plain(params=params))


# -- fixed for ever ------------------------------------------------------------------------------

TEMPLATES = ParquetArtifact(feature="templates", run_id="1.0-bbbbbbbbbbbb")
NPZ = NpzArtifact(feature="pca", run_id="1-c", pattern="axes.npz", load=NpzLoadSpec(key="axes"))
FIXED: dict[str, tuple[Any, RunOptions, dict[str, Any]]] = {
    "tracks": (Plain(), RunOptions(), {}),
    "another topic and other columns": (
        Plain(), RunOptions(), {"topic": "pose", "columns": Columns(id_col="animal", order_by="time")},
    ),
    "parameters": (
        Plain(params={"window": {"length": 9}, "cut": 2.0, "names": {"b", "a"}, "threads": 8}), RunOptions(), {},
    ),
    "numbers": (Plain(params={"anything": [1, 1.0, True, float("nan"), 1e300, -0.0]}), RunOptions(), {}),
    "texts": (Plain(params={"anything": {"ß": "ü", "$set": [1], "": None}}), RunOptions(), {}),
    "a topic": (Plain(("tracks", TopicInput("imu", "hold", 5, ["ax"]))), RunOptions(), {}),
    "a result": (Plain((Result(feature="speed"),)), RunOptions(), {}),
    "results": (
        Plain((Result(feature="b__from__tracks+imu", run_id="2-d"), Result(feature="a"))), RunOptions(), {},
    ),
    "a column": (
        Plain(params={"window": {"at": {"feature": "speed", "column": "v"}}}), RunOptions(), {},
    ),
    "overlap": (Plain(), RunOptions(overlap_frames=3), {}),
    "a filter": (Plain(), RunOptions(filter_start_frame=10, filter_end_time=2.5), {}),
    "scope": (Scoped(), RunOptions(), {"scope": KEYS}),
    "code": (Plain(), RunOptions(), {"code": "00ff"}),
    "nothing read": (Plain(()), RunOptions(), {}),
    "templates": (Model(params={"templates": TEMPLATES}), RunOptions(), {}),
    "a model": (
        Model(params={"model": JoblibArtifact(feature="model", run_id="0.1-e"),
                      "labels": FeatureLabelsSource(feature="votes", column="vote")}),
        RunOptions(), {},
    ),
    "an array": (Plain(params={"anything": NPZ}), RunOptions(), {}),
}  # fmt: skip


@pytest.mark.parametrize("case", FIXED)
def test_identities_stay_what_they_were(case: str) -> None:
    """The file is never made anew: a run that was stored is found by every later release."""
    feature, options, given = FIXED[case]
    assert {"run_id": (found := identity(feature, options, **given)).run_id, "digest": found.digest,
            "document": found.document, "storage": found.storage} == GOLDEN[case]  # fmt: skip


@pytest.mark.parametrize("case", GOLDEN)
def test_a_digest_can_be_made_from_its_document_by_any_program(case: str) -> None:
    """It is the SHA-256 of the document as JSON with sorted keys and no spaces."""
    text = json.dumps(GOLDEN[case]["document"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN[case]["digest"]
    assert GOLDEN[case]["document"]["scheme"] == SCHEME


def test_no_two_of_the_fixed_identities_are_one() -> None:
    """Every case differs from all others, and every one is in the file."""
    assert len({entry["digest"] for entry in GOLDEN.values()}) == len(GOLDEN) == len(FIXED)


# -- what it says --------------------------------------------------------------------------------


def test_the_whole_identity_of_a_run() -> None:
    """Every field, and the document that the digest is of."""
    found = plain(cut=2.0)
    assert found.storage == found.feature == "plain"
    assert found.version == "1.0"
    assert found.run_id == f"1.0-{found.digest[:12]}"
    assert len(found.digest) == 64
    assert found.document == {
        "scheme": 1,
        "feature": "plain",
        "version": "1.0",
        "params": {
            "anything": None, "cut": 2.0, "names": {"$set": []},
            "window": {"$model": "Window", "length": 5, "shape": "hann", "at": None},
        },
        "inputs": ["tracks"],
        "topic": "tracks",
        "columns": Columns().model_dump(),
        "filter": {},
        "overlap": 0,
    }  # fmt: skip
    assert json.loads(found.params_json) == found.document["params"]
    assert found.params_hash == hashlib.sha256(found.params_json.encode()).hexdigest()
    assert found.inputs_json == '["tracks"]'
    assert found.upstream == ()


def test_s06_the_overlap_is_in_the_identity() -> None:
    """Values at the edges depend on it."""
    assert len({identity(Plain(), RunOptions(overlap_frames=k)).run_id for k in (0, 1, 3)}) == 3


WRONG = [
    {"overlap_frames": 3, "filter_start_frame": 1},
    {"overlap_frames": 3, "filter_end_time": 1.0},
    {"filter_start_frame": 1, "filter_start_time": 0.1},
    {"filter_end_frame": 1, "filter_end_time": 0.1},
    {"filter_start_frame": 5, "filter_end_frame": 5},
    {"filter_start_time": 2.0, "filter_end_time": 1.0},
    {"overlap_frames": -1},
    {"overlap_frames": 1.5},
    {"overlap_frames": True},
    {"overlap_frames": "3"},
    {"filter_start_frame": 1.0},
    {"filter_end_frame": True},
    {"filter_start_time": float("nan")},
    {"filter_end_time": float("inf")},
    {"filter_end_time": "1"},
]


@pytest.mark.parametrize("options", WRONG, ids=str)
def test_s08_options_that_exclude_each_other_are_refused(options: dict[str, Any]) -> None:
    """So are those that mean nothing; the error is a ValueError."""
    with pytest.raises(ArgumentRefused):
        RunOptions(**options).check()
    assert issubclass(ArgumentRefused, ValueError)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"overlap_frames": np.int64(3)},
        {"filter_start_frame": 5, "filter_end_frame": 6},
        {"filter_start_frame": np.int32(5), "filter_end_time": 1},
        {"filter_start_time": np.float32(0.5), "filter_end_frame": 9},
    ],
    ids=str,
)
def test_s08_options_that_mean_something_pass(options: dict[str, Any]) -> None:
    """NumPy's numbers are numbers, and an int is a time."""
    RunOptions(**options).check()


def test_one_filter_written_in_two_ways_is_one_run() -> None:
    """A time is a float and a frame is an int, whatever they were given as."""
    short: Any = np.int16(9)
    ways = [RunOptions(filter_start_time=2, filter_end_frame=9),
            RunOptions(filter_start_time=2.0, filter_end_frame=short),
            RunOptions(filter_start_time=np.float64(2), filter_end_frame=9)]  # fmt: skip
    assert len({identity(Plain(), way).run_id for way in ways}) == 1
    assert ways[0].filters == {"filter_start_time": 2.0, "filter_end_frame": 9}
    others = [RunOptions(), RunOptions(filter_end_time=2.0), RunOptions(filter_start_time=2.5)]
    assert len({identity(Plain(), way).run_id for way in [*others, ways[0]]}) == 4


def test_s13_a_reference_without_a_run_means_what_it_is_pinned_to() -> None:
    """Another pin is another run, and the pin is what is stored."""
    feature = Plain((Result(feature="speed"),))
    first, second = (identity(feature, pins=pinned(feature, run)) for run in ("1-a", "1-b"))
    assert first.run_id != second.run_id
    assert first.upstream == (("speed", "1-a"),)
    assert first.document["inputs"] == [{"feature": "speed", "run_id": "1-a"}]
    explicit = Plain((Result(feature="speed", run_id="1-a"),))
    assert identity(explicit).digest == first.digest


def test_s13_a_reference_that_is_not_pinned_is_refused() -> None:
    """Nothing is guessed."""
    with pytest.raises(IdentityRefused, match=r"inputs\[0\]"):
        identity(Plain((Result(feature="speed"),)), pins={})


def test_s14_the_source_counts_only_when_it_is_given() -> None:
    """Without a digest of the source there is no word of it."""
    assert "code" not in plain().document
    assert len({identity(Plain(), code=code).digest for code in (None, "a", "b")}) == 3


def test_s15_a_version_moves_its_own_run_and_all_after_it() -> None:
    """The chain goes through the pinned run ids."""

    class Newer(Plain):
        """The same under a newer version."""

        version: ClassVar[str] = "1.1"

    before, after = identity(Plain()), identity(Newer())
    assert after.run_id.startswith("1.1-")
    assert after.digest != before.digest
    feature = Scoped((Result(feature="plain"),))
    chain = [identity(feature, pins={"inputs[0]": (one.storage, one.run_id)}) for one in (before, after)]
    last = [identity(feature, pins={"inputs[0]": (one.storage, one.run_id)}) for one in chain]
    assert chain[0].run_id != chain[1].run_id
    assert last[0].run_id != last[1].run_id


def test_s12_the_scope_counts_for_features_that_depend_on_it_only() -> None:
    """Its order does not matter, and other features ignore it."""
    ways: list[Sequence[tuple[str, str]]] = [KEYS, KEYS[::-1], KEYS[:1]]
    found = [identity(Scoped(), scope=scope) for scope in ways]
    assert found[0].digest == found[1].digest != found[2].digest
    assert found[0].document["scope"] == [["g", "a"], ["g", "b"]]
    assert identity(Plain(), scope=KEYS).digest == identity(Plain()).digest


def test_s28_how_an_attempt_went_is_in_no_identity() -> None:
    """A result that run_feature returned means the same as one that was written down."""
    lived = Result(
        feature="speed", run_id="1-a", execution_id="x", cache_hit=True, failed_entries=(("", "s"),)
    )
    bare = Result(feature="speed", run_id="1-a")
    assert identity(Plain((lived,))).digest == identity(Plain((bare,))).digest
    assert plain(anything=lived).digest == plain(anything=bare).digest


@pytest.mark.parametrize("value", [object(), b"x", {1: 2}, np.zeros(1)], ids=lambda v: type(v).__name__)
def test_s29_a_parameter_without_a_form_is_refused_by_its_place(value: Any) -> None:
    """The text names the parameter."""
    with pytest.raises(IdentityRefused, match=r"params\.anything\.deep"):
        plain(anything={"deep": value})


def test_s29_a_knob_is_in_no_identity() -> None:
    """It changes how fast a value is made, never the value."""
    assert plain(threads=8).digest == plain().digest
    assert "threads" not in plain(threads=8).params_json


def test_s30_naming_a_run_changes_nothing() -> None:
    """Feature, parameters, pins and scope are afterwards what they were, references without run included."""
    feature = Model(
        (Result(feature="speed"), TopicInput("imu", "hold")),
        {"templates": ParquetArtifact(feature="t"), "labels": FeatureLabelsSource(feature="votes")},
    )
    pins, scope, columns = pinned(feature), list(KEYS), Columns()
    before = copy.deepcopy((feature.inputs, feature.params, pins, scope, columns))
    first = identity(feature, pins=pins, scope=scope, columns=columns)
    assert (feature.inputs, feature.params, pins, scope, columns) == before
    assert feature.params.templates.run_id is None
    assert feature.inputs.root[0].run_id is None
    assert identity(feature, pins=pins, scope=scope, columns=columns) == first


# -- references ----------------------------------------------------------------------------------


def test_references_are_found_wherever_they_are() -> None:
    """In inputs and parameters, nested in models, mappings and lists, with their places and kinds."""
    column = ResultColumn(feature="a", column="x")
    truth = GroundTruthLabelsSource(kind="sleep")
    votes = FeatureLabelsSource(feature="votes")
    feature = Plain(
        ("tracks", Result(feature="in")),
        {"window": {"at": column}, "anything": {"l": [truth, (votes,)], "n": NPZ, "r": Result(feature="b")}},
    )
    assert [(ref.place, ref.kind, ref.value) for ref in references(feature)] == [
        ("inputs[1]", "input", Result(feature="in")),
        ("params.window.at", "column", column),
        ("params.anything['l'][0]", "labels", truth),
        ("params.anything['l'][1][0]", "column", votes),
        ("params.anything['n']", "artifact", NPZ),
        ("params.anything['r']", "column", Result(feature="b")),
    ]


def test_references_in_parameters_appear_with_their_runs() -> None:
    """Labels that people made appear without content: that is in the entries' keys."""
    found = identity(FIXED["a model"][0])
    assert found.upstream == (("model", "0.1-e"), ("votes", "1.0-aaaaaaaaaaaa"))
    params = found.document["params"]
    assert params["model"]["run_id"] == "0.1-e"
    assert params["labels"]["run_id"] == "1.0-aaaaaaaaaaaa"
    truth = identity(FIXED["templates"][0])
    assert truth.document["params"]["labels"] == {"$model": "GroundTruthLabelsSource", "kind": "behavior"}
    assert truth.upstream == (("templates", "1.0-bbbbbbbbbbbb"),)


def test_two_references_never_share_a_place() -> None:
    """Keys with dots do not make one place of two, so each keeps its own run."""
    value = {"a.b": Result(feature="x"), "a": {"b": Result(feature="x")}}
    feature = Plain(params={"anything": value})
    places = [ref.place for ref in references(feature)]
    assert len(set(places)) == 2
    runs = [{place: ("x", run) for place, run in zip(places, order, strict=True)} for order in ("12", "21")]
    assert identity(feature, pins=runs[0]).digest != identity(feature, pins=runs[1]).digest


def test_a_pinned_mapping_is_no_reference() -> None:
    """A mapping with the fields of a reference is another parameter than the reference."""
    ref = Result(feature="x", run_id="1-a")
    assert plain(anything=ref).digest != plain(anything={"feature": "x", "run_id": "1-a"}).digest


def test_a_topic_that_is_an_output_names_its_run_as_upstream() -> None:
    """The run that is read is not cleaned away, and lineage shows it."""
    feature = Plain((TopicInput("features/speed__from__imu@1.0-abc"), TopicInput("imu")))
    assert identity(feature).upstream == (("speed__from__imu", "1.0-abc"),)


def test_one_run_read_twice_is_one_upstream() -> None:
    """In the order in which they are first read."""
    one, other = Result(feature="b", run_id="1"), Result(feature="a", run_id="2")
    feature = Plain((one, other), {"anything": ResultColumn(feature="b", run_id="1", column="x")})
    assert identity(feature).upstream == (("b", "1"), ("a", "2"))


def test_the_order_of_inputs_counts() -> None:
    """Columns of the first come first."""
    one, other = Result(feature="b", run_id="1"), Result(feature="a", run_id="2")
    assert identity(Plain((one, other))).digest != identity(Plain((other, one))).digest


def test_the_recorded_topic_counts_only_where_it_is_read() -> None:
    """As an input or as a column among the parameters."""
    for feature in (Plain(), Plain((), {"anything": [TracksColumn(column="X")]})):
        assert identity(feature, topic="pose").digest != identity(feature, topic="tracks").digest
    for feature in (Plain(()), Plain((Result(feature="a"),)), Plain((TopicInput("imu"),))):
        assert identity(feature, topic="pose").digest == identity(feature, topic="tracks").digest


def test_parameters_that_are_a_plain_model_count_as_well() -> None:
    """A feature need not use this package's base class for them."""

    class Own(BaseModel):
        """Not ours."""

        gain: float = 1.0
        at: ResultColumn | None = None

    def run(**params: Any) -> RunIdentity:
        feature = Plain()
        feature.params = Own(**params)
        return identity(feature)

    assert run(gain=2.0).digest != run().digest
    assert run(at=ResultColumn(feature="a", column="x")).upstream == (("a", "1.0-aaaaaaaaaaaa"),)


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "name"),
    [
        (("tracks",), "plain"),
        ((), "plain"),
        ((Result(feature="speed__from__nn__from__imu"),), "plain__from__speed"),
        (("tracks", Result(feature="a"), TopicInput("sensors/imu")), "plain__from__tracks+a+sensors-imu"),
    ],
)
def test_the_storage_name_says_what_is_read(inputs: Sequence[Any], name: str) -> None:
    """In plain names, that no chain makes longer."""
    assert storage_name(Plain(inputs)) == name


def test_a_long_storage_name_is_cut_and_stays_one_of_its_own() -> None:
    """120 characters at most; the whole name is in the last eight."""
    long = [storage_name(Plain((TopicInput("t" * 150 + end),))) for end in "ab"]
    assert [len(name) for name in long] == [120, 120]
    assert long[0][:-8] == long[1][:-8]
    assert long[0] != long[1]
    fits = "t" * (120 - len("plain__from__"))
    assert storage_name(Plain((TopicInput(fits),))) == f"plain__from__{fits}"


def test_a_run_id_that_another_digest_has_is_lengthened() -> None:
    """Only as far as it must be; the same digest keeps its name."""
    run = plain()
    other = "f" * 64
    taken = {run.run_id, f"1.0-{run.digest[:13]}"}
    longer = lengthened(run, lambda name: other if name in taken else None)
    assert longer.run_id == f"1.0-{run.digest[:14]}"
    assert (longer.digest, longer.document) == (run.digest, run.document)
    assert lengthened(run, lambda name: run.digest) == run
    assert lengthened(run, lambda name: None) == run


# -- over all values -----------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 0.5]) | st.sampled_from("ab"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)


@given(JSON, JSON)
def test_different_parameters_are_different_runs(left: Any, right: Any) -> None:
    """Types count, as 1, 1.0 and True may make a feature do different things."""
    same = json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
    assert (plain(anything=left).digest == plain(anything=right).digest) == same


_PRINT = """
from tests.features.test_identity import FIXED, identity
for case, (feature, options, given) in FIXED.items():
    print(identity(feature, options, **given).digest)
"""


@pytest.mark.parametrize("seed", ["0", "1", "77"])
def test_identities_are_the_same_in_every_process(seed: str) -> None:
    """Whatever the seed of hashes."""
    root = Path(__file__).parents[2]
    environment = {
        **os.environ,
        "PYTHONHASHSEED": seed,
        "PYTHONPATH": os.pathsep.join([str(root), *sys.path]),
    }
    ran = subprocess.run(
        [sys.executable, "-c", _PRINT], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == [GOLDEN[case]["digest"] for case in FIXED]
