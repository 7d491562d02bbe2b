"""Every class, field, default and signature of the reference pipeline, compared with ours.

Ours may add fields with defaults and keyword-only parameters. What else differs stands in DEVIATIONS with
its reason.
"""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, RootModel

import gapless.features as ours

REQUIRED = "required"
OWN = object()  # a default that is made anew for each object

# Dotted name -> parameters, as they would stand in a definition.
SIGNATURES: dict[str, str] = {
    "Pipeline": "default_run_kwargs=None",
    "Pipeline.add": "self, step",
    "Pipeline.status": "self, ds",
    "Pipeline.load": "self, ds",
    "Pipeline.run": "self, ds, force_from=None",
    "Pipeline.clean": "self, ds, *, dry_run=True",
    "Pipeline.dag": "self",
    "FeatureStep": "name, feature_cls, params=None, input_names=OWN, run_kwargs=OWN",
    "CallbackStep": "name, fn, depends_on=OWN",
    "FeatureRegistry": "db_path",
    "FeatureRegistry.record_run_start": (
        "self, feature, run_id, version, params_hash, params_json=None, inputs_json=None"
    ),
    "FeatureRegistry.record_entry": "self, feature, run_id, group, sequence, abs_path, n_rows=0",
    "FeatureRegistry.record_entries": "self, feature, run_id, entries",
    "FeatureRegistry.mark_finished": "self, feature, run_id",
    "FeatureRegistry.record_dependency": "self, feature, run_id, upstream_feature, upstream_run_id",
    "FeatureRegistry.latest_run_id": "self, feature",
    "FeatureRegistry.list_runs": "self, feature",
    "FeatureRegistry.list_features": "self",
    "FeatureRegistry.list_entries": "self, feature, run_id=None",
    "FeatureRegistry.entry_count": "self, feature, run_id",
    "FeatureRegistry.has_run": "self, feature, run_id",
    "FeatureRegistry.run_is_finished": "self, feature, run_id",
    "FeatureRegistry.pending_entries": "self, feature, run_id, all_entries",
    "FeatureRegistry.get_dependencies": "self, feature, run_id",
    "FeatureRegistry.lineage": "self, feature, run_id",
    "FeatureRegistry.migrate_from_csv": "self, features_root",
    "open_registry": "features_root, migrate_csv=True",
    "Feature.load_state": "self, run_root, artifact_paths, dependency_lookups",
    "Feature.fit": "self, inputs",
    "Feature.apply": "self, df",
    "Feature.save_state": "self, run_root",
    "InputStream": "factory, n_entries",
    "Params.from_overrides": "overrides",
    "ArtifactSpec.from_result": "result",
    "ArtifactSpec.from_path": "self, path",
    "BodyScaleResult.from_result": "self, result",
    "NNResult.from_result": "self, result",
    "ResultColumn.from_result": "self, result",
    "Columns.meta_set": "self",
    "load_from_spec": "path, spec",
    "resolve_order_col": "df",
    "load_values": "ds, sources",
    "run_feature": (
        "ds, feature, groups=None, sequences=None, overwrite=False, parallel_workers=None,"
        " parallel_mode='thread', overlap_frames=0, filter_start_frame=None, filter_end_frame=None,"
        " filter_start_time=None, filter_end_time=None, registry=None"
    ),
    "train_model": "ds, model, config=None, overwrite=False, *, progress_callback=None",
    "TrainingProgressCallback.on_epoch_end": "self, epoch, total_epochs, metrics",
    "TrainingProgressCallback.on_class_start": "self, class_idx, total_classes, class_name",
    "TrainingProgressCallback.on_phase": "self, phase, message",
    "SQLiteProgressCallback": "db_path, job_id",
    "SQLiteProgressCallback.on_epoch_end": "self, epoch, total_epochs, metrics",
    "SQLiteProgressCallback.on_class_start": "self, class_idx, total_classes, class_name",
    "SQLiteProgressCallback.on_phase": "self, phase, message",
    "SQLiteProgressCallback.get_progress": "self",
    "NullProgressCallback": "",
    "NullProgressCallback.on_epoch_end": "self, epoch, total_epochs, metrics",
    "NullProgressCallback.on_class_start": "self, class_idx, total_classes, class_name",
    "NullProgressCallback.on_phase": "self, phase, message",
    "CSVProgressCallback.on_epoch_end": "self, epoch, total_epochs, metrics",
    "CSVProgressCallback.on_class_start": "self, class_idx, total_classes, class_name",
    "CSVProgressCallback.on_phase": "self, phase, message",
    "CompositeProgressCallback.on_epoch_end": "self, epoch, total_epochs, metrics",
    "CompositeProgressCallback.on_class_start": "self, class_idx, total_classes, class_name",
    "CompositeProgressCallback.on_phase": "self, phase, message",
    "read_progress": "db_path, job_id",
}

# Class -> field -> (type, default); None as type where the reference leaves it to a type parameter.
FIELDS: dict[str, dict[str, tuple[Any, Any]]] = {
    "JoblibLoadSpec": {"kind": (Literal["joblib"], "joblib"), "key": (str | None, None)},
    "NpzLoadSpec": {
        "kind": (Literal["npz"], "npz"),
        "key": (str, REQUIRED),
        "transpose": (bool, False),
    },
    "ParquetLoadSpec": {
        "kind": (Literal["parquet"], "parquet"),
        "transpose": (bool, False),
        "columns": (list[str] | None, None),
        "drop_columns": (list[str] | None, None),
        "numeric_only": (bool, True),
        "frame_column": (str | None, None),
    },
    "ArtifactSpec": {
        "feature": (str, REQUIRED),
        "run_id": (str | None, None),
        "load": (None, REQUIRED),
        "pattern": (str, ""),
    },
    "Columns": {
        "id_col": (str, "id"),
        "seq_col": (str, "sequence"),
        "group_col": (str, "group"),
        "frame_col": (str, "frame"),
        "time_col": (str, "time"),
        "order_by": (Literal["frames", "time"], "frames"),
        "x_col": (str, "X"),
        "y_col": (str, "Y"),
        "orientation_col": (str, "ANGLE"),
    },
    "PoseConfig": {
        "pose_n": (int, 7),
        "pose_indices": (list[int] | None, None),
        "x_prefix": (str, "poseX"),
        "y_prefix": (str, "poseY"),
        "confidence_prefix": (str, "poseP"),
        "keypoint_names": (list[str] | None, None),
    },
    "Inputs": {"root": (None, REQUIRED)},
    "LabelsSource": {"kind": (None, REQUIRED)},
    "GroundTruthLabelsSource": {},
    "FeatureLabelsSource": {},
    "GlobalModelParams": {"templates": (None, OWN), "model": (None, OWN)},
    "Params": {},
    "StrictModel": {},
    "Result": {"feature": (None, REQUIRED), "run_id": (str | None, None)},
    "BodyScaleResult": {"feature": (str, "body-scale"), "run_id": (str | None, None)},
    "NNResult": {"feature": (str, "nearest-neighbor"), "run_id": (str | None, None)},
    "ResultColumn": {
        "feature": (str, REQUIRED),
        "column": (str, REQUIRED),
        "run_id": (str | None, None),
    },
    "TracksColumn": {"column": (str, REQUIRED)},
    "JoblibArtifact": {},
    "NpzArtifact": {},
    "ParquetArtifact": {},
}

ONLY_NAMED = {"JoblibArtifact", "NpzArtifact", "ParquetArtifact", "FeatureLabelsSource"}  # no fields are told

BASES: dict[str, str] = {
    "JoblibLoadSpec": "StrictModel",
    "NpzLoadSpec": "StrictModel",
    "ParquetLoadSpec": "StrictModel",
    "ArtifactSpec": "Result",
    "JoblibArtifact": "ArtifactSpec",
    "NpzArtifact": "ArtifactSpec",
    "ParquetArtifact": "ArtifactSpec",
    "Columns": "StrictModel",
    "PoseConfig": "StrictModel",
    "LabelsSource": "StrictModel",
    "GroundTruthLabelsSource": "LabelsSource",
    "FeatureLabelsSource": "LabelsSource",
    "GlobalModelParams": "Params",
    "Params": "StrictModel",
    "BodyScaleResult": "Result",
    "NNResult": "Result",
    "Result": "StrictModel",
    "ResultColumn": "Result",
    "TracksColumn": "StrictModel",
}

# Class -> attributes and properties that the reference names.
ATTRIBUTES: dict[str, set[str]] = {
    "Feature": {"name", "version", "parallelizable", "scope_dependent", "inputs", "params"},
    "InputsLike": {
        "is_single_tracks",
        "is_single_feature",
        "is_multi",
        "is_empty",
        "feature_inputs",
        "storage_suffix",
    },
    "Inputs": {
        "is_single_tracks",
        "is_single_feature",
        "is_multi",
        "is_empty",
        "feature_inputs",
        "storage_suffix",
        "_require",
    },
}

OTHER_NAMES = (
    "InputRequire",
    "TrackInput",
    "Feature",
    "InputsLike",
    "CSVProgressCallback",
    "CompositeProgressCallback",
)

PATH_REASON = "it takes a store, its features folder or a database file, so it is no path of a database"
DEVIATIONS: dict[tuple[str, str], str] = {
    ("resolve_order_col", "columns: is new, but not optional and by keyword only"): (
        "names come from the data set instead of a global; it is optional and stands last"
    ),
    ("FeatureRegistry", "db_path: is not there"): PATH_REASON,
    ("FeatureRegistry", "path: is new, but not optional and by keyword only"): PATH_REASON,
    ("GlobalModelParams", "templates: default None, not made anew"): (
        "without a feature there is no artifact to make; a subclass that names one gives a factory"
    ),
    ("GlobalModelParams", "model: default None, not made anew"): (
        "without a feature there is no artifact to make; a subclass that names one gives a factory"
    ),
}


# -- comparing ---------------------------------------------------------------------------------


def named(path: str) -> Any:
    """Return an object of ours by its dotted name."""
    value: Any = ours
    for part in path.split("."):
        value = getattr(value, part)
    return value


def parameters(text: str) -> dict[str, inspect.Parameter]:
    """Return the parameters of a definition in the table."""
    return dict(inspect.signature(eval(f"lambda {text}: None", {"OWN": OWN})).parameters)


def own_parameters(value: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters of ours; defaults that are made anew are marked."""
    found = dict(inspect.signature(value).parameters)
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            if field.default_factory is not dataclasses.MISSING:
                found[field.name] = found[field.name].replace(default=OWN)
    return found


def signature_differences(path: str) -> list[str]:
    """Return what a caller who knows the reference's signature would stumble over."""
    theirs, mine = parameters(SIGNATURES[path]), own_parameters(named(path))
    return [*_missing_parameters(theirs, mine), *_order(theirs, mine), *_new_parameters(theirs, mine)]


def _missing_parameters(
    theirs: dict[str, inspect.Parameter], mine: dict[str, inspect.Parameter]
) -> list[str]:
    found = []
    for name, parameter in theirs.items():
        if name not in mine:
            found.append(f"{name}: is not there")
        elif parameter.default is parameter.empty and mine[name].default is not mine[name].empty:
            continue  # optional here, required there: every call of theirs works
        elif mine[name].default != parameter.default:
            found.append(f"{name}: default {mine[name].default!r}, not {parameter.default!r}")
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD and mine[name].kind is not parameter.kind:
            found.append(f"{name}: cannot be given by place and by name")
    return found


def _order(theirs: dict[str, inspect.Parameter], mine: dict[str, inspect.Parameter]) -> list[str]:
    by_place = [name for name, p in theirs.items() if p.kind is p.POSITIONAL_OR_KEYWORD and name in mine]
    same = [name for name in mine if name in by_place]
    return [] if same == by_place else [f"order {same}, not {by_place}"]


def _new_parameters(theirs: dict[str, inspect.Parameter], mine: dict[str, inspect.Parameter]) -> list[str]:
    return [
        f"{name}: is new, but not optional and by keyword only"
        for name, p in mine.items()
        if name not in theirs
        and p.kind is not p.VAR_KEYWORD
        and (p.kind is not p.KEYWORD_ONLY or p.default is p.empty)
    ]


def field_differences(name: str) -> list[str]:
    """Return the fields that are missing, of another type or default, or new and required."""
    model: type[BaseModel] = named(name)
    found = []
    for field, (kind, default) in FIELDS[name].items():
        own = model.model_fields.get(field)
        if own is None:
            found.append(f"{field}: is not there")
            continue
        if kind is not None and own.annotation != kind:
            found.append(f"{field}: type {own.annotation}, not {kind}")
        mine = REQUIRED if own.is_required() else OWN if own.default_factory else own.default
        if mine != default:
            found.append(f"{field}: default {mine!r}, not {'made anew' if default is OWN else repr(default)}")
    new = set(model.model_fields) - set(FIELDS[name])
    if name not in ONLY_NAMED:
        found += [
            f"{field}: is new and required"
            for field in sorted(new)
            if model.model_fields[field].is_required()
        ]
    return found


def differences(path: str) -> list[str]:
    """Return every difference of one name."""
    signature = signature_differences(path) if path in SIGNATURES else []
    return [*signature, *(field_differences(path) if path in FIELDS else [])]


def undeclared(path: str, found: list[str]) -> list[str]:
    """Return the differences that no deviation stands for."""
    return [text for text in found if (path, text) not in DEVIATIONS]


# -- tests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SIGNATURES)
def test_every_call_of_the_reference_pipeline_works_with_ours(path: str) -> None:
    """Parameters have the same names, order and defaults; new ones are optional and by keyword."""
    assert undeclared(path, signature_differences(path)) == []


@pytest.mark.parametrize("name", FIELDS)
def test_every_model_of_the_reference_pipeline_has_its_fields(name: str) -> None:
    """Fields have the same names, types and defaults; new ones are optional."""
    assert undeclared(name, field_differences(name)) == []


@pytest.mark.parametrize("name", BASES)
def test_every_class_of_the_reference_pipeline_has_its_base(name: str) -> None:
    """What is an instance of a class there is one of ours here."""
    assert issubclass(named(name), named(BASES[name]))


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_attribute_of_the_reference_pipeline_is_there(name: str) -> None:
    """Attributes and properties of protocols and inputs have the same names."""
    there = {
        item for cls in named(name).__mro__ for item in (*vars(cls), *getattr(cls, "__annotations__", {}))
    }
    assert ATTRIBUTES[name] - there == set()


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_every_other_name_of_the_reference_pipeline_can_be_imported(name: str) -> None:
    """Types and protocols without a signature of their own are public too."""
    assert named(name) is not None
    assert name in dir(ours)


def test_literals_of_the_reference_pipeline_are_the_same() -> None:
    """What inputs may be called and require, word by word."""
    assert ours.TrackInput == Literal["tracks"]
    assert ours.InputRequire == Literal["nonempty", "empty", "any"]


def test_inputs_are_a_root_model_and_strict_models_refuse_unknown_fields() -> None:
    """The two pydantic bases behave as documented there."""
    assert issubclass(ours.Inputs, RootModel)
    with pytest.raises(ValueError, match="not permitted"):
        ours.Columns(animal="id")  # type: ignore[call-arg]


def test_from_overrides_and_from_result_are_called_on_the_class() -> None:
    """They are class methods there, while results copy themselves."""
    assert inspect.ismethod(ours.Params.from_overrides)
    assert inspect.ismethod(ours.ArtifactSpec.from_result)
    assert not inspect.ismethod(ours.NNResult.from_result)


def test_load_state_promises_a_truth_value() -> None:
    """False is what makes the engine call fit."""
    assert inspect.signature(ours.Feature.load_state).return_annotation == "bool"


def test_the_examples_of_the_reference_pipeline_run(tmp_path: Path) -> None:
    """The lines that its page shows for inputs and columns."""

    class Narrow(ours.Inputs[ours.TrackInput]):
        pass

    class Nothing(ours.Inputs[ours.Result]):
        _require = "empty"

    class Anything(ours.Inputs[ours.Result]):
        _require = "any"

    assert Narrow(("tracks",)).is_single_tracks
    assert ours.Inputs((ours.Result(feature="speed-angvel"),)).is_single_feature
    assert ours.Inputs(("tracks", ours.Result(feature="nn", run_id="0.1-abc"))).is_multi
    assert Nothing(()).is_empty
    assert Anything(()).is_empty
    assert ours.Columns(id_col="animal").meta_set() == {"animal", "sequence", "group", "frame", "time"}
    with ours.open_registry(tmp_path / "registry.db") as registry:
        registry.record_run_start("speed", "1.0-a", "1.0", "hash")
        registry.record_entry("speed", "1.0-a", "g", "s1", tmp_path / "s1.parquet", 3)
        assert registry.pending_entries("speed", "1.0-a", {("g", "s1"), ("g", "s2")}) == [("g", "s2")]
        assert registry.lineage("speed", "1.0-a") == {"feature": "speed", "run_id": "1.0-a", "upstream": []}


def test_no_listed_deviation_is_stale() -> None:
    """Each one still is a difference, and gives its reason."""
    stale = [(path, text) for path, text in DEVIATIONS if text not in differences(path)]
    assert stale == []
    assert all(DEVIATIONS.values())
